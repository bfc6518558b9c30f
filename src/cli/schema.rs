//! `hafail schema`.

use super::{CommandError, Context, Exit};

/// Arguments of `hafail schema`.
#[derive(clap::Args)]
pub struct Args {}

/// Prints the JSON Schema of topology files.
pub async fn run(context: &Context, _: Args) -> Result<Exit, CommandError> {
    let text = crate::topology::schema();
    let value: serde_json::Value = serde_json::from_str(&text).expect("it was written as JSON");
    context.ui.data(&text, &value);
    Ok(Exit::Success)
}
