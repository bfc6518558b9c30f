//! The command line.

mod down;
mod fault;
mod host;
mod status;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::settings::{Block, Settings};
use crate::{daemon, ui};

/// A small AWS on one machine: EC2 and Route 53 whose instances, networks,
/// security groups and records really exist.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(flatten)]
    lab: Lab,
    #[command(subcommand)]
    command: Cmd,
}

/// Which lab.
#[derive(Debug, Args)]
struct Lab {
    /// Name of the lab.
    #[arg(
        long,
        global = true,
        default_value = "default",
        env = "HAFAIL_LAB_NAME"
    )]
    name: String,
    /// Directory that holds the state of labs [default: ~/.local/state/hafail-lab].
    #[arg(long, global = true, env = "HAFAIL_LAB_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Start the lab, or what is missing of it.
    Up(up::Options),
    /// Remove the lab and everything in it.
    Down,
    /// Show what runs.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the variables that lead programs to the lab, for `eval`.
    Env,
    /// Show the log of the lab, or the journal of an instance.
    Logs(host::Logs),
    /// Open a root shell on an instance.
    Shell {
        /// Id or tag `Name`.
        host: String,
    },
    /// Run a command as root on an instance.
    Exec {
        /// Id or tag `Name`.
        host: String,
        /// Program and arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Break something for a while.
    Fault {
        #[command(subcommand)]
        fault: fault::Fault,
    },
    /// Keep the lab following its API (`up` starts this).
    #[command(hide = true)]
    Daemon {
        #[arg(long)]
        addresses: Block,
    },
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// With what went wrong and what to do next.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.dispatch())
    }

    async fn dispatch(self) -> anyhow::Result<ExitCode> {
        let block = match &self.command {
            Cmd::Up(options) => options.addresses,
            Cmd::Daemon { addresses } => *addresses,
            _ => Block::DEFAULT,
        };
        let mut settings = Settings::new(&self.lab.name, self.lab.state, block)?;
        if let (Some(record), false) = (settings.record()?, matches!(self.command, Cmd::Up(_))) {
            settings.block = record.block;
        }
        match self.command {
            Cmd::Up(options) => up::run(&settings, &options).await?,
            Cmd::Down => down::run(&settings).await?,
            Cmd::Status { json } => status::run(&settings, json).await?,
            Cmd::Env => ui::data(&status::environment(&settings)?)?,
            Cmd::Logs(options) => return host::logs(&settings, &options).await,
            Cmd::Shell { host } => return host::shell(&settings, &host).await,
            Cmd::Exec { host, command } => return host::exec(&settings, &host, &command).await,
            Cmd::Fault { fault } => fault::run(&settings, &fault).await?,
            Cmd::Daemon { .. } => {
                tracing_subscriber::fmt()
                    .with_ansi(false)
                    .with_env_filter("warn,hafail_lab=info")
                    .with_writer(std::io::stderr)
                    .init();
                daemon::run(&settings).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
