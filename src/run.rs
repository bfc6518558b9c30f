//! Executes plans: exactly the plan that was shown, step by step through the
//! journal. Failures before the point of no return go back, later ones are
//! retried and else left for `hafail resume`.

mod context;
mod database;
mod dns;
mod engine;
mod fence;
mod lease;
mod machine;
mod outage;
mod perform;
mod proxy;
mod queue;
mod undo;
mod verify;

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::future::{Either, select};

use crate::{
    ids::Epoch,
    journal::{
        Entry, Event, IllegalEvent, JournalError, Outcome, Progress, RunStarted, parse, replay,
    },
    plan::Plan,
    ports::{
        World,
        store::{Holder, RunId, Store, StoreError},
    },
};
use engine::Engine;

/// Who runs, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub operator: String,
    pub machine: String,
    pub process: u32,
}

/// A wish to stop, such as Ctrl-C.
#[derive(Debug, Default)]
pub struct Interrupt(AtomicBool);

impl Interrupt {
    /// Stop at the next step.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The wish is fulfilled or forgotten.
    pub fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether somebody wants to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Sees every event once it is durable.
pub trait Observer: Send + Sync {
    /// An entry of the journal, and the state after it.
    fn entry(&self, entry: &Entry, progress: &Progress);
}

/// An observer that looks away.
pub struct Unobserved;

impl Observer for Unobserved {
    fn entry(&self, _: &Entry, _: &Progress) {}
}

/// What a runner needs.
#[derive(Clone, Copy)]
pub struct Runner<'a> {
    pub world: &'a World,
    pub store: &'a dyn Store,
    pub observer: &'a dyn Observer,
    pub interrupt: &'a Interrupt,
    pub who: &'a Who,
}

/// A run that its runner left, ended or not.
#[derive(Clone, Debug)]
pub struct Ran {
    pub outcome: Outcome,
    pub entries: Vec<Entry>,
}

/// Why a run could not go on. Its journal stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the journal cannot be used")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A defect of ours: the runner wanted to write what cannot be.
    #[error("the runner stopped itself")]
    Illegal(#[from] IllegalEvent),
    #[error("run {run} has ended ({})", outcome.word())]
    Ended { run: RunId, outcome: Outcome },
    #[error("the plan is {actual}, not {shown} that was shown")]
    NotShown { shown: String, actual: String },
}

impl Runner<'_> {
    /// Starts a run of the plan whose digest `shown` the operator approved.
    ///
    /// # Errors
    /// Another run holds the lock, or the journal cannot be written; nothing
    /// was done then.
    pub async fn start(
        &self,
        run: RunId,
        plan: Plan,
        shown: &str,
        epoch: Epoch,
    ) -> Result<Ran, RunError> {
        let actual = plan.digest();
        if actual != shown {
            return Err(RunError::NotShown {
                shown: shown.to_owned(),
                actual,
            });
        }
        let what = plan.kind.to_string();
        self.store.register(&self.holder(&what, &run)).await?;
        let result = self.locked(self.started(&run, plan, actual, epoch)).await;
        self.released(&run, result).await
    }

    async fn started(
        &self,
        run: &RunId,
        plan: Plan,
        shown: String,
        epoch: Epoch,
    ) -> Result<Ran, RunError> {
        let first = Entry {
            sequence: 0,
            at: self.world.clock.wall(),
            event: Event::RunStarted(Box::new(RunStarted {
                run: run.clone(),
                plan,
                shown,
                epoch,
                operator: self.who.operator.clone(),
                machine: self.who.machine.clone(),
            })),
        };
        let progress = Progress::begin(&first)?;
        let mut engine = Engine::new(self, progress, Vec::new());
        engine.begin(first);
        engine.drive().await
    }

    /// Goes on with a run that has not ended.
    ///
    /// # Errors
    /// The run has ended, another one holds the lock, or the journal cannot
    /// be read or written.
    pub async fn resume(&self, run: &RunId, abandon: bool) -> Result<Ran, RunError> {
        self.store.register(&self.holder("resume", run)).await?;
        let result = self.locked(self.resumed(run, abandon)).await;
        self.released(run, result).await
    }

    async fn resumed(&self, run: &RunId, abandon: bool) -> Result<Ran, RunError> {
        let lines = self.store.read(run).await?;
        let entries = parse(run, &lines)?;
        let progress = replay(run, &entries)?;
        if let crate::journal::Phase::Stopped { outcome, .. } = progress.phase
            && outcome.is_final()
        {
            return Err(RunError::Ended {
                run: run.clone(),
                outcome,
            });
        }
        let mut engine = Engine::new(self, progress, entries);
        engine.record(Event::Resumed {
            operator: self.who.operator.clone(),
            machine: self.who.machine.clone(),
        })?;
        if abandon {
            engine.abandon().await
        } else {
            engine.drive().await
        }
    }

    /// Works for as long as the lock is kept.
    async fn locked(
        &self,
        work: impl Future<Output = Result<Ran, RunError>>,
    ) -> Result<Ran, RunError> {
        match select(pin!(work), self.store.keep()).await {
            Either::Left((result, _)) => result,
            Either::Right((lost, _)) => Err(lost.into()),
        }
    }

    async fn released(&self, run: &RunId, result: Result<Ran, RunError>) -> Result<Ran, RunError> {
        let released = self.store.release(run).await;
        let ran = result?;
        released?;
        Ok(ran)
    }

    fn holder(&self, what: &str, run: &RunId) -> Holder {
        Holder {
            what: what.to_owned(),
            run: run.clone(),
            operator: self.who.operator.clone(),
            machine: self.who.machine.clone(),
            process: self.who.process,
            since: self.world.clock.wall(),
        }
    }
}
