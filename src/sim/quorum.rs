//! The shared store, simulated as etcd behaves: members in three places, one
//! of them the leader while a majority hears it; leases by the leader's
//! clock, which begin anew after an election; compare-and-swap; watches.

mod client;
mod members;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    ids::HostName,
    ports::quorum::{Change, Condition, LeaseId, QuorumError, Reading, Revision, Value},
    right::Moment,
};

use super::{Core, core::Slot};

pub use client::SimQuorum;
pub(super) use members::start;

/// Members that hear nothing of a leader for so long, up to twice as long,
/// elect another; a leader that hears no majority steps down likewise.
pub const ELECTION: Duration = Duration::from_secs(1);

/// The store: what a majority agrees on, and who leads.
pub struct Quorum {
    pub members: Vec<HostName>,
    /// Members that do not run.
    down: BTreeSet<HostName>,
    /// By number; none: an election is to come.
    pub leader: Option<usize>,
    /// Since when the leader is missed, and when the next one is elected.
    missed: Option<Missed>,
    /// A leader that does not know yet that there is another.
    stale: Option<Stale>,
    /// Counts elections.
    pub term: u64,
    revision: i64,
    values: BTreeMap<String, Value>,
    leases: BTreeMap<LeaseId, Lease>,
    watches: Vec<Watch>,
    /// Changes that wait for the majority which their leader lost.
    hanging: Vec<Hanging>,
}

type Hanging = Box<dyn FnOnce(&mut Core) + Send>;

struct Missed {
    elects_at: Duration,
    steps_down_at: Duration,
}

struct Stale {
    member: usize,
    term: u64,
    until: Duration,
}

struct Lease {
    ttl: Duration,
    /// By the clock of the leader.
    ends: Moment,
}

struct Watch {
    prefix: String,
    answer: Slot<Result<bool, QuorumError>>,
    member: usize,
    from: HostName,
}

impl Quorum {
    /// An empty store, led by its first member.
    pub(super) fn new(members: Vec<HostName>) -> Self {
        Self {
            members,
            down: BTreeSet::new(),
            leader: Some(0),
            missed: None,
            stale: None,
            term: 1,
            revision: 1,
            values: BTreeMap::new(),
            leases: BTreeMap::new(),
            watches: Vec::new(),
            hanging: Vec::new(),
        }
    }

    /// A new lease that begins at that moment of the leader's clock.
    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Moment) {
        let ends = now + ttl;
        self.leases.entry(id).or_insert(Lease { ttl, ends });
    }

    fn renew(&mut self, id: LeaseId, now: Moment) -> Result<(), QuorumError> {
        let lease = self.leases.get_mut(&id);
        let lease = lease.ok_or(QuorumError::NoSuchLease(id))?;
        lease.ends = now + lease.ttl;
        Ok(())
    }

    /// Ends a lease with its keys; those.
    fn revoke(&mut self, id: LeaseId) -> Vec<String> {
        if self.leases.remove(&id).is_none() {
            return Vec::new();
        }
        let keys = self.values.iter();
        let keys = keys.filter(|(_, value)| value.lease == Some(id));
        let keys: Vec<_> = keys.map(|(key, _)| key.clone()).collect();
        if !keys.is_empty() {
            self.revision += 1;
        }
        for key in &keys {
            self.values.remove(key);
        }
        keys
    }

    /// Leases whose time is over.
    fn ended(&self, now: Moment) -> Vec<LeaseId> {
        let leases = self.leases.iter();
        let ended = leases.filter(|(_, lease)| lease.ends <= now);
        ended.map(|(id, _)| *id).collect()
    }

    /// A new leader knows of leases, not of their last renewals: all begin
    /// anew, and an election longer, because the old leader may renew so
    /// long after.
    fn begin_leases_anew(&mut self, now: Moment) {
        for lease in self.leases.values_mut() {
            lease.ends = now + lease.ttl + ELECTION;
        }
    }

    fn read(&self, prefix: &str) -> Reading {
        let values = self.values.range(prefix.to_owned()..);
        let values = values.take_while(|(key, _)| key.starts_with(prefix));
        Reading {
            revision: Revision(self.revision),
            values: values
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Absent { key } => !self.values.contains_key(key),
            Condition::CreatedAt { key, created } => self
                .values
                .get(key)
                .is_some_and(|value| value.created == *created),
            Condition::ModifiedAt { key, modified } => self
                .values
                .get(key)
                .is_some_and(|value| value.modified == *modified),
        }
    }

    /// Makes the changes where the conditions hold.
    pub(super) fn commit(
        &mut self,
        when: &[Condition],
        then: &[Change],
    ) -> Result<Option<Revision>, QuorumError> {
        if !when.iter().all(|condition| self.holds(condition)) {
            return Ok(None);
        }
        for change in then {
            if let Change::Put {
                lease: Some(lease), ..
            } = change
                && !self.leases.contains_key(lease)
            {
                return Err(QuorumError::NoSuchLease(*lease));
            }
        }
        self.revision += 1;
        let revision = Revision(self.revision);
        for change in then {
            match change {
                Change::Put { key, text, lease } => {
                    let before = self.values.get(key);
                    let value = Value {
                        text: text.clone(),
                        created: before.map_or(revision, |value| value.created),
                        modified: revision,
                        lease: *lease,
                    };
                    self.values.insert(key.clone(), value);
                }
                Change::Delete { key } => {
                    self.values.remove(key);
                }
            }
        }
        Ok(Some(revision))
    }

    /// Whether something below the prefix was written after that revision.
    /// What was removed since is not seen: a watch sees it when it happens.
    fn has_changed(&self, prefix: &str, after: Revision) -> bool {
        let values = self.values.range(prefix.to_owned()..);
        let mut below = values.take_while(|(key, _)| key.starts_with(prefix));
        below.any(|(_, value)| value.modified > after)
    }

    /// Names and texts of the keys below a prefix, for the checker.
    pub(super) fn below(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values.range(prefix.to_owned()..);
        values.map_while(move |(key, value)| Some((key.strip_prefix(prefix)?, value.text.as_str())))
    }

    /// The key is not there, or was not until it was last written.
    pub(super) fn is_anew(&self, key: &str) -> bool {
        let value = self.values.get(key);
        value.is_none_or(|value| value.created == value.modified)
    }

    /// The text of a key, for the checker, which knows everything.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| value.text.as_str())
    }

    /// The keys as they are, for the checker.
    #[must_use]
    pub fn all(&self) -> Reading {
        self.read("")
    }
}
