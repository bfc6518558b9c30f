//! The one owner of standard output and standard error: data to the first,
//! everything else to the second.

use std::io::{IsTerminal, Write};

use owo_colors::{OwoColorize, Stream::Stderr};
use serde::Serialize;

use super::CommandError;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document, for programs; fields are only ever added.
    Json,
}

/// Writes to the user.
pub struct Ui {
    pub output: Output,
    /// Progress bars and questions make sense.
    pub interactive: bool,
}

impl Ui {
    #[must_use]
    pub fn new(output: Output) -> Self {
        let interactive = std::io::stderr().is_terminal() && std::io::stdin().is_terminal();
        Self {
            output,
            interactive,
        }
    }

    /// Writes a result: `text` for people, `value` for programs.
    pub fn data(&self, text: &str, value: &impl Serialize) {
        let rendered = match self.output {
            Output::Text => text.trim_end().to_owned(),
            Output::Json => serde_json::to_string_pretty(value)
                .expect("results are plain data with string keys"),
        };
        // A reader that has gone away (`| head`) is no error of ours.
        let _ = writeln!(std::io::stdout(), "{rendered}");
    }

    /// One line on what happens now.
    pub fn status(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Something the user should know.
    pub fn warning(&self, line: &str) {
        let label = "warning:".if_supports_color(Stderr, |text| text.yellow());
        let _ = writeln!(std::io::stderr(), "{label} {line}");
    }

    /// Prints an error with its causes and hints.
    pub fn error(&self, error: &CommandError) {
        let mut err = std::io::stderr().lock();
        let label = "error:".if_supports_color(Stderr, |text| text.red());
        let _ = writeln!(err, "{label} {}", error.message);
        for cause in &error.causes {
            let _ = writeln!(err, "  caused by: {cause}");
        }
        for hint in &error.hints {
            let label = "hint:".if_supports_color(Stderr, |text| text.cyan());
            let _ = writeln!(err, "{label} {hint}");
        }
        drop(err);
        if self.output == Output::Json {
            self.error_document(error);
        }
    }

    fn error_document(&self, error: &CommandError) {
        let document = serde_json::json!({
            "error": {
                "id": error.id,
                "exit_code": error.exit.code(),
                "message": error.message,
                "causes": error.causes,
                "hints": error.hints,
                "details": error.details,
            }
        });
        let _ = writeln!(std::io::stdout(), "{document:#}");
    }
}

/// Sends the program's log to standard error: warnings, or more with `-v`.
pub fn log_to_stderr(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let level = ["hafail=warn", "hafail=info", "hafail=debug,info"][usize::from(verbose.min(2))];
    let filter = EnvFilter::try_from_env("HAFAIL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
