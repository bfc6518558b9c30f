//! Steps on queues.

use std::time::Duration;

use crate::{
    ids::HostName,
    observation::{QueueRole, QueueStatus},
};

use super::context::{Context, Done, Failure};

/// Writers of the old queue wait at most so long while the new one takes over.
const TAKEOVER: Duration = Duration::from_secs(10);
/// How long the new queue may take to have all of the old one.
const CATCH_UP: Duration = Duration::from_secs(5);
const LINK: Duration = Duration::from_secs(20);

pub(super) async fn pause(
    cx: &Context<'_>,
    host: &HostName,
    limit_ms: u64,
) -> Result<Done, Failure> {
    cx.holds_lock()?;
    cx.world
        .queues
        .pause_writes(host, Duration::from_millis(limit_ms))
        .await?;
    Ok(Done::new(true, format!("writers of {host} wait")))
}

/// Undo of [`pause`].
pub(super) async fn unpause(cx: &Context<'_>, host: &HostName) -> Result<String, Failure> {
    cx.holds_lock()?;
    cx.world.queues.pause_writes(host, Duration::ZERO).await?;
    Ok(format!("writers of {host} go on"))
}

/// Promotes the queue once it has all of the old one; an old one that does
/// not answer any more is not waited for, since the database has moved.
pub(super) async fn promote(
    cx: &Context<'_>,
    host: &HostName,
    from: Option<&HostName>,
) -> Result<Done, Failure> {
    cx.still_current().await?;
    let now = cx.world.queues.status(host).await?;
    if matches!(now.role, QueueRole::Master { .. }) {
        waive_without(cx, host, from).await?;
        return Ok(Done::new(
            false,
            format!("{host} is the active queue already"),
        ));
    }
    let compared = match from {
        Some(from) => caught_up(cx, host, from).await,
        None => Err(Failure::again("the old queue is not there")),
    };
    cx.holds_lock()?;
    cx.world.queues.promote(host).await?;
    waive_without(cx, host, from).await?;
    Ok(Done::new(
        true,
        match compared {
            Ok(offset) => format!("{host} is the active queue; it has all up to {offset}"),
            Err(failure) => format!(
                "{host} is the active queue, with what it had: {}",
                failure.why
            ),
        },
    ))
}

/// Without an old queue there is no replica to confirm votes, until the rejoin.
async fn waive_without(
    cx: &Context<'_>,
    host: &HostName,
    from: Option<&HostName>,
) -> Result<(), Failure> {
    if from.is_none() {
        cx.holds_lock()?;
        cx.world.queues.require_confirmation(host, false).await?;
    }
    Ok(())
}

async fn caught_up(cx: &Context<'_>, host: &HostName, from: &HostName) -> Result<u64, Failure> {
    let queues = &cx.world.queues;
    cx.holds_lock()?;
    queues.pause_writes(from, TAKEOVER).await?;
    let goal = queues.status(from).await?.offset;
    let reached = || async move {
        let status = queues.status(host).await?;
        if status.offset >= goal {
            return Ok(goal);
        }
        Err(Failure::again(format!(
            "{host} has {} of {goal} of {from}",
            status.offset
        )))
    };
    cx.until(CATCH_UP, reached).await
}

/// Follows, and lets waiting writers go: they learn that it is read-only and
/// connect anew.
pub(super) async fn follow(
    cx: &Context<'_>,
    host: &HostName,
    master: &HostName,
) -> Result<Done, Failure> {
    cx.still_current().await?;
    let queues = &cx.world.queues;
    if follows(&queues.status(host).await?, master) {
        cx.holds_lock()?;
        queues.require_confirmation(master, true).await?;
        return Ok(Done::new(false, format!("{host} copies {master} already")));
    }
    cx.holds_lock()?;
    queues.follow(host, master).await?;
    cx.holds_lock()?;
    queues.pause_writes(host, Duration::ZERO).await?;
    let linked = || async move {
        if follows(&queues.status(host).await?, master) {
            return Ok(());
        }
        end_circle(cx, host, master).await?;
        Err(Failure::again(format!(
            "{host} has no link to {master} yet"
        )))
    };
    cx.until(LINK, linked).await?;
    cx.holds_lock()?;
    queues.require_confirmation(master, true).await?;
    Ok(Done::new(true, format!("{host} copies {master}")))
}

/// A late order of an older run may have made the master a copy of its copy:
/// nobody takes votes then, and neither gets a link to the other.
async fn end_circle(cx: &Context<'_>, host: &HostName, master: &HostName) -> Result<(), Failure> {
    let queues = &cx.world.queues;
    if is_copy_of(&queues.status(master).await?, host) {
        cx.holds_lock()?;
        queues.promote(master).await?;
    }
    Ok(())
}

fn is_copy_of(status: &QueueStatus, master: &HostName) -> bool {
    matches!(&status.role, QueueRole::Replica { of, .. } if of == master.as_str())
}

fn follows(status: &QueueStatus, master: &HostName) -> bool {
    matches!(&status.role, QueueRole::Replica { of, linked: true } if of == master.as_str())
}
