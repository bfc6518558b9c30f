//! What journals say of runs, and whether runs did what they had shown.

use crate::{
    ids::HostName,
    journal::{Entry, Event, Outcome, Phase, parse, replay},
    order::Order,
    plan::{Kind, Plan},
    ports::store::RunId,
    step::Step,
};

use super::super::{Core, store::describe, watcher};
use super::Ledger;

/// A run as its journal tells it.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// It recorded a proof that the old primary writes no more.
    pub proof: bool,
    plan: Option<Plan>,
}

impl Run {
    pub(super) fn is_switchover(&self) -> bool {
        let plan = self.plan.as_ref();
        plan.is_some_and(|plan| plan.kind == Kind::Switchover)
    }
}

/// Whether the checker needs to know what a line of a journal says.
pub(in crate::sim) fn is_heeded(line: &str) -> bool {
    line.contains("run-started") || line.contains("proof-recorded")
}

impl Core {
    /// The checker and the story hear of a record.
    pub(in crate::sim) fn note_entry(&mut self, run: &RunId, entry: &Entry) {
        match &entry.event {
            Event::RunStarted(started) => {
                if started.plan.digest() != started.shown {
                    let what = format!("{run} does not run the plan {}", started.shown);
                    let ledger = &mut self.state.ledger;
                    ledger.violated("plan_shown_is_plan_run", what);
                }
                if self.state.settings.observe && started.operator == watcher::OPERATOR {
                    let what = format!("{run} is a watcher's");
                    self.state.ledger.violated("observers_do_nothing", what);
                }
                self.state.has_evidence(started, self.now());
                let runs = &mut self.state.ledger.runs;
                runs.entry(run.to_string()).or_default().plan = Some(started.plan.clone());
            }
            Event::ProofRecorded(_) => {
                let runs = &mut self.state.ledger.runs;
                runs.entry(run.to_string()).or_default().proof = true;
            }
            _ => {}
        }
        self.tell(|| format!("journal of {run}: {}", describe(&entry.event)));
    }
}

impl Ledger {
    /// No run gave an order that its plan does not stand for.
    pub(in crate::sim) fn orders_are_of_plans(&mut self) {
        let strange = self.orders.iter().find(|(host, request)| {
            let run = self.runs.get(&request.run);
            let plan = run.and_then(|run| run.plan.as_ref());
            plan.is_some_and(|plan| !stands_for(plan, host, &request.order))
        });
        if let Some((host, request)) = strange {
            let what = format!("{}: {:?} to {host}", request.run, request.order);
            self.violated("plan_shown_is_plan_run", what);
        }
    }

    /// A run, however often it was broken off and gone on with, left a journal
    /// that is a possible one, and either did all of its plan or says what is
    /// left.
    pub(in crate::sim) fn has_run(&mut self, run: &RunId, lines: &[String]) {
        if let Err(why) = is_whole(run, lines) {
            self.violated("resume_equals_unbroken_run", format!("{run}: {why}"));
        }
    }
}

fn is_whole(run: &RunId, lines: &[String]) -> Result<(), String> {
    let entries = parse(run, lines).map_err(|error| error.to_string())?;
    let progress = replay(run, &entries).map_err(|error| error.to_string())?;
    let Phase::Stopped { outcome, undoing } = progress.phase else {
        return Ok(());
    };
    let remains = if undoing {
        progress.to_undo().count()
    } else {
        progress.left().count()
    };
    let told = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Stopped { left, .. } => Some(left.len()),
        _ => None,
    });
    let word = outcome.word();
    match outcome {
        Outcome::Succeeded if undoing || remains > 0 => {
            Err(format!("{word}, and {remains} steps are left"))
        }
        Outcome::Unwound if remains > 0 => Err(format!("{word}, and {remains} are not undone")),
        _ if told != Some(remains) => {
            Err(format!("{word}, {remains} steps are left, told: {told:?}"))
        }
        _ => Ok(()),
    }
}

/// Whether the plan, done or undone, gives that order. A claim changes
/// nothing: it settles what became of a promotion.
fn stands_for(plan: &Plan, host: &HostName, order: &Order) -> bool {
    let mut steps = plan.steps.iter();
    let claims = *order == Order::Claim && (host == &plan.old || host == &plan.new);
    claims || steps.any(|planned| step_gives(&planned.step, host, order))
}

fn step_gives(step: &Step, to: &HostName, order: &Order) -> bool {
    match (step, order) {
        (Step::Claim { host }, Order::Claim)
        | (Step::Prepare { host }, Order::Checkpoint)
        | (Step::Promote { host, .. }, Order::Promote { .. })
        // Undone, it serves again, or follows where it cannot.
        | (
            Step::Demote { host } | Step::Fence { host, .. },
            Order::Demote { .. } | Order::Resume { .. } | Order::Follow { .. },
        ) => host == to,
        (
            Step::SetSynchronous { host, standbys },
            Order::Synchronous { standbys: ordered },
        ) => host == to && standbys == ordered,
        (Step::Follow { host, upstream }, Order::Follow { upstream: ordered })
        | (
            Step::Rejoin { host, upstream },
            Order::Rewind { upstream: ordered } | Order::Reclone { upstream: ordered },
        ) => host == to && upstream == ordered,
        _ => false,
    }
}
