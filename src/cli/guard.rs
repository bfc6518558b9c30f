//! `hafail guard`.

use std::{path::PathBuf, time::Duration};

use tokio::net::UnixStream;

use super::{CommandError, Context, Exit};
use crate::{
    adapters::guard_client::GuardConnection,
    guard::{self, GuardConfig},
    ids::{Epoch, HostName},
    order::{Order, OrderAnswer, OrderRequest},
};

/// A copy may take long.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// Arguments of `hafail guard`.
#[derive(clap::Args)]
pub struct Args {
    /// The guard's configuration, written at deploy.
    #[arg(
        long,
        global = true,
        default_value = "/etc/hafail/guard.json",
        value_name = "FILE"
    )]
    config: PathBuf,

    /// Only check the configuration.
    #[arg(long)]
    check: bool,

    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Kill PostgreSQL when the right to write has ended. The guard runs it
    /// beside itself, so that this happens whatever becomes of the guard.
    #[command(hide = true)]
    DeadMan,
    /// Print the data directory of this host's PostgreSQL.
    DataDirectory,
    /// Give an order to the guard of this very host, as root or its user.
    Order {
        #[command(subcommand)]
        order: LocalOrder,
    },
}

/// Orders for deploy and maintenance. Who is primary is changed by `hafail
/// failover` alone, which asks for a proof.
#[derive(clap::Subcommand)]
enum LocalOrder {
    /// Make a new cluster and be its primary.
    Initialise,
    /// Stream from that host, copying it first where there is no cluster yet.
    Clone { upstream: HostName },
    /// Write all changes to disk, so that a stop is quick.
    Checkpoint,
    /// Stop PostgreSQL and keep it stopped.
    Demote {
        /// Milliseconds for a clean stop.
        #[arg(long, default_value_t = 10_000)]
        deadline_ms: u64,
    },
    /// Name the standbys that must confirm commits.
    Synchronous {
        #[arg(required_unless_present = "nobody", conflicts_with = "nobody")]
        standbys: Vec<HostName>,
        /// Let commits go on without: no journal knows of it, so do not fail
        /// over to a standby that is away before it has been brought back.
        #[arg(long)]
        nobody: bool,
    },
    /// Remove the old directories that a rewind or a copy kept.
    DropKept,
}

impl From<LocalOrder> for Order {
    fn from(order: LocalOrder) -> Self {
        match order {
            LocalOrder::Initialise => Self::Initialise,
            LocalOrder::Clone { upstream } => Self::Clone { upstream },
            LocalOrder::Checkpoint => Self::Checkpoint,
            LocalOrder::Demote { deadline_ms } => Self::Demote { deadline_ms },
            LocalOrder::Synchronous { standbys, .. } => Self::Synchronous { standbys },
            LocalOrder::DropKept => Self::DropKept,
        }
    }
}

/// Runs the guard until it is told to end, PostgreSQL going on without it; or
/// gives an order to the guard that runs.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let config = GuardConfig::load(&args.config).map_err(|error| {
        CommandError::new(Exit::Invalid, "the guard's configuration cannot be used")
            .because(&error)
            .hint("run `hafail run deploy-guard` to write it anew")
    })?;
    match args.action {
        Some(Action::Order { order }) => return give(context, &config, order.into()).await,
        Some(Action::DeadMan) => return dead_man(&config),
        Some(Action::DataDirectory) => return data_directory(context, &config),
        None => {}
    }
    if args.check {
        let line = format!("{} is valid", args.config.display());
        context.ui.data(&line, &serde_json::json!({"valid": true}));
        return Ok(Exit::Success);
    }
    guard::run(config).await.map_err(|error| {
        let hint = error.remedy();
        CommandError::failed("the guard cannot run", &error).hint(hint)
    })?;
    Ok(Exit::Success)
}

fn dead_man(config: &GuardConfig) -> Result<Exit, CommandError> {
    let ended = guard::run_dead_man(config);
    ended.map_err(|error| {
        CommandError::failed("the dead-man cannot work", &error)
            .hint("the guard starts it: systemctl status hafail-guard")
    })?;
    Ok(Exit::Success)
}

fn data_directory(context: &Context, config: &GuardConfig) -> Result<Exit, CommandError> {
    let found = guard::data_directory(config)
        .map_err(|error| CommandError::failed("cannot find the data directory", &error))?;
    let Some(path) = found else {
        let error = CommandError::new(Exit::Failed, "there is no cluster on this host yet");
        return Err(error.hint("run `hafail deploy`"));
    };
    let text = path.display().to_string();
    context.ui.data(&text, &serde_json::json!({"data_directory": text}));
    Ok(Exit::Success)
}

async fn give(
    context: &Context,
    config: &GuardConfig,
    order: Order,
) -> Result<Exit, CommandError> {
    let socket = guard::socket(config);
    let stream = UnixStream::connect(&socket).await.map_err(|error| {
        let what = format!("cannot reach the guard at {}", socket.display());
        let mut error = CommandError::failed(what, &error);
        error.exit = Exit::Access;
        error.hint("as root: systemctl status hafail-guard")
    })?;
    let broken = |error: &crate::adapters::guard_client::GuardClientError| {
        CommandError::failed("the guard gave no answer", error).hint(error.remedy())
    };
    let connection = GuardConnection::local(stream, &config.host).await;
    let mut connection = connection.map_err(|error| broken(&error))?;
    let status = connection.status(PATIENCE).await;
    let status = status.map_err(|error| broken(&error))?;
    let request = OrderRequest {
        run: crate::order::LOCAL_RUN.to_owned(),
        // The epoch that is in force: it supersedes nobody's run.
        epoch: status.epoch.max(Epoch(1)),
        order,
    };
    let answer = connection.order(&request, PATIENCE).await;
    report(context, answer.map_err(|error| broken(&error))?)
}

fn report(context: &Context, answer: OrderAnswer) -> Result<Exit, CommandError> {
    match &answer {
        OrderAnswer::Done { what, changed, .. } => {
            let word = if *changed { "changed" } else { "ok" };
            context.ui.data(&format!("{word}: {what}"), &answer);
            Ok(Exit::Success)
        }
        OrderAnswer::Refused { id, why } => {
            let error = CommandError::new(Exit::Refused, format!("refused ({id}): {why}"));
            Err(error.hint("`hafail status` shows who is what"))
        }
        OrderAnswer::Failed { why, .. } => Err(CommandError::new(Exit::Failed, why.clone())
            .hint("see the guard's log: journalctl -u hafail-guard")),
    }
}
