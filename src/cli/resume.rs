//! `hafail resume`.

use super::{CommandError, Context, Exit, lock::Lock, operating::Desk};

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
    let ground = desk.look().await?;
    let Some(run) = ground.past.unfinished else {
        if !ground.snapshot.clusters().is_empty() {
            // Its journal ends here, so that it keeps no deploy out.
            let lock = Lock::take(context, &desk.topology, "resume").await?;
            if let Some(stale) = lock.unfinished().await? {
                lock.bury(&stale).await?;
            }
        }
        context.ui.status("nothing to resume: every run has ended");
        return Ok(Exit::Success);
    };
    desk.resume(&run, args.abandon).await
}
