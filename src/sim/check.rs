//! The invariants, looked at after every event and at the end.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    ids::{Epoch, HostName},
    order::{OrderRequest, PostgresState},
    topology::Replication,
};

use super::{
    Core, State,
    clients::{Vote, Waiting},
};

mod evidence;
mod health;
mod promotion;
mod runs;

use evidence::Evidence;
pub use promotion::Promotion;
pub(super) use promotion::promotion;
pub use runs::Run;
pub(super) use runs::is_heeded;

/// So many newest writes are looked for whenever the set changes.
const RECENT: usize = 200;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the invariant.
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What the checker knows that nobody in the world does.
#[derive(Default)]
pub struct Ledger {
    ids: u64,
    pub waiting: Vec<Waiting>,
    /// Ids of acknowledged writes, and when.
    pub acknowledged: Vec<(u64, Duration)>,
    pub votes_waiting: Vec<Vote>,
    pub votes_accepted: Vec<u64>,
    /// What was told to load balancers and guards, for comparing with plans.
    pub orders: Vec<(HostName, OrderRequest)>,
    /// By guard: newest epoch of an obeyed order.
    newest: BTreeMap<HostName, Epoch>,
    pub promotions: Vec<Promotion>,
    pub violations: Vec<Violation>,
    /// By run: bytes of acknowledged writes that its operator permitted to
    /// lose; none: no end.
    pub allowances: BTreeMap<String, Option<u64>>,
    /// What journals say.
    pub runs: BTreeMap<String, Run>,
    evidence: Evidence,
}

impl Ledger {
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(super) fn violated(&mut self, invariant: &'static str, what: String) {
        // One of a kind tells the story; thousands hide it.
        if !self
            .violations
            .iter()
            .any(|violation| violation.invariant == invariant)
        {
            self.violations.push(Violation { invariant, what });
        }
    }

    /// An order that is not of an older run is carried out now.
    pub(super) fn begins_order(&mut self, host: &HostName, request: &OrderRequest) {
        self.orders.push((host.clone(), request.clone()));
    }

    /// It had, or may have had, an effect.
    pub(super) fn obeyed_order(&mut self, host: &HostName, request: &OrderRequest) {
        let newest = self.newest.entry(host.clone()).or_default();
        let seen = *newest;
        *newest = seen.max(request.epoch);
        if request.epoch < seen {
            let what = format!(
                "{host} obeyed {:?} of {} in epoch {} after epoch {seen}",
                request.order, request.run, request.epoch
            );
            self.violated("no_stale_actor", what);
        }
    }
}

/// What must hold at every instant.
pub(super) fn instant(core: &mut Core) {
    let now = core.now();
    core.state.accept_votes(now);
    if core.state.writers().nth(1).is_some() {
        let writers: Vec<_> = core.state.writers().map(ToString::to_string).collect();
        let what = format!("{} can acknowledge writes at once", writers.join(" and "));
        let told = core
            .state
            .ledger
            .violations
            .iter()
            .any(|v| v.invariant == "never_two_writers");
        if !told {
            core.tell(|| format!("VIOLATION {what}"));
        }
        core.state.ledger.violated("never_two_writers", what);
    }
}

impl State {
    /// Hosts that can acknowledge a write at this instant.
    pub fn writers(&self) -> impl Iterator<Item = &HostName> {
        self.databases
            .values()
            .filter(|database| self.can_acknowledge(&database.host))
            .map(|d| &d.host)
    }

    fn can_acknowledge(&self, host: &HostName) -> bool {
        let database = &self.databases[host];
        let names = &database.synchronous;
        self.runs(host)
            && !self.disk_hangs(host)
            && database.state == PostgresState::Primary
            && (names.is_empty()
                || names
                    .iter()
                    .any(|name| self.streams(&self.databases[name], database)))
    }
}

impl Core {
    /// Whoever is in `sync` has every acknowledged commit.
    pub(super) fn check_sync(&mut self) {
        let replication = self.state.topology().database.replication;
        let Some(sync) = &self.state.sync else {
            return;
        };
        if replication != Replication::Synchronous {
            return;
        }
        let from = self.state.ledger.acknowledged.len().saturating_sub(RECENT);
        let recent = &self.state.ledger.acknowledged[from..];
        let lost: Vec<u64> = (self.state.ledger.promotions.iter())
            .flat_map(|promotion| promotion.lost.clone())
            .collect();
        // Before its promotion a primary acknowledges nothing, and people may
        // have permitted it to lack something.
        let promoted = self.state.databases[&sync.primary].state == PostgresState::Primary;
        let primary = promoted.then_some(&sync.primary);
        let members = sync.members.iter().chain(primary);
        let lacks = |member: &HostName| {
            let log = &self.state.databases[member];
            let missing = recent
                .iter()
                .find(|(id, _)| !log.has(*id) && !lost.contains(id));
            missing.map(|(id, _)| format!("{member} lacks write {id} and is in {sync:?}"))
        };
        let lacking = members.filter_map(lacks).next();
        if let Some(what) = lacking {
            self.tell(|| format!("VIOLATION {what}"));
            let ledger = &mut self.state.ledger;
            ledger.violated("no_acknowledged_loss_in_sync_mode", what);
        }
    }
}
