//! The snapshot, asked in the words of a decision.

use std::collections::BTreeMap;

use crate::{
    ids::{HostName, Lsn, SiteName, Timeline},
    inventory::Inventory,
    observation::{Knowledge, Machine, Snapshot, StoreSight, WriteAnswer},
    order::{GuardStatus, PostgresState, Trace, WantedRole},
    topology::{Role, Topology},
};

use super::{Past, Refusal, Sight, databases, refusal};

/// A sight with questions.
pub(super) struct View<'a> {
    sight: Sight<'a>,
}

impl<'a> View<'a> {
    pub fn new(sight: &Sight<'a>) -> Self {
        Self { sight: *sight }
    }

    pub fn topology(&self) -> &'a Topology {
        self.sight.topology
    }

    pub fn inventory(&self) -> &'a Inventory {
        self.sight.inventory
    }

    pub fn snapshot(&self) -> &'a Snapshot {
        self.sight.snapshot
    }

    pub fn past(&self) -> &'a Past {
        self.sight.past
    }

    pub fn databases(&self) -> impl Iterator<Item = &'a HostName> {
        databases(self.sight.topology)
    }

    /// What the guard of the host said, if it did.
    pub fn guard(&self, host: &HostName) -> Option<&'a GuardStatus> {
        self.sight.snapshot.guards.get(host)?.known()
    }

    /// What the shared store says, where there is one and it answered.
    pub fn store(&self) -> Option<&'a StoreSight> {
        self.sight.snapshot.store.known()
    }

    /// What the newest run that stopped the machine of the host left on it.
    pub fn trace_on_machine(&self, host: &HostName) -> Option<Trace> {
        let machine = self.sight.snapshot.machines.get(host)?.known()?;
        machine.deposed.clone()
    }

    /// Why nothing is known of the guard of the host.
    pub fn why_unseen(&self, host: &HostName) -> String {
        match self.sight.snapshot.guards.get(host) {
            Some(Knowledge::Unknown { why, .. }) => why.clone(),
            _ => "it was not asked".to_owned(),
        }
    }

    pub fn machine(&self, host: &HostName) -> Option<&'a Machine> {
        self.sight.snapshot.machines.get(host)?.known()
    }

    pub fn site_of(&self, host: &HostName) -> SiteName {
        let host = self.topology().host(host.as_str());
        host.expect("databases are hosts of the topology")
            .site
            .clone()
    }

    /// Hosts whose guards say that PostgreSQL accepts writes.
    pub fn running_primaries(&self) -> impl Iterator<Item = HostName> {
        let runs = |host: &&HostName| {
            let guard = self.guard(host);
            guard.is_some_and(|guard| guard.postgres.state == PostgresState::Primary)
        };
        self.databases().filter(runs).cloned()
    }

    pub fn running_primary(&self) -> Option<HostName> {
        self.running_primaries().next()
    }

    /// A primary is live when a write came through anywhere, or when nothing
    /// is known of writes. A write that hangs while its synchronous standby is
    /// away is no sign of a dead primary either, but it needs a failover all
    /// the same to be answered.
    pub fn is_live(&self, primary: &HostName) -> bool {
        let guard = self.guard(primary);
        if guard.is_none_or(|guard| guard.postgres.problem.is_some()) {
            return false;
        }
        let mut answers = self
            .sight
            .snapshot
            .writes
            .values()
            .filter_map(Knowledge::known);
        let first = answers.next();
        let acknowledged =
            |answer: &WriteAnswer| matches!(answer, WriteAnswer::Acknowledged { .. });
        first.is_none_or(acknowledged) || answers.any(acknowledged)
    }

    /// The host that was primary last, by the best evidence there is.
    pub fn last_primary(&self) -> HostName {
        let wanted = |host: &&HostName| {
            self.guard(host)
                .is_some_and(|guard| guard.wanted == WantedRole::Primary)
        };
        let by_guard = || self.databases().find(wanted).cloned();
        let by_standby = || {
            self.databases()
                .find_map(|host| match &self.guard(host)?.wanted {
                    WantedRole::Standby { upstream } => upstream.clone(),
                    _ => None,
                })
        };
        let by_topology = || {
            let first = &self.topology().initial_primary;
            self.databases()
                .find(|host| &self.site_of(host) == first)
                .cloned()
        };
        // A wish may be older than the last promotion; a timeline is not.
        let by_store = || Some(self.store()?.last.as_ref()?.host.clone());
        self.running_primary()
            .or_else(by_store)
            .or_else(|| self.newest_timeline())
            .or_else(|| self.past().primary.clone())
            .or_else(by_guard)
            .or_else(by_standby)
            .or_else(by_topology)
            .or_else(|| self.databases().next().cloned())
            .expect("a topology has databases")
    }

    /// The one database, if there is one, on a newer timeline than all others
    /// that are known: only a promotion begins one.
    fn newest_timeline(&self) -> Option<HostName> {
        let known = self
            .databases()
            .filter_map(|host| Some((self.timeline(host)?, host)));
        let mut known: Vec<_> = known.collect();
        known.sort();
        match known.as_slice() {
            [.., (second, _), (newest, host)] if second < newest => Some((*host).clone()),
            _ => None,
        }
    }

    /// How far the log of a database goes, as far as its guard knows.
    pub fn end(&self, host: &HostName) -> Option<(Timeline, Lsn)> {
        let postgres = &self.guard(host)?.postgres;
        let end = postgres
            .written
            .or(postgres.shutdown_checkpoint)
            .or(self.received(host));
        Some((postgres.timeline?, end?))
    }

    /// Whom to fence so that `new` is the only writer: the last primary, or,
    /// when that is `new` itself, the other database.
    pub fn to_fence(&self, new: &HostName, last: &HostName) -> HostName {
        if new != last {
            return last.clone();
        }
        let other = self.databases().find(|host| *host != new);
        other.expect("there are two databases").clone()
    }

    /// Databases beside the two of a failover must be known not to write.
    pub fn others_are_standbys(&self, old: &HostName, new: &HostName) -> Result<(), Refusal> {
        let harmless = |host: &HostName| {
            self.guard(host).is_some_and(|guard| {
                matches!(
                    guard.postgres.state,
                    PostgresState::Standby | PostgresState::Stopped
                )
            })
        };
        let others = self.databases().filter(|host| *host != old && *host != new);
        match others.into_iter().find(|host| !harmless(host)) {
            Some(host) => Err(refusal::other_database(self, host)),
            None => Ok(()),
        }
    }

    /// Hosts with a part in a plan that cannot be used now, with the reason.
    pub fn unusable(&self) -> BTreeMap<HostName, String> {
        let topology = self.topology();
        let hosts = topology
            .hosts_with(Role::Lb)
            .chain(topology.hosts_with(Role::Queue));
        hosts
            .filter_map(|host| Some((host.name.clone(), self.unusable_because(&host.name)?)))
            .collect()
    }

    fn unusable_because(&self, host: &HostName) -> Option<String> {
        let snapshot = self.snapshot();
        if let Some(machine) = self.machine(host)
            && machine.is_down()
        {
            return Some(format!(
                "the cloud says that {host} is {}",
                machine.state.word()
            ));
        }
        let proxy = snapshot.proxies.get(host).and_then(unknown_why);
        let queue = snapshot.queues.get(host).and_then(unknown_why);
        let why = proxy.or(queue)?;
        Some(format!("{host} was not seen: {why}"))
    }

    /// “site1-db is primary on timeline 1”
    pub fn says_primary(&self, host: &HostName) -> String {
        let guard = self.guard(host);
        let timeline = guard.and_then(|guard| guard.postgres.timeline);
        match timeline {
            Some(timeline) => format!("{host} is primary on timeline {timeline} and answers"),
            None => format!("{host} is primary and answers"),
        }
    }

    /// “site2-db has received up to 0/3000148 on timeline 1, 0 bytes behind”
    pub fn says_standby(&self, host: &HostName) -> String {
        let received = self.received(host);
        let written = self
            .running_primary()
            .and_then(|primary| self.guard(&primary)?.postgres.written);
        let lag = received
            .zip(written)
            .map(|(received, written)| written.bytes_since(received));
        let position = received.map_or_else(
            || "nothing".to_owned(),
            |lsn| format!("the log up to {lsn}"),
        );
        let timeline = self
            .timeline(host)
            .map_or_else(String::new, |t| format!(" on timeline {t}"));
        match lag {
            Some(lag) => format!("{host} has {position}{timeline}, {lag} bytes behind"),
            None => format!("{host} has {position}{timeline}"),
        }
    }

    pub fn timeline(&self, host: &HostName) -> Option<Timeline> {
        self.guard(host)?.postgres.timeline
    }

    /// What a standby holds of the log.
    pub fn received(&self, host: &HostName) -> Option<Lsn> {
        self.guard(host)?.postgres.has()
    }
}

fn unknown_why<T>(knowledge: &Knowledge<T>) -> Option<&str> {
    match knowledge {
        Knowledge::Unknown { why, .. } => Some(why),
        Knowledge::Absent => Some("it does not exist"),
        Knowledge::Known(_) => None,
    }
}
