//! `hafail validate`.

mod summary;

use std::path::PathBuf;

use super::{CommandError, Context, Exit};
use crate::adapters::secrets::ThisMachine;

/// Arguments of `hafail validate`.
#[derive(clap::Args)]
pub struct Args {
    /// The topology file [default: that of --topology].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Do not look for the files and variables that secrets come from, as for
    /// a check where they are not at hand.
    #[arg(long)]
    without_secrets: bool,
}

/// Reads the topology and reports all that is wrong, or what it means.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let file = args.file.as_deref().unwrap_or(&context.topology);
    let mut reading = super::inputs::read(file)?;
    if !args.without_secrets {
        reading.look_around(&ThisMachine);
    }
    let problems = reading.problems;
    if !problems.problems.is_empty() {
        context.ui.status(&problems.render());
    }
    let Some(topology) = reading.topology else {
        return Err(problems.into());
    };
    let text = format!(
        "{} is valid.\n\n{}",
        problems.file,
        summary::of(&topology)
    );
    let document = serde_json::json!({
        "valid": true,
        "file": problems.file,
        "problems": problems.problems,
        "topology": topology,
    });
    context.ui.data(&text, &document);
    Ok(Exit::Success)
}
