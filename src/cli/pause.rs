//! `hafail pause`.

use std::time::Duration;

use super::{CommandError, Context, Exit, operating, world::duration};
use crate::{adapters::clock, coordination::Pause};

/// Arguments of `hafail pause`.
#[derive(clap::Args)]
pub struct Args {
    /// How long, such as 30m; the pause ends by itself.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, required_unless_present = "end")]
    time: Option<Duration>,

    /// Why, for whoever looks.
    #[arg(long, value_name = "WHY", required_unless_present = "end")]
    why: Option<String>,

    /// End the pause now.
    #[arg(long, conflicts_with_all = ["time", "why"])]
    end: bool,
}

/// The store takes a pause as a lease, which has an end.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Stops automatic action for a while. Runs by hand go on as ever.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let shared = operating::shared(context, &topology).await?;
    if args.end {
        let ended = shared.end_pause().await?;
        let text = match &ended {
            Some(pause) => format!("ended the pause of {}: {}", pause.by, pause.why),
            None => "there is no pause".to_owned(),
        };
        context.ui.data(&text, &serde_json::json!({ "ended": ended }));
        return Ok(Exit::Success);
    }
    let (Some(time), Some(why)) = (args.time, args.why) else {
        unreachable!("required unless --end is given");
    };
    if time > LONGEST || time < Duration::from_secs(1) {
        return Err(CommandError::new(Exit::Usage, "a pause takes between 1 s and 7 days")
            .hint("hafail pause --for 30m --why \"what is being done\""));
    }
    let who = operating::who();
    let pause = Pause {
        why,
        by: format!("{}@{}", who.operator, who.machine),
        until: clock::wall_after(time),
    };
    shared.pause(&pause, time).await?;
    let text = format!("nothing is done automatically until {}: {}", pause.until, pause.why);
    context.ui.data(&text, &serde_json::json!({ "pause": pause }));
    Ok(Exit::Success)
}
