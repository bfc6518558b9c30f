//! PostgreSQL and its guard. The log is a list of records with unique ids, so
//! divergence is visible; a position counts records.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ids::{Epoch, HostName, Lsn, Timeline},
    order::{
        Downstream, GuardStatus, Order, OrderAnswer, OrderRequest, Postgres, PostgresState,
        WantedRole,
    },
    topology::{Replication, Topology},
};

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
    pub log: Vec<Record>,
    /// The end of the log after a clean stop of a primary.
    pub clean: Option<Lsn>,
    /// Until when a cleanly stopped primary still sends.
    drains_until: Duration,
    pub synchronous: Vec<HostName>,
    pub streaming: bool,
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
            log: vec![Record {
                id: 0,
                at: Duration::ZERO,
            }],
            clean: None,
            drains_until: Duration::ZERO,
            synchronous: if waits { others } else { Vec::new() },
            streaming: !is_primary,
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
            wanted: database.wanted.clone(),
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
            && primary.state == PostgresState::Primary
            && self.connected(&standby.host, &primary.host)
            && is_prefix(&standby.log, &primary.log)
    }

    /// The log flows to whoever follows.
    pub(super) fn replicate(&mut self, now: Duration) {
        let fresh: Vec<_> = self
            .databases
            .values()
            .map(|each| self.arriving(each, now))
            .collect();
        for (database, fresh) in self.databases.values_mut().zip(fresh) {
            database.streaming = fresh.is_some();
            if let Some((records, timeline)) = fresh {
                database.log.extend(records);
                database.timeline = timeline;
            }
        }
    }

    /// Records that have arrived at a standby by now; none: it does not stream.
    fn arriving(&self, standby: &Database, now: Duration) -> Option<(Vec<Record>, Timeline)> {
        let primary = &self.databases[standby.upstream()?];
        let sends = primary.state == PostgresState::Primary
            || (primary.clean.is_some() && now < primary.drains_until);
        let linked = sends && self.connected(&standby.host, &primary.host);
        if !linked || !is_prefix(&standby.log, &primary.log) {
            return None;
        }
        let delay = self.settings.replication_delay;
        let fresh = primary.log[standby.log.len()..].iter();
        let records: Vec<_> = fresh
            .take_while(|record| record.at + delay <= now)
            .copied()
            .collect();
        let complete = standby.log.len() + records.len() == primary.log.len();
        let timeline = if complete {
            primary.timeline
        } else {
            standby.timeline
        };
        Some((records, timeline))
    }

    /// Carries an order out, or not, as a guard does.
    pub(super) fn obey(
        &mut self,
        host: &HostName,
        request: &OrderRequest,
        now: Duration,
    ) -> OrderAnswer {
        let database = self.databases.get_mut(host).expect("a known host");
        let older = request.epoch < database.epoch;
        let taken = request.epoch == database.epoch && request.run != database.holder;
        if (older || taken) && self.settings.mutation != Some(Mutation::AcceptOldEpoch) {
            let why = format!("epoch {} of {} was here", database.epoch, database.holder);
            return OrderAnswer::Refused {
                id: "stale-epoch".to_owned(),
                why,
            };
        }
        self.ledger.accepted_order(host, request);
        match self.carry_out(host, &request.order, now) {
            Ok((changed, what)) => {
                let database = self.databases.get_mut(host).expect("a known host");
                database.epoch = database.epoch.max(request.epoch);
                database.holder.clone_from(&request.run);
                OrderAnswer::Done {
                    changed,
                    what,
                    status: Box::new(self.guard_status(host)),
                }
            }
            Err(NotDone::Refused(id, why)) => OrderAnswer::Refused {
                id: id.to_owned(),
                why,
            },
            Err(NotDone::Failed(why)) => OrderAnswer::Failed {
                why,
                status: Box::new(self.guard_status(host)),
            },
        }
    }

    fn carry_out(
        &mut self,
        host: &HostName,
        order: &Order,
        now: Duration,
    ) -> Result<(bool, String), NotDone> {
        match order {
            Order::Checkpoint => Ok((true, "made a checkpoint".to_owned())),
            Order::Demote { .. } => self.demote(host, now),
            Order::Promote { at_least } => self.promote(host, *at_least, now),
            Order::Resume { timeline } => self.resume(host, *timeline),
            Order::Follow { upstream } => self.follow(host, upstream),
            Order::Rewind { upstream } => self.rewind(host, upstream),
            Order::Reclone { upstream } | Order::Clone { upstream } => self.reclone(host, upstream),
            Order::Synchronous { standbys } => {
                let database = self.databases.get_mut(host).expect("a known host");
                let changed = &database.synchronous != standbys;
                database.synchronous.clone_from(standbys);
                Ok((
                    changed,
                    format!("commits wait for {} standbys", standbys.len()),
                ))
            }
            Order::DropKept | Order::Initialise => Ok((false, "nothing to do".to_owned())),
        }
    }

    fn demote(&mut self, host: &HostName, now: Duration) -> Result<(bool, String), NotDone> {
        let id = self.ledger.next_id();
        let database = self.databases.get_mut(host).expect("a known host");
        let was = database.state;
        database.wanted = WantedRole::Stopped;
        database.state = PostgresState::Stopped;
        database.streaming = false;
        if was == PostgresState::Primary && !database.broken {
            database.log.push(Record { id, at: now });
            database.clean = Some(database.end());
            database.drains_until = now + DRAIN;
        }
        let changed = was != PostgresState::Stopped;
        let how = if database.clean.is_some() {
            "cleanly"
        } else {
            "at once"
        };
        Ok((changed, format!("PostgreSQL is stopped {how} and stays so")))
    }

    fn promote(
        &mut self,
        host: &HostName,
        at_least: Option<Lsn>,
        now: Duration,
    ) -> Result<(bool, String), NotDone> {
        let database = &self.databases[host];
        match database.state {
            PostgresState::Primary => return Ok((false, "it is primary already".to_owned())),
            PostgresState::Standby => {}
            _ => return Err(NotDone::refused("not-running", "PostgreSQL does not run")),
        }
        if at_least.is_some_and(|at_least| database.end() < at_least) {
            return Err(NotDone::refused("behind", "it has not received so much"));
        }
        super::check::promotion(self, host);
        let id = self.ledger.next_id();
        let database = self.databases.get_mut(host).expect("a known host");
        database.timeline = Timeline(database.timeline.0 + 1);
        database.log.push(Record { id, at: now });
        database.state = PostgresState::Primary;
        database.wanted = WantedRole::Primary;
        database.streaming = false;
        Ok((true, format!("promoted to timeline {}", database.timeline)))
    }

    fn resume(&mut self, host: &HostName, timeline: Timeline) -> Result<(bool, String), NotDone> {
        let database = self.databases.get_mut(host).expect("a known host");
        if database.state == PostgresState::Primary && database.timeline == timeline {
            return Ok((false, "it is primary already".to_owned()));
        }
        let stopped = database.state == PostgresState::Stopped && database.clean.is_some();
        if !stopped || database.timeline != timeline {
            return Err(NotDone::refused(
                "not-resumable",
                "not a cleanly stopped primary of that timeline",
            ));
        }
        database.state = PostgresState::Primary;
        database.wanted = WantedRole::Primary;
        database.clean = None;
        Ok((true, "PostgreSQL is primary again".to_owned()))
    }

    fn follow(&mut self, host: &HostName, upstream: &HostName) -> Result<(bool, String), NotDone> {
        let database = self.databases.get_mut(host).expect("a known host");
        if database.state == PostgresState::Primary {
            return Err(NotDone::refused(
                "primary-running",
                "it is a running primary",
            ));
        }
        let wanted = WantedRole::Standby {
            upstream: Some(upstream.clone()),
        };
        let changed = database.wanted != wanted || database.state != PostgresState::Standby;
        database.wanted = wanted;
        database.clean = None;
        if database.broken {
            return Err(NotDone::Failed("PostgreSQL does not start".to_owned()));
        }
        database.state = PostgresState::Standby;
        Ok((changed, format!("follows {upstream}")))
    }

    fn rewind(&mut self, host: &HostName, upstream: &HostName) -> Result<(bool, String), NotDone> {
        let source = self.source(host, upstream)?.clone();
        let database = self.databases.get_mut(host).expect("a known host");
        if database.state == PostgresState::Primary {
            return Err(NotDone::refused(
                "primary-running",
                "it is a running primary",
            ));
        }
        if database.rewind_fails {
            return Err(NotDone::Failed("pg_rewind failed".to_owned()));
        }
        let pairs = database.log.iter().zip(&source.log);
        let common = pairs
            .take_while(|(ours, theirs)| ours.id == theirs.id)
            .count();
        database.log.truncate(common);
        self.follow(host, upstream)?;
        Ok((true, format!("rewound and follows {upstream}")))
    }

    fn reclone(&mut self, host: &HostName, upstream: &HostName) -> Result<(bool, String), NotDone> {
        let source = self.source(host, upstream)?.clone();
        let database = self.databases.get_mut(host).expect("a known host");
        if database.state == PostgresState::Primary {
            return Err(NotDone::refused(
                "primary-running",
                "it is a running primary",
            ));
        }
        database.log.clone_from(&source.log);
        database.timeline = source.timeline;
        database.broken = false;
        self.follow(host, upstream)?;
        Ok((true, format!("copied and follows {upstream}")))
    }

    fn source(&self, host: &HostName, upstream: &HostName) -> Result<&Database, NotDone> {
        let source = &self.databases[upstream];
        if source.state != PostgresState::Primary || !self.connected(host, upstream) {
            return Err(NotDone::Failed(format!("{upstream} cannot be copied from")));
        }
        Ok(source)
    }
}

enum NotDone {
    Refused(&'static str, String),
    Failed(String),
}

impl NotDone {
    fn refused(id: &'static str, why: &str) -> Self {
        Self::Refused(id, why.to_owned())
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
