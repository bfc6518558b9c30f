//! `hafail resume`.

use super::{CommandError, Context, Exit, operating::Desk};

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
    // A run about databases that were destroyed since must not go on.
    let unfinished = desk.look().await?.past.unfinished;
    let Some(run) = unfinished else {
        context.ui.status("nothing to resume: every run has ended");
        return Ok(Exit::Success);
    };
    desk.resume(&run, args.abandon).await
}
