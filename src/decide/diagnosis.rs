//! Names for what is wrong, each with its evidence.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{HostName, SiteName},
    inventory::Inventory,
    observation::{Machine, Snapshot},
    order::PostgresState,
    topology::Topology,
};

use super::{Past, Sight, places, refusal, view::View};

/// What is wrong, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnosis {
    Healthy,
    /// The guard answers, PostgreSQL does not run as primary.
    PrimaryPostgresDead,
    /// The cloud says that the machine is down.
    PrimaryHostDead,
    /// Nothing is seen of the primary; it may well be alive.
    PrimaryIsolated,
    /// The cloud says that all machines of the primary's site are down, or a
    /// majority of places reaches nothing there.
    SiteDark,
    /// Nothing is seen of the standby.
    StandbyLost,
    StandbyNotStreaming,
    LagOverBudget,
    WrongTimeline,
    TwoWritersSuspected,
    /// The sites do not reach each other, and the witness reaches both.
    LinkCut,
    /// A member of the store is away; or a primary does not reach the store, and
    /// its peers promised instead.
    StoreDegraded,
    /// The store does not answer, or has no majority.
    StoreLost,
    /// A load balancer has no server up for a service of the stack.
    ServiceDown,
}

/// A diagnosis of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub diagnosis: Diagnosis,
    /// Host or site.
    pub subject: String,
    /// One sentence each.
    pub evidence: Vec<String>,
}

impl Finding {
    pub(super) fn new(diagnosis: Diagnosis, subject: impl ToString, evidence: Vec<String>) -> Self {
        Self {
            diagnosis,
            subject: subject.to_string(),
            evidence,
        }
    }

    /// What automatic mode does about these, one rule for each.
    pub fn rules(findings: &[Self]) -> impl Iterator<Item = &'static str> {
        let diagnoses = findings.iter().map(|finding| finding.diagnosis);
        diagnoses.filter_map(Diagnosis::automatically)
    }

    /// The finding for people: “primary-host-dead: the cloud says …”.
    pub fn sentences(self) -> Vec<String> {
        let name = self.diagnosis.word();
        self.evidence
            .into_iter()
            .map(|evidence| format!("{name}: {evidence}"))
            .collect()
    }
}

impl Diagnosis {
    /// The name as written in documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::PrimaryPostgresDead => "primary-postgres-dead",
            Self::PrimaryHostDead => "primary-host-dead",
            Self::PrimaryIsolated => "primary-isolated",
            Self::SiteDark => "site-dark",
            Self::StandbyLost => "standby-lost",
            Self::StandbyNotStreaming => "standby-not-streaming",
            Self::LagOverBudget => "lag-over-budget",
            Self::WrongTimeline => "wrong-timeline",
            Self::TwoWritersSuspected => "two-writers-suspected",
            Self::LinkCut => "link-cut",
            Self::StoreDegraded => "store-degraded",
            Self::StoreLost => "store-lost",
            Self::ServiceDown => "service-down",
        }
    }

    /// What automatic mode does about it, for people; none: there is nothing
    /// to do.
    fn automatically(self) -> Option<&'static str> {
        Some(match self {
            Self::Healthy => return None,
            Self::PrimaryPostgresDead => {
                "its guard starts it again, or gives the lease back: then another one takes over"
            }
            Self::PrimaryHostDead | Self::PrimaryIsolated => {
                "another one takes over once the lease has ended; whoever is only not seen keeps it"
            }
            Self::SiteDark => "the other site takes over once the lease has ended, with the names",
            Self::StandbyLost => {
                "commits do not wait for it; `watch.heal` starts its machine, and it is rejoined"
            }
            Self::StandbyNotStreaming => {
                "commits do not wait for it; it connects again by itself, or is rejoined"
            }
            Self::LagOverBudget => "nothing: it catches up, or needs a person",
            Self::WrongTimeline => "it is rejoined: rewound, else copied",
            Self::TwoWritersSuspected => "nothing: it needs a person",
            Self::LinkCut => "nothing is failed over: both sites are there",
            Self::StoreDegraded => {
                "nothing: a majority of the members is enough, and a primary that does not reach \
                 it goes on while all peers promise"
            }
            Self::StoreLost => "nothing, until a majority of the store is back",
            Self::ServiceDown => {
                "its hosts bring the containers back; `watch.heal` starts a machine that is down"
            }
        })
    }
}

/// What is wrong with the databases, worst first; `healthy` alone if nothing.
#[must_use]
pub fn diagnose(topology: &Topology, snapshot: &Snapshot) -> Vec<Finding> {
    let (inventory, past) = (Inventory::default(), Past::default());
    let sight = Sight {
        topology,
        inventory: &inventory,
        snapshot,
        past: &past,
    };
    let view = View::new(&sight);
    let mut findings = Vec::new();
    findings.extend(two_writers(&view));
    let primary = view.last_primary();
    if findings.is_empty() {
        findings.extend(of_primary(&view, &primary));
    }
    findings.extend(places::link_cut(&view));
    for host in view.databases().filter(|host| **host != primary) {
        findings.extend(of_standby(&view, host, &primary));
    }
    if findings.is_empty() {
        let evidence = vec![view.says_primary(&primary)];
        findings.push(Finding::new(Diagnosis::Healthy, primary, evidence));
    }
    findings
}

fn two_writers(view: &View<'_>) -> Option<Finding> {
    let writers: Vec<_> = view.running_primaries().collect();
    let evidence = writers.iter().map(|host| view.says_primary(host)).collect();
    (writers.len() > 1).then(|| Finding::new(Diagnosis::TwoWritersSuspected, &writers[0], evidence))
}

fn of_primary(view: &View<'_>, host: &HostName) -> Option<Finding> {
    if let Some(guard) = view.guard(host) {
        let state = guard.postgres.state;
        if state == PostgresState::Primary && view.is_live(host) {
            return None;
        }
        let evidence = if state == PostgresState::Primary {
            format!(
                "no write through a load balancer was acknowledged, though {host} says it is primary"
            )
        } else {
            format!(
                "the guard of {host} answers, and PostgreSQL is {}",
                refusal::word(state)
            )
        };
        return Some(Finding::new(
            Diagnosis::PrimaryPostgresDead,
            host,
            vec![evidence],
        ));
    }
    let site = view.site_of(host);
    if is_dark(view, &site) {
        let evidence = format!("the cloud says that all machines of {site} are down");
        return Some(Finding::new(Diagnosis::SiteDark, site, vec![evidence]));
    }
    if let Some(places) = places::agree_on_dark(view, &site) {
        let places: Vec<_> = places.iter().map(HostName::as_str).collect();
        let evidence = format!("{} reach nothing in {site}", places.join(" and "));
        return Some(Finding::new(Diagnosis::SiteDark, site, vec![evidence]));
    }
    let down = view.machine(host).filter(|machine| machine.is_down());
    Some(match down {
        Some(machine) => {
            let evidence = format!("the cloud says that {host} is {}", machine.state.word());
            Finding::new(Diagnosis::PrimaryHostDead, host, vec![evidence])
        }
        None => {
            let evidence = format!("nothing is known of {host}: {}", view.why_unseen(host));
            Finding::new(Diagnosis::PrimaryIsolated, host, vec![evidence])
        }
    })
}

/// All machines of the site are known to be down.
fn is_dark(view: &View<'_>, site: &SiteName) -> bool {
    let mut hosts = view.topology().hosts().filter(|host| &host.site == site);
    hosts.all(|host| view.machine(&host.name).is_some_and(Machine::is_down))
}

fn of_standby(view: &View<'_>, host: &HostName, primary: &HostName) -> Option<Finding> {
    let finding = |diagnosis, why: String| Some(Finding::new(diagnosis, host, vec![why]));
    let Some(guard) = view.guard(host) else {
        let why = format!("nothing is known of {host}: {}", view.why_unseen(host));
        return finding(Diagnosis::StandbyLost, why);
    };
    let upstream = view.guard(primary)?;
    if upstream.postgres.state != PostgresState::Primary
        || guard.postgres.state == PostgresState::Primary
    {
        return None;
    }
    let (ours, theirs) = (guard.postgres.timeline, upstream.postgres.timeline);
    if ours
        .zip(theirs)
        .is_some_and(|(ours, theirs)| ours != theirs)
    {
        return finding(
            Diagnosis::WrongTimeline,
            format!("{host} and {primary} are on different timelines"),
        );
    }
    let streams = upstream.postgres.standbys.get(host.as_str());
    if guard.postgres.streaming_from.is_none() || streams.is_none() {
        return finding(
            Diagnosis::StandbyNotStreaming,
            format!("{host} does not stream from {primary}"),
        );
    }
    let lag = upstream.postgres.written?.bytes_since(view.received(host)?);
    let limit = view.topology().database.maximum_lag_on_failover;
    if lag > limit {
        return finding(
            Diagnosis::LagOverBudget,
            format!("{host} is {lag} bytes behind; the limit is {limit}"),
        );
    }
    None
}
