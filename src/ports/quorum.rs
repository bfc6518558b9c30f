//! The shared store of automatic coordination: keys with leases and
//! compare-and-swap, held by a majority of three places. etcd in the real
//! world. What the keys mean is written in [`crate::coordination`] alone.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Names a lease of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub i64);

/// Counts the changes of the whole store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub i64);

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    /// The change that made the key; a key that went and came again differs.
    pub created: Revision,
    /// The change that last wrote it.
    pub modified: Revision,
    /// The key goes with this lease.
    pub lease: Option<LeaseId>,
}

/// All keys below a prefix at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub revision: Revision,
    pub values: BTreeMap<String, Value>,
}

/// What must hold for a change to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Absent {
        key: String,
    },
    /// Made by this change and there since, whatever it holds.
    CreatedAt {
        key: String,
        created: Revision,
    },
    /// Last written by this change.
    ModifiedAt {
        key: String,
        modified: Revision,
    },
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put {
        key: String,
        text: String,
        lease: Option<LeaseId>,
    },
    Delete {
        key: String,
    },
}

impl Change {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// The store as one client sees it. Reads are linearizable: an answer is
/// never older than the question. Every call ends within a deadline of the
/// implementation.
#[async_trait]
pub trait Quorum: Send + Sync {
    /// A new lease, which the store ends no sooner than `ttl` after it has
    /// got this call or the last renewal.
    async fn lease(&self, ttl: Duration) -> Result<LeaseId, QuorumError>;

    /// Begins the lease's time anew.
    ///
    /// # Errors
    /// `NoSuchLease`: it has ended, and its keys are gone.
    async fn renew(&self, lease: LeaseId) -> Result<(), QuorumError>;

    /// Ends a lease: its keys go at once. No error where it has ended.
    async fn revoke(&self, lease: LeaseId) -> Result<(), QuorumError>;

    /// Everything below the prefix.
    async fn read(&self, prefix: &str) -> Result<Reading, QuorumError>;

    /// Makes all changes at once where all conditions hold; none: one does
    /// not, and nothing was changed.
    ///
    /// # Errors
    /// `Unanswered`: it may have happened or not.
    async fn commit(
        &self,
        when: &[Condition],
        then: &[Change],
    ) -> Result<Option<Revision>, QuorumError>;

    /// Waits until something below the prefix has changed after that
    /// revision, at most so long; says whether it has.
    async fn changed(
        &self,
        prefix: &str,
        after: Revision,
        within: Duration,
    ) -> Result<bool, QuorumError>;

    /// The members by name: whether each answers and knows a leader.
    async fn members(&self) -> BTreeMap<String, MemberHealth>;
}

/// A member of the store as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MemberHealth {
    Follower,
    Leader,
    /// Answers, and knows no leader: the majority is lost.
    Leaderless,
    Unknown {
        why: String,
    },
}

impl MemberHealth {
    /// Why it does not serve; none: it does.
    #[must_use]
    pub fn trouble(self) -> Option<String> {
        match self {
            Self::Follower | Self::Leader => None,
            Self::Leaderless => Some("knows no leader".to_owned()),
            Self::Unknown { why } => Some(format!("cannot be seen ({why})")),
        }
    }
}

/// Why the store could not be asked or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Surely nothing happened there.
    #[error("the store cannot be reached: {why}")]
    Unreachable { why: String },
    /// It may have happened or not: no majority, or no answer in time.
    #[error("the store did not answer within {within:?}: {why}")]
    Unanswered { within: Duration, why: String },
    /// The lease has ended.
    #[error("lease {:x} has ended", .0.0)]
    NoSuchLease(LeaseId),
    /// It said no, or something that is not understood.
    #[error("the store refused: {why}")]
    Refused { why: String },
}
