//! Steps on databases, by orders to their guards.

use std::time::Duration;

use crate::{
    ids::{HostName, Lsn},
    journal::Fact,
    order::{GuardStatus, Order, PostgresState},
    plan::Kind,
};

use super::context::{Context, Done, Failure, Obeyed};

/// A clean stop takes no longer, the checkpoint having been made before.
const STOP: Duration = Duration::from_secs(8);
const ANSWER: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(50);
const REWIND: Duration = Duration::from_secs(900);
const COPY: Duration = Duration::from_secs(2600);
const SOURCE: Duration = Duration::from_secs(60);
const CATCH_UP: Duration = Duration::from_secs(110);
/// How long a rewound standby may take to stream before it is copied anew.
const PROOF_OF_REWIND: Duration = Duration::from_secs(60);

/// Brings the epoch of the run, and changes nothing. What is sent after a
/// primary must find it there: another run may have been quicker.
pub(super) async fn claim(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let obeyed = cx.order(host, Order::Claim, ANSWER).await?;
    if cx.plan.kind == Kind::Redirect {
        is_still(host, &obeyed.status, PostgresState::Primary).map_err(|failure| Failure {
            superseded: failure.certain,
            ..failure
        })?;
    }
    Ok(claimed(obeyed))
}

fn claimed(obeyed: Obeyed) -> Done {
    let done = Done::new(obeyed.changed, obeyed.what);
    match position(&obeyed.status) {
        Some(fact) => done.fact(fact),
        None => done,
    }
}

/// Claims one of the two of a switchover and makes a checkpoint there. Once
/// both are claimed nothing of an older run happens to them any more: then they
/// must be what the plan takes them for. Another run may have been quicker.
pub(super) async fn prepare(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let obeyed = cx.order(host, Order::Checkpoint, ANSWER).await?;
    is_as_planned(cx, host, &obeyed.status)?;
    Ok(claimed(obeyed))
}

fn is_as_planned(cx: &Context<'_>, host: &HostName, status: &GuardStatus) -> Result<(), Failure> {
    let timeline = status.postgres.timeline;
    let wanted = match host == &cx.plan.new {
        true => PostgresState::Standby,
        false => PostgresState::Primary,
    };
    is_still(host, status, wanted)?;
    let promoting = cx.facts.promoting.map(|(_, timeline)| timeline);
    if let (Some(candidate), Some(primary)) = (promoting, timeline)
        && host != &cx.plan.new
        && candidate != primary
    {
        let why = format!("{} is not on timeline {primary} of {host}", cx.plan.new);
        return Err(Failure::refused(why));
    }
    Ok(())
}

/// The other role is final; one that does not answer may be `wanted` yet.
fn is_still(host: &HostName, status: &GuardStatus, wanted: PostgresState) -> Result<(), Failure> {
    let named = match wanted {
        PostgresState::Standby => "a standby",
        _ => "the primary",
    };
    match status.postgres.state {
        state if state == wanted => Ok(()),
        PostgresState::Primary | PostgresState::Standby => {
            Err(Failure::refused(format!("{host} is not {named} any more")))
        }
        _ => Err(Failure::again(format!("{host} does not answer as {named}"))),
    }
}

/// Where a standby stands.
fn position(status: &GuardStatus) -> Option<Fact> {
    let postgres = &status.postgres;
    if postgres.state != PostgresState::Standby {
        return None;
    }
    let received = postgres.has()?;
    Some(Fact::Promoting {
        received,
        timeline: postgres.timeline?,
    })
}

pub(super) async fn demote(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let deadline_ms = u64::try_from(STOP.as_millis()).unwrap_or(u64::MAX);
    let obeyed = cx
        .order(host, Order::Demote { deadline_ms }, STOP + ANSWER)
        .await?;
    let postgres = &obeyed.status.postgres;
    match (postgres.shutdown_checkpoint, postgres.timeline) {
        (Some(end), Some(timeline)) if postgres.state == PostgresState::Stopped => {
            let what =
                format!("{host} stopped cleanly; its log ends at {end} on timeline {timeline}");
            Ok(Done::new(obeyed.changed, what).fact(Fact::Shutdown { end, timeline }))
        }
        _ => Err(Failure::for_good(format!(
            "{host} did not stop cleanly: {}",
            obeyed.what
        ))),
    }
}

/// Refuses to act without the proof that the journal holds.
pub(super) async fn promote(
    cx: &Context<'_>,
    host: &HostName,
    from: &HostName,
    in_sync: bool,
) -> Result<Done, Failure> {
    if cx.proof.as_ref().is_none_or(|proof| &proof.host != from) {
        return Err(Failure::refused(format!(
            "there is no proof that {from} writes no more"
        )));
    }
    let order = Order::Promote {
        at_least: cx.facts.equal,
        in_sync,
    };
    let obeyed = cx.order(host, order, START).await?;
    let postgres = &obeyed.status.postgres;
    match postgres.timeline {
        Some(timeline) if postgres.state == PostgresState::Primary => {
            let what = format!("{host} accepts writes on timeline {timeline}");
            Ok(Done::new(obeyed.changed, what).fact(Fact::Promoted { timeline }))
        }
        _ => Err(Failure::again(format!(
            "{host} does not accept writes yet: {}",
            obeyed.what
        ))),
    }
}

/// Finds out what became of a promotion that failed. The guard is made to obey
/// the newer epoch of the run first: then a late order of the older one is
/// refused, and what the guard says of itself is final. One that is no primary
/// may have been it meanwhile, and have accepted writes: a promotion begins a
/// timeline, which stays.
pub(super) async fn settle_promotion(
    cx: &Context<'_>,
    host: &HostName,
    mut failure: Failure,
) -> Result<Done, Failure> {
    let claim = cx.order_in(cx.undo_epoch, host, Order::Claim, ANSWER);
    let status = match claim.await {
        Ok(obeyed) => obeyed.status,
        Err(claim) => {
            failure.certain = false;
            failure.superseded |= claim.superseded;
            return Err(failure);
        }
    };
    failure.superseded = false;
    match status.postgres.timeline {
        Some(timeline) if status.postgres.state == PostgresState::Primary => {
            let what = format!("{host} was promoted and accepts writes on timeline {timeline}");
            Ok(Done::new(true, what).fact(Fact::Promoted { timeline }))
        }
        timeline => {
            let before = cx.facts.promoting.map(|(_, timeline)| timeline);
            failure.certain = timeline.is_some() && timeline == before;
            if !failure.certain {
                let why = format!("; {host} may have been promoted, and is no primary now");
                failure.why.push_str(&why);
            }
            Err(failure)
        }
    }
}

pub(super) async fn set_synchronous(
    cx: &Context<'_>,
    host: &HostName,
    standbys: &[HostName],
) -> Result<Done, Failure> {
    let order = Order::Synchronous {
        standbys: standbys.to_vec(),
    };
    let obeyed = cx.order(host, order, ANSWER).await?;
    if standbys.is_empty() {
        return Ok(Done::new(obeyed.changed, obeyed.what));
    }
    let written = obeyed.status.postgres.written.unwrap_or_default();
    let confirmed = || async {
        let status = cx.world.guards.status(host).await?;
        match standbys
            .iter()
            .find(|standby| !confirms(&status, standby, written))
        {
            Some(standby) => Err(Failure::again(format!(
                "{standby} does not confirm commits yet"
            ))),
            None => Ok(()),
        }
    };
    cx.until(ANSWER, confirmed).await?;
    Ok(Done::new(obeyed.changed, obeyed.what))
}

fn confirms(status: &GuardStatus, standby: &HostName, written: Lsn) -> bool {
    let seen = status.postgres.standbys.get(standby.as_str());
    seen.is_some_and(|downstream| {
        matches!(downstream.sync_state.as_str(), "sync" | "quorum")
            && downstream.flushed >= Some(written)
    })
}

pub(super) async fn follow(
    cx: &Context<'_>,
    host: &HostName,
    upstream: &HostName,
) -> Result<Done, Failure> {
    let order = Order::Follow {
        upstream: upstream.clone(),
    };
    let obeyed = cx.order(host, order, START).await?;
    Ok(Done::new(obeyed.changed, obeyed.what))
}

/// The ladder: rewind, verify, else copy into a new directory.
pub(super) async fn rejoin(
    cx: &Context<'_>,
    host: &HostName,
    upstream: &HostName,
) -> Result<Done, Failure> {
    // The step may take as long as a copy does; nobody waits so long for a
    // source that is gone.
    let source = cx.until(SOURCE, || is_source(cx, upstream));
    let (status, source) = futures::join!(cx.world.guards.status(host), source);
    let status = status?;
    if status.postgres.state == PostgresState::Primary {
        return Err(Failure::refused(format!(
            "{host} is primary; nothing on it is replaced"
        )));
    }
    source.map_err(|failure| Failure {
        retry: false,
        ..failure
    })?;
    if status.postgres.state != PostgresState::Uninitialised {
        let order = Order::Rewind {
            upstream: upstream.clone(),
        };
        match rewound(cx, host, upstream, order).await {
            Ok(done) => return Ok(done),
            Err(failure) if failure.superseded => return Err(failure),
            // The next rung; what failed is in the guard's log.
            Err(_) => {}
        }
    }
    let order = Order::Reclone {
        upstream: upstream.clone(),
    };
    let obeyed = cx.order(host, order, COPY).await?;
    let way = "copied into a new directory; the old one is kept".to_owned();
    Ok(Done::new(obeyed.changed, format!("{host}: {way}")).fact(Fact::RejoinedBy { way }))
}

/// Only a running primary can be copied or rewound to.
async fn is_source(cx: &Context<'_>, upstream: &HostName) -> Result<(), Failure> {
    match cx.world.guards.status(upstream).await?.postgres.state {
        PostgresState::Primary => Ok(()),
        PostgresState::Starting | PostgresState::Hung => Err(Failure::again(format!(
            "{upstream} does not answer as primary"
        ))),
        _ => Err(Failure::for_good(format!(
            "{upstream} is not the primary any more"
        ))),
    }
}

async fn rewound(
    cx: &Context<'_>,
    host: &HostName,
    upstream: &HostName,
    order: Order,
) -> Result<Done, Failure> {
    let obeyed = cx.order(host, order, REWIND).await?;
    cx.until(PROOF_OF_REWIND, || streams(cx, host, upstream, Lsn(0)))
        .await?;
    let way = "rewound".to_owned();
    Ok(
        Done::new(obeyed.changed, format!("{host}: {}", obeyed.what))
            .fact(Fact::RejoinedBy { way }),
    )
}

pub(super) async fn await_streaming(
    cx: &Context<'_>,
    standby: &HostName,
    upstream: &HostName,
) -> Result<Done, Failure> {
    // A goal that stands: on a busy primary the end of the log runs away.
    let status = cx.world.guards.status(upstream).await?;
    let goal = status.postgres.written.unwrap_or_default();
    cx.until(CATCH_UP, || streams(cx, standby, upstream, goal))
        .await?;
    Ok(Done::new(
        false,
        format!("{standby} streams and has the log up to {goal}"),
    ))
}

/// Both sides say that the standby streams, on one timeline, at least to `goal`.
async fn streams(
    cx: &Context<'_>,
    standby: &HostName,
    upstream: &HostName,
    goal: Lsn,
) -> Result<(), Failure> {
    let guards = &cx.world.guards;
    let (below, above) = futures::join!(guards.status(standby), guards.status(upstream));
    let (below, above) = (below?.postgres, above?.postgres);
    let seen = above.standbys.get(standby.as_str());
    let streaming = seen.is_some_and(|d| d.state == "streaming" && d.flushed >= Some(goal));
    if streaming && below.streaming_from.is_some() && below.timeline == above.timeline {
        return Ok(());
    }
    Err(Failure::again(format!(
        "{standby} does not stream from {upstream} up to {goal} yet"
    )))
}
