//! `hafail rejoin`.

use std::time::Duration;

use super::{CommandError, Context, Exit, operating::{Desk, Shown}};
use crate::decide::Reason;

/// How long a machine that boots is waited for.
const BOOT: Duration = Duration::from_secs(120);

/// Arguments of `hafail rejoin`.
#[derive(clap::Args)]
pub struct Args {
    /// The database host that comes back, such as site1-db.
    host: String,

    /// Show the plan and do nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask before running the plan.
    #[arg(short, long)]
    yes: bool,
}

/// Makes a database that was lost a standby again: by rewind, else by a copy
/// into a new directory.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let desk = Desk::open(context, context.topology()?).await?;
    let start = desk.clock().now();
    let (ground, plan) = loop {
        let ground = desk.look().await?;
        match ground.rejoin(&desk.topology, &args.host) {
            Ok(plan) => break (ground, plan),
            // A region that comes back takes its time to boot.
            Err(refusal)
                if refusal.reason == Reason::HostUnknown
                    && ground.may_boot(&args.host)
                    && desk.clock().now() < start + BOOT =>
            {
                context.ui.status(&format!("waiting for {} to boot: {}", args.host, refusal.message));
                desk.clock().sleep(Duration::from_secs(1)).await;
            }
            Err(refusal) => return Err(refusal.into()),
        }
    };
    match desk.show(&plan, args.dry_run, args.yes)? {
        Shown::Only => Ok(Exit::Success),
        Shown::Declined => Ok(Exit::Interrupted),
        Shown::Approved(digest) => desk.start(&ground, plan, &digest).await,
    }
}
