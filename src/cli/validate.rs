//! `hafail validate`.

use super::{CommandError, Context, Exit};

/// Arguments of `hafail validate`.
#[derive(clap::Args)]
pub struct Args {}

/// Reads the topology and reports.
pub async fn run(_context: &Context, _args: Args) -> Result<Exit, CommandError> {
    Err(CommandError::new(Exit::Failed, "not built yet"))
}
