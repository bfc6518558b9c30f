//! `hafail plan`.

use super::{
    CommandError, Context, Exit,
    provisioning::{Provisioning, instances_of},
};
use crate::provision::render;

/// Arguments of `hafail plan`.
#[derive(clap::Args)]
pub struct Args {
    /// End with code 8 when anything would change, 0 when nothing would.
    #[arg(long)]
    detailed_exitcode: bool,

    /// Plan to remove this host's instance with its disk and make it anew,
    /// where it cannot be changed in place; repeatable.
    #[arg(long, value_name = "HOST")]
    replace: Vec<String>,
}

/// Shows what `deploy` would change in the cloud. Changes nothing.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let replace = instances_of(&topology, &args.replace)?;
    let look = Provisioning::look(context, &topology, false).await?;
    let changes = look.changes(&replace);
    let document = render::document(&topology.name, &changes, &look.found);
    context.ui.data(&render::text(&changes), &document);
    if args.detailed_exitcode && !changes.is_empty() {
        return Ok(Exit::Differs);
    }
    Ok(Exit::Success)
}
