//! PostgreSQL and its guard. The log is a list of records with unique ids, so
//! divergence is visible; a position counts records.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ids::{Epoch, HostName, Lsn, Timeline},
    order::{Downstream, GuardStatus, Postgres, PostgresState, WantedRole},
    topology::{Replication, Topology},
};

mod orders;

use super::{State, mutation::Mutation};

/// Bytes of a record.
pub const RECORD: u64 = 64;
const BASE: u64 = 0x300_0000;
/// A primary that stops cleanly sends its last records so long.
const DRAIN: Duration = Duration::from_millis(400);

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: u64,
    /// When it was written.
    pub at: Duration,
}

/// One database host.
#[derive(Clone, Debug)]
pub struct Database {
    pub host: HostName,
    pub epoch: Epoch,
    /// The run that holds the epoch.
    pub holder: String,
    pub wanted: WantedRole,
    pub state: PostgresState,
    pub timeline: Timeline,
    /// The record that began it.
    began: u64,
    pub log: Vec<Record>,
    /// The end of the log after a clean stop of a primary.
    pub clean: Option<Lsn>,
    /// Until when a cleanly stopped primary still sends.
    drains_until: Duration,
    pub synchronous: Vec<HostName>,
    /// The epoch of the order that said so.
    pub synchronous_in: Option<Epoch>,
    pub streaming: bool,
    /// Since when, for the checker.
    pub(super) streams_since: Option<Duration>,
    /// As a standby it receives nothing, whatever is well.
    pub stalled: bool,
    /// PostgreSQL does not start or stop properly.
    pub broken: bool,
    /// pg_rewind fails here.
    pub rewind_fails: bool,
}

impl Database {
    /// As the deploy left it.
    pub(super) fn deployed(
        topology: &Topology,
        host: &HostName,
        primary: &HostName,
        others: Vec<HostName>,
    ) -> Self {
        let is_primary = host == primary;
        let waits = topology.database.replication == Replication::Synchronous && is_primary;
        Self {
            host: host.clone(),
            epoch: Epoch(1),
            holder: "deploy".to_owned(),
            wanted: if is_primary {
                WantedRole::Primary
            } else {
                WantedRole::Standby {
                    upstream: Some(primary.clone()),
                }
            },
            state: if is_primary {
                PostgresState::Primary
            } else {
                PostgresState::Standby
            },
            timeline: Timeline(1),
            began: 0,
            log: vec![Record {
                id: 0,
                at: Duration::ZERO,
            }],
            clean: None,
            drains_until: Duration::ZERO,
            synchronous: if waits { others } else { Vec::new() },
            synchronous_in: None,
            streaming: !is_primary,
            streams_since: (!is_primary).then_some(Duration::ZERO),
            stalled: false,
            broken: false,
            rewind_fails: false,
        }
    }

    /// End of the log.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(BASE + self.log.len() as u64 * RECORD)
    }

    /// Whether a record is in the log.
    #[must_use]
    pub fn has(&self, id: u64) -> bool {
        self.log
            .binary_search_by_key(&id, |record| record.id)
            .is_ok()
    }

    /// The machine or PostgreSQL died.
    pub(super) fn crash(&mut self) {
        self.state = PostgresState::Stopped;
        self.streaming = false;
        if self.wanted != WantedRole::Stopped {
            self.clean = None;
        }
    }

    /// All processes are killed; what is wanted stays.
    pub(super) fn kill(&mut self) {
        self.state = PostgresState::Stopped;
        self.streaming = false;
        self.clean = None;
    }

    /// The guard starts after a boot: never writable by itself.
    pub(super) fn boot(&mut self, mutation: Option<Mutation>) {
        self.state = match self.wanted {
            WantedRole::Primary if mutation == Some(Mutation::BootWritable) => {
                PostgresState::Primary
            }
            WantedRole::Primary | WantedRole::Standby { .. } => PostgresState::Standby,
            WantedRole::Stopped => PostgresState::Stopped,
            WantedRole::Uninitialised => PostgresState::Uninitialised,
        };
        if self.wanted == WantedRole::Primary && mutation != Some(Mutation::BootWritable) {
            self.wanted = WantedRole::Standby { upstream: None };
        }
        if self.broken {
            self.state = PostgresState::Stopped;
        }
    }

    /// The guard starts PostgreSQL again within the same boot: it still holds
    /// the right that an order gave it.
    pub(super) fn restart(&mut self) {
        self.state = match self.wanted {
            WantedRole::Primary => PostgresState::Primary,
            WantedRole::Standby { .. } => PostgresState::Standby,
            WantedRole::Stopped | WantedRole::Uninitialised => self.state,
        };
    }

    fn is_running(&self) -> bool {
        matches!(self.state, PostgresState::Primary | PostgresState::Standby)
    }

    fn upstream(&self) -> Option<&HostName> {
        match &self.wanted {
            WantedRole::Standby { upstream } if self.state == PostgresState::Standby => {
                upstream.as_ref()
            }
            _ => None,
        }
    }
}

impl State {
    /// What the guard says.
    #[must_use]
    pub fn guard_status(&self, host: &HostName) -> GuardStatus {
        let database = &self.databases[host];
        GuardStatus {
            host: host.clone(),
            version: "simulated".to_owned(),
            epoch: database.epoch,
            run: Some(database.holder.clone()),
            wanted: database.wanted.clone(),
            lease: self.lease_status(host),
            postgres: self.postgres(database),
        }
    }

    fn postgres(&self, database: &Database) -> Postgres {
        let primary = database.state == PostgresState::Primary;
        let standby = database.state == PostgresState::Standby;
        Postgres {
            state: database.state,
            system_identifier: Some("7300000000000000001".to_owned()),
            timeline: Some(database.timeline),
            written: primary.then(|| database.end()),
            received: standby.then(|| database.end()),
            replayed: standby.then(|| database.end()),
            shutdown_checkpoint: database.clean,
            streaming_from: database
                .upstream()
                .filter(|_| database.streaming)
                .map(ToString::to_string),
            last_message_ms: None,
            standbys: if primary {
                self.standbys(database)
            } else {
                BTreeMap::new()
            },
            slots: BTreeMap::new(),
            synchronous_standby_names: database.is_running().then(|| {
                let names: Vec<_> = database.synchronous.iter().map(HostName::as_str).collect();
                names.join(",")
            }),
            problem: None,
        }
    }

    fn standbys(&self, primary: &Database) -> BTreeMap<String, Downstream> {
        let seen = |standby: &Database| {
            let sync = primary.synchronous.contains(&standby.host);
            Downstream {
                state: "streaming".to_owned(),
                sync_state: if sync { "sync" } else { "async" }.to_owned(),
                address: String::new(),
                sent: Some(standby.end()),
                flushed: Some(standby.end()),
                replayed: Some(standby.end()),
                replied_at: None,
            }
        };
        self.databases
            .values()
            .filter(|standby| self.streams(standby, primary))
            .map(|standby| (standby.host.to_string(), seen(standby)))
            .collect()
    }

    /// The standby receives from this primary now.
    #[must_use]
    pub fn streams(&self, standby: &Database, primary: &Database) -> bool {
        standby.upstream() == Some(&primary.host)
            && self.receives(standby)
            && primary.state == PostgresState::Primary
            && self.connected(&standby.host, &primary.host)
            && is_prefix(&standby.log, &primary.log)
    }

    /// It could write down what it receives.
    fn receives(&self, standby: &Database) -> bool {
        !standby.stalled && self.takes_writes(&standby.host)
    }

    /// The log flows to whoever follows.
    pub(super) fn replicate(&mut self, now: Duration) {
        for standby in 0..self.databases.len() {
            let from = self.sender(standby, now);
            let database = self.databases.at_mut(standby);
            database.streaming = from.is_some();
            database.streams_since = from.and(database.streams_since.or(Some(now)));
            if let Some(primary) = from {
                self.receive(standby, primary, now);
            }
        }
    }

    /// Who sends log to that standby now.
    fn sender(&mut self, standby: usize, now: Duration) -> Option<usize> {
        let standby = self.databases.at(standby);
        let position = self.databases.position(standby.upstream()?)?;
        let primary = self.databases.at(position);
        let runs = primary.state == PostgresState::Primary;
        let drains = !runs && primary.clean.is_some() && now < primary.drains_until;
        let linked = (runs || drains)
            && self.receives(standby)
            && self.connected(&standby.host, &primary.host);
        if !linked || !is_prefix(&standby.log, &primary.log) {
            return None;
        }
        if drains {
            let end = primary.drains_until;
            self.changes_at(end);
        }
        Some(position)
    }

    /// Takes what has arrived by now.
    fn receive(&mut self, standby: usize, primary: usize, now: Duration) {
        let delay = self.settings.replication_delay;
        let primary = self.databases.at(primary);
        let has = self.databases.at(standby).log.len();
        let mut arrived = has;
        let mut next = None;
        for record in &primary.log[has..] {
            if record.at + delay > now {
                next = Some(record.at + delay);
                break;
            }
            arrived += 1;
        }
        let (timeline, began) = (primary.timeline, primary.began);
        if arrived > has {
            let records = primary.log[has..arrived].to_vec();
            self.databases
                .at_mut(standby)
                .log
                .extend_from_slice(&records);
        }
        let standby = self.databases.at_mut(standby);
        if standby.began != began && standby.has(began) {
            (standby.timeline, standby.began) = (timeline, began);
        }
        if let Some(next) = next {
            self.changes_at(next);
        }
    }
}

/// Ids only grow along a log and are never used twice, so the last one tells.
fn is_prefix(short: &[Record], long: &[Record]) -> bool {
    match short.last() {
        Some(last) => long
            .get(short.len() - 1)
            .is_some_and(|record| record.id == last.id),
        None => true,
    }
}
