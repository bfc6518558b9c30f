//! Promotions, seen from above.

use crate::{coordination::Primary, ids::HostName, order::PostgresState, topology::Replication};

use super::super::{State, database::RECORD, guard};

/// A promotion as it truly was.
#[derive(Clone, Debug)]
pub struct Promotion {
    pub host: HostName,
    /// Acknowledged writes that the new primary lacks.
    pub lost: Vec<u64>,
}

/// What must hold when a database is promoted.
pub(in crate::sim) fn promotion(state: &mut State, host: &HostName) {
    let run = (state.ledger.orders.last()).map(|(_, request)| request.run.clone());
    let journal = run.as_ref().and_then(|run| state.ledger.runs.get(run));
    let mut proof = journal.is_some_and(|journal| journal.proof);
    let limit = state.permitted_loss(run.as_deref());
    if state.quorum.is_some() {
        let right = state.is_held_by(host);
        // Whoever follows no run has no journal.
        proof = right && (proof || !state.settings.watched);
    }
    let lost = newly_lost(state, host);
    loss_is_within(limit, state, host, lost.len());
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

fn loss_is_within(limit: Option<u64>, state: &mut State, host: &HostName, lost: usize) {
    let bytes = lost as u64 * RECORD;
    if limit.is_some_and(|limit| bytes > limit) {
        let invariant = match state.topology().database.replication {
            Replication::Synchronous => "no_acknowledged_loss_in_sync_mode",
            Replication::Asynchronous => "loss_within_budget_in_async_mode",
        };
        let what = format!("{host} lacks {lost} acknowledged writes ({bytes} bytes)");
        state.ledger.violated(invariant, what);
    }
}

impl State {
    /// Who has the right to write, as the store says.
    pub(super) fn holder(&self) -> Option<Primary> {
        let quorum = self.quorum.as_ref();
        let text = quorum.and_then(|quorum| quorum.text(&guard::key("primary")));
        text.and_then(|text| serde_json::from_str(text).ok())
    }

    /// The store says that this host has the right to write.
    pub(super) fn is_held_by(&self, host: &HostName) -> bool {
        let holder = self.holder();
        holder.is_some_and(|primary| &primary.host == host)
    }

    /// Bytes of acknowledged writes that the promotion of a run may lose; none:
    /// no end.
    fn permitted_loss(&self, run: Option<&str>) -> Option<u64> {
        let database = &self.topology().database;
        let synchronous = database.replication == Replication::Synchronous;
        // Attendants and the operators beside them permit nothing there, and do
        // not measure: the store must be asked who was primary for that.
        let measures = self.quorum.is_none() || self.settings.watched;
        if synchronous && !measures {
            return Some(0);
        }
        let run = run?;
        let journal = self.ledger.runs.get(run)?;
        if journal.is_switchover() {
            return Some(0);
        }
        if !measures {
            return None;
        }
        let budget = if synchronous {
            0
        } else {
            database.maximum_lag_on_failover
        };
        // Watchers permit nothing beyond the budget.
        let allowance = self.ledger.allowances.get(run).copied();
        allowance.unwrap_or(Some(0)).map(|bytes| bytes.max(budget))
    }
}
