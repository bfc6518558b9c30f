//! Proofs that the old primary writes no more.

use std::{pin::pin, time::Duration};

use futures::future::{Either, select};

use crate::{
    ids::{HostName, Lsn, Timeline},
    journal::{Fact, Proof, ProofKind},
    observation::{Machine, MachineState},
    order::{Order, PostgresState, Trace},
    plan::Loss,
    ports::PortError,
    step::FenceWay,
};

use super::{
    context::{Context, Done, Failure},
    lease,
};

const STOP: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// A guard that did not obey is asked anew so much later.
const AGAIN: Duration = Duration::from_secs(1);
const POWER_OFF: Duration = Duration::from_secs(150);
const TRACE: Duration = Duration::from_secs(2);
const EQUALITY: Duration = Duration::from_secs(5);

/// After a clean stop: the candidate has all of the old primary's log, and the
/// old primary's guard still says that it is stopped and stays so.
pub(super) async fn prove_equality(
    cx: &Context<'_>,
    from: &HostName,
    to: &HostName,
) -> Result<Done, Failure> {
    let Some((end, timeline)) = cx.facts.shutdown else {
        return Err(Failure::for_good(format!(
            "{from} did not say where its log ends"
        )));
    };
    let equal = || async move {
        let guards = &cx.world.guards;
        let (old, new) = futures::join!(guards.status(from), guards.status(to));
        let (old, new) = (old?, new?);
        if !old.stays_stopped() || old.postgres.shutdown_checkpoint != Some(end) {
            return Err(Failure::for_good(format!("{from} is not stopped any more")));
        }
        if new.postgres.timeline != Some(timeline) {
            return Err(Failure::for_good(format!(
                "{to} is not on timeline {timeline}"
            )));
        }
        match new.postgres.received {
            Some(received) if received >= end => Ok(received),
            received => {
                let has = received.map_or_else(|| "nothing".to_owned(), |lsn| lsn.to_string());
                Err(Failure::again(format!(
                    "{to} has {has} of the log that ends at {end}"
                )))
            }
        }
    };
    let received = cx.until(EQUALITY, equal).await?;
    let evidence = vec![
        format!(
            "the guard of {from} stopped PostgreSQL cleanly; its log ends at {end} on timeline {timeline}"
        ),
        format!("{to} has received up to {received}"),
    ];
    let mut done = Done::new(false, format!("{to} has the whole log, up to {end}"))
        .fact(Fact::Equal { end })
        .fact(Fact::Promoting { received, timeline });
    done.proof = Some(Proof {
        kind: ProofKind::StoppedByGuard,
        host: from.clone(),
        evidence,
    });
    Ok(done)
}

/// Tries the ways in order; the first that proves it counts.
pub(super) async fn fence(
    cx: &Context<'_>,
    host: &HostName,
    ways: &[FenceWay],
    lacks_at_most: Option<u64>,
    trace: Option<&Trace>,
) -> Result<Done, Failure> {
    let (mut tried, mut retry) = (Vec::new(), false);
    let seen = match lacks_at_most {
        Some(_) => position(cx, host).await,
        None => None,
    };
    for way in ways {
        let result = match way {
            FenceWay::Guard => by_guard(cx, host).await,
            FenceWay::Lease if ways.contains(&FenceWay::Guard) => by_either(cx, host).await,
            FenceWay::Lease => by_lease(cx, host).await,
            FenceWay::PowerOff => by_machine(cx, host, trace).await,
            FenceWay::Operator { reason } => Ok(asserted(cx, host, reason).await),
        };
        match result {
            Ok(mut done) => {
                let timeline = stopped_at(&done).map(|(_, timeline)| timeline);
                candidate_is_as_new(cx, host, timeline)?;
                if let Some(bytes) = lacks_at_most {
                    lacks_no_more(cx, host, &done, seen, bytes).await?;
                }
                if kind(&done) != Some(ProofKind::LeaseExpired) {
                    lease::outlived(cx, host).await?;
                }
                if let Some(proof) = &mut done.proof {
                    proof.evidence.extend(tried);
                }
                return Ok(done);
            }
            Err(failure) if failure.superseded => return Err(failure),
            Err(failure) => {
                retry |= failure.retry;
                tried.push(failure.why);
            }
        }
    }
    let why = tried.join("; ");
    let why = format!("no way proved that {host} writes no more: {why}");
    Err(match retry {
        true => Failure::again(why),
        false => Failure::for_good(why),
    })
}

/// Another run may have promoted the host meanwhile: what it has accepted since
/// is no part of the loss that the plan was judged by. `Unknown` is permitted
/// by the operator alone.
fn candidate_is_as_new(
    cx: &Context<'_>,
    host: &HostName,
    timeline: Option<Timeline>,
) -> Result<(), Failure> {
    let candidate = cx.facts.promoting.map(|(_, timeline)| timeline);
    match (timeline, candidate) {
        (Some(timeline), Some(candidate)) if timeline > candidate && !any_loss_is_permitted(cx) => {
            let new = &cx.plan.new;
            Err(Failure::for_good(format!(
                "{host} was promoted by another run: its log ends on timeline {timeline}, \
                 and that of {new} on {candidate}"
            )))
        }
        _ => Ok(()),
    }
}

fn any_loss_is_permitted(cx: &Context<'_>) -> bool {
    matches!(cx.plan.loss, Loss::Unknown { .. })
}

/// The same, before the machine of the host is stopped, which then says no
/// more: it says so itself as long as it is heard, and the other run has left
/// its trace where it stopped the machine of the candidate. That is told by what
/// the plan knew of, not by epochs: who has another journal counts anew.
async fn nobody_else_promoted(
    cx: &Context<'_>,
    host: &HostName,
    machine: &Machine,
    known: Option<&Trace>,
) -> Result<(), Failure> {
    if any_loss_is_permitted(cx) {
        return Ok(());
    }
    let timeline = async {
        match machine.is_down() {
            true => None,
            false => cx.says_at_once(host).await?.postgres.timeline,
        }
    };
    let new = &cx.plan.new;
    let (timeline, candidate) = futures::join!(timeline, cx.world.machines.state(new));
    candidate_is_as_new(cx, host, timeline).map_err(|failure| Failure::superseded(failure.why))?;
    let deposed = match candidate {
        Ok(machine) => machine.deposed,
        Err(PortError::Absent { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match deposed {
        Some(theirs) if theirs.run != cx.run.0 && Some(&theirs) != known => {
            Err(Failure::superseded(format!(
                "run {} (epoch {}) has deposed {new} since this was planned",
                theirs.run, theirs.epoch
            )))
        }
        _ => Ok(()),
    }
}

/// Where the log of a primary ends now.
async fn position(cx: &Context<'_>, host: &HostName) -> Option<Lsn> {
    let status = cx.world.guards.status(host).await.ok()?;
    status.postgres.ended_at()
}

/// The old primary may have gone on since it was looked at: now its log ends,
/// and what the candidate lacks of it is known. Killed by its guard, because it
/// hung, it says no more; then what was `seen` of it just before counts.
async fn lacks_no_more(
    cx: &Context<'_>,
    host: &HostName,
    fenced: &Done,
    seen: Option<Lsn>,
    most: u64,
) -> Result<(), Failure> {
    let end = match stopped_at(fenced) {
        Some((end, _)) => Some(end),
        None if kind(fenced) == Some(ProofKind::StoppedByGuard) => seen,
        None => position(cx, host).await,
    };
    let end = end.ok_or_else(|| {
        Failure::refused(format!(
            "{host} does not say how far its log went, so nobody knows what would be lost: \
             --allow-data-loss any permits that"
        ))
    })?;
    let (new, guards) = (&cx.plan.new, &cx.world.guards);
    let received = guards.status(new).await?.postgres.has();
    let received = received.ok_or_else(|| Failure::again(format!("{new} is no standby now")))?;
    match end.bytes_since(received) {
        bytes if bytes <= most => Ok(()),
        bytes => Err(Failure::refused(format!(
            "{host} went on meanwhile: its log ends at {end}, {new} has up to {received}, and the \
             {bytes} bytes between are more than the {most} that may be lost: \
             --allow-data-loss {bytes} permits them"
        ))),
    }
}

fn kind(fenced: &Done) -> Option<ProofKind> {
    fenced.proof.as_ref().map(|proof| proof.kind)
}

/// Where the log of one that was stopped cleanly ends.
fn stopped_at(fenced: &Done) -> Option<(Lsn, Timeline)> {
    fenced.facts.iter().find_map(|fact| match fact {
        Fact::Shutdown { end, timeline } => Some((*end, *timeline)),
        _ => None,
    })
}

async fn by_guard(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let deadline_ms = u64::try_from(STOP.as_millis()).unwrap_or(u64::MAX);
    let obeyed = cx
        .order(host, Order::Demote { deadline_ms }, STOP + ANSWER)
        .await?;
    let postgres = &obeyed.status.postgres;
    let down = matches!(
        postgres.state,
        PostgresState::Stopped | PostgresState::Uninitialised
    );
    if !down {
        return Err(Failure::again(format!(
            "PostgreSQL on {host} is not down yet"
        )));
    }
    let evidence = format!("the guard of {host} said: {}", obeyed.what);
    let mut done = proved(obeyed.changed, ProofKind::StoppedByGuard, host, evidence);
    if let (Some(end), Some(timeline)) = (postgres.shutdown_checkpoint, postgres.timeline) {
        done = done.fact(Fact::Shutdown { end, timeline });
    }
    Ok(done)
}

async fn by_lease(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let evidence = lease::expired(cx, host).await?;
    Ok(proved(false, ProofKind::LeaseExpired, host, evidence))
}

/// A guard that did not obey at first may do so while its lease is waited for,
/// such as once it is heard; it may renew that lease for ever.
async fn by_either(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let obeys = async {
        loop {
            cx.world.clock.sleep(AGAIN).await;
            match by_guard(cx, host).await {
                Err(failure) if !failure.superseded => {}
                answer => return answer,
            }
        }
    };
    let (lease, obeys) = (pin!(by_lease(cx, host)), pin!(obeys));
    select(lease, obeys).await.factor_first().0
}

async fn by_machine(
    cx: &Context<'_>,
    host: &HostName,
    known: Option<&Trace>,
) -> Result<Done, Failure> {
    let machines = &cx.world.machines;
    let before = machines.state(host).await?;
    nobody_else_promoted(cx, host, &before, known).await?;
    let changed = !before.is_down();
    let power_off = async {
        if changed {
            cx.holds_lock()?;
            machines.power_off(host).await?;
        }
        Ok(())
    };
    futures::try_join!(leave_trace(cx, host, &before), power_off)?;
    let down = || async {
        let state = machines.state(host).await?.state;
        if state.is_down() {
            Ok(state)
        } else {
            Err(Failure::again(format!(
                "the cloud says that {host} is {}, not stopped",
                state.word()
            )))
        }
    };
    let state = cx.until(POWER_OFF, down).await?;
    let evidence = format!(
        "the cloud says that the machine of {host} is {}",
        state.word()
    );
    Ok(proved(changed, ProofKind::InstanceStopped, host, evidence))
}

/// The guard of a machine that is stopped from outside hears nothing of this
/// run. When it is back, whoever thinks of promoting it must know that another
/// database was primary since.
async fn leave_trace(cx: &Context<'_>, host: &HostName, machine: &Machine) -> Result<(), Failure> {
    if machine.state == MachineState::Terminated {
        return Ok(());
    }
    let ours = Trace {
        epoch: cx.epoch,
        run: cx.run.0.clone(),
    };
    match &machine.deposed {
        Some(theirs) if theirs == &ours => Ok(()),
        Some(theirs) if theirs.epoch >= ours.epoch => {
            let what = format!("the machine of {host}");
            let (ours, seen) = (ours.epoch, theirs.epoch);
            Err(PortError::StaleEpoch { what, ours, seen }.into())
        }
        _ => {
            cx.holds_lock()?;
            Ok(cx.world.machines.depose(host, &ours).await?)
        }
    }
}

/// The operator's word counts whatever the cloud says, so the trace is left
/// only where that can be done.
async fn asserted(cx: &Context<'_>, host: &HostName, reason: &str) -> Done {
    let left = async {
        let machine = cx.world.machines.state(host).await?;
        leave_trace(cx, host, &machine).await
    };
    let too_long = cx.world.clock.sleep(TRACE);
    let left = match select(pin!(left), too_long).await {
        Either::Left((left, _)) => left.map_err(|failure| failure.why),
        Either::Right(_) => Err(format!("no answer within {} s", TRACE.as_secs())),
    };
    let evidence = format!("the operator said: {reason}");
    let mut done = proved(false, ProofKind::AssertedByOperator, host, evidence);
    if let (Err(why), Some(proof)) = (left, &mut done.proof) {
        proof.evidence.push(format!(
            "only the journal here knows of it, {host} could not be marked: {why}"
        ));
    }
    done
}

fn proved(changed: bool, kind: ProofKind, host: &HostName, evidence: String) -> Done {
    let mut done = Done::new(changed, format!("{}: {evidence}", kind.word()));
    done.proof = Some(Proof {
        kind,
        host: host.clone(),
        evidence: vec![evidence],
    });
    done
}
