//! Runs and their journals in the shared store. The lock is a key with a
//! lease: it ends when its runner does, and a runner that lost it can write
//! nothing more.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::lock::Mutex;

use super::{
    Shared,
    keys::{LAST_RUN, LOCK, RUNS, text},
};
use crate::{
    ports::{
        clock::Clock,
        quorum::{Change, Condition, LeaseId, QuorumError, Revision},
        store::{Holder, RunId, Store, StoreError},
    },
    right::Terms,
};

/// How long a write is tried while the store does not answer.
const PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(100);
/// A lock that ends while it is asked for is asked for again.
const LOCK_TRIES: usize = 3;
/// Older runs than these many newest are forgotten.
const KEPT: usize = 200;

/// The journals of a deployment in the shared store.
pub struct SharedJournals {
    shared: Shared,
    terms: Terms,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
    /// Never held over a wait, so that renewals go on beside a slow write.
    kept: std::sync::Mutex<Option<Kept>>,
}

/// The lock's lease, and until when it surely lives.
#[derive(Clone, Copy, Debug)]
struct Kept {
    lease: LeaseId,
    until: Duration,
}

#[derive(Clone, Debug)]
struct Held {
    lease: LeaseId,
    created: Revision,
    run: RunId,
    /// Lines that the run has.
    next: usize,
}

impl SharedJournals {
    #[must_use]
    pub fn new(shared: Shared, terms: Terms, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared,
            terms,
            clock,
            held: Mutex::default(),
            kept: std::sync::Mutex::default(),
        }
    }

    /// The keys that the journals are among.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().expect("no holder of this lock panics")
    }

    /// The lease was granted or renewed by a call that was sent then.
    fn renewed(&self, lease: LeaseId, sent: Duration) {
        let until = self.terms.deadline(sent);
        *self.kept() = Some(Kept { lease, until });
    }

    async fn lock(&self, lease: LeaseId, holder: &Holder) -> Result<Revision, StoreError> {
        let when = [self.shared.as_read(LOCK, None)];
        let then = [
            self.shared.put(LOCK, text(holder), Some(lease)),
            self.shared.put(LAST_RUN, text(&holder.run), None),
        ];
        for _ in 0..LOCK_TRIES {
            match self.shared.commit(&when, &then).await {
                Ok(Some(revision)) => return Ok(revision),
                Ok(None) => self.refuse_held().await?,
                Err(error) => return Err(failed("register the run", &error)),
            }
        }
        Err(StoreError::Failed {
            what: "register the run".to_owned(),
            why: "the lock changed again and again: ask again".to_owned(),
        })
    }

    /// Fine where the lock has become free meanwhile.
    async fn refuse_held(&self) -> Result<(), StoreError> {
        let found = self.shared.below(LOCK).await;
        let found = found.map_err(|error| failed("see who holds the lock", &error))?;
        let holder = found.values.get(&self.shared.key(LOCK));
        match holder.and_then(|value| serde_json::from_str(&value.text).ok()) {
            Some(holder) => Err(StoreError::Held(Box::new(holder))),
            None => Ok(()),
        }
    }

    /// Forgets what is too old, where the store has time for it.
    async fn forget_old(&self) {
        let Ok(runs) = self.list().await else { return };
        let Some(many) = runs.len().checked_sub(KEPT) else {
            return;
        };
        for run in runs.iter().take(many) {
            let Ok(found) = self.shared.below(&format!("{RUNS}{run}/")).await else {
                return;
            };
            let keys = found.values.into_keys();
            let gone: Vec<_> = keys.map(|key| Change::Delete { key }).collect();
            if self.shared.commit(&[], &gone).await.is_err() {
                return;
            }
        }
    }

    /// The next write, conditional on the lock and on nobody else's line.
    async fn write(&self, held: &Held, lines: &[String]) -> Result<bool, QuorumError> {
        let key = |index: usize| self.shared.key(&line(&held.run, index));
        let when = [
            Condition::CreatedAt {
                key: self.shared.key(LOCK),
                created: held.created,
            },
            Condition::Absent {
                key: key(held.next),
            },
        ];
        let numbered = lines.iter().zip(held.next..);
        let then: Vec<_> = numbered
            .map(|(text, index)| Change::Put {
                key: key(index),
                text: text.clone(),
                lease: None,
            })
            .collect();
        Ok(self.shared.commit(&when, &then).await?.is_some())
    }

    /// Whether a write that was not answered, or refused, has happened.
    async fn is_written(&self, held: &Held, lines: &[String]) -> Result<bool, QuorumError> {
        let found = self.shared.below(&line(&held.run, held.next)).await?;
        let first = found.values.into_values().next();
        Ok(first.is_some_and(|value| Some(&value.text) == lines.first()))
    }
}

/// Sorts as its number does.
fn line(run: &RunId, index: usize) -> String {
    format!("{RUNS}{run}/{index:08}")
}

fn failed(what: &str, error: &QuorumError) -> StoreError {
    StoreError::Failed {
        what: what.to_owned(),
        why: error.to_string(),
    }
}

fn lost() -> StoreError {
    StoreError::Failed {
        what: "go on with the run".to_owned(),
        why: "the lock is lost: another runner may go on".to_owned(),
    }
}

#[async_trait]
impl Store for SharedJournals {
    async fn register(&self, holder: &Holder) -> Result<(), StoreError> {
        let sent = self.clock.now();
        let lease = self.shared.quorum.lease(self.terms.ttl).await;
        let lease = lease.map_err(|error| failed("register the run", &error))?;
        let locked = self.lock(lease, holder).await;
        let created = match locked {
            Ok(created) => created,
            Err(error) => {
                // Also a lock that came true unheard must not stay.
                let _ = self.shared.quorum.revoke(lease).await;
                return Err(error);
            }
        };
        let run = holder.run.clone();
        let next = match self.read(&run).await {
            Ok(lines) => lines.len(),
            Err(StoreError::NoSuchRun(_)) => 0,
            Err(error) => {
                let _ = self.shared.quorum.revoke(lease).await;
                return Err(error);
            }
        };
        self.renewed(lease, sent);
        *self.held.lock().await = Some(Held {
            lease,
            created,
            run,
            next,
        });
        Ok(())
    }

    async fn append(&self, run: &RunId, lines: &[String]) -> Result<(), StoreError> {
        let mut kept = self.held.lock().await;
        let held = kept.as_mut().filter(|held| &held.run == run);
        let held = held.ok_or_else(lost)?;
        let begin = self.clock.now();
        loop {
            let error = match self.write(held, lines).await {
                Ok(true) => break,
                // An earlier try may be why the line is there.
                Ok(false) => match self.is_written(held, lines).await {
                    Ok(true) => break,
                    Ok(false) => return Err(lost()),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if self.clock.now() > begin + PATIENCE {
                return Err(failed(&format!("write the journal of run {run}"), &error));
            }
            self.clock.sleep(AGAIN).await;
        }
        held.next += lines.len();
        Ok(())
    }

    async fn read(&self, run: &RunId) -> Result<Vec<String>, StoreError> {
        let found = self.shared.below(&format!("{RUNS}{run}/")).await;
        let found = found.map_err(|error| failed(&format!("read run {run}"), &error))?;
        if found.values.is_empty() {
            return Err(StoreError::NoSuchRun(run.clone()));
        }
        Ok(found.values.into_values().map(|value| value.text).collect())
    }

    async fn list(&self) -> Result<Vec<RunId>, StoreError> {
        let found = self.shared.below(RUNS).await;
        let found = found.map_err(|error| failed("list the runs", &error))?;
        let prefix = self.shared.key(RUNS);
        let mut runs: Vec<RunId> = Vec::new();
        for key in found.values.keys() {
            let name = key
                .strip_prefix(&prefix)
                .and_then(|key| key.split('/').next());
            let run = name.map(|name| RunId(name.to_owned()));
            if let Some(run) = run
                && runs.last() != Some(&run)
            {
                runs.push(run);
            }
        }
        Ok(runs)
    }

    async fn release(&self, _: &RunId) -> Result<(), StoreError> {
        *self.kept() = None;
        let Some(held) = self.held.lock().await.take() else {
            return Ok(());
        };
        let revoked = self.shared.quorum.revoke(held.lease).await;
        // Not before a run: it reads all journals, and a failover would wait.
        self.forget_old().await;
        // Where the store is gone the lock ends by itself.
        revoked.or_else(|error| match error {
            QuorumError::Unreachable { .. } | QuorumError::Unanswered { .. } => Ok(()),
            error => Err(failed("give the lock back", &error)),
        })
    }

    async fn keep(&self) -> StoreError {
        loop {
            let Some(Kept { lease, until }) = *self.kept() else {
                return lost();
            };
            let sent = self.clock.now();
            match self.shared.quorum.renew(lease).await {
                Ok(()) => self.renewed(lease, sent),
                Err(QuorumError::NoSuchLease(_)) => return lost(),
                Err(_) if self.clock.now() > until => return lost(),
                Err(_) => {}
            }
            self.clock.sleep(self.terms.renew_every).await;
        }
    }

    fn holds(&self) -> bool {
        let now = self.clock.now();
        self.kept().is_some_and(|kept| now < kept.until)
    }
}
