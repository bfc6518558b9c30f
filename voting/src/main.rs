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

/// Structured logs on standard error; `RUST_LOG` sets the level.
fn start_logging(format: args::LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        args::LogFormat::Json => log.json().flatten_event(true).init(),
        args::LogFormat::Text => log.init(),
    }
}
