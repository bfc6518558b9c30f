//! What the keys of the shared store mean: who is primary in which epoch, who
//! has every acknowledged commit, who leads the watchers, what is paused, and
//! the journals of all runs. All writes are conditional on what was read.

mod journals;
mod keys;
mod primary;
mod watching;

pub use journals::SharedJournals;
pub use keys::{Cooldown, Decision, Healed, Leader, Pause, Primary, Said, State, SyncSet, Taken};
pub use primary::{Claim, How, NotTaken, Right};

use std::sync::Arc;

use crate::ports::quorum::{Change, Condition, Quorum, QuorumError, Reading, Revision};

/// The keys of one deployment.
#[derive(Clone)]
pub struct Shared {
    pub quorum: Arc<dyn Quorum>,
    prefix: String,
}

impl Shared {
    /// The keys of the deployment of that name.
    #[must_use]
    pub fn new(quorum: Arc<dyn Quorum>, topology: &str) -> Self {
        Self {
            quorum,
            prefix: prefix(topology),
        }
    }

    /// As [`Shared::new`], by the prefix itself.
    #[must_use]
    pub fn with_prefix(quorum: Arc<dyn Quorum>, prefix: &str) -> Self {
        Self {
            quorum,
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Everything but the journals, at one revision.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn state(&self) -> Result<State, QuorumError> {
        let prefix = self.key(keys::LIVE);
        let reading = self.quorum.read(&prefix).await?;
        Ok(keys::parse(&prefix, &reading))
    }

    /// Waits until anything but the journals has changed since.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn changed(
        &self,
        after: Revision,
        within: std::time::Duration,
    ) -> Result<bool, QuorumError> {
        let prefix = self.key(keys::LIVE);
        self.quorum.changed(&prefix, after, within).await
    }

    async fn below(&self, name: &str) -> Result<Reading, QuorumError> {
        self.quorum.read(&self.key(name)).await
    }

    async fn commit(
        &self,
        when: &[Condition],
        then: &[Change],
    ) -> Result<Option<Revision>, QuorumError> {
        self.quorum.commit(when, then).await
    }
}

/// Below which all keys of a deployment are.
#[must_use]
pub fn prefix(topology: &str) -> String {
    format!("/hafail/{topology}/")
}
