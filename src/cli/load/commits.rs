//! Commits through the port for the writable database.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{Args, Outcome, Signals, progress::Progress};
use crate::{
    adapters::{clock::wall, database::BalancedSessions},
    cli::{CommandError, Context, Exit},
    ids::HostName,
    load::{
        account::{Account, Found},
        words::{Kind, Report},
        writer::{Session, Sessions, Settings, write},
    },
    topology::{Role, Topology},
};

/// How long one attempt may take: what a client of a connection pool has set.
const ATTEMPT: Duration = Duration::from_secs(1);

/// How long the table may take to be made.
const PREPARE: Duration = Duration::from_secs(15);

/// Time from one attempt to read back to the next.
const AGAIN: Duration = Duration::from_millis(200);

pub async fn run(
    context: &Context,
    args: &Args,
    run: &str,
    signals: &Signals,
) -> Result<Report, CommandError> {
    let topology = context.topology()?;
    let deployment = context.some_deployment(&topology).await?;
    let balancers = balancers(&topology, args.site.as_deref())?;
    let target = format!(
        "port {} of {}",
        topology.load_balancer.primary_port,
        balancers.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
    );
    let sessions = BalancedSessions::new(
        deployment.remote,
        deployment.login,
        balancers,
        topology.load_balancer.primary_port,
    );
    prepare(&sessions).await?;
    let started = wall();
    context.ui.status(&format!("run {run}: committing through {target}"));
    let mut progress = Progress::new(&context.ui, args.limit());
    let settings = Settings {
        run: run.to_owned(),
        every: args.every,
        attempt: ATTEMPT,
        commits: args.limit(),
        duration: args.duration,
    };
    let sent = write(&settings, &sessions, &signals.sending, |sent| progress.ended(sent)).await;
    progress.finish();
    let (found, unverified) = read_back(args, run, &sessions, signals).await;
    let outcome = Outcome {
        target,
        started,
        interrupted: signals.sending.is_cancelled(),
        unverified,
        account: Account::of(&sent, found.as_ref(), args.gap_ms()),
    };
    Ok(outcome.report(run, Kind::Commits))
}

/// All load balancers, those of the named site first.
fn balancers(topology: &Topology, site: Option<&str>) -> Result<Vec<HostName>, CommandError> {
    let first = match site {
        None => None,
        Some(name) => Some(topology.site_in(name).ok_or_else(|| {
            let sites: Vec<_> = topology.sites.keys().map(ToString::to_string).collect();
            CommandError::new(Exit::Usage, format!("there is no site `{name}`"))
                .hint(format!("sites: {}", sites.join(", ")))
        })?),
    };
    let mut hosts: Vec<_> = topology.hosts_with(Role::Lb).collect();
    hosts.sort_by_key(|host| first.is_some_and(|site| site.name != host.site));
    Ok(hosts.into_iter().map(|host| host.name.clone()).collect())
}

async fn prepare(sessions: &dyn Sessions) -> Result<(), CommandError> {
    let preparing = async { sessions.open().await?.prepare().await };
    let prepared = timeout(PREPARE, preparing).await;
    let prepared = prepared.unwrap_or_else(|_| Err(format!("no answer within {PREPARE:?}")));
    prepared.map_err(|why| {
        let mut error = CommandError::new(Exit::Access, "the database cannot be written");
        error.causes.push(why);
        error.id("no-database").hint("see who is primary: hafail status")
    })
}

/// Reads the numbers back, as soon as the database can be reached again, and
/// removes them where nothing is missing.
async fn read_back(
    args: &Args,
    run: &str,
    sessions: &dyn Sessions,
    signals: &Signals,
) -> (Option<Found>, Option<String>) {
    if args.no_verify {
        return (None, None);
    }
    let end = Instant::now() + args.settle;
    loop {
        let reading = timeout(ATTEMPT * 5, numbers(sessions, run)).await;
        let why = match reading {
            Ok(Ok(persisted)) => {
                let found = Found {
                    persisted,
                    ..Found::default()
                };
                return (Some(found), None);
            }
            Ok(Err(why)) => why,
            Err(_) => "no answer in time".to_owned(),
        };
        if Instant::now() > end || signals.settling.is_cancelled() {
            return (None, Some(why));
        }
        sleep(AGAIN).await;
    }
}

async fn numbers(sessions: &dyn Sessions, run: &str) -> Result<BTreeSet<u64>, String> {
    let mut session: Box<dyn Session> = sessions.open().await?;
    let numbers = session.numbers(run).await?;
    session.forget(run).await?;
    Ok(numbers)
}
