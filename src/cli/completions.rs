//! `hafail completions`.

use clap::CommandFactory;

use super::{CommandError, Context, Exit};

/// Arguments of `hafail completions`.
#[derive(clap::Args)]
pub struct Args {
    /// The shell to complete for.
    shell: clap_complete::Shell,
}

/// Prints the script that makes the shell complete commands and options.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(args.shell, &mut command, "hafail", &mut script);
    let script = String::from_utf8_lossy(&script);
    let value = serde_json::json!({ "shell": args.shell.to_string(), "script": script });
    context.ui.data(&script, &value);
    Ok(Exit::Success)
}
