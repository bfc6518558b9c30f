//! The runs of a deployment, from their journals.

use crate::{
    decide::Past,
    decide::{Intent, Refusal, Sight, decide_failover, decide_rejoin},
    ids::{Epoch, HostName},
    inventory::Inventory,
    journal::{self, Entry, IllegalEvent, JournalError, parse},
    observation::{Knowledge, Snapshot},
    plan::Plan,
    ports::{
        World,
        store::{RunId, Store, StoreError},
    },
    probe,
    topology::Topology,
};

/// Why the past cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the journal cannot be read")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("a journal is not a possible one")]
    Illegal(#[from] IllegalEvent),
}

/// The journals of all runs, oldest first.
///
/// # Errors
/// A journal that cannot be read or is damaged.
pub async fn journals(store: &dyn Store) -> Result<Vec<(RunId, Vec<Entry>)>, HistoryError> {
    let mut journals = Vec::new();
    for run in store.list().await? {
        let entries = parse(&run, &store.read(&run).await?)?;
        if !entries.is_empty() {
            journals.push((run, entries));
        }
    }
    Ok(journals)
}

/// What was seen and what is remembered, together: the ground of a decision.
#[derive(Clone, Debug)]
pub struct Ground {
    pub snapshot: Snapshot,
    pub past: Past,
    pub inventory: Inventory,
}

impl Ground {
    /// Looks at everything and reads all journals.
    ///
    /// # Errors
    /// A journal that cannot be read or is damaged.
    pub async fn look(
        topology: &Topology,
        world: &World,
        store: &dyn Store,
    ) -> Result<Self, HistoryError> {
        let journals = journals(store).await?;
        let journals: Vec<_> = journals.into_iter().map(|(_, entries)| entries).collect();
        let past = journal::past(&journals)?;
        let snapshot = probe::snapshot(topology, world).await;
        Ok(Self {
            snapshot,
            past,
            inventory: world.inventory.clone(),
        })
    }

    /// The epoch of a run that starts now. It leaves one free below, so that
    /// it is also newer than the undo of any run that a guard has seen.
    #[must_use]
    pub fn next_epoch(&self) -> Epoch {
        let guards = self.snapshot.guards.values().filter_map(Knowledge::known);
        let newest = guards.map(|guard| guard.epoch).max().unwrap_or_default();
        newest.max(self.past.epoch).next().next()
    }

    /// A plan of a failover, or why not.
    ///
    /// # Errors
    /// A refusal with its reason, the evidence and the next command.
    pub fn failover(&self, topology: &Topology, intent: &Intent) -> Result<Plan, Refusal> {
        decide_failover(&self.sight(topology), intent)
    }

    /// A plan of a rejoin, or why not.
    ///
    /// # Errors
    /// A refusal with its reason, the evidence and the next command.
    pub fn rejoin(&self, topology: &Topology, host: &str) -> Result<Plan, Refusal> {
        decide_rejoin(&self.sight(topology), host)
    }

    /// Whether the guard of the host has answered.
    #[must_use]
    pub fn sees(&self, host: &HostName) -> bool {
        self.snapshot
            .guards
            .get(host)
            .is_some_and(|guard| guard.known().is_some())
    }

    /// Whether the machine of the host is not known to be down.
    #[must_use]
    pub fn may_boot(&self, host: &str) -> bool {
        let state = self.snapshot.machines.get(host).and_then(Knowledge::known);
        state.is_none_or(|state| !state.is_down())
    }

    fn sight<'a>(&'a self, topology: &'a Topology) -> Sight<'a> {
        Sight {
            topology,
            inventory: &self.inventory,
            snapshot: &self.snapshot,
            past: &self.past,
        }
    }
}
