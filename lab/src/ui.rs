//! What people see: progress on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows steps: a spinner on a terminal, a line each without one.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// A display for the process's standard error.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let bar = ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            started: Instant::now(),
        }
    }

    /// The step that begins now.
    pub fn step(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => line(text),
        }
    }

    /// The end of all steps.
    pub fn done(&self, text: &str) {
        let text = format!("{text} ({:.1} s)", self.started.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.finish_with_message(text),
            None => line(&text),
        }
    }
}

fn line(text: &str) {
    // Nobody reads standard error any more: nothing to be done about it.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints an error with all its causes.
pub fn error(error: &anyhow::Error) {
    line(&format!("error: {error:#}"));
}

/// Prints data for programs and people alike.
///
/// # Errors
/// When standard output is closed.
pub fn data(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
