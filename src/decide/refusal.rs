//! Why not, and what to do instead.

use serde::{Deserialize, Serialize};

use crate::{
    ids::HostName, observation::Knowledge, order::PostgresState, ports::store::RunId,
    topology::Topology,
};

use super::{Candidate, Intent, view::View};

/// The reason of a refusal. The words are documented and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    NoSuchRegion,
    NoSuchHost,
    NothingToFailOverTo,
    AlreadyActive,
    TwoWritersSuspected,
    RunInProgress,
    StandbyUnknown,
    StandbyDown,
    StandbyNotStreaming,
    StandbyBehind,
    WrongTimeline,
    NotKnownInSync,
    LossUnknown,
    NoProof,
    ProxyUnknown,
    RecordsUnknown,
    NoPrimary,
    IsPrimary,
    AlreadyJoined,
    HostUnknown,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 20] = [
        Self::NoSuchRegion,
        Self::NoSuchHost,
        Self::NothingToFailOverTo,
        Self::AlreadyActive,
        Self::TwoWritersSuspected,
        Self::RunInProgress,
        Self::StandbyUnknown,
        Self::StandbyDown,
        Self::StandbyNotStreaming,
        Self::StandbyBehind,
        Self::WrongTimeline,
        Self::NotKnownInSync,
        Self::LossUnknown,
        Self::NoProof,
        Self::ProxyUnknown,
        Self::RecordsUnknown,
        Self::NoPrimary,
        Self::IsPrimary,
        Self::AlreadyJoined,
        Self::HostUnknown,
    ];

    /// The id for programs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::NoSuchRegion => "no-such-region",
            Self::NoSuchHost => "no-such-host",
            Self::NothingToFailOverTo => "nothing-to-fail-over-to",
            Self::AlreadyActive => "already-active",
            Self::TwoWritersSuspected => "two-writers-suspected",
            Self::RunInProgress => "run-in-progress",
            Self::StandbyUnknown => "standby-unknown",
            Self::StandbyDown => "standby-down",
            Self::StandbyNotStreaming => "standby-not-streaming",
            Self::StandbyBehind => "standby-behind",
            Self::WrongTimeline => "wrong-timeline",
            Self::NotKnownInSync => "not-known-in-sync",
            Self::LossUnknown => "loss-unknown",
            Self::NoProof => "no-proof",
            Self::ProxyUnknown => "proxy-unknown",
            Self::RecordsUnknown => "records-unknown",
            Self::NoPrimary => "no-primary",
            Self::IsPrimary => "is-primary",
            Self::AlreadyJoined => "already-joined",
            Self::HostUnknown => "host-unknown",
        }
    }
}

/// A refusal: nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    pub reason: Reason,
    pub message: String,
    /// What was seen, one sentence each.
    pub evidence: Vec<String>,
    /// What to do instead, best first.
    pub next: Vec<String>,
}

impl Refusal {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            evidence: Vec::new(),
            next: Vec::new(),
        }
    }

    pub(super) fn saw(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    pub(super) fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }
}

/// PostgreSQL's state as a word in a sentence.
pub(super) fn word(state: PostgresState) -> &'static str {
    match state {
        PostgresState::Uninitialised => "not set up",
        PostgresState::Stopped => "stopped",
        PostgresState::Starting => "starting",
        PostgresState::Primary => "primary",
        PostgresState::Standby => "a standby",
        PostgresState::Stopping => "stopping",
        PostgresState::Hung => "hung",
    }
}

/// The region is not one of the topology's.
#[must_use]
pub fn no_such_region(topology: &Topology, wanted: &str) -> Refusal {
    let regions: Vec<_> = topology
        .serving_sites()
        .map(|site| format!("{} ({})", site.region, site.name))
        .collect();
    Refusal::new(
        Reason::NoSuchRegion,
        format!("no site of {} is in `{wanted}`", topology.name),
    )
    .saw(format!("its regions are {}", regions.join(" and ")))
    .next(format!(
        "hafail failover --region {}",
        last_region(topology)
    ))
}

fn last_region(topology: &Topology) -> String {
    let passive = topology
        .serving_sites()
        .find(|site| site.name != topology.initial_primary);
    passive
        .or(topology.serving_sites().next())
        .map_or_else(String::new, |site| site.region.to_string())
}

pub(super) fn single_database(topology: &Topology) -> Refusal {
    Refusal::new(
        Reason::NothingToFailOverTo,
        format!("{} has one database only", topology.name),
    )
    .saw("a failover needs a standby in another site")
    .next("add a second site with a db host to the topology, then `hafail deploy`")
}

pub(super) fn already_active(view: &View<'_>, primary: &HostName) -> Refusal {
    let site = view.site_of(primary);
    Refusal::new(
        Reason::AlreadyActive,
        format!("{site} is active already, there is nothing to do"),
    )
    .saw(view.says_primary(primary))
    .next("hafail status")
}

/// A run was broken off and waits to be resumed.
#[must_use]
pub fn unfinished(run: &RunId) -> Refusal {
    Refusal::new(Reason::RunInProgress, format!("run {run} has not ended"))
        .saw("its journal has no end; whoever ran it was interrupted")
        .next("hafail resume")
        .next("hafail resume --abandon, to undo it where that is still possible")
}

pub(super) fn two_writers(view: &View<'_>, first: &HostName, second: &HostName) -> Refusal {
    Refusal::new(Reason::TwoWritersSuspected, "two databases say that they are primary")
        .saw(view.says_primary(first))
        .saw(view.says_primary(second))
        .next(format!(
            "decide which one to keep and stop the other: hafail ssh {second} -- sudo hafail guard order demote"
        ))
        .next("then hafail failover or hafail rejoin")
}

pub(super) fn no_candidate(view: &View<'_>, candidates: &[Candidate]) -> Refusal {
    let elsewhere = |why: &str| why.contains(" is not in ");
    let own = candidates.iter().filter_map(|c| {
        c.why_not
            .as_ref()
            .map(|(reason, why)| (&c.host, *reason, why))
    });
    let own: Vec<_> = own.filter(|(_, _, why)| !elsewhere(why)).collect();
    let Some((host, reason, why)) = own.first() else {
        return Refusal::new(Reason::NothingToFailOverTo, "the site has no database")
            .next("choose another region: hafail status");
    };
    let mut refusal = Refusal::new(*reason, format!("{host} cannot be promoted: {why}"));
    for (_, _, why) in own.iter().skip(1) {
        refusal = refusal.saw((*why).clone());
    }
    if let Some(primary) = view.running_primary() {
        refusal = refusal.saw(view.says_primary(&primary));
    }
    if view.guard(host).is_some() {
        refusal = refusal.saw(view.says_standby(host));
    }
    next_for_candidate(refusal, host)
}

fn next_for_candidate(refusal: Refusal, host: &HostName) -> Refusal {
    match refusal.reason {
        Reason::StandbyUnknown => refusal
            .next("hafail status")
            .next(format!("hafail ssh {host}")),
        Reason::StandbyBehind => {
            refusal.next("hafail status --watch, and again once it has caught up")
        }
        _ => refusal
            .next(format!("hafail rejoin {host}"))
            .next(format!("hafail logs {host}")),
    }
}

pub(super) fn other_database(view: &View<'_>, host: &HostName) -> Refusal {
    let why = match view.guard(host) {
        Some(guard) => format!("PostgreSQL on {host} is {}", word(guard.postgres.state)),
        None => format!("nothing is known of {host}: {}", view.why_unseen(host)),
    };
    Refusal::new(
        Reason::NoProof,
        format!("{host} is not known to be a standby"),
    )
    .saw(why)
    .next("hafail status")
}

/// A switchover needs everything that it will use; nothing is urgent.
pub(super) fn unseen_parts(view: &View<'_>, intent: &Intent) -> Result<(), Refusal> {
    if let Some((_, why)) = view.unusable().into_iter().next() {
        return Err(Refusal::new(
            Reason::ProxyUnknown,
            "a switchover needs all load balancers and queues",
        )
        .saw(why)
        .next("hafail status"));
    }
    let unseen = view
        .snapshot()
        .records
        .iter()
        .find_map(|(name, record)| match record {
            Knowledge::Unknown { why, .. } => {
                Some(format!("the record {name} cannot be read: {why}"))
            }
            _ => None,
        });
    match unseen {
        Some(why) if !intent.database_only && !view.topology().follows_checks() => {
            Err(Refusal::new(
                Reason::RecordsUnknown,
                "the DNS records cannot be moved now",
            )
            .saw(why)
            .next(format!(
                "hafail failover --region {} --database-only",
                intent.region
            )))
        }
        _ => Ok(()),
    }
}

pub(super) fn behind(
    view: &View<'_>,
    intent: &Intent,
    bytes: u64,
    limit: u64,
    because: &str,
) -> Refusal {
    let _ = view;
    Refusal::new(
        Reason::StandbyBehind,
        format!("{bytes} bytes of log would be lost; the limit is {limit}"),
    )
    .saw(because)
    .next("bring the old primary back instead, if that is possible")
    .next(format!(
        "hafail failover --region {} --allow-data-loss {bytes}",
        intent.region
    ))
}

pub(super) fn loss_unknown(view: &View<'_>, intent: &Intent, because: &str) -> Refusal {
    let synchronous = super::is_synchronous(view.topology());
    let (reason, message) = if synchronous {
        (
            Reason::NotKnownInSync,
            "it is not known that the candidate has every acknowledged write",
        )
    } else {
        (
            Reason::LossUnknown,
            "it cannot be known how much would be lost",
        )
    };
    Refusal::new(reason, message)
        .saw(because)
        .next("bring the old primary back instead, if that is possible: then nothing is lost")
        .next(format!(
            "hafail failover --region {} --allow-data-loss any",
            intent.region
        ))
}

pub(super) fn no_proof(view: &View<'_>, intent: &Intent, old: &HostName) -> Refusal {
    let machine = match view.snapshot().machines.get(old) {
        Some(Knowledge::Unknown { why, .. }) => {
            format!("the cloud cannot be asked about {old}: {why}")
        }
        Some(Knowledge::Known(machine)) => {
            format!("the cloud says that {old} is {}", machine.state.word())
        }
        _ => format!("{old} is not a machine of a cloud that could stop it"),
    };
    Refusal::new(
        Reason::NoProof,
        format!("nothing proves that {old} writes no more"),
    )
    .saw(format!(
        "its guard does not answer: {}",
        view.why_unseen(old)
    ))
    .saw(machine)
    .next(format!(
        "switch {old} off or cut it from every client and replica, by whatever means"
    ))
    .next(format!(
        "hafail failover --region {} --fenced-by-operator \"how you know it is off\"",
        intent.region
    ))
}
