//! The voting stack: `vote` takes votes into a Redis list, `worker` writes
//! them to PostgreSQL, `result` shows live totals.
//!
//! ```text
//! browser → vote → Redis `votes` → worker → PostgreSQL `votes` → result → browser
//! ```
//!
//! Invariants, each held by a story in `tests/stories`:
//! 1. A vote answered with 200 is in the queue (and on a replica, where asked).
//! 2. A vote leaves the queue only after the COMMIT of its row.
//! 3. A later vote of a voter never loses to an earlier one.
//! 4. The worker takes nothing while the database cannot be written.

mod args;
mod backoff;
mod database;
mod healthcheck;
mod queue;
mod result;
mod vote;
mod web;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Healthcheck(args) = &cli.command {
        return healthcheck::run(args);
    }
    start_logging(cli.log_format);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Vote(args) => vote::run(args).await,
        Command::Worker(args) => worker::run(args).await,
        Command::Result(args) => result::run(args).await,
        Command::Healthcheck(_) => unreachable!("answered without a runtime"),
    }
}

/// Structured logs on standard error; `RUST_LOG` sets the level, for all or by
/// target (`info,voting::worker=debug`).
fn start_logging(format: args::LogFormat) {
    let wanted = std::env::var("RUST_LOG")
        .ok()
        .and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        args::LogFormat::Json => lines.json().flatten_event(true).boxed(),
        args::LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
}
