//! Findings about the databases: the diagnosis of [`crate::decide`], with what
//! to do next, and what a diagnosis for failovers need not know.

use super::{
    findings::{Finding, Severity},
    view::View,
};
use crate::{
    decide::{Diagnosis, diagnose},
    ids::HostName,
    observation::Knowledge,
    order::{PostgresState, WantedRole},
    topology::{Replication, Role, Topology},
};

/// Who writes, who follows, how closely.
pub fn databases(topology: &Topology, view: &View) -> Vec<Finding> {
    let mut found = down(topology, view);
    let said: Vec<_> = diagnose(topology, &view.snapshot)
        .into_iter()
        .filter(|finding| finding.diagnosis != Diagnosis::Healthy)
        // Who is down does not stream either.
        .filter(|finding| {
            !found
                .iter()
                .any(|(host, _)| host.as_str() == finding.subject)
        })
        .collect();
    let mut all: Vec<_> = found.drain(..).map(|(_, finding)| finding).collect();
    for finding in said {
        let (severity, next) = reaction(topology, view, finding.diagnosis, &finding.subject);
        let mut text = finding.evidence.join("; ");
        if severity == Severity::Critical && view.writers().is_empty() {
            text = format!("no database accepts writes: {text}");
        }
        let found = Finding::new(finding.diagnosis.word(), severity, text);
        all.push(match next {
            Some(next) => found.next(next),
            None => found,
        });
    }
    if all.is_empty() {
        all.extend(unprotected(topology, view));
    }
    all
}

/// Databases beside the primary that do not run as standbys.
fn down<'a>(topology: &'a Topology, view: &View) -> Vec<(&'a HostName, Finding)> {
    let Some(primary) = view.primary() else {
        return Vec::new();
    };
    let others = topology
        .hosts_with(Role::Db)
        .filter(|host| host.name != primary.host);
    let known = others.filter_map(|host| {
        let status = view
            .snapshot
            .guards
            .get(&host.name)
            .and_then(Knowledge::known)?;
        (status.postgres.state != PostgresState::Standby).then_some((&host.name, status))
    });
    known
        .map(|(name, status)| {
            let text = format!("{name} is {}, not a standby", state(status.postgres.state));
            let finding = Finding::new("standby-down", Severity::Degraded, text);
            (name, finding.next(come_back(view, name.as_str())))
        })
        .collect()
}

/// The command that makes a standby of a database.
fn come_back(view: &View, host: &str) -> String {
    match database(view, host) {
        Some(WantedRole::Uninitialised) => "hafail deploy".to_owned(),
        _ => format!("hafail rejoin {host}"),
    }
}

/// How much a diagnosis matters and what to run next.
fn reaction(
    topology: &Topology,
    view: &View,
    diagnosis: Diagnosis,
    subject: &str,
) -> (Severity, Option<String>) {
    match diagnosis {
        Diagnosis::Healthy => (Severity::Good, None),
        Diagnosis::TwoWritersSuspected => (Severity::Critical, stop_older(view)),
        Diagnosis::PrimaryPostgresDead
        | Diagnosis::PrimaryHostDead
        | Diagnosis::PrimaryIsolated
        | Diagnosis::SiteDark => (Severity::Critical, take_over(topology, view)),
        Diagnosis::StandbyLost | Diagnosis::LagOverBudget => (Severity::Degraded, None),
        Diagnosis::ServiceDown => (Severity::Critical, Some("hafail logs".to_owned())),
        Diagnosis::LinkCut => (Severity::Degraded, Some("hafail why".to_owned())),
        Diagnosis::StoreDegraded | Diagnosis::StoreLost => (
            Severity::Degraded,
            Some("hafail run deploy-etcd".to_owned()),
        ),
        Diagnosis::StandbyNotStreaming | Diagnosis::WrongTimeline => {
            (Severity::Degraded, Some(come_back(view, subject)))
        }
    }
}

fn database<'a>(view: &'a View, host: &str) -> Option<&'a WantedRole> {
    let guard = view.snapshot.guards.get(host).and_then(Knowledge::known)?;
    Some(&guard.wanted)
}

/// The writer of the older epoch is the one to stop.
fn stop_older(view: &View) -> Option<String> {
    let writers = view.writers().into_iter();
    let older = writers.min_by_key(|status| (status.epoch, status.postgres.timeline))?;
    Some(format!(
        "hafail ssh {} -- sudo hafail guard order demote",
        older.host
    ))
}

/// A failover to where a standby can be seen.
fn take_over(topology: &Topology, view: &View) -> Option<String> {
    let standby = topology.hosts_with(Role::Db).find(|host| {
        let status = view
            .snapshot
            .guards
            .get(&host.name)
            .and_then(Knowledge::known);
        status.is_some_and(|status| status.postgres.state == PostgresState::Standby)
    })?;
    let site = topology.sites.get(&standby.site)?;
    Some(format!("hafail failover --region {}", site.region))
}

/// Standbys that stream, and for which commits do not wait although they
/// should.
fn unprotected(topology: &Topology, view: &View) -> Vec<Finding> {
    let Some(primary) = view.primary() else {
        return Vec::new();
    };
    let wanted = topology.database.replication == Replication::Synchronous;
    let rows = primary.postgres.standbys.iter();
    let weak = rows.filter(|(name, row)| {
        let ours = topology.host(name).is_some_and(|host| host.is(Role::Db));
        wanted && ours && !matches!(row.sync_state.as_str(), "sync" | "quorum")
    });
    weak.map(|(name, row)| {
        let text = format!(
            "commits do not wait for {name} ({}, {}): a failover now may lose some",
            row.state, row.sync_state
        );
        Finding::new("standby-not-synchronous", Severity::Degraded, text)
    })
    .collect()
}

/// ` since …`, where it is known.
pub fn ago(since: Option<&String>) -> String {
    since.map_or_else(String::new, |since| format!(" since {since}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
