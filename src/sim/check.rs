//! The invariants, looked at after every event and at the end.

use std::{fmt, time::Duration};

use crate::{
    coordination::Primary,
    ids::{Epoch, HostName},
    order::{OrderRequest, PostgresState},
    topology::{Replication, Role},
};

use super::{
    Core, State,
    clients::{Vote, Waiting},
    database::RECORD,
    guard,
};

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
    newest: std::collections::BTreeMap<HostName, Epoch>,
    pub promotions: Vec<Promotion>,
    pub violations: Vec<Violation>,
    /// Acknowledged writes that the operator permitted to lose; none: no end.
    pub allowance: Option<u64>,
    /// By run: whether it is a switchover, and whether it recorded a proof.
    pub runs: std::collections::BTreeMap<String, (bool, bool)>,
}

/// A promotion as it truly was.
#[derive(Clone, Debug)]
pub struct Promotion {
    pub host: HostName,
    /// Acknowledged writes that the new primary lacks.
    pub lost: Vec<u64>,
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
    /// The store says that this host has the right to write.
    fn is_held_by(&self, host: &HostName) -> bool {
        let quorum = self.quorum.as_ref();
        let text = quorum.and_then(|quorum| quorum.text(&guard::key("primary")));
        let primary: Option<Primary> = text.and_then(|text| serde_json::from_str(text).ok());
        primary.is_some_and(|primary| &primary.host == host)
    }

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

/// What must hold when a database is promoted, seen from above.
pub(super) fn promotion(state: &mut State, host: &HostName) {
    let run = (state.ledger.orders.last()).map(|(_, request)| request.run.clone());
    let run = run.and_then(|run| state.ledger.runs.get(&run).copied());
    let (switchover, mut proof) = run.unwrap_or_default();
    if state.quorum.is_some() {
        let right = state.is_held_by(host);
        // Whoever follows no run has no journal.
        proof = right && (proof || !state.settings.watched);
    }
    let lost = newly_lost(state, host);
    loss_is_within_budget(state, host, lost.len(), switchover);
    let others = state.databases.values().filter(|other| &other.host != host);
    let mut writing =
        others.filter(|other| state.runs(&other.host) && other.state == PostgresState::Primary);
    let writing = writing.next().map(|other| other.host.clone());
    if !proof || writing.is_some() {
        let what = format!(
            "{host} was promoted; proof in the journal: {proof}; still primary: {writing:?}"
        );
        state.ledger.violated("no_promotion_without_proof", what);
    }
    state.ledger.promotions.push(Promotion {
        host: host.clone(),
        lost,
    });
}

/// Acknowledged writes that the host lacks and that no promotion before lost.
fn newly_lost(state: &State, host: &HostName) -> Vec<u64> {
    let log = &state.databases[host];
    let promotions = state.ledger.promotions.iter();
    let already: Vec<u64> = promotions.flat_map(|p| p.lost.clone()).collect();
    let acknowledged = state.ledger.acknowledged.iter().map(|(id, _)| *id);
    acknowledged
        .filter(|id| !log.has(*id) && !already.contains(id))
        .collect()
}

fn loss_is_within_budget(state: &mut State, host: &HostName, lost: usize, switchover: bool) {
    let database = &state.topology().database;
    let synchronous = database.replication == Replication::Synchronous;
    let budget = if synchronous {
        0
    } else {
        database.maximum_lag_on_failover
    };
    let limit = if switchover || (synchronous && state.quorum.is_some()) {
        Some(0)
    } else if state.quorum.is_some() {
        // Nobody in this world has measured the lag.
        None
    } else {
        state.ledger.allowance.map(|a| a.max(budget))
    };
    let bytes = lost as u64 * RECORD;
    if limit.is_some_and(|limit| bytes > limit) {
        let invariant = if synchronous {
            "no_acknowledged_loss_in_sync_mode"
        } else {
            "loss_within_budget_in_async_mode"
        };
        let what = format!("{host} lacks {lost} acknowledged writes ({bytes} bytes)");
        state.ledger.violated(invariant, what);
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
        let members = sync.members.iter().chain([&sync.primary]);
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

    /// Whether everything is as it should be once faults have ended.
    ///
    /// # Errors
    /// What is not.
    pub fn is_healthy(&self) -> Result<(), String> {
        let state = &self.state;
        let primaries: Vec<_> = state
            .databases
            .values()
            .filter(|d| d.state == PostgresState::Primary)
            .collect();
        let [primary] = primaries.as_slice() else {
            return Err(format!("there are {} primaries", primaries.len()));
        };
        let mut standbys = state.databases.values().filter(|d| d.host != primary.host);
        if let Some(standby) = standbys.find(|standby| !state.streams(standby, primary)) {
            return Err(format!("{} does not stream", standby.host));
        }
        let synchronous = state.topology().database.replication == Replication::Synchronous;
        if synchronous && primary.synchronous.is_empty() {
            return Err(format!("commits on {} wait for nobody", primary.host));
        }
        if state.settings.automatic.is_some() {
            // Queues follow by orders, which nobody gives here.
            return state.is_settled(&primary.host);
        }
        state.parts_follow(&primary.host)
    }
}

impl State {
    /// Automatic mode: the primary has the right, and the store knows who has
    /// every acknowledged commit.
    fn is_settled(&self, primary: &HostName) -> Result<(), String> {
        if !self.is_held_by(primary) {
            return Err(format!("{primary} writes, and the store does not know"));
        }
        let synchronous = self.topology().database.replication == Replication::Synchronous;
        let known = self.sync.as_ref();
        let members = known.filter(|sync| &sync.primary == primary);
        if synchronous && members.is_none_or(|sync| sync.members.is_empty()) {
            return Err(format!("nobody is known to have what {primary} has"));
        }
        Ok(())
    }

    fn parts_follow(&self, primary: &HostName) -> Result<(), String> {
        let site = self.site_of(primary);
        let queue = self.host_in(&site, Role::Queue);
        for lb in self.proxies.keys() {
            for (backend, wanted) in [
                (crate::step::Backend::Database, primary),
                (crate::step::Backend::Queue, &queue),
            ] {
                let routed: Vec<_> = self.proxies[lb].usable(backend).collect();
                if routed != [wanted.as_str()] {
                    return Err(format!("{lb} sends {backend:?} to {routed:?}"));
                }
            }
        }
        if self.queues[&queue].of.is_some() {
            return Err(format!("{queue} is not the active queue"));
        }
        let copies = self.queues.iter().filter(|(host, _)| **host != queue);
        if let Some((copy, _)) = copies
            .into_iter()
            .find(|(_, copy)| copy.of.as_ref() != Some(&queue))
        {
            return Err(format!("{copy} does not copy {queue}"));
        }
        Ok(())
    }

    /// Accepted votes that the active queue lacks.
    #[must_use]
    pub fn lost_votes(&self) -> usize {
        let active = self.queues.values().find(|queue| queue.of.is_none());
        let Some(active) = active else {
            return 0;
        };
        let has: std::collections::BTreeSet<_> = active.log.iter().map(|(id, _)| *id).collect();
        self.ledger
            .votes_accepted
            .iter()
            .filter(|id| !has.contains(id))
            .count()
    }
}
