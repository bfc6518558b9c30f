//! `hafail guard`.

use std::path::PathBuf;

use super::{CommandError, Context, Exit};
use crate::guard::{self, GuardConfig};

/// Arguments of `hafail guard`.
#[derive(clap::Args)]
pub struct Args {
    /// The guard's configuration, written at deploy.
    #[arg(long, default_value = "/etc/hafail/guard.json", value_name = "FILE")]
    config: PathBuf,

    /// Only check the configuration.
    #[arg(long)]
    check: bool,
}

/// Runs the guard until it is told to end. PostgreSQL goes on without it.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let config = GuardConfig::load(&args.config).map_err(|error| {
        CommandError::new(Exit::Invalid, "the guard's configuration cannot be used")
            .because(&error)
            .hint("run `hafail run deploy-guard` to write it anew")
    })?;
    if args.check {
        let line = format!("{} is valid", args.config.display());
        context.ui.data(&line, &serde_json::json!({"valid": true}));
        return Ok(Exit::Success);
    }
    guard::run(config).await.map_err(|error| {
        let hint = error.remedy();
        CommandError::failed("the guard cannot run", &error).hint(hint)
    })?;
    Ok(Exit::Success)
}
