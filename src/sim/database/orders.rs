//! What a guard does with an order.

use std::time::Duration;

use crate::{
    ids::{HostName, Lsn, Timeline},
    order::{Order, OrderAnswer, OrderRequest, PostgresState, WantedRole},
};

use super::{
    super::{State, mutation::Mutation},
    DRAIN, Database, Record,
};

impl Database {
    /// Nothing on a running primary is replaced.
    fn is_no_primary(&self) -> Result<(), NotDone> {
        match self.state {
            PostgresState::Primary => Err(NotDone::refused(
                "primary-running",
                "it is a running primary",
            )),
            _ => Ok(()),
        }
    }
}

impl State {
    /// Carries an order out, or not, as a guard does.
    pub(in crate::sim) fn obey(
        &mut self,
        host: &HostName,
        request: &OrderRequest,
        now: Duration,
    ) -> OrderAnswer {
        if let Err(why) = self.is_current(host, request) {
            return OrderAnswer::Refused {
                id: "stale-epoch".to_owned(),
                why,
            };
        }
        self.ledger.begins_order(host, request);
        match self.carry_out(host, request, now) {
            Ok((changed, what)) => {
                self.adopt_epoch(host, request);
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
            Err(NotDone::Failed(why)) => {
                self.adopt_epoch(host, request);
                OrderAnswer::Failed {
                    why,
                    status: Box::new(self.guard_status(host)),
                }
            }
        }
    }

    /// The epoch of an order that was begun belongs to its run.
    pub(in crate::sim) fn adopt_epoch(&mut self, host: &HostName, request: &OrderRequest) {
        self.ledger.obeyed_order(host, request);
        let database = self.databases.get_mut(host).expect("a known host");
        database.epoch = database.epoch.max(request.epoch);
        database.holder.clone_from(&request.run);
    }

    /// Whether an order is of the newest run that the guard knows.
    pub(in crate::sim) fn is_current(
        &self,
        host: &HostName,
        request: &OrderRequest,
    ) -> Result<(), String> {
        let database = &self.databases[host];
        if self.settings.mutation == Some(Mutation::AcceptOldEpoch) {
            return Ok(());
        }
        request.is_current(database.epoch, Some(&database.holder))
    }

    fn carry_out(
        &mut self,
        host: &HostName,
        request: &OrderRequest,
        now: Duration,
    ) -> Result<(bool, String), NotDone> {
        match &request.order {
            Order::Claim => self.runs_postgres(host, (false, "refuses older runs")),
            Order::Checkpoint => self.runs_postgres(host, (true, "made a checkpoint")),
            Order::Demote { .. } => self.demote(host, now),
            Order::Promote { at_least, .. } => self.promote(host, *at_least, now),
            Order::Resume { timeline } => self.resume(host, *timeline),
            Order::Follow { upstream } => self.follow(host, upstream),
            Order::Rewind { upstream } => self.rewind(host, upstream),
            Order::Reclone { upstream } | Order::Clone { upstream } => self.reclone(host, upstream),
            Order::Synchronous { standbys } => {
                let database = self.databases.get_mut(host).expect("a known host");
                let (now, given) = (&database.synchronous, database.synchronous_in);
                if request.is_overtaken(standbys, now, given) {
                    let why = "a later order lets commits wait for more standbys";
                    return Err(NotDone::refused("stale-order", why));
                }
                let changed = &database.synchronous != standbys;
                database.synchronous.clone_from(standbys);
                database.synchronous_in = request.by_run();
                Ok((
                    changed,
                    format!("commits wait for {} standbys", standbys.len()),
                ))
            }
            Order::DropKept | Order::Initialise => Ok((false, "nothing to do".to_owned())),
        }
    }

    fn runs_postgres(
        &self,
        host: &HostName,
        done: (bool, &str),
    ) -> Result<(bool, String), NotDone> {
        match self.databases[host].state {
            PostgresState::Primary | PostgresState::Standby => Ok((done.0, done.1.to_owned())),
            _ => Err(NotDone::refused("not-running", "PostgreSQL does not run")),
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
        crate::sim::check::promotion(self, host);
        let id = self.ledger.next_id();
        // Those who confirmed when it last was primary may be gone.
        let forgets = self.settings.mutation == Some(Mutation::ForgetToEmptySync);
        let database = self.databases.get_mut(host).expect("a known host");
        if !forgets {
            database.synchronous.clear();
        }
        database.timeline = Timeline(database.timeline.0 + 1);
        database.began = id;
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
        database.is_no_primary()?;
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
        database.is_no_primary()?;
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
        database.is_no_primary()?;
        database.log.clone_from(&source.log);
        database.timeline = source.timeline;
        database.began = source.began;
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
