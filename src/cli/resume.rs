//! `hafail resume`.

use super::{CommandError, Context, Exit, operating::Desk};
use crate::history::journals;

/// Arguments of `hafail resume`.
#[derive(clap::Args)]
pub struct Args {
    /// Give the run up: undone where that is still possible, else left as it is.
    #[arg(long)]
    abandon: bool,
}

/// Goes on with the run that has not ended.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let desk = Desk::open(context, context.topology()?).await?;
    let all = journals(&desk.store).await?;
    let mut unfinished = None;
    for (run, entries) in &all {
        if !crate::journal::replay(run, entries).map_err(crate::history::HistoryError::from)?.is_final() {
            unfinished = Some(run.clone());
        }
    }
    let Some(run) = unfinished else {
        context.ui.status("nothing to resume: every run has ended");
        return Ok(Exit::Success);
    };
    desk.resume(&run, args.abandon).await
}
