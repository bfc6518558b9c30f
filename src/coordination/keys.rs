//! The keys and their values.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Right;
use crate::{
    decide::{Finding, Reaction},
    ids::{Epoch, HostName, Lsn, SiteName, Timeline},
    ports::{
        quorum::{LeaseId, Reading, Revision, Value},
        store::{Holder, RunId},
    },
};

/// Everything but journals is below it, so that one read and one watch see
/// all of it.
pub(super) const LIVE: &str = "live/";
pub(super) const PRIMARY: &str = "live/primary";
pub(super) const EPOCH: &str = "live/epoch";
pub(super) const SYNC: &str = "live/sync";
pub(super) const LEADER: &str = "live/leader";
pub(super) const PAUSE: &str = "live/pause";
pub(super) const COOLDOWN: &str = "live/cooldown";
pub(super) const HEALED: &str = "live/healed/";
pub(super) const LOCK: &str = "live/lock";
pub(super) const DECISIONS: &str = "decisions/";
pub(super) const LAST_RUN: &str = "live/last-run";
pub(super) const SAID: &str = "live/said/";
pub(super) const RUNS: &str = "runs/";

/// `primary`: who holds the right to write. Goes with the holder's lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Primary {
    pub host: HostName,
    pub epoch: Epoch,
    /// As it was when the right was taken.
    pub timeline: Option<Timeline>,
    pub lsn: Option<Lsn>,
}

/// `epoch`: the newest epoch in which the right was taken, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    pub epoch: Epoch,
    pub host: HostName,
}

/// `sync`: whoever is in it has every acknowledged commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSet {
    pub primary: HostName,
    pub members: BTreeSet<HostName>,
    pub epoch: Epoch,
}

impl SyncSet {
    /// Whether the host has every acknowledged commit.
    #[must_use]
    pub fn has_all(&self, host: &HostName) -> bool {
        &self.primary == host || self.members.contains(host)
    }
}

/// `leader`: which watcher decides. Goes with its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leader {
    /// The host on which it runs.
    pub host: HostName,
    /// Wall time, for display.
    pub since: String,
}

/// `pause`: nothing is done automatically. Goes with a lease as long as the
/// pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    pub why: String,
    pub by: String,
    /// Wall time, for display: the lease ends it.
    pub until: String,
}

/// `cooldown`: a failover was automatic, and the next needs a person. Goes
/// with a lease, or by acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cooldown {
    /// The run that failed over.
    pub run: String,
    /// Wall time, for display: the lease ends it.
    pub since: String,
}

/// `healed/<run>`: a machine was healed. Goes with a lease as long as the time
/// for which the number of them is limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Healed {
    pub run: String,
    pub host: HostName,
    /// Wall time, for display: the lease ends it.
    pub since: String,
}

/// `decisions/<n>`: what the leader last made of what it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Wall time, for display.
    pub at: String,
    /// The host of the watcher.
    pub by: HostName,
    pub findings: Vec<Finding>,
    pub reaction: Reaction,
}

/// `said/<host>`: what a watcher sees. Goes with its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// By host of a database: whether its guard answers this watcher.
    pub guards: BTreeMap<HostName, bool>,
    /// By load balancer: whether it answers this watcher.
    pub balancers: BTreeMap<HostName, bool>,
    /// By queue: whether it answers this watcher.
    #[serde(default)]
    pub queues: BTreeMap<HostName, bool>,
    /// By site: whether a write through its load balancer was committed, when
    /// that was last tried.
    #[serde(default)]
    pub writes: BTreeMap<SiteName, bool>,
    /// By site and service: whether its front door answered as it should, when
    /// that was last tried.
    #[serde(default)]
    pub doors: BTreeMap<SiteName, BTreeMap<String, bool>>,
    /// By name that follows the active site: what the name servers of its zone
    /// answered last; none: nothing.
    #[serde(default)]
    pub names: BTreeMap<String, BTreeSet<Ipv4Addr>>,
}

/// All keys but the journals, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub revision: Revision,
    pub primary: Option<Keyed<Primary>>,
    pub epoch: Option<Keyed<Taken>>,
    pub sync: Option<Keyed<SyncSet>>,
    pub leader: Option<Keyed<Leader>>,
    pub pause: Option<Keyed<Pause>>,
    pub cooldown: Option<Keyed<Cooldown>>,
    pub lock: Option<Keyed<Holder>>,
    /// The run that was registered last.
    pub last_run: Option<Keyed<RunId>>,
    pub said: BTreeMap<HostName, Said>,
    /// By run, oldest first.
    pub healed: Vec<Healed>,
    /// Keys whose values are not understood: another version wrote them.
    pub strange: Vec<String>,
}

/// A value with what conditions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed<T> {
    pub value: T,
    pub created: Revision,
    pub modified: Revision,
    pub lease: Option<LeaseId>,
}

impl State {
    /// Whether something has changed since that a watcher looks at in the same
    /// moment: who may write, who leads, whether people pause it. While somebody
    /// works under the lock nobody else may act, and what comes of the work can
    /// wait until it has ended. While the right is free everything counts.
    #[must_use]
    pub fn presses_since(&self, before: &Self) -> bool {
        fn at<T>(key: Option<&Keyed<T>>) -> Option<Revision> {
            key.map(|key| key.modified)
        }
        let leads = |state: &Self| (at(state.leader.as_ref()), at(state.pause.as_ref()));
        leads(self) != leads(before)
            || self.lock.is_none()
                && (before.lock.is_some()
                    || before.primary.is_none()
                    || at(self.primary.as_ref()) != at(before.primary.as_ref()))
    }

    /// The newest epoch in which the right was taken.
    #[must_use]
    pub fn newest_epoch(&self) -> Epoch {
        self.epoch
            .as_ref()
            .map_or(Epoch(0), |taken| taken.value.epoch)
    }

    /// The newer epoch into which a right that is held was taken over, where
    /// its holder has not heard of that.
    #[must_use]
    pub fn taken_further(&self, right: &Right) -> Option<Epoch> {
        let key = self.primary.as_ref()?;
        let same = key.created == right.created;
        (same && key.value.epoch > right.epoch).then_some(key.value.epoch)
    }

    /// Whether the host has every acknowledged commit, by the newest word.
    #[must_use]
    pub fn has_all(&self, host: &HostName) -> bool {
        self.sync
            .as_ref()
            .is_some_and(|sync| sync.value.epoch == self.newest_epoch() && sync.value.has_all(host))
    }
}

/// Reads all keys below the prefix.
pub(super) fn parse(prefix: &str, reading: &Reading) -> State {
    let mut state = State {
        revision: reading.revision,
        ..State::default()
    };
    let short = |name: &str| name.strip_prefix(LIVE).expect("it is below").to_owned();
    let strange = &mut state.strange;
    let one = |name: &str| reading.values.get(&format!("{prefix}{}", short(name)));
    state.primary = one(PRIMARY).and_then(|value| read(PRIMARY, value, strange));
    state.epoch = one(EPOCH).and_then(|value| read(EPOCH, value, strange));
    state.sync = one(SYNC).and_then(|value| read(SYNC, value, strange));
    state.leader = one(LEADER).and_then(|value| read(LEADER, value, strange));
    state.pause = one(PAUSE).and_then(|value| read(PAUSE, value, strange));
    state.lock = one(LOCK).and_then(|value| read(LOCK, value, strange));
    state.last_run = one(LAST_RUN).and_then(|value| read(LAST_RUN, value, strange));
    state.cooldown = one(COOLDOWN).and_then(|value| read(COOLDOWN, value, strange));
    let said = format!("{prefix}{}", short(SAID));
    for (key, value) in &reading.values {
        let host = key.strip_prefix(&said).and_then(|host| host.parse().ok());
        if let Some(host) = host
            && let Some(keyed) = read::<Said>(SAID, value, strange)
        {
            state.said.insert(host, keyed.value);
        }
    }
    let healed = format!("{prefix}{}", short(HEALED));
    let healed = (reading.values.iter()).filter(|(key, _)| key.starts_with(&healed));
    let healed = healed.filter_map(|(_, value)| read::<Healed>(HEALED, value, strange));
    state.healed = healed.map(|keyed| keyed.value).collect();
    state
}

fn read<T: DeserializeOwned>(
    name: &str,
    value: &Value,
    strange: &mut Vec<String>,
) -> Option<Keyed<T>> {
    match serde_json::from_str(&value.text) {
        Ok(parsed) => Some(Keyed {
            value: parsed,
            created: value.created,
            modified: value.modified,
            lease: value.lease,
        }),
        Err(_) => {
            strange.push(name.to_owned());
            None
        }
    }
}

pub(super) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with string keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the store has: by key, when it was written.
    type Keys<'a> = &'a [(&'a str, i64)];

    fn state(keys: Keys<'_>) -> State {
        let values = keys.iter().map(|(name, modified)| {
            let text = match *name {
                PRIMARY => r#"{"host":"a","epoch":1,"timeline":null,"lsn":null}"#,
                LEADER => r#"{"host":"a","since":""}"#,
                PAUSE => r#"{"why":"","by":"","until":""}"#,
                COOLDOWN => r#"{"run":"","since":""}"#,
                LAST_RUN => r#""1""#,
                LOCK => r#"{"run":"1","operator":"","machine":"","process":1,"since":""}"#,
                other => unreachable!("{other}"),
            };
            let value = Value {
                text: text.to_owned(),
                created: Revision(*modified),
                modified: Revision(*modified),
                lease: None,
            };
            ((*name).to_owned(), value)
        });
        let reading = Reading {
            revision: Revision(9),
            values: values.collect(),
        };
        let state = parse(LIVE, &reading);
        assert!(state.strange.is_empty(), "{:?}", state.strange);
        state
    }

    #[test]
    fn watchers_look_at_once_for_what_they_may_act_on() {
        let table: [(Keys<'_>, Keys<'_>, bool); 11] = [
            // The right goes, comes, is taken into a newer epoch.
            (&[(PRIMARY, 1)], &[], true),
            (&[], &[(PRIMARY, 1)], true),
            (&[(PRIMARY, 1)], &[(PRIMARY, 2)], true),
            // While it is free everything counts.
            (&[], &[(LAST_RUN, 2)], true),
            // Who leads, and whether people pause it.
            (&[(PRIMARY, 1)], &[(PRIMARY, 1), (LEADER, 2)], true),
            (&[(PRIMARY, 1), (PAUSE, 1)], &[(PRIMARY, 1)], true),
            // Somebody begins to work, works, and ends.
            (&[(PRIMARY, 1)], &[(PRIMARY, 1), (LOCK, 2)], false),
            (&[(PRIMARY, 1), (LOCK, 1)], &[(LOCK, 1)], false),
            (&[(LOCK, 1)], &[(LOCK, 1), (PRIMARY, 2)], false),
            (&[(PRIMARY, 1), (LOCK, 1)], &[(PRIMARY, 1)], true),
            // What nothing follows from at once.
            (&[(PRIMARY, 1)], &[(PRIMARY, 1), (COOLDOWN, 2)], false),
        ];
        for (before, now, presses) in table {
            let found = state(now).presses_since(&state(before));
            assert_eq!(found, presses, "{before:?} to {now:?}");
        }
    }
}
