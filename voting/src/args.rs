//! Command line and environment.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// The voting stack: vote, worker and result in one binary.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// How log lines look on standard error.
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_enum,
        default_value = "json",
        global = true
    )]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the page that takes votes into the queue.
    Vote(VoteArgs),
    /// Move votes from the queue into the database.
    Worker(WorkerArgs),
    /// Serve the page with live totals.
    Result(ResultArgs),
    /// Ask a running command for its health; exit code 0 means healthy.
    Healthcheck(HealthcheckArgs),
}

#[derive(Debug, Args)]
pub struct VoteArgs {
    #[command(flatten)]
    pub web: WebArgs,
    #[command(flatten)]
    pub options: OptionArgs,
    #[command(flatten)]
    pub redis: RedisArgs,
    /// When a vote counts as accepted.
    #[arg(long, env = "VOTE_DURABILITY", value_enum, default_value = "local")]
    pub durability: Durability,
    /// Longest time that a voter waits for an answer, in milliseconds.
    #[arg(long, env = "VOTE_TIMEOUT_MS", default_value = "3000", value_parser = milliseconds)]
    pub timeout: Duration,
    /// Longest wait for the replica, in milliseconds.
    #[arg(long, env = "VOTE_WAIT_MS", default_value = "1000", value_parser = milliseconds)]
    pub wait: Duration,
}

/// When a vote counts as accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// Once Redis has it.
    Local,
    /// Once at least one replica of Redis has it, too.
    Replicated,
}

impl Durability {
    /// The word of the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Replicated => "replicated",
        }
    }
}

#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub web: WebArgs,
    #[command(flatten)]
    pub redis: RedisArgs,
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// Most votes written in one transaction.
    #[arg(long, env = "WORKER_BATCH", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Name of this worker in the keys of its processing lists.
    #[arg(long, env = "WORKER_ID")]
    pub id: Option<String>,
}

#[derive(Debug, Args)]
pub struct ResultArgs {
    #[command(flatten)]
    pub web: WebArgs,
    #[command(flatten)]
    pub options: OptionArgs,
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// Time between two reads of the totals, in milliseconds.
    #[arg(long, env = "RESULT_POLL_MS", default_value = "500", value_parser = milliseconds)]
    pub poll: Duration,
    /// Age from which totals are shown as out of date, in milliseconds.
    #[arg(long, env = "RESULT_STALE_MS", default_value = "5000", value_parser = milliseconds)]
    pub stale: Duration,
}

#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// What to ask; without it `/healthz` on the port of `LISTEN` or `PORT`,
    /// else on 80 and 8080.
    pub url: Option<String>,
}

/// What the voters choose between.
#[derive(Clone, Debug, Args)]
pub struct OptionArgs {
    /// Label of the vote `a`.
    #[arg(long, env = "OPTION_A", default_value = "Cats")]
    pub option_a: String,
    /// Label of the vote `b`.
    #[arg(long, env = "OPTION_B", default_value = "Dogs")]
    pub option_b: String,
}

#[derive(Clone, Debug, Args)]
pub struct WebArgs {
    /// Address to listen on.
    #[arg(long, env = "LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Port to listen on, on all addresses, where `--listen` is not given.
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// Name of the site, shown to people and in JSON answers.
    #[arg(long, env = "SITE", default_value = "")]
    pub site: String,
    /// Name of this host, shown likewise.
    #[arg(long, env = "HOSTNAME", default_value = "")]
    pub hostname: String,
    /// Longest time that requests may take after SIGTERM, in milliseconds.
    #[arg(long, env = "SHUTDOWN_TIMEOUT_MS", default_value = "5000", value_parser = milliseconds)]
    pub shutdown_timeout: Duration,
}

impl WebArgs {
    /// The address to bind, with the port of the command as the last resort.
    pub fn address(&self, default_port: u16) -> SocketAddr {
        let port = self.port.unwrap_or(default_port);
        self.listen
            .unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, port).into())
    }
}

/// Where the queue is. The password comes from `REDIS_PASSWORD` or from the
/// file named by `REDIS_PASSWORD_FILE`.
#[derive(Clone, Debug, Args)]
pub struct RedisArgs {
    #[arg(long, env = "REDIS_HOST", default_value = "redis")]
    pub redis_host: String,
    #[arg(long, env = "REDIS_PORT", default_value_t = 6379)]
    pub redis_port: u16,
}

/// Where the database is. The password comes from `PGPASSWORD` or from the
/// file named by `PGPASSWORD_FILE`.
#[derive(Clone, Debug, Args)]
pub struct PostgresArgs {
    #[arg(long, env = "PGHOST", default_value = "db")]
    pub pg_host: String,
    /// Address to dial; `--pg-host` is then only the name in the certificate.
    #[arg(long, env = "PGHOSTADDR")]
    pub pg_hostaddr: Option<std::net::IpAddr>,
    #[arg(long, env = "PGPORT", default_value_t = 5432)]
    pub pg_port: u16,
    #[arg(long, env = "PGUSER", default_value = "postgres")]
    pub pg_user: String,
    #[arg(long, env = "PGDATABASE", default_value = "postgres")]
    pub pg_database: String,
    #[arg(long, env = "PGSSLMODE", value_enum, default_value = "disable")]
    pub pg_sslmode: SslMode,
    /// Certificates of authorities, PEM; needed by `verify-full`.
    #[arg(long, env = "PGSSLROOTCERT")]
    pub pg_sslrootcert: Option<PathBuf>,
}

/// How the connection to the database is protected, as in libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SslMode {
    /// No encryption.
    Disable,
    /// Encrypted; the server is not verified.
    Require,
    /// Encrypted; certificate and host name of the server are verified.
    VerifyFull,
}

/// Reads a secret from `NAME`, or from the file that `NAME_FILE` names.
///
/// # Errors
/// When the file cannot be read; the message never holds the secret.
pub fn secret(name: &str) -> anyhow::Result<Option<String>> {
    let file = format!("{name}_FILE");
    if let Some(path) = std::env::var_os(&file) {
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {} (hint: {file} must name a readable file)",
                path.display()
            )
        })?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    Ok(std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(0) | Err(_) => Err("give a number of milliseconds above 0".to_owned()),
        Ok(number) => Ok(Duration::from_millis(number)),
    }
}
