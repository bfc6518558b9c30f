//! `hafail run`.

use std::path::PathBuf;

use super::{
    CommandError, Context, Exit,
    lock::Lock,
    playbooks::{self, Job},
};
use crate::{
    configure::Options,
    ids::{HostName, SiteName},
    inventory::Inventory,
};

/// Arguments of `hafail run`.
#[derive(clap::Args)]
pub struct Args {
    /// A playbook by name, such as `deploy-redis`, or a file; without, all
    /// playbooks are listed.
    playbook: Option<String>,

    /// Only the hosts of this site; may be repeated.
    #[arg(long, value_name = "SITE")]
    site: Vec<SiteName>,

    /// Only this host; may be repeated.
    #[arg(long, value_name = "HOST")]
    host: Vec<HostName>,

    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// A value for `vars` in the playbook, as KEY=VALUE; may be repeated.
    #[arg(long = "var", value_name = "KEY=VALUE", value_parser = variable)]
    vars: Vec<(String, String)>,

    /// Directory of playbooks [default: `playbooks` here or beside the
    /// topology, else those of the program].
    #[arg(long, value_name = "DIR")]
    playbooks: Option<PathBuf>,

    /// The hafail program that database hosts get [default: this one].
    #[arg(long, value_name = "FILE")]
    agent_binary: Option<PathBuf>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Runs one playbook.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let Some(playbook) = args.playbook else {
        return playbooks::list(context, args.playbooks.as_deref());
    };
    let topology = context.topology()?;
    let vars = args.vars.into_iter();
    let job = Job {
        playbook: &playbook,
        playbooks: args.playbooks.as_deref(),
        agent_binary: args.agent_binary.as_deref(),
        vars: vars.map(|(name, value)| (name, value.into())).collect(),
        options: Options {
            dry_run: args.dry_run,
            more_would_change: false,
            sites: args.site,
            hosts: args.host,
        },
        assumed: Inventory::default(),
        quiet: false,
    };
    let dry_run = job.options.dry_run;
    // Looking at logs must be possible while a failover runs.
    let _lock = if dry_run || playbooks::only_looks(context, &job)? {
        None
    } else {
        let what = format!("run {playbook}");
        let lock = Lock::take(context, &topology, &what).await?;
        lock.refuse_unfinished(&format!("the playbook {playbook}")).await?;
        Some(lock)
    };
    let found = context.find_hosts(&topology).await;
    let vault = if dry_run {
        context.vault_as_it_is(&topology)?
    } else {
        context.vault(&topology)?
    };
    let report = playbooks::run(context, &topology, &vault, &found, job).await?;
    playbooks::show(context, &report);
    playbooks::outcome(&report)
}
