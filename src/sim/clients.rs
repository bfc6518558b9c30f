//! Clients that write all the time, at every site, to the database and to the
//! queue; and single writes for the end-to-end port.

use std::time::Duration;

use crate::{
    ids::{HostName, SiteName},
    order::PostgresState,
    ports::PortError,
    step::Backend,
    topology::Role,
};

use super::{Core, State, core::Slot, database::Record};

/// A write that waits for its acknowledgement.
pub struct Waiting {
    pub id: u64,
    pub host: HostName,
    /// Where the client is.
    site: SiteName,
    /// The client does not wait longer.
    until: Duration,
    answer: Option<Slot<Result<(), PortError>>>,
}

/// A vote that waits for its confirmation.
pub struct Vote {
    id: u64,
    host: HostName,
    site: SiteName,
    until: Duration,
}

/// Patience of the clients at the sites.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients at all sites, for ever.
pub(super) fn start(core: &mut Core) {
    core.state.point_initially();
    let every = core.state.settings.write_every;
    core.later(every, tick);
}

fn tick(core: &mut Core) {
    let now = core.now();
    let sites: Vec<_> = core.state.topology().sites.keys().cloned().collect();
    for site in &sites {
        core.state.client(site, now);
        core.state.vote(site, now);
    }
    core.let_it_flow();
    let every = core.state.settings.write_every;
    core.later(every, tick);
}

/// A write of the end-to-end port: held by the load balancer while it has no
/// primary.
pub(super) fn write_once(
    core: &mut Core,
    site: SiteName,
    until: Duration,
    answer: Slot<Result<(), PortError>>,
) {
    let now = core.now();
    if now >= until {
        return;
    }
    if core.state.write(&site, now, until, Some(&answer)) {
        core.let_it_flow();
        return;
    }
    core.later(Duration::from_millis(5), move |core| {
        write_once(core, site, until, answer)
    });
}

impl State {
    /// The client of a site sends one write after the other.
    fn client(&mut self, site: &SiteName, now: Duration) {
        let mut waiting = self.ledger.waiting.iter();
        if !waiting.any(|write| write.answer.is_none() && &write.site == site) {
            self.write(site, now, now + PATIENCE, None);
        }
    }

    /// Sends a write through the site's load balancer; false: it is held.
    fn write(
        &mut self,
        site: &SiteName,
        now: Duration,
        until: Duration,
        answer: Option<&Slot<Result<(), PortError>>>,
    ) -> bool {
        let lb = self.host_in(site, Role::Lb);
        let Some(host) = self.routed(&lb, Backend::Database) else {
            return false;
        };
        if !self.connected(&lb, &host) || self.databases[&host].state != PostgresState::Primary {
            return false;
        }
        let id = self.ledger.next_id();
        let database = self.databases.get_mut(&host).expect("a known host");
        database.log.push(Record { id, at: now });
        let answer = answer.cloned();
        let site = site.clone();
        self.ledger.waiting.push(Waiting {
            id,
            host,
            site,
            until,
            answer,
        });
        true
    }

    /// Acknowledges what may be, and forgets what cannot be any more.
    pub(super) fn acknowledge(&mut self, now: Duration) {
        let waiting = std::mem::take(&mut self.ledger.waiting);
        for write in waiting {
            let database = &self.databases[&write.host];
            let alive = database.state == PostgresState::Primary && database.has(write.id);
            if !alive || write.until < now {
                continue;
            }
            let confirmed = |standby: &HostName| self.databases[standby].has(write.id);
            let names = &database.synchronous;
            if names.is_empty() || names.iter().any(confirmed) {
                self.ledger.acknowledged.push((write.id, now));
                if let Some(answer) = &write.answer {
                    answer.fill(Ok(()));
                }
            } else {
                self.ledger.waiting.push(write);
            }
        }
    }

    /// A vote of a client of the queue.
    fn vote(&mut self, site: &SiteName, now: Duration) {
        let lb = self.host_in(site, Role::Lb);
        let Some(host) = self.routed(&lb, Backend::Queue) else {
            return;
        };
        let queue = &self.queues[&host];
        if self
            .ledger
            .votes_waiting
            .iter()
            .any(|vote| &vote.site == site)
        {
            return;
        }
        if !self.connected(&lb, &host) || queue.of.is_some() || now < queue.paused_until {
            return;
        }
        let id = self.ledger.next_id();
        self.queues
            .get_mut(&host)
            .expect("a known host")
            .log
            .push((id, now));
        let (site, until) = (site.clone(), now + PATIENCE);
        self.ledger.votes_waiting.push(Vote {
            id,
            host,
            site,
            until,
        });
    }

    /// A vote counts once a copy of its master has it.
    pub(super) fn accept_votes(&mut self, now: Duration) {
        let waiting = std::mem::take(&mut self.ledger.votes_waiting);
        for vote in waiting {
            let has = |queue: &HostName| self.queues[queue].has(vote.id);
            if vote.until < now || self.queues[&vote.host].of.is_some() || !has(&vote.host) {
                continue;
            }
            let copies = self
                .queues
                .iter()
                .filter(|(_, queue)| queue.of.as_ref() == Some(&vote.host));
            if copies.into_iter().any(|(copy, _)| has(copy)) {
                self.ledger.votes_accepted.push(vote.id);
            } else {
                self.ledger.votes_waiting.push(vote);
            }
        }
    }
}
