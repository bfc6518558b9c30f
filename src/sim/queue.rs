//! Queues and their copies.

use std::time::Duration;

use crate::{
    ids::HostName,
    observation::{QueueRole, QueueStatus},
    order::PostgresState,
    topology::Role,
};

use super::State;

/// One queue host.
#[derive(Clone, Debug)]
pub struct Queue {
    /// None: it is a master.
    pub of: Option<HostName>,
    pub log: Vec<(u64, Duration)>,
    pub paused_until: Duration,
    /// It has taken its master's data over.
    pub synced: bool,
}

impl Queue {
    pub(super) fn deployed(of: Option<HostName>) -> Self {
        Self {
            of,
            log: Vec::new(),
            paused_until: Duration::ZERO,
            synced: true,
        }
    }
}

impl Queue {
    /// Whether an entry is in the queue; ids only grow.
    pub(super) fn has(&self, id: u64) -> bool {
        self.log
            .binary_search_by_key(&id, |(entry, _)| *entry)
            .is_ok()
    }
}

impl State {
    /// A queue finds its role at its start: active where the own site's
    /// database is primary, else a copy of another.
    pub(super) fn boot_queue(&mut self, host: &HostName, _now: Duration) {
        if !self.queues.contains_key(host) {
            return;
        }
        let database = self.host_in(&self.site_of(host), Role::Db);
        let active =
            self.is_on(&database) && self.databases[&database].state == PostgresState::Primary;
        let other = self.queues.keys().find(|other| *other != host).cloned();
        let queue = self.queues.get_mut(host).expect("a known host");
        queue.of = if active { None } else { other };
        queue.synced = false;
        queue.paused_until = Duration::ZERO;
    }

    /// The link of a copy to its master works.
    fn queue_linked(&self, host: &HostName) -> Option<HostName> {
        let master = self.queues[host].of.clone()?;
        let works = self.connected(host, &master) && self.queues[&master].of.is_none();
        works.then_some(master)
    }

    pub(super) fn copy_queues(&mut self, now: Duration) {
        for copy in 0..self.queues.len() {
            let host = self.queues.keys().nth(copy).expect("a known number");
            if let Some(master) = self.queue_linked(host) {
                let master = self.queues.position(&master).expect("a known host");
                self.copy_queue(copy, master, now);
            }
        }
    }

    fn copy_queue(&mut self, copy: usize, master: usize, now: Duration) {
        let delay = self.settings.replication_delay;
        let (queue, master) = (self.queues.at(copy), self.queues.at(master));
        // Entries are in the order of time: what has not arrived is at the end.
        let waits = master.log.iter().rev();
        let waits = waits.take_while(|(_, at)| *at + delay > now).count();
        let arrived = master.log.len() - waits;
        let next = master.log.get(arrived).map(|(_, at)| *at + delay);
        // A copy that is in step takes what is new, any other takes all.
        let from = if queue.synced {
            queue.log.len().min(arrived)
        } else {
            0
        };
        let entries = master.log[from..arrived].to_vec();
        let queue = self.queues.at_mut(copy);
        if !queue.synced || !entries.is_empty() {
            queue.log.truncate(from);
            queue.log.extend_from_slice(&entries);
        }
        queue.synced = true;
        if let Some(next) = next {
            self.changes_at(next);
        }
    }

    pub(super) fn queue_status(&self, host: &HostName) -> QueueStatus {
        let queue = &self.queues[host];
        let role = match &queue.of {
            Some(master) => QueueRole::Replica {
                of: master.to_string(),
                linked: queue.synced && self.queue_linked(host).is_some(),
            },
            None => {
                let copies = self
                    .queues
                    .keys()
                    .filter(|other| self.queue_linked(other).as_ref() == Some(host));
                QueueRole::Master {
                    replicas: copies.count() as u64,
                }
            }
        };
        QueueStatus {
            role,
            offset: queue.log.len() as u64,
            votes: queue.log.len() as u64,
        }
    }

    pub(super) fn promote_queue(&mut self, host: &HostName) {
        self.queues.get_mut(host).expect("a known host").of = None;
    }

    pub(super) fn follow_queue(&mut self, host: &HostName, master: &HostName) {
        let queue = self.queues.get_mut(host).expect("a known host");
        if queue.of.as_ref() != Some(master) {
            queue.of = Some(master.clone());
            queue.synced = false;
        }
    }
}
