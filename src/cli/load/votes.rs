//! Votes by HTTP.

use std::{path::Path, sync::Arc};

use super::{Args, Outcome, Signals, progress::Progress};
use crate::{
    adapters::{clock::wall, ledger::HostLedger, resolver::Resolver},
    cli::{CommandError, Context, Exit},
    load::{
        account::{Account, Found},
        raw::{Line, RawLog},
        send::{Settings, send},
        settle::settle,
        target::Target,
        words::{Kind, Report},
    },
    topology::{SecretName, Topology},
};

pub async fn run(
    context: &Context,
    args: &Args,
    run: &str,
    signals: &Signals,
) -> Result<Report, CommandError> {
    let topology = topology(context, args)?;
    let target = target(args, topology.as_ref())?;
    let ledger = match &topology {
        Some(topology) if !args.no_verify => Some(ledger(context, topology).await?),
        _ => None,
    };
    let started = wall();
    let mut log = raw_log(args, run, &target, &started)?;
    let resolver = Resolver::from_environment().map_err(|error| {
        CommandError::new(Exit::Access, "names cannot be resolved")
            .because(&error)
            .hint("set HAFAIL_RESOLVERS to the address:port of a DNS server")
    })?;
    context.ui.status(&format!("run {run}: voting at {target}"));
    let mut progress = Progress::new(&context.ui, args.limit());
    let mut log_failure = None;
    let sending = send(settings(args, run, &target), Arc::new(resolver), signals.sending.clone(), |sent| {
        progress.ended(sent);
        if let Some(Err(error)) = log.as_mut().map(|log| log.vote(sent)) {
            log_failure.get_or_insert(error);
        }
    });
    let sent = sending.await;
    progress.finish();
    let (found, unverified) = read_back(context, args, run, ledger.as_ref(), signals).await;
    let finished = log.map_or(Ok(()), |log| log.finish(found.as_ref()));
    if let Some(error) = log_failure.or(finished.err()) {
        context.ui.warning(&format!("the raw log is not complete: {error}"));
    }
    let outcome = Outcome {
        target: target.to_string(),
        started,
        interrupted: signals.sending.is_cancelled(),
        unverified,
        account: Account::of(&sent, found.as_ref(), args.gap_ms()),
    };
    Ok(outcome.report(run, Kind::Votes))
}

/// Not needed where the address is given and nothing is read back.
fn topology(context: &Context, args: &Args) -> Result<Option<Topology>, CommandError> {
    if args.url.is_some() && args.no_verify {
        return Ok(None);
    }
    context.topology().map(Some)
}

fn target(args: &Args, topology: Option<&Topology>) -> Result<Target, CommandError> {
    let named = args.url.clone();
    named.or_else(|| topology.and_then(Target::of)).ok_or_else(|| {
        CommandError::new(Exit::Usage, "the topology has no name that follows the active site")
            .hint("say where to vote: hafail load --url http://ADDRESS:PORT/")
    })
}

async fn ledger(context: &Context, topology: &Topology) -> Result<HostLedger, CommandError> {
    let deployment = context.some_deployment(topology).await?;
    let password = context.vault(topology)?.secret(SecretName::QueuePassword)?;
    Ok(HostLedger::new(deployment.remote, topology, password))
}

fn raw_log(
    args: &Args,
    run: &str,
    target: &Target,
    started: &str,
) -> Result<Option<RawLog>, CommandError> {
    let Some(path) = &args.report else {
        return Ok(None);
    };
    let first = Line::Run {
        run: run.to_owned(),
        target: target.to_string(),
        started: started.to_owned(),
        gap_threshold_ms: args.gap_ms(),
    };
    RawLog::create(path, run, &first).map(Some).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::failed(format!("cannot write {}", path.display()), error)
        .hint("name another file by --report FILE")
}

fn settings(args: &Args, run: &str, target: &Target) -> Settings {
    Settings {
        run: run.to_owned(),
        target: target.clone(),
        votes: args.limit(),
        duration: args.duration,
        concurrency: usize::from(args.concurrency),
        rate: args.rate,
        timeout: args.timeout,
        retries: args.retry,
    }
}

/// What was found, or why nothing was although it was wanted.
async fn read_back(
    context: &Context,
    args: &Args,
    run: &str,
    ledger: Option<&HostLedger>,
    signals: &Signals,
) -> (Option<Found>, Option<String>) {
    let Some(ledger) = ledger else {
        return (None, None);
    };
    context.ui.status("waiting for the queues to drain, then reading the votes back");
    match settle(ledger, run, args.settle, &signals.settling).await {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(error.to_string())),
    }
}
