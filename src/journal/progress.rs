//! The state of a run: the fold of its journal.

use std::sync::Arc;

use crate::{
    ids::{Epoch, Lsn, Timeline},
    plan::{Plan, Planned},
    ports::{records::ChangeId, store::RunId},
    step::Part,
};

use super::{Entry, Event, Fact, Outcome, Proof, RunStarted, WritesSeen};

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub run: RunId,
    pub plan: Arc<Plan>,
    pub shown: String,
    pub epoch: Epoch,
    pub started: String,
    pub phase: Phase,
    pub proof: Option<Proof>,
    pub facts: Facts,
    pub writes: Option<WritesSeen>,
    /// By number of the step − 1.
    steps: Vec<StepState>,
    next_sequence: u64,
}

/// Which way a run goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Doing,
    /// Going back, for this reason.
    Undoing {
        why: String,
    },
    /// The runner stopped; a resume goes on if the outcome is not final.
    Stopped {
        outcome: Outcome,
        undoing: bool,
    },
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    Pending,
    /// It may have had its effect or not.
    Started,
    Done,
    /// Failed, and may have had its effect.
    Failed,
    /// Failed, and surely had none.
    FailedCertainly,
    Undoing,
    Undone,
    UndoFailed,
}

impl StepState {
    /// The state's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Started => "started",
            Self::Done => "done",
            Self::Failed | Self::FailedCertainly => "failed",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo-failed",
        }
    }
}

/// What the steps found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub shutdown: Option<(Lsn, Timeline)>,
    pub equal: Option<Lsn>,
    pub promoting: Option<(Lsn, Timeline)>,
    pub promoted: Option<Timeline>,
    pub change: Option<ChangeId>,
    pub resolvers: Option<(usize, usize)>,
    pub rejoined_by: Option<String>,
}

/// An event that cannot come here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot come here: {why}")]
pub struct IllegalEvent {
    pub event: &'static str,
    pub why: String,
}

impl Progress {
    /// The state after the first entry.
    ///
    /// # Errors
    /// A first entry that does not start a run, or whose plan is not the one
    /// that was shown.
    pub fn begin(first: &Entry) -> Result<Self, IllegalEvent> {
        let Event::RunStarted(started) = &first.event else {
            return Err(illegal(
                &first.event,
                "a journal begins with the start of its run",
            ));
        };
        let RunStarted {
            run,
            plan,
            shown,
            epoch,
            ..
        } = started.as_ref();
        if &plan.digest() != shown {
            return Err(illegal(
                &first.event,
                "the plan is not the one that was shown",
            ));
        }
        Ok(Self {
            run: run.clone(),
            steps: vec![StepState::Pending; plan.steps.len()],
            plan: Arc::new(plan.clone()),
            shown: shown.clone(),
            epoch: *epoch,
            started: first.at.clone(),
            phase: Phase::Doing,
            proof: None,
            facts: Facts::default(),
            writes: None,
            next_sequence: 1,
        })
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// An entry that cannot come here; the state is then as before.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), IllegalEvent> {
        let event = &entry.event;
        if entry.sequence != self.next_sequence {
            return Err(illegal(event, &format!("its number is {}", entry.sequence)));
        }
        self.check(event).map_err(|why| illegal(event, &why))?;
        self.take(event);
        self.next_sequence += 1;
        Ok(())
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The state of a step.
    #[must_use]
    pub fn state(&self, step: usize) -> StepState {
        self.steps[step - 1]
    }

    /// The epoch of orders once it is settled whether the promotion was made,
    /// whichever way the run goes then: newer than that of the promotion, so
    /// that a late order of before is refused.
    #[must_use]
    pub fn undo_epoch(&self) -> Epoch {
        self.epoch.next()
    }

    /// The epoch of orders now.
    #[must_use]
    pub fn order_epoch(&self) -> Epoch {
        if self.plan.commit().is_some() && self.is_committed() {
            self.undo_epoch()
        } else {
            self.epoch
        }
    }

    /// The promotion was made, or the plan has none and began.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        match self.plan.commit() {
            Some(commit) => self.state(commit.number) == StepState::Done,
            None => true,
        }
    }

    /// The promotion may have been made.
    #[must_use]
    pub fn may_be_committed(&self) -> bool {
        self.plan.commit().is_none_or(|commit| {
            !matches!(
                self.state(commit.number),
                StepState::Pending | StepState::FailedCertainly
            )
        })
    }

    /// Steps that can start now.
    pub fn ready(&self) -> impl Iterator<Item = &Planned> {
        let waiting = |planned: &&Planned| {
            self.state(planned.number) != StepState::Done && self.may_start(planned).is_ok()
        };
        self.plan.steps.iter().filter(waiting)
    }

    /// Steps that are not done, in order.
    pub fn left(&self) -> impl Iterator<Item = &Planned> {
        let steps = self.plan.steps.iter();
        steps.filter(|planned| self.state(planned.number) != StepState::Done)
    }

    /// Steps to undo, last first.
    pub fn to_undo(&self) -> impl Iterator<Item = &Planned> {
        let touched = |planned: &&Planned| {
            !matches!(
                self.state(planned.number),
                StepState::Pending | StepState::Undone
            )
        };
        self.plan.part(Part::Reversible).rev().filter(touched)
    }

    fn may_start(&self, planned: &Planned) -> Result<(), String> {
        let done = |number: &usize| self.state(*number) == StepState::Done;
        if let Some(open) = planned.after.iter().find(|number| !done(number)) {
            return Err(format!("step {open} must be done before"));
        }
        match planned.part {
            Part::Reversible => Ok(()),
            Part::Commit if !self.plan.part(Part::Reversible).all(|p| done(&p.number)) => {
                Err("there are reversible steps left".to_owned())
            }
            Part::Commit if self.proof.is_none() => Err("there is no fencing proof".to_owned()),
            Part::Commit => Ok(()),
            Part::Forward if !self.is_committed() => Err("nothing was promoted".to_owned()),
            Part::Forward => Ok(()),
        }
    }

    fn check(&self, event: &Event) -> Result<(), String> {
        let doing = matches!(self.phase, Phase::Doing);
        let undoing = matches!(self.phase, Phase::Undoing { .. });
        let expect = |fine: bool, why: &str| if fine { Ok(()) } else { Err(why.to_owned()) };
        let is = |step: usize, state: StepState| {
            let now = self.steps.get(step.wrapping_sub(1)).copied();
            expect(now == Some(state), &format!("step {step} is {now:?}"))
        };
        match event {
            Event::RunStarted(_) => Err("the run has started".to_owned()),
            Event::Resumed { .. } => expect(!self.is_final(), "the run has ended"),
            Event::StepStarted { step } => {
                expect(doing, "the run does not go forward")?;
                let planned = self.plan.step(*step).ok_or("there is no such step")?;
                expect(self.state(*step) != StepState::Done, "the step is done")?;
                self.may_start(planned)
            }
            Event::ProofRecorded(_) => {
                expect(doing, "the run does not go forward")?;
                expect(!self.may_be_committed(), "the promotion began without it")
            }
            Event::StepDone { step, .. } | Event::StepFailed { step, .. } => {
                expect(doing, "the run does not go forward")?;
                is(*step, StepState::Started)
            }
            Event::UndoBegun { .. } => {
                expect(doing, "the run does not go forward")?;
                expect(!self.may_be_committed(), "the promotion may have been made")
            }
            Event::UndoStarted { step } => {
                expect(undoing, "the run does not go back")?;
                let known = self.to_undo().any(|planned| planned.number == *step);
                expect(known, "there is nothing to undo")
            }
            Event::UndoDone { step, .. } | Event::UndoFailed { step, .. } => {
                is(*step, StepState::Undoing)
            }
            Event::WritesSeen(_) => Ok(()),
            Event::Stopped { outcome, .. } => self.may_stop(*outcome),
        }
    }

    fn may_stop(&self, outcome: Outcome) -> Result<(), String> {
        if self.is_final() {
            return Err("the run has ended".to_owned());
        }
        match outcome {
            Outcome::Succeeded if self.left().next().is_some() => Err("steps are left".to_owned()),
            Outcome::Unwound if self.to_undo().next().is_some() => {
                Err("steps are left to undo".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Nobody goes on with the run.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(&self.phase, Phase::Stopped { outcome, .. } if outcome.is_final())
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::RunStarted(_) => {}
            Event::Resumed { .. } => self.resume(),
            Event::StepStarted { step } => self.set(*step, StepState::Started),
            Event::ProofRecorded(proof) => self.proof = Some(proof.clone()),
            Event::StepDone { step, facts, .. } => {
                self.set(*step, StepState::Done);
                facts.iter().for_each(|fact| self.facts.learn(fact));
            }
            Event::StepFailed {
                step,
                certain: true,
                ..
            } => {
                self.set(*step, StepState::FailedCertainly);
            }
            Event::StepFailed { step, .. } => self.set(*step, StepState::Failed),
            Event::UndoBegun { why } => self.phase = Phase::Undoing { why: why.clone() },
            Event::UndoStarted { step } => self.set(*step, StepState::Undoing),
            Event::UndoDone { step, .. } => self.set(*step, StepState::Undone),
            Event::UndoFailed { step, .. } => self.set(*step, StepState::UndoFailed),
            Event::WritesSeen(seen) => self.writes = Some(seen.clone()),
            Event::Stopped { outcome, .. } => {
                let undoing = matches!(self.phase, Phase::Undoing { .. });
                self.phase = Phase::Stopped {
                    outcome: *outcome,
                    undoing,
                };
            }
        }
    }

    /// What was proved may have become untrue while nobody looked.
    fn resume(&mut self) {
        if let Phase::Stopped { undoing, .. } = self.phase {
            self.phase = if undoing {
                Phase::Undoing {
                    why: "the run was going back when it stopped".to_owned(),
                }
            } else {
                Phase::Doing
            };
        }
        if self.may_be_committed() || self.phase != Phase::Doing {
            return;
        }
        for planned in &self.plan.steps {
            let state = &mut self.steps[planned.number - 1];
            if planned.step.goes_stale() && *state == StepState::Done {
                // To be done again, and undone where the run goes back first.
                *state = StepState::Started;
                self.proof = None;
            }
        }
    }

    fn set(&mut self, step: usize, state: StepState) {
        self.steps[step - 1] = state;
    }
}

impl Facts {
    fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::Shutdown { end, timeline } => self.shutdown = Some((*end, *timeline)),
            Fact::Equal { end } => self.equal = Some(*end),
            Fact::Promoting { received, timeline } => self.promoting = Some((*received, *timeline)),
            Fact::Promoted { timeline } => self.promoted = Some(*timeline),
            Fact::Changed { change } => self.change = Some(change.clone()),
            Fact::Resolvers { asked, moved } => self.resolvers = Some((*asked, *moved)),
            // For the report only.
            Fact::Followed { .. } => {}
            Fact::RejoinedBy { way } => self.rejoined_by = Some(way.clone()),
        }
    }
}

fn illegal(event: &Event, why: &str) -> IllegalEvent {
    IllegalEvent {
        event: event.word(),
        why: why.to_owned(),
    }
}
