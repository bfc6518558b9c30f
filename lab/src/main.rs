//! `hafail-lab`: a small AWS on one machine. See `lab/README.md`.

use std::process::ExitCode;

use clap::Parser;
use hafail_lab::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            hafail_lab::ui::error(&error);
            ExitCode::FAILURE
        }
    }
}
