//! The command line: one command, one file.

mod error;
mod inputs;
mod interrupt;
mod lock;
mod operating;
mod playbooks;
mod preview;
mod provisioning;
mod reach;
mod ui;
mod world;

use std::{path::PathBuf, process::ExitCode, sync::OnceLock};

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

pub use error::{CommandError, Exit};
pub use ui::{Output, Ui};

/// Declares the commands once: module, variant and dispatch.
macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident => $module:ident),+ $(,)?) => {
        $(mod $module;)+

        #[derive(Subcommand)]
        enum Command {
            $($(#[$doc])* $variant($module::Args),)+
        }

        impl Command {
            async fn run(self, context: &Context) -> Result<Exit, CommandError> {
                match self {
                    $(Self::$variant(args) => $module::run(context, args).await,)+
                }
            }
        }
    };
}

commands! {
    /// Write a commented topology after a few questions, or from options.
    Init => init,
    /// Make another region active: switchover when its primary is healthy, failover otherwise.
    Failover => failover,
    /// Go on with a run that was interrupted.
    Resume => resume,
    /// Bring a database that was lost back as a standby.
    Rejoin => rejoin,
    /// Show earlier runs.
    History => history,
    /// Check a topology file and say all that is wrong with it.
    Validate => validate,
    /// Show what a deploy would change.
    Plan => plan,
    /// Make resources and hosts as the topology says.
    Deploy => deploy,
    /// Remove everything that deploy made, and nothing else.
    Destroy => destroy,
    /// Print the JSON Schema of topology files, for editors.
    Schema => schema,
    /// Print the script that makes a shell complete commands and options.
    Completions => completions,
    /// Say what is seen of everything, what follows from it and what to do.
    Status => status,
    /// Vote like many users, and account for every vote.
    Load => load,
    /// Run a playbook on the hosts; what is done already is found done.
    Run => run,
    /// Open a shell on a host, or run a command there.
    Ssh => ssh,
    /// Show the logs of hosts together.
    Logs => logs,
    /// Run PostgreSQL on this host and take orders for it (a daemon).
    Guard => guard,
    /// Watch everything from this host and fail over where that is automatic (a daemon).
    Watch => watch,
    /// Stop automatic action for a while; it ends by itself.
    Pause => pause,
    /// Allow the next automatic failover before the cooldown has ended.
    Acknowledge => acknowledge,
    /// Say what the watchers decided last, and why.
    Why => why,
    /// Make and configure the machine of one host, for a watcher that holds the lock.
    #[command(hide = true)]
    Rebuild => rebuild,
}

/// Runs a voting system in two regions and fails it over.
#[derive(Parser)]
#[command(
    name = "hafail",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(clap::Args)]
struct Global {
    /// The topology file.
    #[arg(
        short,
        long,
        global = true,
        env = "HAFAIL_TOPOLOGY",
        default_value = "topologies/two-regions.yaml",
        value_name = "FILE"
    )]
    topology: PathBuf,

    /// Directory for secrets and journals, one folder for each deployment
    /// [default: $XDG_DATA_HOME/hafail or ~/.local/share/hafail].
    #[arg(long, global = true, env = "HAFAIL_HOME", value_name = "DIR")]
    home: Option<PathBuf>,

    /// How results are written to standard output.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// Log more to standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// What every command has at hand.
pub struct Context {
    pub ui: Ui,
    /// The topology file as given.
    pub topology: PathBuf,
    /// Directory for secrets and journals.
    pub home: PathBuf,
    /// Cancelled by Ctrl-C, once somebody listens.
    interrupt: OnceLock<CancellationToken>,
}

/// Parses the arguments, runs the command, prints the error, if any, and
/// answers the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ui = Ui::new(arguments.global.output);
    ui::log_to_stderr(arguments.global.verbose);
    let context = Context {
        topology: arguments.global.topology,
        home: arguments.global.home.unwrap_or_else(default_home),
        ui,
        interrupt: OnceLock::new(),
    };
    let result = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(arguments.command.run(&context)),
        Err(error) => Err(CommandError::failed("cannot start the runtime", &error)),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            context.ui.error(&error);
            error.exit.into()
        }
    }
}

fn default_home() -> PathBuf {
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    base.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        home.join(".local/share")
    })
    .join("hafail")
}
