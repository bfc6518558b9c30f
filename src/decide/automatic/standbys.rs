//! Databases that should follow the primary and do not.

use super::{Act, Memory, Policy, Reaction, RightHolder, Sight, View, blocked, is_settled, wait};
use crate::{
    decide::decide_rejoin,
    ids::HostName,
    order::{PostgresState, WantedRole},
    right::Moment,
};

/// Rejoins the first database that has been astray for long enough.
pub(super) fn react(
    view: &View<'_>,
    sight: &Sight<'_>,
    holder: &RightHolder,
    policy: &Policy,
    memory: &mut Memory,
    now: Moment,
) -> Reaction {
    let others = view.databases().filter(|host| **host != holder.host);
    let astray: Vec<_> = others
        .filter(|host| is_astray(view, host, &holder.host))
        .cloned()
        .collect();
    memory.astray.retain(|host, _| astray.contains(host));
    for host in &astray {
        let _ = memory.astray.entry(host.clone()).or_insert(now);
    }
    let mut waits = None;
    for host in &astray {
        let since = memory.astray[host];
        if now.saturating_sub(since) < policy.rejoin_after {
            waits = Some(wait(format!("{host} does not follow {} yet", holder.host)));
            continue;
        }
        match decide_rejoin(sight, host.as_str()) {
            Ok(plan) => return Reaction::Act(Act::Run(Box::new(plan))),
            Err(refusal) if is_settled(refusal.reason) => {}
            Err(refusal) => return blocked(vec![refusal]),
        }
    }
    waits.unwrap_or(Reaction::Rest)
}

/// Known to need more than time: a standby that only lost its connection
/// takes it up by itself.
fn is_astray(view: &View<'_>, host: &HostName, primary: &HostName) -> bool {
    let Some((ours, theirs)) = view.guard(host).zip(view.guard(primary)) else {
        return false;
    };
    let follows = matches!(
        &ours.wanted,
        WantedRole::Standby { upstream: Some(upstream) } if upstream == primary
    );
    if !follows {
        // Before the deploy has made it a standby it is none to be rejoined.
        return ours.wanted != WantedRole::Uninitialised;
    }
    match ours.postgres.state {
        PostgresState::Standby => {
            let timelines = ours.postgres.timeline.zip(theirs.postgres.timeline);
            let diverged = timelines.is_some_and(|(ours, theirs)| ours != theirs);
            diverged && ours.postgres.streaming_from.is_none()
        }
        PostgresState::Starting | PostgresState::Stopping => false,
        PostgresState::Stopped | PostgresState::Hung => true,
        PostgresState::Primary | PostgresState::Uninitialised => false,
    }
}
