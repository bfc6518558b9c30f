//! The right to write of a primary that is deposed, as the shared store has it.

use std::{sync::Arc, time::Duration};

use crate::{
    coordination::{Shared, State},
    ids::HostName,
    ports::quorum::Quorum,
    right::Terms,
};

use super::context::{Context, Failure};

/// Longer than any lease, also where the store elects a leader meanwhile.
const LEASE: Duration = Terms::LONGEST.saturating_add(Duration::from_secs(15));
/// Between two looks when nothing is heard of a change.
const GLANCE: Duration = Duration::from_secs(1);

/// Waits until the store says that nobody holds the right to write. The next
/// one can only be taken in a newer epoch, by whoever is promoted. Answers the
/// evidence.
pub(super) async fn expired(cx: &Context<'_>, host: &HostName) -> Result<String, Failure> {
    let Some(quorum) = &cx.world.quorum else {
        return Err(Failure::for_good("there is no shared store"));
    };
    let state = free(cx, quorum, host).await?;
    let Some(last) = &state.epoch else {
        return Err(Failure::refused("nobody ever held the right to write"));
    };
    let (last, epoch) = (&last.value.host, last.value.epoch);
    Ok(format!(
        "the store says at revision {} that nobody holds the right to write: the lease of {last} in epoch {epoch} has ended",
        state.revision.0
    ))
}

/// The host is proved to write no more, and its lease may outlive it, such as
/// after a reboot: until it has ended nobody can be promoted.
pub(super) async fn outlived(cx: &Context<'_>, host: &HostName) -> Result<(), Failure> {
    match &cx.world.quorum {
        Some(quorum) => free(cx, quorum, host).await.map(drop),
        None => Ok(()),
    }
}

/// Waits until nobody holds the right, and says what the store has then.
async fn free(
    cx: &Context<'_>,
    quorum: &Arc<dyn Quorum>,
    host: &HostName,
) -> Result<State, Failure> {
    let shared = Shared::new(Arc::clone(quorum), &cx.plan.topology);
    let end = cx.world.clock.now() + LEASE;
    loop {
        let state = shared
            .state()
            .await
            .map_err(|error| Failure::again(error.to_string()))?;
        let Some(primary) = &state.primary else {
            return Ok(state);
        };
        let why = format!("{} holds the right to write", primary.value.host);
        if &primary.value.host != host {
            return Err(Failure::refused(why));
        }
        let left = end.saturating_sub(cx.world.clock.now());
        if left.is_zero() {
            // It lives: no further wait would prove anything.
            return Err(Failure::for_good(format!("{why}, and renews it")));
        }
        let changed = shared.changed(state.revision, left.min(GLANCE)).await;
        changed.map_err(|error| Failure::again(error.to_string()))?;
    }
}
