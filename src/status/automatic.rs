//! Automatic coordination: who may write, who watches, what holds them back.

mod table;

use std::collections::BTreeMap;

pub use table::table;

use serde::{Deserialize, Serialize};

use super::{
    findings::{Finding, Severity},
    view::View,
};
use crate::{
    coordination::{
        Cooldown, Decision, Healed, Leader, Pause, Primary, Said, State, SyncSet, Taken,
    },
    decide::Reaction,
    ids::HostName,
    observation::Knowledge,
    ports::store::Holder,
    topology::Topology,
};

/// What the shared store says of the deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Automatic {
    /// Who holds the lease; none: nobody does.
    pub primary: Option<Primary>,
    /// Who took the right to write last; none: nobody ever did.
    pub last: Option<Taken>,
    /// Who has every acknowledged commit.
    pub sync: Option<SyncSet>,
    /// The watcher that decides.
    pub leader: Option<Leader>,
    /// By host of a watcher that speaks: what it sees.
    pub watchers: BTreeMap<HostName, Said>,
    pub pause: Option<Pause>,
    pub cooldown: Option<Cooldown>,
    /// Machines that were healed within the time for which that is limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub healed: Vec<Healed>,
    /// Who works under the lock of runs.
    pub lock: Option<Holder>,
    /// What the leader last decided, and why.
    pub decision: Option<Decision>,
    /// Keys that another version of hafail wrote.
    pub strange: Vec<String>,
}

impl Automatic {
    /// The state of the store with the last decision.
    #[must_use]
    pub fn new(state: State, decision: Option<Decision>) -> Self {
        Self {
            primary: state.primary.map(|key| key.value),
            last: state.epoch.map(|key| key.value),
            sync: state.sync.map(|key| key.value),
            leader: state.leader.map(|key| key.value),
            watchers: state.said,
            pause: state.pause.map(|key| key.value),
            cooldown: state.cooldown.map(|key| key.value),
            healed: state.healed,
            lock: state.lock.map(|key| key.value),
            decision,
            strange: state.strange,
        }
    }
}

/// What keeps automatic mode from doing its work.
pub fn findings(topology: &Topology, view: &View) -> Vec<Finding> {
    match &view.automatic {
        Knowledge::Absent => Vec::new(),
        // Which members are away is a finding of its own.
        Knowledge::Unknown { .. } if !super::store::findings(view).is_empty() => Vec::new(),
        Knowledge::Unknown { why, .. } => {
            let text = format!("what the store says cannot be read: {why}");
            vec![Finding::new("coordination-unseen", Severity::Unseen, text)]
        }
        Knowledge::Known(known) => {
            let found = [
                lease(view, known),
                watchers(topology, known),
                held_back(known),
                decided(known),
            ];
            found.into_iter().flatten().collect()
        }
    }
}

fn lease(view: &View, known: &Automatic) -> Vec<Finding> {
    let mut found = Vec::new();
    if let (None, Some(last)) = (&known.primary, &known.last) {
        match promised(view) {
            Some(host) => {
                let text = format!(
                    "{host} does not reach the store and goes on writing because all other guards promised; a guard less, and it stops"
                );
                let finding = Finding::new("by-promises", Severity::Degraded, text);
                found.push(finding.next("hafail run test-connectivity"));
            }
            None => {
                let text = format!(
                    "nobody holds the right to write; {} had it last, in epoch {}",
                    last.host, last.epoch
                );
                let finding = Finding::new("no-lease", Severity::Critical, text);
                found.push(finding.next("hafail why"));
            }
        }
    }
    if !known.strange.is_empty() {
        let text = format!(
            "another version of hafail wrote {}: nothing is taken over on that ground",
            known.strange.join(", ")
        );
        let finding = Finding::new("store-strange", Severity::Degraded, text);
        found.push(finding.next("hafail deploy"));
    }
    found
}

/// The host that may write by promises.
fn promised(view: &View) -> Option<&HostName> {
    let guards = view.snapshot.guards.values().filter_map(Knowledge::known);
    let mut promised = guards.filter(|guard| {
        let lease = guard.lease.as_ref();
        lease.is_some_and(|lease| lease.by_promises)
    });
    promised.next().map(|guard| &guard.host)
}

fn watchers(topology: &Topology, known: &Automatic) -> Vec<Finding> {
    let mut found = Vec::new();
    let silent = silent(topology, known);
    if known.leader.is_none() {
        let text = if known.watchers.is_empty() {
            "no watcher speaks, so nothing is done automatically".to_owned()
        } else {
            "no watcher leads now, so nothing is done automatically; one takes the lead by itself"
                .to_owned()
        };
        let finding = Finding::new("no-watcher-leads", Severity::Degraded, text);
        found.push(match silent.first() {
            Some(host) => finding.next(format!("hafail logs {host}")),
            None => finding.next("hafail why"),
        });
    }
    if let Some(first) = silent.first()
        && !known.watchers.is_empty()
    {
        let names: Vec<_> = silent.iter().map(ToString::to_string).collect();
        let text = format!(
            "{} of {} watchers speak; silent: {}",
            known.watchers.len(),
            topology.store_members().len(),
            names.join(", ")
        );
        let finding = Finding::new("watcher-silent", Severity::Degraded, text);
        found.push(finding.next(format!("hafail logs {first}")));
    }
    found
}

/// Places whose watcher does not speak.
fn silent(topology: &Topology, known: &Automatic) -> Vec<HostName> {
    let places = topology.store_members().into_iter();
    places
        .filter(|host| !known.watchers.contains_key(&host.name))
        .map(|host| host.name.clone())
        .collect()
}

fn held_back(known: &Automatic) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(pause) = &known.pause {
        let text = format!(
            "nothing is done automatically until {} (paused by {}: {})",
            pause.until, pause.by, pause.why
        );
        let finding = Finding::new("paused", Severity::Degraded, text);
        found.push(finding.next("hafail pause --end"));
    }
    if let Some(cooldown) = &known.cooldown {
        let text = format!(
            "run {} failed over automatically at {}: for a while no other automatic failover without an acknowledgement",
            cooldown.run, cooldown.since
        );
        let finding = Finding::new("cooldown", Severity::Degraded, text);
        found.push(finding.next("hafail acknowledge"));
    }
    found
}

fn decided(known: &Automatic) -> Vec<Finding> {
    let reaction = known.decision.as_ref().map(|decision| &decision.reaction);
    match reaction {
        Some(Reaction::Blocked(refusal)) => {
            let text = format!(
                "the watchers can do nothing ({}): {}",
                refusal.reason.id(),
                refusal.message
            );
            let finding = Finding::new("blocked", Severity::Critical, text);
            let next = refusal.next.first().map_or("hafail why", String::as_str);
            vec![finding.next(next)]
        }
        Some(Reaction::Withheld { act, why }) => {
            let text = format!("would {}, and does not: {why}", act.sentence());
            let finding = Finding::new("withheld", Severity::Critical, text);
            let next = match (&known.pause, &known.cooldown) {
                (Some(_), _) => "hafail pause --end",
                (None, Some(_)) => "hafail acknowledge",
                (None, None) => "hafail why",
            };
            vec![finding.next(next)]
        }
        _ => Vec::new(),
    }
}
