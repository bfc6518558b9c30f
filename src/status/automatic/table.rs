//! Automatic mode as a table.

use std::collections::BTreeSet;

use comfy_table::Table;

use super::{Automatic, promised, silent};
use crate::{
    coordination::Said,
    ids::HostName,
    observation::Knowledge,
    order::LeaseStatus,
    status::view::View,
    topology::{Heal, HealMode, Topology, WatchMode},
};

/// None where nothing is automatic.
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
    for missed in known.watchers.iter().filter_map(missed) {
        table.add_row(["".to_owned(), missed]);
    }
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

/// “witness does not reach site1-queue; no write through site1; no vote through
/// site1; no answer for vote.example.org”
fn missed((watcher, said): (&HostName, &Said)) -> Option<String> {
    let hosts = said
        .guards
        .iter()
        .chain(&said.balancers)
        .chain(&said.queues);
    let unreached: BTreeSet<_> = hosts
        .filter(|(_, seen)| !**seen)
        .map(|(host, _)| host.as_str())
        .collect();
    let unwritten = said.writes.iter().filter(|(_, written)| !**written);
    let unnamed = said
        .names
        .iter()
        .filter(|(_, addresses)| addresses.is_empty());
    let unreached: Vec<_> = unreached.into_iter().collect();
    let mut all = Vec::new();
    if !unreached.is_empty() {
        all.push(format!("does not reach {}", unreached.join(", ")));
    }
    all.extend(unwritten.map(|(site, _)| format!("no write through {site}")));
    for (site, services) in &said.doors {
        let shut = services.iter().filter(|(_, open)| !**open);
        all.extend(shut.map(|(service, _)| format!("no {service} through {site}")));
    }
    all.extend(unnamed.map(|(name, _)| format!("no answer for {name}")));
    (!all.is_empty()).then(|| format!("{watcher}: {}", all.join("; ")))
}

/// “start after 120 s; 1 of 3 within 30 min: site1-app (2026-…)”
fn healing(heal: &Heal, known: &Automatic) -> String {
    let mode = match heal.mode {
        HealMode::Off => return "off".to_owned(),
        HealMode::Start => "start",
        HealMode::Replace => "start or replace",
    };
    let hosts: BTreeSet<_> = known.healed.iter().map(|healed| &healed.host).collect();
    let mut text = format!(
        "{mode} after {} s; {} of {} within {} min",
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
