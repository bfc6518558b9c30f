//! Where runs are registered and journalled. A local directory in manual
//! mode; the shared store when coordination is automatic.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Names a run: sortable by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Who holds the lock, for the message to whom it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// What it does: `failover`, `deploy`, …
    #[serde(default = "a_run")]
    pub what: String,
    /// The run that it journals; the same as `what` where it has no journal.
    pub run: RunId,
    pub operator: String,
    pub machine: String,
    pub process: u32,
    /// Wall time as text.
    pub since: String,
}

/// Of holders that an older version wrote.
fn a_run() -> String {
    "a run".to_owned()
}

impl Holder {
    /// Whether it writes a journal, from which it can be resumed.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.run.0 != self.what
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        if self.has_journal() {
            write!(f, " {}", self.run)?;
        }
        let Self {
            operator,
            machine,
            process,
            ..
        } = self;
        write!(f, " by {operator}@{machine} (process {process})")
    }
}

/// Runs and their journals. The lines are JSON, written and read by
/// [`crate::journal`] alone.
#[async_trait]
pub trait Store: Send + Sync {
    /// Takes the lock for this run. It ends with [`Store::release`] or with
    /// the process.
    async fn register(&self, holder: &Holder) -> Result<(), StoreError>;

    /// Appends lines to the run's journal; durable when this returns.
    async fn append(&self, run: &RunId, lines: &[String]) -> Result<(), StoreError>;

    /// The lines of the run's journal, oldest first. A last line that was cut
    /// by a crash is left out.
    async fn read(&self, run: &RunId) -> Result<Vec<String>, StoreError>;

    /// All runs, oldest first.
    async fn list(&self) -> Result<Vec<RunId>, StoreError>;

    /// Keeps the lock while a run goes on, and returns only when it is lost:
    /// whoever works under it must stop at once.
    async fn keep(&self) -> StoreError {
        std::future::pending().await
    }

    /// Whether the lock is surely held at this moment: asked, without waiting,
    /// before every effect, so that a runner that did not run for a while does
    /// nothing any more where another one may have gone on.
    fn holds(&self) -> bool {
        true
    }

    /// Gives the lock back.
    async fn release(&self, run: &RunId) -> Result<(), StoreError>;
}

/// Why the journal could not be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another run has the lock.
    #[error("{} holds the lock since {}", .0, .0.since)]
    Held(Box<Holder>),
    /// No run of that name.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The journal cannot be read or written.
    #[error("cannot {what}: {why}")]
    Failed { what: String, why: String },
}
