//! A journal that survives the death of its runner, and can cause it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    coordination::SharedJournals,
    journal::{Entry, Event},
    ports::store::{Holder, RunId, Store, StoreError},
};

use super::{Sim, check, fault::Fault};

/// When the runner dies: at its nth record (from 1), before or after that
/// record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    pub record: usize,
    pub durable: bool,
}

/// The local journal of one desk; a clone is the same journal.
#[derive(Clone)]
pub struct SimStore {
    sim: Sim,
    inner: Arc<Mutex<Inner>>,
    /// Where the journals truly are; none: at this desk.
    shared: Option<Arc<SharedJournals>>,
}

#[derive(Default)]
struct Inner {
    journals: BTreeMap<RunId, Vec<String>>,
    holder: Option<Holder>,
    crash: Option<CrashPoint>,
    /// The runner sleeps at that record for so long.
    pause: Option<(usize, Duration)>,
    /// A fault that begins with that step, and how long it lasts.
    fault: Option<(usize, Fault, Duration)>,
    /// Records since the crash or pause was armed.
    records: usize,
}

impl SimStore {
    #[must_use]
    pub fn new(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            inner: Arc::default(),
            shared: None,
        }
    }

    /// The journals of all in the shared store, and this desk's mishaps.
    #[must_use]
    pub(super) fn shared(sim: &Sim, journals: SharedJournals) -> Self {
        Self {
            shared: Some(Arc::new(journals)),
            ..Self::new(sim)
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// What befalls the runner that writes so many lines to the shared store:
    /// it dies before or after them, or sleeps behind them.
    fn mishap(&self, lines: usize) -> (Option<bool>, Option<Duration>) {
        let mut inner = self.inner();
        let before = inner.records;
        inner.records += lines;
        let among = before + 1..=before + lines;
        let crash = inner.crash.filter(|point| among.contains(&point.record));
        let pause = inner.pause.filter(|(record, _)| among.contains(record));
        (
            crash.map(|point| point.durable),
            pause.map(|(_, time)| time),
        )
    }

    fn die(&self) {
        let mut core = self.sim.lock();
        core.tell(|| "the runner dies".to_owned());
        core.crashed = true;
    }

    async fn append_shared(
        &self,
        journals: &SharedJournals,
        run: &RunId,
        lines: &[String],
    ) -> Result<(), StoreError> {
        let (dies, sleeps) = self.mishap(lines.len());
        if dies != Some(false) {
            journals.append(run, lines).await?;
        }
        if dies.is_some() {
            self.die();
            std::future::pending::<()>().await;
        }
        if let Some(time) = sleeps {
            self.sim
                .lock()
                .tell(|| format!("the runner sleeps for {time:?}"));
            self.sim.sleep(time).await;
        }
        Ok(())
    }

    /// Lets the next runner die.
    pub fn crash_at(&self, point: CrashPoint) {
        let mut inner = self.inner();
        inner.crash = Some(point);
        inner.records = 0;
    }

    /// Lets the next runner sleep.
    pub fn pause_at(&self, record: usize, time: Duration) {
        let mut inner = self.inner();
        inner.pause = Some((record, time));
        inner.records = 0;
    }

    /// Lets a fault begin with that step.
    pub fn fault_at_step(&self, step: usize, fault: Fault, time: Duration) {
        self.inner().fault = Some((step, fault, time));
    }

    /// The lock ends with the process.
    pub fn process_died(&self) {
        let mut inner = self.inner();
        inner.holder = None;
        inner.crash = None;
        inner.pause = None;
    }

    /// All records of all runs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner().journals.values().map(Vec::len).sum()
    }

    /// The journals at this desk.
    pub(super) fn local_journals(&self) -> BTreeMap<RunId, Vec<String>> {
        self.inner().journals.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics in here")
    }

    /// Writes lines until the crash, if one comes; whether it came, and how
    /// long to sleep.
    fn write(&self, run: &RunId, lines: &[String]) -> (bool, Option<Duration>) {
        let mut inner = self.inner();
        let mut sleep = None;
        for line in lines {
            inner.records += 1;
            let here = inner.crash.filter(|point| point.record == inner.records);
            if here.is_none_or(|point| point.durable) {
                inner
                    .journals
                    .entry(run.clone())
                    .or_default()
                    .push(line.clone());
                if self.is_heeded(&inner, line) {
                    let entry: Entry = serde_json::from_str(line).expect("our own line");
                    self.sim.lock().note_entry(run, &entry);
                    begin_fault(&self.sim, &mut inner, &entry);
                }
            }
            if here.is_some() {
                return (true, None);
            }
            if let Some((record, time)) = inner.pause
                && record == inner.records
            {
                sleep = Some(time);
            }
        }
        (false, sleep)
    }

    /// Whether anybody needs to know what a line says: the checker heeds two
    /// events, the story all.
    fn is_heeded(&self, inner: &Inner, line: &str) -> bool {
        let mut core = self.sim.lock();
        core.stir();
        inner.fault.is_some() || core.is_told() || check::is_heeded(line)
    }
}

fn begin_fault(sim: &Sim, inner: &mut Inner, entry: &Entry) {
    let Event::StepStarted { step } = &entry.event else {
        return;
    };
    if inner.fault.as_ref().is_none_or(|(at, _, _)| at != step) {
        return;
    }
    let (_, fault, time) = inner.fault.take().expect("it was just looked at");
    let mut core = sim.lock();
    fault.set(&mut core, true);
    core.later(time, move |core| fault.set(core, false));
}

pub(super) fn describe(event: &Event) -> String {
    match event {
        Event::StepStarted { step } => format!("step {step} starts"),
        Event::StepDone { step, what, .. } => format!("step {step} done: {what}"),
        Event::StepFailed {
            step, why, certain, ..
        } => {
            format!("step {step} failed (certain: {certain}): {why}")
        }
        Event::UndoBegun { why } => format!("going back: {why}"),
        Event::UndoDone { step, what } => format!("step {step} undone: {what}"),
        Event::UndoFailed { step, why } => format!("step {step} not undone: {why}"),
        Event::Stopped { outcome, why, .. } => format!("stopped, {}: {why}", outcome.word()),
        Event::ProofRecorded(proof) => format!("proof {} of {}", proof.kind.word(), proof.host),
        Event::RunStarted(started) => format!(
            "run {} of epoch {}: {}",
            started.run,
            started.epoch,
            started.plan.title()
        ),
        other => other.word().to_owned(),
    }
}

#[async_trait]
impl Store for SimStore {
    async fn register(&self, holder: &Holder) -> Result<(), StoreError> {
        if let Some(shared) = &self.shared {
            return shared.register(holder).await;
        }
        let mut inner = self.inner();
        if let Some(other) = &inner.holder {
            return Err(StoreError::Held(Box::new(other.clone())));
        }
        inner.holder = Some(holder.clone());
        Ok(())
    }

    async fn append(&self, run: &RunId, lines: &[String]) -> Result<(), StoreError> {
        if let Some(shared) = &self.shared {
            return self.append_shared(shared, run, lines).await;
        }
        let (died, sleep) = self.write(run, lines);
        if died {
            let mut core = self.sim.lock();
            core.tell(|| "the runner dies".to_owned());
            core.crashed = true;
        }
        if died {
            std::future::pending::<()>().await;
        }
        if let Some(time) = sleep {
            self.sim
                .lock()
                .tell(|| format!("the runner sleeps for {time:?}"));
            self.sim.sleep(time).await;
        }
        self.sim.sleep(Duration::from_micros(500)).await;
        Ok(())
    }

    async fn read(&self, run: &RunId) -> Result<Vec<String>, StoreError> {
        if let Some(shared) = &self.shared {
            return shared.read(run).await;
        }
        let inner = self.inner();
        inner
            .journals
            .get(run)
            .cloned()
            .ok_or_else(|| StoreError::NoSuchRun(run.clone()))
    }

    async fn list(&self) -> Result<Vec<RunId>, StoreError> {
        if let Some(shared) = &self.shared {
            return shared.list().await;
        }
        Ok(self.inner().journals.keys().cloned().collect())
    }

    async fn keep(&self) -> StoreError {
        match &self.shared {
            Some(shared) => shared.keep().await,
            None => std::future::pending().await,
        }
    }

    fn holds(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.holds())
    }

    async fn release(&self, run: &RunId) -> Result<(), StoreError> {
        if let Some(shared) = &self.shared {
            return shared.release(run).await;
        }
        self.inner().holder = None;
        Ok(())
    }
}
