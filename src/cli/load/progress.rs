//! What is shown while a load runs.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    cli::Ui,
    load::{account::{Answer, Sent}, words::Tally},
};

/// Time from one line to the next where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A bar on a terminal; elsewhere a line now and then, and one at the first
/// acceptance.
pub struct Progress<'a> {
    ui: &'a Ui,
    bar: Option<ProgressBar>,
    start: Instant,
    last_line: Instant,
    tally: Tally,
}

impl<'a> Progress<'a> {
    pub fn new(ui: &'a Ui, limit: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            ui,
            bar: ui.interactive.then(|| bar(limit)),
            start: now,
            last_line: now,
            tally: Tally::default(),
        }
    }

    /// One more has ended.
    pub fn ended(&mut self, sent: &Sent) {
        let first = self.tally.accepted == 0 && sent.answer == Answer::Accepted;
        self.tally.count(sent);
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.tally.sent);
                bar.set_message(self.tally.to_string());
            }
            None if first || self.last_line.elapsed() >= LINE_EVERY => self.line(),
            None => {}
        }
    }

    fn line(&mut self) {
        self.last_line = Instant::now();
        let seconds = self.start.elapsed().as_secs_f64();
        self.ui.status(&format!("{seconds:.1} s: {}", self.tally));
    }

    /// All are out.
    pub fn finish(mut self) {
        match self.bar.take() {
            Some(bar) => bar.finish_and_clear(),
            None => self.line(),
        }
    }
}

fn bar(limit: Option<u64>) -> ProgressBar {
    let (bar, template) = match limit {
        Some(limit) => (ProgressBar::new(limit), "{elapsed_precise} {bar:30} {msg}"),
        None => (ProgressBar::new_spinner(), "{elapsed_precise} {spinner} {msg}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.with_style(ProgressStyle::with_template(template).expect("the template is valid"))
}
