//! Shows what hosts do while they do it: a line for each on a terminal, a line
//! for each change otherwise.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::Ui;
use crate::{
    configure::{Event, Outcome, StepEnded},
    ids::HostName,
};

/// The state of what is shown.
pub(super) struct Progress<'a> {
    ui: &'a Ui,
    /// Bars alone, no lines.
    quiet: bool,
    dry_run: bool,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bars: BTreeMap<HostName, ProgressBar>,
    /// What each host is changing now.
    steps: BTreeMap<HostName, String>,
    play: Option<String>,
    changed: usize,
}

impl<'a> Progress<'a> {
    pub(super) fn new(ui: &'a Ui, quiet: bool, dry_run: bool) -> Self {
        Self {
            ui,
            quiet,
            dry_run,
            bars: MultiProgress::new(),
            state: Mutex::default(),
        }
    }

    /// Shows one event.
    pub(super) fn tell(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::PlayStarted { play, hosts } => {
                self.line(play);
                state.play = Some(play.clone());
                for host in hosts {
                    self.show(&mut state, host, "looking");
                }
            }
            Event::StepStarted { host, step } => {
                state.steps.insert(host.clone(), step.clone());
                self.show(&mut state, host, step);
            }
            Event::StepEnded(ended) => {
                state.steps.remove(&ended.host);
                state.changed += usize::from(matches!(ended.outcome, Outcome::Changed { .. }));
                if let Some(text) = text(ended, self.dry_run) {
                    self.line(&text);
                }
            }
            Event::PlayEnded { .. } => {
                for (_, bar) in std::mem::take(&mut state.bars) {
                    bar.finish_and_clear();
                }
            }
        }
    }

    /// What hosts were changing when nobody waited any longer.
    pub(super) fn in_flight(&self) -> BTreeMap<HostName, String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.steps.clone()
    }

    /// How far it came, in a few words.
    pub(super) fn reached(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&state.play, state.changed) {
            (None, _) => "before anything was done on hosts".to_owned(),
            (Some(play), 0) => format!("in `{play}`, before any step changed a host"),
            (Some(play), 1) => format!("in `{play}`, after 1 step that changed a host"),
            (Some(play), many) => format!("in `{play}`, after {many} steps that changed hosts"),
        }
    }

    pub(super) fn finish(&self) {
        let _ = self.bars.clear();
    }

    fn show(&self, state: &mut State, host: &HostName, what: &str) {
        if !self.ui.interactive {
            return;
        }
        let bar = state.bars.entry(host.clone()).or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("  {spinner} {prefix:16} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(host.to_string());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(what.to_owned());
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            self.bars.suspend(|| self.ui.status(text));
        }
    }
}

/// What is said of a step; nothing where nothing was to do.
fn text(ended: &StepEnded, dry_run: bool) -> Option<String> {
    let StepEnded {
        host, step, took, ..
    } = ended;
    let indented = |text: &str| {
        let lines = text.lines().map(|line| format!("\n      {line}"));
        lines.collect::<String>()
    };
    match &ended.outcome {
        Outcome::Ok {
            output: Some(output),
        } => Some(format!("  {host}: {step}{}", indented(output))),
        Outcome::Ok { output: None } | Outcome::Skipped { .. } | Outcome::Untold { .. } => None,
        Outcome::Changed { what, diff } => {
            let what = what.lines().next().unwrap_or_default();
            let why = if what.is_empty() {
                String::new()
            } else {
                format!(" ({what})")
            };
            let time = if *took < Duration::from_millis(50) {
                String::new()
            } else {
                format!(" {:.1} s", took.as_secs_f64())
            };
            let diff = diff.as_deref().map(indented).unwrap_or_default();
            let word = if dry_run { "would change" } else { "changed" };
            Some(format!("  {host}: {word} {step}{why}{time}{diff}"))
        }
        Outcome::Failed { why, .. } => Some(format!("  {host}: FAILED {step}{}", indented(why))),
    }
}
