//! Who can become primary, and why the others cannot.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{HostName, SiteName},
    order::{GuardStatus, PostgresState},
};

use super::{
    refusal::{self, Reason, Refusal},
    view::View,
};

/// A database host, looked at as the next primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    pub host: HostName,
    /// None: it can be promoted.
    pub why_not: Option<(Reason, String)>,
}

/// The databases, looked at as successors of the healthy primary `old`.
pub(super) fn for_switchover(view: &View<'_>, target: &SiteName, old: &HostName) -> Vec<Candidate> {
    all(view, target, |host, guard| {
        is_standby(view, host, guard)
            .or_else(|| wrong_cluster(view, host, old))
            .or_else(|| not_streaming(view, host, guard, old))
            .or_else(|| behind(view, host, old))
    })
}

/// The databases, looked at as successors of a lost primary.
pub(super) fn for_failover(view: &View<'_>, target: &SiteName) -> Vec<Candidate> {
    let last = view.last_primary();
    all(view, target, |host, guard| {
        let others = || view.databases().filter(|other| *other != host);
        is_standby(view, host, guard)
            .or_else(|| wrong_cluster(view, host, &last))
            .or_else(|| others().find_map(|other| wrong_cluster(view, host, other)))
    })
}

type WhyNot = Option<(Reason, String)>;

fn all<'a>(
    view: &View<'a>,
    target: &SiteName,
    why_not: impl Fn(&'a HostName, &'a GuardStatus) -> WhyNot,
) -> Vec<Candidate> {
    let look = |host: &'a HostName| {
        let why_not = if &view.site_of(host) != target {
            Some((Reason::StandbyUnknown, format!("{host} is not in {target}")))
        } else if let Some(guard) = view.guard(host) {
            why_not(host, guard)
        } else {
            let why = view.why_unseen(host);
            Some((
                Reason::StandbyUnknown,
                format!("nothing is known of {host}: {why}"),
            ))
        };
        Candidate {
            host: host.clone(),
            why_not,
        }
    };
    view.databases().map(look).collect()
}

/// The one that has most of the log; else the refusal of the target's own.
pub(super) fn choose(view: &View<'_>, candidates: &[Candidate]) -> Result<HostName, Refusal> {
    let fit = candidates
        .iter()
        .filter(|candidate| candidate.why_not.is_none());
    let best = fit.max_by_key(|candidate| view.received(&candidate.host));
    match best {
        Some(candidate) => Ok(candidate.host.clone()),
        None => Err(refusal::no_candidate(view, candidates)),
    }
}

fn is_standby(view: &View<'_>, host: &HostName, guard: &GuardStatus) -> WhyNot {
    let state = guard.postgres.state;
    if state == PostgresState::Standby {
        return None;
    }
    let problem = guard
        .postgres
        .problem
        .as_deref()
        .unwrap_or("its guard gives no reason");
    let _ = view;
    Some((
        Reason::StandbyDown,
        format!(
            "PostgreSQL on {host} is {}, not a running standby ({problem})",
            refusal::word(state)
        ),
    ))
}

fn wrong_cluster(view: &View<'_>, host: &HostName, old: &HostName) -> WhyNot {
    let theirs = &view.guard(old)?.postgres;
    let ours = &view.guard(host)?.postgres;
    if let (Some(theirs), Some(ours)) = (&theirs.system_identifier, &ours.system_identifier)
        && theirs != ours
    {
        let why = format!("{host} is another cluster ({ours}) than {old} ({theirs})");
        return Some((Reason::WrongTimeline, why));
    }
    let (theirs, ours) = (theirs.timeline?, ours.timeline?);
    (theirs > ours).then(|| {
        let why = format!("{host} is on timeline {ours}, {old} on {theirs}");
        (Reason::WrongTimeline, why)
    })
}

fn not_streaming(view: &View<'_>, host: &HostName, guard: &GuardStatus, old: &HostName) -> WhyNot {
    let primary = &view.guard(old)?.postgres;
    let sent = primary
        .standbys
        .get(host.as_str())
        .map(|downstream| downstream.state.as_str());
    let why = match (sent, &guard.postgres.streaming_from) {
        (Some("streaming"), Some(_)) => return None,
        (Some("streaming"), None) => format!("{host} says that it does not stream"),
        (Some(state), _) => format!("{old} says that {host} is in state {state}"),
        (None, _) => format!("{old} does not see {host} among its standbys"),
    };
    Some((Reason::StandbyNotStreaming, why))
}

fn behind(view: &View<'_>, host: &HostName, old: &HostName) -> WhyNot {
    let written = view.guard(old)?.postgres.written?;
    let Some(received) = view.received(host) else {
        return Some((
            Reason::StandbyUnknown,
            format!("{host} does not say what it received"),
        ));
    };
    let lag = written.bytes_since(received);
    let limit = view.topology().database.maximum_lag_on_failover;
    (lag > limit).then(|| {
        let why = format!(
            "{host} is {lag} bytes behind {old} ({received}, {written}); the limit is {limit}"
        );
        (Reason::StandbyBehind, why)
    })
}
