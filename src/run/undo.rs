//! The way back: each reversible step undone, in orders of a newer epoch.

use std::time::Duration;

use crate::{
    ids::HostName,
    order::{GuardStatus, Order, Postgres, PostgresState, WantedRole},
    step::{FenceWay, Step},
};

use super::{
    context::{Context, Failure},
    proxy, queue,
};

/// How long one step is tried to be undone.
const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(20);

/// Undoes a step, tried again until it is done or the time is over. Answers
/// what was done.
pub(super) async fn undo(cx: &Context<'_>, step: &Step) -> Result<String, Failure> {
    let result = cx.until(PATIENCE, || undo_once(cx, step)).await;
    match result {
        // A newer run has taken over; what it left is its own affair.
        Err(failure) if failure.superseded => Ok(format!("left alone: {}", failure.why)),
        result => result,
    }
}

async fn undo_once(cx: &Context<'_>, step: &Step) -> Result<String, Failure> {
    match step {
        Step::HoldWrites { lb, server } => proxy::unhold(cx, lb, server).await,
        Step::PauseQueue { host, .. } => queue::unpause(cx, host).await,
        Step::Demote { host } => undemote(cx, host).await,
        Step::Fence { host, ways, .. } => unfence(cx, host, ways).await,
        _ => Ok("nothing to undo".to_owned()),
    }
}

/// The old primary serves again, or stands by.
async fn undemote(cx: &Context<'_>, host: &HostName) -> Result<String, Failure> {
    let old = cx.world.guards.status(host).await?.postgres;
    let resumed = match overtaken(cx, host, &old).await {
        Some(why) if cx.world.quorum.is_none() => {
            return Ok(format!("{host} stays stopped: {why}"));
        }
        Some(why) => Err(Failure::refused(why)),
        None => resume(cx, host, &old).await,
    };
    or_stand_by(cx, host, resumed).await
}

/// Another run may have promoted the candidate meanwhile, by a proof of its
/// own, without the old primary's guard having heard of it. A candidate that
/// does not answer is not waited for: nobody serves meanwhile.
async fn overtaken(cx: &Context<'_>, host: &HostName, old: &Postgres) -> Option<String> {
    if host == &cx.plan.new {
        return None;
    }
    let new = cx.says_at_once(&cx.plan.new).await?.postgres;
    let promoted = new.state == PostgresState::Primary || new.timeline > old.timeline;
    promoted.then(|| format!("{} was promoted by another run", cx.plan.new))
}

/// Where the old primary cannot serve again, such as because it lost the right
/// to write before it was stopped, watchers find it as a standby, which they
/// may promote: one that is left stopped is nobody's candidate, and nobody
/// knows how much it has. Without watchers it is left to people.
async fn or_stand_by(
    cx: &Context<'_>,
    host: &HostName,
    resumed: Result<String, Failure>,
) -> Result<String, Failure> {
    match resumed {
        Err(failure) if failure.certain && !failure.superseded && cx.world.quorum.is_some() => {
            let upstream = cx.plan.new.clone();
            let order = Order::Follow { upstream };
            let obeyed = cx.order_in(cx.undo_epoch, host, order, START).await?;
            let (why, what) = (failure.why, obeyed.what);
            Ok(format!("{host} is no primary any more ({why}): {what}"))
        }
        result => result,
    }
}

/// The old primary serves again, on its own timeline.
async fn resume(cx: &Context<'_>, host: &HostName, old: &Postgres) -> Result<String, Failure> {
    let timeline = old.timeline;
    let timeline =
        timeline.ok_or_else(|| Failure::for_good(format!("{host} does not say its timeline")))?;
    let obeyed = cx
        .order_in(cx.undo_epoch, host, Order::Resume { timeline }, START)
        .await?;
    if obeyed.status.postgres.state != PostgresState::Primary {
        return Err(Failure::again(format!("{host} does not accept writes yet")));
    }
    Ok(obeyed.what)
}

/// What the guard says once no older order of this run can come true any more.
async fn after_all_orders(cx: &Context<'_>, host: &HostName) -> Result<GuardStatus, Failure> {
    let claim = cx.order_in(cx.undo_epoch, host, Order::Claim, ANSWER);
    match claim.await {
        Ok(obeyed) => Ok(obeyed.status),
        // PostgreSQL does not run there.
        Err(failure) if failure.certain && !failure.retry && !failure.superseded => {
            Ok(cx.world.guards.status(host).await?)
        }
        Err(failure) => Err(failure),
    }
}

/// A primary that was stopped cleanly for a failover that did not come about
/// may go on, any other one that was stopped stands by; what was not stopped
/// is left as it is. An order to stop may still be on its way, or wait for a
/// disk: the guard obeys the newer epoch first.
async fn unfence(cx: &Context<'_>, host: &HostName, ways: &[FenceWay]) -> Result<String, Failure> {
    let Ok(mut status) = cx.world.guards.status(host).await else {
        return Ok(format!("{host} cannot be asked; it is left as it is"));
    };
    if status.wanted != WantedRole::Stopped && ways.contains(&FenceWay::Guard) {
        status = after_all_orders(cx, host).await?;
    }
    if status.wanted != WantedRole::Stopped {
        return Ok(format!("{host} is left as it is"));
    }
    let old = status.postgres;
    let resumed = if old.shutdown_checkpoint.is_none() {
        Err(Failure::refused("it was not stopped cleanly"))
    } else if let Some(why) = overtaken(cx, host, &old).await {
        Err(Failure::refused(why))
    } else {
        resume(cx, host, &old).await
    };
    match or_stand_by(cx, host, resumed).await {
        Err(failure) if failure.certain => Ok(format!("{host} is left stopped: {}", failure.why)),
        result => result,
    }
}
