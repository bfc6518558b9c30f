//! `hafail load`.

mod commits;
mod progress;
mod votes;

use std::{path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{CommandError, Context, Exit, world::duration};
use crate::load::{target::Target, words::Report};

/// Arguments of `hafail load`.
#[derive(clap::Args)]
pub struct Args {
    /// How many votes (or commits) to send [default: 1000, or without limit
    /// when --duration is given].
    #[arg(long, value_name = "N")]
    votes: Option<u64>,

    /// How many voters vote at once.
    #[arg(long, value_name = "C", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,

    /// Votes per second over all voters [default: as fast as answers come].
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,

    /// Stop sending after that time, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,

    /// Where to vote [default: the first name of the topology that follows the
    /// active site].
    #[arg(long, value_name = "URL", conflicts_with = "sql")]
    url: Option<Target>,

    /// How long a vote may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    timeout: Duration,

    /// Send a vote that was not accepted again, as the same voter, so often.
    #[arg(long, value_name = "TIMES", default_value_t = 0, num_args = 0..=1, default_missing_value = "1")]
    retry: u32,

    /// How long to wait for the queues to drain.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    settle: Duration,

    /// List times without an accepted vote from that length on.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = duration)]
    gap: Duration,

    /// Write one JSON line for each vote to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Do not read the votes back: says nothing about losses.
    #[arg(long)]
    no_verify: bool,

    /// Commit small numbered rows through the load balancer's port for the
    /// writable database instead of voting, one after the other.
    #[arg(long)]
    sql: bool,

    /// Time from one commit to the next, for --sql.
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = duration, requires = "sql")]
    every: Duration,

    /// Through the load balancers of this site first, for --sql [default: all,
    /// in order of name].
    #[arg(long, value_name = "SITE", requires = "sql")]
    site: Option<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err(format!("`{text}` is not a number above 0")),
    }
}

impl Args {
    /// A run ends by itself unless only a duration was given.
    fn limit(&self) -> Option<u64> {
        match (self.votes, self.duration) {
            (None, None) => Some(1000),
            (votes, _) => votes,
        }
    }

    fn gap_ms(&self) -> u64 {
        u64::try_from(self.gap.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Sends votes or commits and accounts for them.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let run = run_id();
    let signals = Signals::listen()?;
    let report = if args.sql {
        commits::run(context, &args, &run, &signals).await?
    } else {
        votes::run(context, &args, &run, &signals).await?
    };
    context.ui.data(&report.text(), &report.document());
    Ok(if report.good() {
        Exit::Success
    } else {
        Exit::Failed
    })
}

/// Eight letters and digits, another for each run.
fn run_id() -> String {
    format!("{:08x}", rand::random::<u32>())
}

/// The first Ctrl-C (or TERM) ends the sending, the second the settling: the
/// account is made in either case.
struct Signals {
    sending: CancellationToken,
    settling: CancellationToken,
}

impl Signals {
    fn listen() -> Result<Self, CommandError> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error| CommandError::failed("cannot listen for signals", &error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let signals = Self {
            sending: CancellationToken::new(),
            settling: CancellationToken::new(),
        };
        let tokens = [signals.sending.clone(), signals.settling.clone()];
        tokio::spawn(async move {
            for token in tokens {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(signals)
    }
}

/// What both kinds of load report in the same way.
struct Outcome {
    target: String,
    started: String,
    interrupted: bool,
    unverified: Option<String>,
    account: crate::load::account::Account,
}

impl Outcome {
    fn report(self, run: &str, kind: crate::load::words::Kind) -> Report {
        Report {
            run: run.to_owned(),
            kind,
            target: self.target,
            started: self.started,
            interrupted: self.interrupted,
            unverified: self.unverified,
            account: self.account,
        }
    }
}
