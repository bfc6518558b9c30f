//! The engine: starts what is ready, journals before and after, turns back or
//! stops where it must.

mod end;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{Either, pending, select},
    stream::FuturesUnordered,
    try_join,
};

use crate::{
    journal::{Entry, Event, Outcome, Phase, Progress, StepState},
    plan::Planned,
    step::{Part, Step},
};

use super::{
    Ran, RunError, Runner,
    context::{Context, Done, Failure},
    outage::Outage,
    perform::perform,
    undo::undo,
};

/// How long the second guard is waited for when one has answered: more than
/// the way between two regions and back.
const SECOND_GUARD: Duration = Duration::from_millis(300);

/// A run in the hands of a runner.
pub(super) struct Engine<'a> {
    runner: &'a Runner<'a>,
    progress: Progress,
    entries: Vec<Entry>,
    /// Entries from here on are not durable yet.
    durable: usize,
    current: Arc<Mutex<Option<Duration>>>,
    outage: Arc<Outage>,
    superseded: bool,
    /// Why reversible steps ended; the way is back then.
    failed: Option<String>,
}

impl<'a> Engine<'a> {
    pub fn new(runner: &'a Runner<'a>, progress: Progress, entries: Vec<Entry>) -> Self {
        Self {
            runner,
            progress,
            durable: entries.len(),
            entries,
            current: Arc::default(),
            outage: Arc::new(Outage::new(runner.world.clock.now())),
            superseded: false,
            failed: None,
        }
    }

    /// Notes the first entry.
    pub fn begin(&mut self, first: Entry) {
        self.entries.push(first);
    }

    /// Notes an event; durable with the next [`Engine::flush`], which comes
    /// before any effect.
    pub fn record(&mut self, event: Event) -> Result<(), RunError> {
        let entry = Entry {
            sequence: self.progress.next_sequence(),
            at: self.runner.world.clock.wall(),
            event,
        };
        self.progress.apply(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), RunError> {
        let fresh = &self.entries[self.durable..];
        if fresh.is_empty() {
            return Ok(());
        }
        let line = |entry: &Entry| {
            serde_json::to_string(entry).expect("an entry is plain data with string keys")
        };
        let lines: Vec<_> = fresh.iter().map(line).collect();
        self.runner.store.append(&self.progress.run, &lines).await?;
        for entry in fresh {
            self.runner.observer.entry(entry, &self.progress);
        }
        self.durable = self.entries.len();
        Ok(())
    }

    /// Goes on to an end, or as far as it goes, while a client measures.
    pub async fn drive(mut self) -> Result<Ran, RunError> {
        let world = self.runner.world;
        let outage = Arc::clone(&self.outage);
        let site = self.progress.plan.to.clone();
        let driven = {
            let steps = std::pin::pin!(self.steps());
            let watch = std::pin::pin!(outage.watch(world, &site));
            match select(steps, watch).await {
                Either::Left((result, _)) => result,
                Either::Right(((), _)) => unreachable!("the client writes until it is dropped"),
            }
        };
        driven?;
        self.record(Event::WritesSeen(outage.account(world.clock.now())))?;
        self.stop().await
    }

    async fn steps(&mut self) -> Result<(), RunError> {
        self.flush().await?;
        if self.is_overtaken().await {
            self.superseded = true;
            return Ok(());
        }
        if self.progress.phase == Phase::Doing {
            self.forward().await?;
        }
        if matches!(self.progress.phase, Phase::Undoing { .. }) {
            self.backward().await?;
        }
        Ok(())
    }

    /// The step that writes where the client that measures does.
    fn verify(&self) -> Step {
        let site = self.progress.plan.to.clone();
        Step::VerifyWrites { site }
    }

    /// Gives the run up: undone where that is still possible.
    pub async fn abandon(mut self) -> Result<Ran, RunError> {
        self.flush().await?;
        if self.progress.phase == Phase::Doing && !self.progress.may_be_committed() {
            self.record(Event::UndoBegun {
                why: "the operator abandons the run".to_owned(),
            })?;
        }
        if matches!(self.progress.phase, Phase::Undoing { .. }) {
            self.backward().await?;
            if self.progress.to_undo().next().is_none() {
                return self
                    .end(Outcome::Unwound, "the operator abandoned it".to_owned())
                    .await;
            }
        }
        self.end(Outcome::Abandoned, "the operator abandoned it".to_owned())
            .await
    }

    /// Whether a guard has obeyed a newer run. Once one has answered, the other
    /// is not waited for long: in a failover it is dead, and every order is
    /// refused by a guard that knows better.
    async fn is_overtaken(&self) -> bool {
        let plan = &self.progress.plan;
        let world = self.runner.world;
        let hosts = BTreeSet::from([&plan.old, &plan.new]);
        let mut asked: FuturesUnordered<_> = hosts
            .into_iter()
            .map(|host| world.guards.status(host))
            .collect();
        let mut end = pending().boxed();
        loop {
            match select(asked.next(), end).await {
                Either::Left((Some(Ok(status)), _)) => {
                    if status.epoch > self.progress.undo_epoch() {
                        return true;
                    }
                    end = world.clock.sleep(SECOND_GUARD);
                }
                Either::Left((Some(Err(_)), waited)) => end = waited,
                Either::Left((None, _)) | Either::Right(_) => return false,
            }
        }
    }

    /// Runs steps as they become ready, until none is or something fails.
    async fn forward(&mut self) -> Result<(), RunError> {
        let mut tried = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        self.failed = self.failed_before();
        loop {
            let mut only_looks = true;
            for planned in self.startable(&tried) {
                tried.insert(planned.number);
                let before = self.progress.state(planned.number);
                let step = planned.number;
                self.record(Event::StepStarted { step })?;
                let mut cx = self.context();
                cx.tried_before = before != StepState::Pending;
                only_looks &= planned.step.only_looks();
                running.push(timed(cx, planned));
            }
            // The journal comes before any effect, and may come beside a look.
            let ended = if only_looks {
                try_join!(self.flush(), running.next().map(Ok))?.1
            } else {
                self.flush().await?;
                running.next().await
            };
            let Some((planned, result, took)) = ended else {
                break;
            };
            self.finished(&planned, result, took)?;
        }
        self.turn_back_if_needed()
    }

    /// A run that failed and was interrupted before it could turn back.
    fn failed_before(&self) -> Option<String> {
        let failed = |planned: &&Planned| match self.progress.state(planned.number) {
            StepState::Failed => planned.part == Part::Reversible,
            StepState::FailedCertainly => planned.part != Part::Forward,
            _ => false,
        };
        let failed = self.progress.plan.steps.iter().find(failed)?;
        Some(format!("failed before: {}", failed.step))
    }

    fn startable(&self, tried: &BTreeSet<usize>) -> Vec<Planned> {
        if self.failed.is_some() || self.superseded || self.runner.interrupt.is_set() {
            return Vec::new();
        }
        let ready = self.progress.ready();
        ready
            .filter(|planned| !tried.contains(&planned.number))
            .cloned()
            .collect()
    }

    fn finished(
        &mut self,
        planned: &Planned,
        result: Result<Done, Failure>,
        took: Duration,
    ) -> Result<(), RunError> {
        let step = planned.number;
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(done) => {
                // The client that measures may still hang on a dead server.
                if planned.step == self.verify() {
                    self.outage.note(true, self.runner.world.clock.now());
                }
                if let Some(proof) = done.proof {
                    self.record(Event::ProofRecorded(proof))?;
                }
                let Done {
                    changed,
                    what,
                    facts,
                    ..
                } = done;
                self.record(Event::StepDone {
                    step,
                    changed,
                    what,
                    facts,
                    milliseconds,
                })
            }
            Err(Failure {
                why,
                certain,
                superseded,
                ..
            }) => {
                self.superseded |= superseded;
                if planned.part != Part::Forward {
                    self.failed = Some(why.clone());
                }
                self.record(Event::StepFailed {
                    step,
                    why,
                    certain,
                    milliseconds,
                })
            }
        }
    }

    fn turn_back_if_needed(&mut self) -> Result<(), RunError> {
        if self.progress.may_be_committed() {
            return Ok(());
        }
        let interrupted = self
            .runner
            .interrupt
            .is_set()
            .then(|| "interrupted".to_owned());
        match self.failed.clone().or(interrupted) {
            Some(why) => self.record(Event::UndoBegun { why }),
            None => Ok(()),
        }
    }

    /// Undoes what was touched, last first. What cannot be undone is left,
    /// the rest is undone all the same.
    async fn backward(&mut self) -> Result<(), RunError> {
        let touched: Vec<_> = self.progress.to_undo().cloned().collect();
        for planned in touched {
            let step = planned.number;
            self.record(Event::UndoStarted { step })?;
            self.flush().await?;
            let result = undo(&self.context(), &planned.step).await;
            self.record(match result {
                Ok(what) => Event::UndoDone { step, what },
                Err(failure) => Event::UndoFailed {
                    step,
                    why: failure.why,
                },
            })?;
        }
        Ok(())
    }

    fn context(&self) -> Context<'a> {
        let progress = &self.progress;
        Context {
            world: self.runner.world,
            store: self.runner.store,
            run: progress.run.clone(),
            plan: Arc::clone(&progress.plan),
            epoch: progress.order_epoch(),
            tried_before: false,
            undo_epoch: progress.undo_epoch(),
            facts: progress.facts.clone(),
            proof: progress.proof.clone(),
            current: self.current.clone(),
        }
    }
}

async fn timed(cx: Context<'_>, planned: Planned) -> (Planned, Result<Done, Failure>, Duration) {
    let start = cx.world.clock.now();
    let result = perform(&cx, &planned.step).await;
    let took = cx.world.clock.now().saturating_sub(start);
    (planned, result, took)
}
