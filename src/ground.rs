//! The ground of a decision: what is seen now and what the journals remember.

use crate::{
    decide::{Intent, Past, Refusal, Sight, decide_failover, decide_rejoin},
    history::{HistoryError, journals},
    ids::{Epoch, HostName},
    inventory::Inventory,
    journal,
    observation::{Knowledge, Snapshot},
    plan::Plan,
    ports::{World, store::Store},
    probe,
    topology::Topology,
};

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
        let snapshot = probe::snapshot(topology, world).await;
        let past = journal::past(&journals, &snapshot.clusters())?;
        Ok(Self {
            snapshot,
            past,
            inventory: world.inventory.clone(),
        })
    }

    /// The epoch of a run that starts now. It leaves one free below, so that
    /// it is also newer than the undo of any run that left a trace.
    #[must_use]
    pub fn next_epoch(&self) -> Epoch {
        self.snapshot
            .newest_epoch()
            .max(self.past.epoch)
            .next()
            .next()
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
        let machine = self.snapshot.machines.get(host).and_then(Knowledge::known);
        machine.is_none_or(|machine| !machine.is_down())
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
