//! The lock of runs in the shared store, kept while a command works that
//! writes no journal: no watcher acts meanwhile, and operators on different
//! machines exclude each other.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use crate::{
    coordination::{Shared, SharedJournals},
    ports::{
        clock::Clock,
        store::{Holder, Store, StoreError},
    },
    right::Terms,
};

/// A lost lock is asked for again that often.
const AGAIN: Duration = Duration::from_secs(1);

/// What a command learns about its lock while it works.
#[derive(Clone, Debug)]
pub enum Change {
    /// The store was silent for too long, and the lock may have ended.
    Lost(String),
    /// It is held again.
    Regained,
    /// Somebody else has it now: the command must stop.
    Taken(Box<Holder>),
}

/// Held until it is released. Dropped without that, it ends with its lease.
pub struct KeptLock {
    journals: Arc<SharedJournals>,
    holder: Holder,
    keeper: JoinHandle<()>,
}

impl KeptLock {
    /// Takes the lock and keeps it in the background. After the death of this
    /// process it lasts no longer than `ttl`.
    ///
    /// # Errors
    /// Somebody holds it, or the store does not answer.
    pub async fn take(
        shared: Shared,
        ttl: Duration,
        clock: Arc<dyn Clock>,
        holder: Holder,
        told: impl Fn(Change) + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let journals = Arc::new(SharedJournals::new(shared, Terms::of(ttl), clock));
        journals.register(&holder).await?;
        let keeper = tokio::spawn(keep(Arc::clone(&journals), holder.clone(), told));
        Ok(Self {
            journals,
            holder,
            keeper,
        })
    }

    /// The journals under the lock.
    #[must_use]
    pub fn journals(&self) -> &SharedJournals {
        &self.journals
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// The store refused. Where it does not answer, the lock ends by itself.
    pub async fn release(&self) -> Result<(), StoreError> {
        self.keeper.abort();
        self.journals.release(&self.holder.run).await
    }
}

impl Drop for KeptLock {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(journals: Arc<SharedJournals>, holder: Holder, told: impl Fn(Change)) {
    loop {
        let lost = journals.keep().await;
        told(Change::Lost(lost.to_string()));
        loop {
            match journals.register(&holder).await {
                Ok(()) => break,
                // Our own key, the lease of which has not ended yet.
                Err(StoreError::Held(other)) if *other == holder => {}
                Err(StoreError::Held(other)) => return told(Change::Taken(other)),
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
        told(Change::Regained);
    }
}
