//! Findings about the databases: who writes, who follows.

use super::{
    findings::{Finding, Severity},
    view::View,
};
use crate::{
    ids::HostName,
    observation::{Knowledge, MachineState},
    order::{Downstream, GuardStatus, PostgresState, WantedRole},
    topology::{Host, Replication, Role, Topology},
};

/// Exactly one database accepts writes.
pub fn writers(topology: &Topology, view: &View) -> Option<Finding> {
    match view.writers().as_slice() {
        [_one] => None,
        [] => Some(no_writer(topology, view)),
        several => Some(two_writers(several)),
    }
}

fn two_writers(writers: &[&GuardStatus]) -> Finding {
    let mut sorted = writers.to_vec();
    sorted.sort_by_key(|status| (status.epoch, status.postgres.timeline));
    let said: Vec<_> = sorted
        .iter()
        .map(|status| {
            let timeline = status.postgres.timeline;
            let timeline = timeline.map_or_else(|| "?".to_owned(), |timeline| timeline.to_string());
            format!(
                "{} (epoch {}, timeline {timeline})",
                status.host, status.epoch
            )
        })
        .collect();
    let text = format!(
        "{} accept writes at once: rows may diverge; stop the older one, {}, first",
        said.join(" and "),
        sorted[0].host
    );
    Finding::new("two-writers-suspected", Severity::Critical, text).next(format!(
        "hafail ssh {} -- sudo systemctl kill --signal KILL hafail-guard",
        sorted[0].host
    ))
}

fn no_writer(topology: &Topology, view: &View) -> Finding {
    let Some(expected) = view.expected_primary(topology) else {
        return Finding::new(
            "primary-unseen",
            Severity::Critical,
            "no database accepts writes",
        );
    };
    let (id, why) = fate(view, expected);
    let text = format!("no database accepts writes: {expected}, the primary, {why}");
    let finding = Finding::new(id, Severity::Critical, text);
    match candidate(topology, view, expected) {
        Some(host) => {
            let site = &topology.sites[&host.site];
            finding.next(format!("hafail failover --region {}", site.region))
        }
        None => finding.next("hafail deploy"),
    }
}

/// What became of the primary, as far as it can be seen.
fn fate(view: &View, primary: &HostName) -> (&'static str, String) {
    if let Some(Knowledge::Known(state)) = view.snapshot.machines.get(primary)
        && *state != MachineState::Running
    {
        let state = machine(*state);
        return (
            "primary-host-dead",
            format!("is on a machine that is {state}"),
        );
    }
    match view.snapshot.guards.get(primary) {
        Some(Knowledge::Known(status)) => {
            let state = state(status.postgres.state);
            let problem = status.postgres.problem.as_deref();
            let problem = problem.map_or_else(String::new, |problem| format!(": {problem}"));
            ("primary-postgres-dead", format!("is {state}{problem}"))
        }
        Some(Knowledge::Unknown { why, .. }) => {
            ("primary-unseen", format!("cannot be seen ({why})"))
        }
        Some(Knowledge::Absent) | None => ("primary-host-dead", "does not exist".into()),
    }
}

/// Another database that could take over.
fn candidate<'a>(topology: &'a Topology, view: &View, primary: &HostName) -> Option<&'a Host> {
    topology.hosts_with(Role::Db).find(|host| {
        let status = view
            .snapshot
            .guards
            .get(&host.name)
            .and_then(Knowledge::known);
        host.name != *primary
            && status.is_some_and(|status| status.postgres.state == PostgresState::Standby)
    })
}

/// Every other database follows the primary closely.
pub fn standbys(topology: &Topology, view: &View) -> Vec<Finding> {
    let expected = view.expected_primary(topology);
    let writers = view.writers();
    let others = topology.hosts_with(Role::Db).filter(|host| {
        Some(&host.name) != expected && !writers.iter().any(|writer| writer.host == host.name)
    });
    others
        .filter_map(|host| standby(topology, view, host))
        .collect()
}

fn standby(topology: &Topology, view: &View, host: &Host) -> Option<Finding> {
    let name = &host.name;
    let rejoin = format!("hafail rejoin {name}");
    let degraded = |id, text: String| Some(Finding::new(id, Severity::Degraded, text));
    let status = match view.snapshot.guards.get(name)? {
        Knowledge::Known(status) => status,
        Knowledge::Unknown { since, why } => {
            let text = format!("the guard of {name} cannot be seen{}: {why}", ago(since));
            return degraded("standby-lost", text);
        }
        Knowledge::Absent => {
            let text = format!("there is no database on {name}");
            return degraded("standby-lost", text).map(|found| found.next("hafail deploy"));
        }
    };
    if status.postgres.state != PostgresState::Standby {
        let text = format!("{name} is {}, not a standby", state(status.postgres.state));
        let finding = degraded("standby-down", text)?;
        return Some(finding.next(match status.wanted {
            WantedRole::Uninitialised => "hafail deploy".to_owned(),
            _ => rejoin,
        }));
    }
    let primary = view.primary()?;
    if status.postgres.timeline != primary.postgres.timeline {
        let text = format!(
            "{name} is on timeline {}, the primary {} on {}",
            shown(status.postgres.timeline),
            primary.host,
            shown(primary.postgres.timeline)
        );
        return degraded("wrong-timeline", text).map(|found| found.next(rejoin));
    }
    let row = primary.postgres.standbys.get(name.as_str());
    if status.postgres.streaming_from.is_none() || row.is_none() {
        let text = format!("{name} does not stream from {}", primary.host);
        return degraded("standby-not-streaming", text).map(|found| found.next(rejoin));
    }
    lagging(topology, view, status).or_else(|| unprotected(topology, name, row?))
}

fn lagging(topology: &Topology, view: &View, standby: &GuardStatus) -> Option<Finding> {
    let lag = view.lag_bytes(standby)?;
    let limit = topology.database.maximum_lag_on_failover;
    (lag > limit).then(|| {
        let text = format!(
            "{} is {} behind, more than the {} that a failover may lose",
            standby.host,
            bytes(lag),
            bytes(limit)
        );
        Finding::new("lag-over-budget", Severity::Degraded, text)
    })
}

fn unprotected(topology: &Topology, name: &HostName, row: &Downstream) -> Option<Finding> {
    let wanted = topology.database.replication == Replication::Synchronous;
    let confirms = matches!(row.sync_state.as_str(), "sync" | "quorum");
    (wanted && !confirms).then(|| {
        let text = format!(
            "commits do not wait for {name} ({}, {}): a failover now may lose some",
            row.state, row.sync_state
        );
        Finding::new("standby-not-synchronous", Severity::Degraded, text)
    })
}

/// ` since …`, where it is known.
pub fn ago(since: &Option<String>) -> String {
    since
        .as_ref()
        .map_or_else(String::new, |since| format!(" since {since}"))
}

fn shown(timeline: Option<crate::ids::Timeline>) -> String {
    timeline.map_or_else(|| "?".to_owned(), |timeline| timeline.to_string())
}

/// PostgreSQL's state in a word.
pub fn state(state: PostgresState) -> &'static str {
    match state {
        PostgresState::Uninitialised => "uninitialised",
        PostgresState::Stopped => "stopped",
        PostgresState::Starting => "starting",
        PostgresState::Primary => "primary",
        PostgresState::Standby => "standby",
        PostgresState::Stopping => "stopping",
        PostgresState::Hung => "hung",
    }
}

/// A machine's state in a word.
pub fn machine(state: MachineState) -> &'static str {
    match state {
        MachineState::Pending => "pending",
        MachineState::Running => "running",
        MachineState::Stopping => "stopping",
        MachineState::Stopped => "stopped",
        MachineState::ShuttingDown => "shutting-down",
        MachineState::Terminated => "terminated",
    }
}

/// `0 B`, `16.0 KiB`, `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{count} B");
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}
