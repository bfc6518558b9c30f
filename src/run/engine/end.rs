//! How a run ends, and what is left of it.

use crate::journal::{Event, Outcome, Phase};

use super::{
    super::{Ran, RunError},
    Engine,
};

impl Engine<'_> {
    pub(super) async fn stop(self) -> Result<Ran, RunError> {
        let (outcome, why) = self.verdict();
        self.end(outcome, why).await
    }

    fn verdict(&self) -> (Outcome, String) {
        if self.superseded {
            return (Outcome::Superseded, "a newer run has been there".to_owned());
        }
        if let Phase::Undoing { why } = &self.progress.phase {
            let undone = self.progress.to_undo().next().is_none();
            let outcome = if undone {
                Outcome::Unwound
            } else {
                Outcome::Stuck
            };
            return (outcome, why.clone());
        }
        if self.progress.left().next().is_none() {
            return (Outcome::Succeeded, "all steps are done".to_owned());
        }
        if self.failed.is_none() && self.runner.interrupt.is_set() {
            return (Outcome::Interrupted, "interrupted".to_owned());
        }
        let why = self.failed.clone().unwrap_or_else(|| self.last_failure());
        (Outcome::Stuck, why)
    }

    fn last_failure(&self) -> String {
        let failure = self
            .entries
            .iter()
            .rev()
            .find_map(|entry| match &entry.event {
                Event::StepFailed { why, .. } => Some(why.clone()),
                _ => None,
            });
        failure.unwrap_or_else(|| "steps are left".to_owned())
    }

    pub(super) async fn end(mut self, outcome: Outcome, why: String) -> Result<Ran, RunError> {
        let undoing = matches!(self.progress.phase, Phase::Undoing { .. });
        let left = if undoing {
            self.progress
                .to_undo()
                .map(|planned| format!("undo: {}", planned.step))
                .collect()
        } else {
            self.progress
                .left()
                .map(|planned| planned.step.to_string())
                .collect()
        };
        self.record(Event::Stopped { outcome, why, left })?;
        self.flush().await?;
        Ok(Ran {
            outcome,
            entries: self.entries,
        })
    }
}
