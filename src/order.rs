//! The words between the operator (or a watcher) and a guard: its status and
//! the orders that it takes. JSON over HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, HostName, Lsn, Timeline};

/// What a guard says of its PostgreSQL: the answer of `GET /status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardStatus {
    pub host: HostName,
    /// Version of the guard.
    pub version: String,
    /// The newest epoch of an order that this guard accepted.
    pub epoch: Epoch,
    /// The run that brought this epoch.
    #[serde(default)]
    pub run: Option<String>,
    /// What the guard wants PostgreSQL to be.
    pub wanted: WantedRole,
    /// Automatic mode: the right to write, where this host holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
    pub postgres: Postgres,
}

impl GuardStatus {
    /// PostgreSQL is down, and is to stay so.
    #[must_use]
    pub fn stays_stopped(&self) -> bool {
        self.postgres.state == PostgresState::Stopped && self.wanted == WantedRole::Stopped
    }

    /// What the newest run left behind here.
    #[must_use]
    pub fn trace(&self) -> Trace {
        Trace {
            epoch: self.epoch,
            run: self.run.clone().unwrap_or_default(),
        }
    }
}

/// The right to write under the lease of the shared store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    pub epoch: Epoch,
    /// Milliseconds until it ends unless it is renewed.
    pub left_ms: u64,
    /// The store is silent, and all peers promised instead.
    pub by_promises: bool,
    /// Who has every acknowledged commit besides this host.
    pub members: std::collections::BTreeSet<HostName>,
}

/// What a run leaves behind where it had an effect, for those who do not have
/// its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    pub epoch: Epoch,
    /// Id of the run.
    pub run: String,
}

/// What a guard wants its PostgreSQL to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedRole {
    /// No cluster has been made yet.
    Uninitialised,
    /// May accept writes.
    Primary,
    /// Follows this host; none: waits for an order that says whom.
    Standby { upstream: Option<HostName> },
    /// Stopped and stays so, over reboots too, until another order.
    Stopped,
}

/// What PostgreSQL is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postgres {
    pub state: PostgresState,
    /// From the control file, so known even when stopped.
    pub system_identifier: Option<String>,
    pub timeline: Option<Timeline>,
    /// Primary: current write position. Standby: none.
    pub written: Option<Lsn>,
    /// Standby: received and flushed.
    pub received: Option<Lsn>,
    /// Standby: replayed.
    pub replayed: Option<Lsn>,
    /// Stopped cleanly as a primary: where its log ends, just after the record
    /// of the shutdown checkpoint. A standby that has received everything has
    /// `received` equal to this.
    pub shutdown_checkpoint: Option<Lsn>,
    /// Standby: whether the WAL receiver streams now, and from where.
    pub streaming_from: Option<String>,
    /// Standby: milliseconds since the last message of the primary.
    pub last_message_ms: Option<u64>,
    /// Primary: who streams, by application name.
    pub standbys: BTreeMap<String, Downstream>,
    /// Replication slots: active or not.
    pub slots: BTreeMap<String, Slot>,
    /// `synchronous_standby_names` as in force.
    pub synchronous_standby_names: Option<String>,
    /// Why the guard could not see more, if it could not.
    pub problem: Option<String>,
}

impl Postgres {
    /// Where the log of a primary ends, or ended when it was stopped cleanly.
    #[must_use]
    pub fn ended_at(&self) -> Option<Lsn> {
        self.shutdown_checkpoint.or(self.written)
    }

    /// What a standby holds of the log.
    #[must_use]
    pub fn has(&self) -> Option<Lsn> {
        self.received.or(self.replayed)
    }
}

/// The state of the server process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresState {
    /// No data directory.
    Uninitialised,
    Stopped,
    Starting,
    /// Accepts writes.
    Primary,
    /// In recovery, accepts reads.
    Standby,
    Stopping,
    /// Runs, and does not answer.
    Hung,
}

/// A standby as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downstream {
    /// `streaming`, `catchup`, `backup`.
    pub state: String,
    /// `sync`, `async`, `quorum`, `potential`.
    pub sync_state: String,
    pub address: String,
    pub sent: Option<Lsn>,
    pub flushed: Option<Lsn>,
    pub replayed: Option<Lsn>,
    /// Its last word, by its own wall clock: only compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied_at: Option<String>,
}

/// A replication slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub active: bool,
    pub restart: Option<Lsn>,
}

/// `POST /orders`, on the mutually authenticated port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// The run that asks, for the guard's log.
    pub run: String,
    /// Refused when older than one that was accepted before.
    pub epoch: Epoch,
    pub order: Order,
}

/// Run of orders given on the host itself, which belong to no epoch.
pub const LOCAL_RUN: &str = "local";

impl OrderRequest {
    /// Whether a guard may take it that accepted `newest` from `holder` last:
    /// nothing newer was there, and the epoch is not another run's.
    ///
    /// # Errors
    /// Why not.
    pub fn is_current(&self, newest: Epoch, holder: Option<&str>) -> Result<(), String> {
        let asked = self.epoch;
        if asked < newest {
            return Err(format!("epoch {asked} is older than {newest}"));
        }
        match holder {
            Some(holder) if asked == newest && holder != self.run && self.run != LOCAL_RUN => {
                Err(format!("epoch {asked} belongs to run {holder}"))
            }
            _ => Ok(()),
        }
    }

    /// The epoch of the run that gives it; none: whoever is on the host, in the
    /// epoch in force.
    #[must_use]
    pub fn by_run(&self) -> Option<Epoch> {
        (self.run != LOCAL_RUN).then_some(self.epoch)
    }

    /// Whether a later order of its run lets commits wait for more: for `now`,
    /// by an order of `given`. A run lets them wait for nobody first, and for
    /// its standbys later; the first order may arrive, or arrive again, after
    /// the second.
    #[must_use]
    pub fn is_overtaken(
        &self,
        standbys: &[HostName],
        now: &[HostName],
        given: Option<Epoch>,
    ) -> bool {
        let fewer = now.iter().any(|host| !standbys.contains(host));
        given.is_some() && given == self.by_run() && fewer
    }
}

/// What a guard can be told. Each is "make it so": told twice, the second
/// finds nothing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Make a new cluster and be its primary. Refused where a data directory
    /// exists that is not this guard's own primary.
    Initialise,
    /// Stream from that host, copying it by pg_basebackup when there is no
    /// data directory yet. Refused on a running primary.
    Clone { upstream: HostName },
    /// Nothing but the epoch: older orders are refused from now on.
    Claim,
    /// CHECKPOINT now, so that a demotion is quick. Refused by a standby that
    /// a promise keeps from becoming primary.
    Checkpoint,
    /// Stop PostgreSQL and keep it stopped. Fast: a clean shutdown that sends
    /// all WAL; not clean within the deadline: immediate.
    Demote { deadline_ms: u64 },
    /// Leave recovery and accept writes. Refused where the received position
    /// is before `at_least`.
    Promote {
        at_least: Option<Lsn>,
        /// Automatic mode: refused where the store does not say that this
        /// host has every acknowledged commit.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_sync: bool,
    },
    /// Be a standby of that host, without rewinding: start if stopped.
    Follow { upstream: HostName },
    /// Undo of `Demote`: start as the primary again. Refused when the data
    /// directory is not a cleanly stopped primary of `timeline`.
    Resume { timeline: Timeline },
    /// Bring a diverged cluster back behind that host by pg_rewind, then
    /// follow it.
    Rewind { upstream: HostName },
    /// Copy that host into a new directory, keep the old one aside, follow.
    Reclone { upstream: HostName },
    /// Who must confirm commits: application names; empty: nobody.
    Synchronous { standbys: Vec<HostName> },
    /// Remove the kept old directories of `Rewind` and `Reclone`.
    DropKept,
}

/// The answer to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderAnswer {
    /// Done, or nothing was to do.
    Done {
        changed: bool,
        /// One line for people.
        what: String,
        status: Box<GuardStatus>,
    },
    /// Not done, and nothing was changed.
    Refused {
        /// Such as `stale-epoch`, `primary-running`, `behind`.
        id: String,
        why: String,
    },
    /// Tried and failed; the guard stays in the stated status.
    Failed {
        why: String,
        status: Box<GuardStatus>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_belongs_to_the_run_that_brought_it() {
        for (epoch, run, current) in [
            (3, "first", false),
            (4, "first", true),
            (4, "second", false),
            (4, LOCAL_RUN, true),
            (5, "second", true),
        ] {
            let request = OrderRequest {
                run: run.to_owned(),
                epoch: Epoch(epoch),
                order: Order::Checkpoint,
            };
            let answer = request.is_current(Epoch(4), Some("first"));
            assert_eq!(answer.is_ok(), current, "{epoch} of {run}: {answer:?}");
            let unowned = request.is_current(Epoch(4), None);
            assert_eq!(unowned.is_ok(), epoch >= 4, "{epoch} of {run}: {unowned:?}");
        }
    }
}
