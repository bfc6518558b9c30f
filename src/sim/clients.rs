//! Clients that write all the time, at every site, to the database and to the
//! queue; and single writes for the end-to-end port.

use std::time::Duration;

use crate::{
    ids::{HostName, SiteName},
    order::PostgresState,
    ports::PortError,
    step::Backend,
};

use super::{Core, State, core::Slot, database::Record, state::Place};

/// A write that waits for its acknowledgement.
pub struct Waiting {
    pub id: u64,
    pub host: HostName,
    /// Where the client is.
    site: SiteName,
    /// The client does not wait longer.
    until: Duration,
    answer: Option<WriteAnswer>,
}

type WriteAnswer = Slot<Result<(), PortError>>;

/// A write of the end-to-end port that a load balancer holds while it has no
/// primary.
pub struct Held {
    site: SiteName,
    until: Duration,
    answer: WriteAnswer,
}

/// A vote that waits for its confirmation.
pub struct Vote {
    id: u64,
    host: HostName,
    site: SiteName,
    until: Duration,
}

/// The shortest time.
const INSTANT: Duration = Duration::from_nanos(1);
/// Patience of the clients at the sites.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients write so much less often while nothing happens.
const QUIET: u32 = 25;

/// Clients at all sites, for ever.
pub(super) fn start(core: &mut Core) {
    core.state.point_initially();
    plan_tick(core);
}

/// Clients that were quiet write now.
pub(super) fn wake(core: &mut Core) {
    plan_tick(core);
}

fn plan_tick(core: &mut Core) {
    core.state.ticks += 1;
    let number = core.state.ticks;
    let busy = core.state.settings.write_every;
    let every = if core.is_lively() { busy } else { busy * QUIET };
    core.look_later(every, move |core| {
        // Only the newest goes on: waking clients plans another.
        if core.state.ticks == number {
            tick(core);
        }
    });
}

fn tick(core: &mut Core) {
    let now = core.now();
    for site in 0..core.state.sites.len() {
        let place = core.state.sites[site].clone();
        core.state.client(&place, now);
        core.state.vote(&place, now);
    }
    core.state.touch();
    core.let_it_flow();
    plan_tick(core);
}

/// A write of the end-to-end port.
pub(super) fn write_once(core: &mut Core, site: SiteName, until: Duration, answer: WriteAnswer) {
    core.state.held.push(Held {
        site,
        until,
        answer,
    });
    core.state.touch();
}

/// Lets writes pass that were held, where there is a primary now.
pub(super) fn retry_held(core: &mut Core) {
    if core.state.held.is_empty() {
        return;
    }
    let now = core.now();
    let held = std::mem::take(&mut core.state.held);
    let mut passed = false;
    for write in held {
        if now >= write.until {
            continue;
        }
        let place = core.state.place(&write.site).clone();
        if core
            .state
            .write(&place, now, write.until, Some(&write.answer))
        {
            passed = true;
        } else {
            core.state.held.push(write);
        }
    }
    if passed {
        core.let_it_flow();
    }
}

impl State {
    /// The client of a site sends one write after the other.
    fn client(&mut self, place: &Place, now: Duration) {
        let mut waiting = self.ledger.waiting.iter();
        if !waiting.any(|write| write.answer.is_none() && write.site == place.site) {
            self.write(place, now, now + PATIENCE, None);
        }
    }

    /// Sends a write through the site's load balancer; false: it is held.
    fn write(
        &mut self,
        place: &Place,
        now: Duration,
        until: Duration,
        answer: Option<&WriteAnswer>,
    ) -> bool {
        let Some(host) = self.routed(&place.lb, Backend::Database) else {
            return false;
        };
        let serves = self.databases[&host].state == PostgresState::Primary;
        if !serves || !self.connected(&place.lb, &host) || !self.takes_writes(&host) {
            return false;
        }
        let id = self.ledger.next_id();
        let database = self.databases.get_mut(&host).expect("a known host");
        database.log.push(Record { id, at: now });
        self.ledger.waiting.push(Waiting {
            id,
            host,
            site: place.site.clone(),
            until,
            answer: answer.cloned(),
        });
        true
    }

    /// Acknowledges what may be, and forgets what cannot be any more.
    pub(super) fn acknowledge(&mut self, now: Duration) {
        let (databases, due) = (&self.databases, &mut self.due);
        let acknowledged = &mut self.ledger.acknowledged;
        let (machines, guards, sync) = (&self.machines, &self.guards, &self.sync);
        let mut lacking = None;
        self.ledger.waiting.retain(|write| {
            let database = &databases[&write.host];
            let alive = database.state == PostgresState::Primary && database.has(write.id);
            if !alive || write.until < now {
                return false;
            }
            let names = &database.synchronous;
            let machine = &machines[&write.host];
            if machine.frozen
                || guards
                    .get(&write.host)
                    .is_some_and(|guard| guard.disk.hangs)
            {
                *due = (*due).min(write.until + INSTANT);
                return true;
            }
            let confirmed = |standby: &HostName| databases[standby].has(write.id);
            if !names.is_empty() && !names.iter().any(confirmed) {
                *due = (*due).min(write.until + INSTANT);
                return true;
            }
            acknowledged.push((write.id, now));
            let mut members = sync.iter().flat_map(|sync| &sync.members);
            if let Some(member) = members.find(|member| !databases[*member].has(write.id)) {
                lacking.get_or_insert((write.id, member.clone()));
            }
            if let Some(answer) = &write.answer {
                answer.fill(Ok(()));
            }
            false
        });
        if let Some((id, member)) = lacking {
            let what = format!("write {id} was acknowledged, and {member} in `sync` lacks it");
            let invariant = "no_acknowledged_loss_in_sync_mode";
            self.ledger.violated(invariant, what);
        }
    }

    /// A vote of a client of the queue.
    fn vote(&mut self, place: &Place, now: Duration) {
        let (site, lb) = (&place.site, &place.lb);
        let Some(host) = self.routed(lb, Backend::Queue) else {
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
        if !self.connected(lb, &host) || queue.of.is_some() || now < queue.paused_until {
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
        let queues = &self.queues;
        let accepted = &mut self.ledger.votes_accepted;
        self.ledger.votes_waiting.retain(|vote| {
            let master = &queues[&vote.host];
            if vote.until < now || master.of.is_some() || !master.has(vote.id) {
                return false;
            }
            let mut copies = queues
                .values()
                .filter(|queue| queue.of.as_ref() == Some(&vote.host));
            let copied = copies.any(|copy| copy.has(vote.id));
            if copied {
                accepted.push(vote.id);
            }
            !copied
        });
    }
}
