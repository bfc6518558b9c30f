//! One step, tried until it is done or its time is over.

use std::time::Duration;

use futures::future::{Either, select};

use crate::{right::Terms, step::Step};

use super::{
    context::{Context, Done, Failure},
    database, dns, fence, machine, proxy, queue, verify,
};

/// Makes it so, once.
async fn act(cx: &Context<'_>, step: &Step) -> Result<Done, Failure> {
    match step {
        Step::Claim { host } => database::claim(cx, host).await,
        Step::Prepare { host } => database::prepare(cx, host).await,
        Step::HoldWrites { lb, server } => proxy::hold(cx, lb, server).await,
        Step::PauseQueue { host, limit_ms } => queue::pause(cx, host, *limit_ms).await,
        Step::Demote { host } => database::demote(cx, host).await,
        Step::ProveEquality { from, to } => fence::prove_equality(cx, from, to).await,
        Step::Fence {
            host,
            ways,
            lacks_at_most,
            trace,
        } => fence::fence(cx, host, ways, *lacks_at_most, trace.as_ref()).await,
        Step::Promote {
            host,
            from,
            in_sync,
        } => database::promote(cx, host, from, *in_sync).await,
        Step::SetSynchronous { host, standbys } => {
            database::set_synchronous(cx, host, standbys).await
        }
        Step::Route {
            lb,
            backend,
            to,
            away,
        } => proxy::route(cx, lb, *backend, to, away).await,
        Step::PromoteQueue { host, from } => queue::promote(cx, host, from.as_ref()).await,
        Step::FollowQueue { host, master } => queue::follow(cx, host, master).await,
        Step::MoveRecords { records } => dns::move_records(cx, records).await,
        Step::AwaitInSync => dns::await_in_sync(cx).await,
        Step::AwaitAuthoritative { records } => dns::await_authoritative(cx, records).await,
        Step::AwaitChecks { records, within_ms } => {
            dns::await_checks(cx, records, Duration::from_millis(*within_ms)).await
        }
        Step::AwaitResolvers { records } => dns::await_resolvers(cx, records).await,
        Step::Follow { host, upstream } => database::follow(cx, host, upstream).await,
        Step::Rejoin { host, upstream } => database::rejoin(cx, host, upstream).await,
        Step::AwaitStreaming { standby, upstream } => {
            database::await_streaming(cx, standby, upstream).await
        }
        Step::Release {
            lb,
            backend,
            server,
        } => proxy::release(cx, lb, *backend, server).await,
        Step::VerifyWrites { site } => verify::writes(cx, site).await,
        Step::StopMachine { host } => machine::stop(cx, host).await,
        Step::StartMachine { host } => machine::start(cx, host).await,
        Step::MakeMachine { host } => machine::make(cx, host).await,
        Step::Configure { host } => machine::configure(cx, host).await,
        Step::AwaitHost { host, answers } => machine::answers(cx, host, answers).await,
    }
}

/// Makes it so, again and again until the step's deadline, which comes later
/// where a promise binds. What fails certainly each time has certainly failed.
pub(super) async fn perform(cx: &Context<'_>, step: &Step) -> Result<Done, Failure> {
    let clock = &cx.world.clock;
    let begin = clock.now();
    let mut limit = step.deadline();
    let past_any_promise = limit + Terms::LONGEST;
    let mut pause = Duration::from_millis(20);
    let mut certain = true;
    loop {
        let mut failure = match attempt(cx, step, begin, limit).await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        certain &= failure.certain;
        failure.certain = certain;
        let mut longest = Duration::from_secs(1);
        if failure.bound {
            (limit, longest) = (past_any_promise, Duration::from_millis(100));
        }
        if !failure.retry || clock.now() + pause >= begin + limit {
            return settle(cx, step, failure).await;
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Once, unless the time since `begin` is over first.
async fn attempt(
    cx: &Context<'_>,
    step: &Step,
    begin: Duration,
    limit: Duration,
) -> Result<Done, Failure> {
    let clock = &cx.world.clock;
    let left = (begin + limit).saturating_sub(clock.now());
    match select(Box::pin(act(cx, step)), clock.sleep(left)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => {
            let seconds = limit.as_secs();
            Err(Failure::for_good(format!("not done within {seconds} s")))
        }
    }
}

/// A promotion that failed must either be certain not to happen any more, or
/// count as one that may have happened, or turn out to have happened.
async fn settle(cx: &Context<'_>, step: &Step, failure: Failure) -> Result<Done, Failure> {
    match step {
        Step::Promote { host, .. } if !failure.certain || failure.superseded || cx.tried_before => {
            database::settle_promotion(cx, host, failure).await
        }
        _ => Err(failure),
    }
}
