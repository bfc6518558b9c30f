//! `hafail watch`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{CommandError, Context, Exit, operating};
use crate::{
    adapters::{
        notices::{Announcer, NotTaken, Receiver, test_message},
        rebuild::Rebuilder,
        watch_config::{WatchConfig, WatchConfigError},
        world::{WorldError, watched},
    },
    decide::Policy,
    run::Who,
    topology::{Topology, WatchMode},
    watch::{Settings, Watcher},
};

/// Between two looks when nothing changes.
const PERIOD: Duration = Duration::from_secs(1);
/// A glance waits at least so long for an answer.
const GLANCE: Duration = Duration::from_millis(250);

/// Arguments of `hafail watch`.
#[derive(clap::Args)]
pub struct Args {
    /// The watcher's configuration, written at deploy.
    #[arg(long, default_value = "/etc/hafail/watch/watch.json", value_name = "FILE")]
    config: PathBuf,

    /// Only check the configuration.
    #[arg(long)]
    check: bool,

    /// Send one test message to the webhook and the topic, and end.
    #[arg(long, conflicts_with = "check")]
    test_notification: bool,
}

/// Watches until it is told to end. A run that it works on is gone on with by
/// the next leader.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let config = WatchConfig::load(&args.config).map_err(WorldError::from)?;
    let topology = context.topology_of(&config.topology)?;
    if !topology.is_automatic() {
        return Err(CommandError::new(Exit::Invalid, "nothing is automatic in this topology")
            .hint("state `coordination: etcd` and three places, then hafail deploy"));
    }
    if args.test_notification {
        return test_notification(context, &config, &topology).await;
    }
    let mut world = watched(&topology, &config).await?;
    if args.check {
        let line = format!("{} is valid", args.config.display());
        context.ui.data(&line, &serde_json::json!({"valid": true}));
        return Ok(Exit::Success);
    }
    if topology.replaces_machines() && config.vault.is_some() {
        let rebuilder = Rebuilder::new(&args.config);
        let rebuilder =
            rebuilder.map_err(|error| CommandError::failed("cannot find this program", &error))?;
        world.rebuild = Some(Arc::new(rebuilder));
    }
    let receivers = Receiver::all(&topology.watch).await.map_err(not_taken)?;
    let notices = Announcer::new(&topology.name, &config.host, receivers);
    let watcher = Watcher::new(settings(&config, &topology), world, Arc::new(notices));
    tracing::info!(host = %config.host, "watcher begins");
    tokio::select! {
        () = watcher.watch() => Ok(Exit::Success),
        () = ended() => {
            tracing::info!("watcher ends");
            Ok(Exit::Success)
        }
    }
}

async fn test_notification(
    context: &Context,
    config: &WatchConfig,
    topology: &Topology,
) -> Result<Exit, CommandError> {
    let receivers = Receiver::all(&topology.watch).await.map_err(not_taken)?;
    if receivers.is_empty() {
        let message = "there is no receiver: neither `watch.webhook` nor `watch.sns_topic` is stated";
        return Err(CommandError::new(Exit::Invalid, message)
            .id("no-receiver")
            .hint("state one, then hafail run deploy-watch"));
    }
    let message = test_message(&topology.name, &config.host);
    let mut took = serde_json::Map::new();
    let mut failure = None;
    for receiver in &receivers {
        let key = receiver.key();
        match receiver.send(&message).await {
            Ok(()) => {
                took.insert(key.to_owned(), "taken".into());
            }
            Err(error) => {
                context.ui.warning(&format!("`watch.{key}` did not take the message: {error}"));
                failure = Some(error);
            }
        }
    }
    let names: Vec<_> = took.keys().map(|key| format!("`watch.{key}`")).collect();
    let line = match names.is_empty() {
        true => "nobody took the message".to_owned(),
        false => format!("{} took the message", names.join(" and ")),
    };
    if let Some(error) = failure {
        return Err(not_taken(error).hint(format!("meanwhile: {line}")));
    }
    context.ui.data(&line, &serde_json::Value::Object(took));
    Ok(Exit::Success)
}

fn not_taken(error: NotTaken) -> CommandError {
    let remedy = error.remedy();
    CommandError::new(Exit::Access, "a message was not taken")
        .because(&error)
        .id("not-notified")
        .hint(&remedy)
}

fn settings(config: &WatchConfig, topology: &Topology) -> Settings {
    Settings {
        host: config.host.clone(),
        topology: topology.clone(),
        terms: topology.lease,
        policy: Policy {
            observe: topology.watch.mode == WatchMode::Observe,
            heal: topology.watch.heal,
            ..Policy::default()
        },
        period: PERIOD,
        glance: GLANCE.max(4 * topology.etcd.round_trip),
        cooldown: topology.watch.failover_cooldown,
        who: Who {
            operator: "hafail watch".to_owned(),
            machine: config.host.to_string(),
            ..operating::who()
        },
    }
}

/// SIGTERM or SIGINT.
async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

impl From<WatchConfigError> for CommandError {
    fn from(error: WatchConfigError) -> Self {
        WorldError::from(error).into()
    }
}
