//! `hafail acknowledge`.

use super::{CommandError, Context, Exit, operating};

/// Arguments of `hafail acknowledge`.
#[derive(clap::Args)]
pub struct Args {}

/// Allows the next automatic failover before the cooldown has ended.
pub async fn run(context: &Context, _: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let shared = operating::shared(context, &topology).await?;
    let found = shared.acknowledge().await?;
    let text = match &found {
        Some(cooldown) => format!(
            "acknowledged run {} of {}: the next failover may be automatic again",
            cooldown.run, cooldown.since
        ),
        None => "there is nothing to acknowledge".to_owned(),
    };
    context.ui.data(&text, &serde_json::json!({ "acknowledged": found }));
    Ok(Exit::Success)
}
