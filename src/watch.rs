//! A watcher: looks, says what it sees, and, where it leads, does what
//! [`crate::decide::decide_automatically`] says. Everything outside is reached through ports,
//! so the same watcher runs in the simulation.

mod act;
mod lead;
mod look;
mod news;
mod notice;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::future::{Either, select};

pub use notice::{Notice, Notices, Silent};

use crate::{
    coordination::{Shared, SharedJournals, State},
    decide::{Memory, Past, Policy, Verdict},
    ids::HostName,
    observation::{AddressRecord, Knowledge, Snapshot},
    ports::{
        World,
        quorum::{LeaseId, QuorumError, Revision},
    },
    right::Terms,
    run::Who,
    topology::Topology,
};

/// What a watcher is told.
#[derive(Clone)]
pub struct Settings {
    /// The host on which it runs: its place.
    pub host: HostName,
    pub topology: Topology,
    pub terms: Terms,
    pub policy: Policy,
    /// Between two looks when nothing changes.
    pub period: Duration,
    /// How long a glance waits for an answer.
    pub glance: Duration,
    /// Until an automatic failover may be followed by another one without an
    /// acknowledgement.
    pub cooldown: Duration,
    /// Who runs what it runs.
    pub who: Who,
}

/// One watcher.
pub struct Watcher {
    settings: Settings,
    world: World,
    shared: Shared,
    journals: SharedJournals,
    notices: Arc<dyn Notices>,
    /// What it says and leads with; all of it goes with this lease.
    session: Option<Session>,
    memory: Memory,
    past: Option<Remembered>,
    news: news::News,
    looks: u32,
    /// What the store said at the last look.
    seen: State,
    kept: Option<Snapshot>,
    /// What the name servers answered last.
    names: BTreeMap<String, Knowledge<AddressRecord>>,
    /// Members of the store that did not serve when they were asked last.
    silent: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Session {
    lease: LeaseId,
    said: Option<crate::coordination::Said>,
}

/// The journals, while nobody worked under the lock.
struct Remembered {
    /// When the last run had been registered.
    run: Option<Revision>,
    past: Past,
    /// Runs that may have promoted.
    promoted: BTreeSet<String>,
}

/// What one turn came to.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Whether this watcher leads.
    pub leads: bool,
    pub verdict: Option<Verdict>,
    /// The store could not be asked.
    pub blind: Option<String>,
}

impl Watcher {
    /// A watcher over the shared store of the world.
    ///
    /// # Panics
    /// Where the world has no shared store.
    #[must_use]
    pub fn new(settings: Settings, world: World, notices: Arc<dyn Notices>) -> Self {
        let quorum = world.quorum.clone().expect("automatic mode has a store");
        let shared = Shared::new(quorum, &settings.topology.name);
        let clock = Arc::clone(&world.clock);
        Self {
            journals: SharedJournals::new(shared.clone(), settings.terms, clock),
            settings,
            world,
            shared,
            notices,
            session: None,
            memory: Memory::default(),
            past: None,
            news: news::News::default(),
            looks: 0,
            seen: State::default(),
            kept: None,
            names: BTreeMap::new(),
            silent: BTreeMap::new(),
        }
    }

    /// Looks and acts for ever.
    pub async fn watch(mut self) {
        loop {
            let turn = self.turn().await;
            self.rest(&turn).await;
        }
    }

    /// One look, and what follows from it.
    pub async fn turn(&mut self) -> Turn {
        match self.try_turn().await {
            Ok(turn) => turn,
            Err(error) => {
                self.notices.tell(&Notice::Blind(error.to_string()));
                Turn {
                    leads: false,
                    verdict: None,
                    blind: Some(error.to_string()),
                }
            }
        }
    }

    async fn try_turn(&mut self) -> Result<Turn, QuorumError> {
        let state = self.shared.state().await?;
        self.seen = state.clone();
        let snapshot = self.look(&state).await;
        self.speak(&state, &snapshot).await?;
        let leads = self.lead(&state).await?;
        if !leads {
            self.memory = Memory::default();
            return Ok(Turn {
                leads,
                verdict: None,
                blind: None,
            });
        }
        let verdict = self.decide(&state, snapshot).await;
        Ok(Turn {
            leads,
            verdict,
            blind: None,
        })
    }

    /// Until something pressing changes in the store, or it is time to look again.
    async fn rest(&self, turn: &Turn) {
        let clock = &self.world.clock;
        if turn.blind.is_some() {
            clock.sleep(self.settings.period).await;
            return;
        }
        let time = clock.sleep(self.settings.period);
        if let Either::Left((Err(_), time)) = select(pin!(self.pressed()), pin!(time)).await {
            time.await;
        }
    }

    /// What other watchers say is not pressing: in a busy moment the look of
    /// each would lead to looks of all, and these to more.
    async fn pressed(&self) -> Result<(), QuorumError> {
        let mut revision = self.seen.revision;
        while self.shared.changed(revision, self.settings.period).await? {
            let state = self.shared.state().await?;
            if state.presses_since(&self.seen) {
                break;
            }
            revision = state.revision;
        }
        Ok(())
    }
}

/// The state and what was read of it.
fn leads(state: &State, host: &HostName, lease: LeaseId) -> bool {
    state
        .leader
        .as_ref()
        .is_some_and(|key| &key.value.host == host && key.lease == Some(lease))
}
