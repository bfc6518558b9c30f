//! Taking, keeping and giving back the right to write.

use std::collections::BTreeSet;

use super::{
    Primary, Shared, State, SyncSet, Taken,
    keys::{EPOCH, PRIMARY, SYNC, text},
};
use crate::{
    ids::{Epoch, HostName},
    ports::quorum::{Change, Condition, LeaseId, QuorumError, Revision},
};

/// Who wants the right to write.
#[derive(Clone, Debug)]
pub struct Claim {
    pub primary: Primary,
    /// Refuse where the host may lack acknowledged commits.
    pub in_sync: bool,
    /// Who confirms the commits of this host from its first one on.
    pub synchronous: BTreeSet<HostName>,
}

/// As what the right is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A standby, or a new cluster: nobody confirms its commits at first.
    Promote {
        /// Refuse where the host may lack acknowledged commits.
        in_sync: bool,
    },
    /// The primary that it was: whoever confirmed its commits goes on to.
    GoOn,
}

impl Claim {
    /// `confirming`: who confirms the commits of the host now.
    #[must_use]
    pub fn new(primary: Primary, how: How, confirming: BTreeSet<HostName>) -> Self {
        Self {
            primary,
            // A primary that goes on after another one would lose what that
            // has acknowledged.
            in_sync: how != How::Promote { in_sync: false },
            synchronous: match how {
                How::Promote { .. } => BTreeSet::new(),
                How::GoOn => confirming,
            },
        }
    }
}

/// The right as the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub lease: LeaseId,
    pub epoch: Epoch,
    /// The change that made the key.
    pub created: Revision,
}

/// Why the right was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("{} holds the right to write in epoch {}", .0.host, .0.epoch)]
    Held(Primary),
    #[error("{} took the right in epoch {}", .0.host, .0.epoch)]
    Stale(Taken),
    #[error("{host} is not in the set that has every acknowledged commit")]
    NotInSync { host: HostName },
    #[error("the store changed meanwhile: ask again")]
    Raced,
    #[error("{0} in the store was written by another version of hafail")]
    Strange(String),
    #[error(transparent)]
    Store(#[from] QuorumError),
}

impl NotTaken {
    /// The id of the refusal; none: it failed, and may go through later.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Held(_) => Some("lease-held"),
            Self::Stale(_) => Some("stale-epoch"),
            Self::NotInSync { .. } => Some("not-in-sync"),
            Self::Raced | Self::Strange(_) | Self::Store(_) => None,
        }
    }
}

impl Shared {
    /// Takes the right under a lease: only where nobody holds it, and in an
    /// epoch that is newer than any taken before, or the own newest one. The
    /// own right is taken over into a newer epoch.
    ///
    /// # Errors
    /// Why not. After `Store` it may be taken all the same: end the lease, so
    /// that it never comes true.
    pub async fn take(&self, lease: LeaseId, claim: &Claim) -> Result<Right, NotTaken> {
        let state = self.state().await?;
        if let Some(key) = state.strange.first() {
            return Err(NotTaken::Strange(key.clone()));
        }
        let mut when = vec![self.as_read(EPOCH, state.epoch.as_ref().map(|key| key.modified))];
        let own = own(&state, lease, &claim.primary)?;
        when.push(match own {
            Some(created) => self.there_since(created),
            None => self.as_read(PRIMARY, None),
        });
        when.push(self.as_read(SYNC, state.sync.as_ref().map(|key| key.modified)));
        current(&state, &claim.primary)?;
        let sync = self.sync_of(&state, claim)?;
        let taken = Taken {
            epoch: claim.primary.epoch,
            host: claim.primary.host.clone(),
        };
        let then = [
            self.put(PRIMARY, text(&claim.primary), Some(lease)),
            self.put(EPOCH, text(&taken), None),
            self.put(SYNC, text(&sync), None),
        ];
        let revision = self.commit(&when, &then).await?;
        let revision = revision.ok_or(NotTaken::Raced)?;
        Ok(Right {
            lease,
            epoch: claim.primary.epoch,
            created: own.unwrap_or(revision),
        })
    }

    /// Who has every acknowledged commit from the first one of this epoch on:
    /// the members that the host waited for before and still waits for.
    fn sync_of(&self, state: &State, claim: &Claim) -> Result<SyncSet, NotTaken> {
        let host = &claim.primary.host;
        if claim.in_sync && state.sync.is_some() && !state.has_all(host) {
            return Err(NotTaken::NotInSync { host: host.clone() });
        }
        let before = state.sync.as_ref().map(|key| &key.value);
        let before = before.filter(|before| &before.primary == host && state.has_all(host));
        let members = before.map(|before| {
            let kept = before.members.intersection(&claim.synchronous);
            kept.cloned().collect()
        });
        Ok(SyncSet {
            primary: host.clone(),
            members: members.unwrap_or_default(),
            epoch: claim.primary.epoch,
        })
    }

    /// Writes who has every acknowledged commit; the holder of the right only.
    ///
    /// # Errors
    /// `Raced`: the right is not held any more.
    pub async fn write_sync(&self, right: &Right, sync: &SyncSet) -> Result<(), NotTaken> {
        let when = [self.there_since(right.created)];
        let then = [self.put(SYNC, text(sync), None)];
        let done = self.commit(&when, &then).await?;
        done.map(drop).ok_or(NotTaken::Raced)
    }

    /// Writes who has every acknowledged commit, over what was last written at
    /// `over`; when this one was written. A write that was not answered may
    /// come true at any time, unless another has followed: whoever reads the
    /// set writes it again before relying on it.
    ///
    /// # Errors
    /// `Raced`: the right is not held any more, or the set was written since.
    pub async fn replace_sync(
        &self,
        right: &Right,
        sync: &SyncSet,
        over: Revision,
    ) -> Result<Revision, NotTaken> {
        let when = [
            self.there_since(right.created),
            self.as_read(SYNC, Some(over)),
        ];
        let then = [self.put(SYNC, text(sync), None)];
        let done = self.commit(&when, &then).await?;
        done.ok_or(NotTaken::Raced)
    }

    fn there_since(&self, created: Revision) -> Condition {
        Condition::CreatedAt {
            key: self.key(PRIMARY),
            created,
        }
    }

    /// The key is as it was read: last written then, or absent.
    pub(super) fn as_read(&self, name: &str, modified: Option<Revision>) -> Condition {
        let key = self.key(name);
        match modified {
            Some(modified) => Condition::ModifiedAt { key, modified },
            None => Condition::Absent { key },
        }
    }

    pub(super) fn put(&self, name: &str, text: String, lease: Option<LeaseId>) -> Change {
        let key = self.key(name);
        Change::Put { key, text, lease }
    }
}

/// When the host made the key that is there, under this very lease.
fn own(state: &State, lease: LeaseId, primary: &Primary) -> Result<Option<Revision>, NotTaken> {
    match &state.primary {
        None => Ok(None),
        Some(key) if key.value.host == primary.host && key.lease == Some(lease) => {
            Ok(Some(key.created))
        }
        Some(key) => Err(NotTaken::Held(key.value.clone())),
    }
}

/// The epoch is newer than any in which the right was taken, or the own one.
fn current(state: &State, primary: &Primary) -> Result<(), NotTaken> {
    match &state.epoch {
        Some(taken)
            if taken.value.epoch > primary.epoch
                || (taken.value.epoch == primary.epoch && taken.value.host != primary.host) =>
        {
            Err(NotTaken::Stale(taken.value.clone()))
        }
        _ => Ok(()),
    }
}
