//! `hafail plan`.

use std::path::PathBuf;

use super::{
    CommandError, Context, Exit,
    preview::{Preview, Wish},
    provisioning::instances_of,
};

/// Arguments of `hafail plan`.
#[derive(clap::Args)]
pub struct Args {
    /// End with code 8 when anything would change or a host could not be
    /// looked at, 0 when nothing would change.
    #[arg(long)]
    detailed_exitcode: bool,

    /// Look at the resources in the cloud alone, and not at the hosts.
    #[arg(long, visible_alias = "provision-only")]
    resources_only: bool,

    /// Plan to remove this host's instance with its disk and make it anew;
    /// repeatable.
    #[arg(long, value_name = "HOST")]
    replace: Vec<String>,

    /// Directory of playbooks [default: `playbooks` here or beside the
    /// topology, else those of the program].
    #[arg(long, value_name = "DIR")]
    playbooks: Option<PathBuf>,

    /// The hafail program that database hosts get [default: this one].
    #[arg(long, value_name = "FILE")]
    agent_binary: Option<PathBuf>,
}

/// Shows what `deploy` would change in the cloud and on hosts. Changes
/// nothing.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let replace = instances_of(&topology, &args.replace)?;
    let wish = Wish {
        replace: &replace,
        resources_only: args.resources_only,
        playbooks: args.playbooks.as_deref(),
        agent_binary: args.agent_binary.as_deref(),
    };
    let preview = Preview::look(context, &topology, &wish).await?;
    preview.show(context);
    if args.detailed_exitcode && preview.differs() {
        return Ok(Exit::Differs);
    }
    Ok(Exit::Success)
}
