//! Automatic coordination: who may write, who watches, what holds them back.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::Table;
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
    order::LeaseStatus,
    ports::store::Holder,
    topology::{Heal, HealMode, Topology, WatchMode},
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

pub fn table(topology: &Topology, view: &View) -> Option<Table> {
    let known = match &view.automatic {
        Knowledge::Absent => return None,
        Knowledge::Unknown { .. } => None,
        Knowledge::Known(known) => Some(known),
    };
    let mut table = Table::new();
    table.set_header(["AUTOMATIC", "IS"]);
    let Some(known) = known else {
        table.add_row(["store", "unknown"]);
        return Some(table);
    };
    table.add_row(["right to write".to_owned(), right(view, known)]);
    table.add_row(["has every commit".to_owned(), has_all(known)]);
    table.add_row(["watchers".to_owned(), watching(topology, known)]);
    if topology.watch.mode == WatchMode::Observe {
        table.add_row(["mode", "observe: says what it would do, and does nothing"]);
    }
    if let Some(pause) = &known.pause {
        let text = format!("until {}, by {}: {}", pause.until, pause.by, pause.why);
        table.add_row(["pause".to_owned(), text]);
    }
    if let Some(cooldown) = &known.cooldown {
        let text = format!("since {}, after run {}", cooldown.since, cooldown.run);
        table.add_row(["cooldown".to_owned(), text]);
    }
    if topology.watch.heal.mode != HealMode::Off {
        table.add_row(["healing".to_owned(), healing(&topology.watch.heal, known)]);
    }
    if let Some(holder) = &known.lock {
        table.add_row([
            "at work".to_owned(),
            format!("{holder} since {}", holder.since),
        ]);
    }
    if let Some(decision) = &known.decision {
        let text = format!(
            "{} by {}: {}",
            decision.at,
            decision.by,
            decision.reaction.sentence()
        );
        table.add_row(["last decision".to_owned(), text]);
        let seen = decision.findings.iter().cloned();
        for sentence in seen.flat_map(crate::decide::Finding::sentences) {
            table.add_row(["".to_owned(), sentence]);
        }
    }
    Some(table)
}

/// “start after 120 s; 1 of 3 within 30 min: site1-app (2026-…)”
fn healing(heal: &Heal, known: &Automatic) -> String {
    let HealMode::Start = heal.mode else {
        return "off".to_owned();
    };
    let hosts: BTreeSet<_> = known.healed.iter().map(|healed| &healed.host).collect();
    let mut text = format!(
        "start after {} s; {} of {} within {} min",
        heal.after.as_secs(),
        hosts.len(),
        heal.at_most,
        heal.within.as_secs().div_ceil(60)
    );
    let each = known.healed.iter();
    let each: Vec<_> = each
        .map(|it| format!("{} ({})", it.host, it.since))
        .collect();
    if !each.is_empty() {
        text.push_str(": ");
        text.push_str(&each.join(", "));
    }
    text
}

fn right(view: &View, known: &Automatic) -> String {
    let Some(primary) = &known.primary else {
        return match promised(view) {
            Some(host) => format!("{host}, {}", of_guard(view, host)),
            None => "nobody".to_owned(),
        };
    };
    format!(
        "{}, epoch {}, {}",
        primary.host,
        primary.epoch,
        of_guard(view, &primary.host)
    )
}

/// How long the right lasts, as its holder says.
fn of_guard(view: &View, host: &HostName) -> String {
    let guard = match view.snapshot.guards.get(host) {
        Some(Knowledge::Known(guard)) => guard,
        _ => return "its guard is not seen".to_owned(),
    };
    match &guard.lease {
        Some(LeaseStatus {
            left_ms,
            by_promises,
            ..
        }) => {
            let by = if *by_promises {
                "promises"
            } else {
                "the lease"
            };
            format!("{left_ms} ms left by {by}")
        }
        None => "its guard says that it holds nothing".to_owned(),
    }
}

fn has_all(known: &Automatic) -> String {
    let Some(sync) = &known.sync else {
        return "nobody has said".to_owned();
    };
    let members = sync.members.iter();
    let hosts: Vec<_> = std::iter::once(&sync.primary)
        .chain(members)
        .map(ToString::to_string)
        .collect();
    format!("{} (epoch {})", hosts.join(", "), sync.epoch)
}

fn watching(topology: &Topology, known: &Automatic) -> String {
    let mut parts = Vec::new();
    match &known.leader {
        Some(leader) => parts.push(format!("{} leads since {}", leader.host, leader.since)),
        None => parts.push("none leads".to_owned()),
    }
    let leads = |host: &&HostName| {
        let leader = known.leader.as_ref();
        leader.is_some_and(|leader| &leader.host == *host)
    };
    let join = |hosts: Vec<&HostName>| {
        let names: Vec<_> = hosts.into_iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let others: Vec<_> = known.watchers.keys().filter(|host| !leads(host)).collect();
    if !others.is_empty() {
        parts.push(format!("{} speak{}", join(others.clone()), plural(&others)));
    }
    let silent = silent(topology, known);
    if !silent.is_empty() {
        parts.push(format!("silent: {}", join(silent.iter().collect())));
    }
    parts.join("; ")
}

fn plural<T>(subjects: &[T]) -> &'static str {
    if subjects.len() == 1 { "s" } else { "" }
}
