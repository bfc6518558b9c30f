//! Deliberate defects. Each must be caught by the checker, else the checker
//! does not bite.

use crate::{
    ids::Epoch,
    plan::Plan,
    step::{FenceWay, Step},
};

/// A defect of the program or of its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// A fencing proof is claimed, nothing is fenced.
    SkipFencing,
    /// A machine of which nothing is known counts as stopped.
    UnknownIsDown,
    /// Guards obey runs of the past.
    AcceptOldEpoch,
    /// A switchover does not wait for the candidate to have everything.
    PromoteBeforeEquality,
    /// The new primary goes on waiting for those who confirmed its commits
    /// when it last was primary.
    ForgetToEmptySync,
    /// The returned standby confirms nothing.
    ForgetToRestoreSync,
    /// The candidate counts as in sync whatever the journal says.
    TrustMembership,
    /// A primary comes back writable after a boot.
    BootWritable,
    /// A machine that was stopped from outside keeps no sign of who did it.
    LeaveNoTrace,
    /// Automatic mode: a promotion without the right.
    SkipProof,
    /// A holder of the right is not waited for.
    PromoteBeforeDeadline,
    /// Deadlines are counted by the wall clock.
    UseWallTime,
    /// A renewal counts from when it was answered at the latest.
    CountFromAnswer,
    /// PostgreSQL is told before the store when a standby leaves, and after
    /// it when one joins.
    ForgetSync,
    /// A guard that restarts knows nothing of its promise.
    ForgetPromise,
    /// The right goes on although a peer did not promise.
    OnePromiseMissing,
    /// Nobody but the guard ends the right.
    NoDeadMan,
    /// A renewal counts whoever answers it.
    TrustStaleLeader,
    /// What the store says of the set holds, although a write of it was not
    /// answered.
    TrustUnanswered,
    /// Watchers do not heed that a primary goes on under promises.
    IgnorePromises,
    /// Every watcher believes to lead.
    ActWithoutLeading,
    ActWhilePaused,
    /// Watchers that are told to look only act.
    ActWhileObserving,
    /// Watchers work on runs without taking the lock.
    ResumeWithoutLock,
    IgnoreCooldown,
    /// Nothing kills PostgreSQL when the right ends.
    SkipKill,
    /// A watcher takes what it does not reach itself for what no place reaches.
    OneVoice,
    /// A new leader does not read what a dead one has written.
    IgnoreJournal,
    /// A new leader knows nothing of a failover that was not its own.
    ForgetCooldown,
}

impl Mutation {
    /// All defects.
    pub const ALL: [Self; 29] = [
        Self::SkipFencing,
        Self::UnknownIsDown,
        Self::AcceptOldEpoch,
        Self::PromoteBeforeEquality,
        Self::ForgetToEmptySync,
        Self::ForgetToRestoreSync,
        Self::TrustMembership,
        Self::BootWritable,
        Self::LeaveNoTrace,
        Self::SkipProof,
        Self::PromoteBeforeDeadline,
        Self::UseWallTime,
        Self::CountFromAnswer,
        Self::ForgetSync,
        Self::ForgetPromise,
        Self::OnePromiseMissing,
        Self::NoDeadMan,
        Self::TrustStaleLeader,
        Self::TrustUnanswered,
        Self::IgnorePromises,
        Self::ActWithoutLeading,
        Self::ActWhilePaused,
        Self::ActWhileObserving,
        Self::ResumeWithoutLock,
        Self::IgnoreCooldown,
        Self::SkipKill,
        Self::OneVoice,
        Self::IgnoreJournal,
        Self::ForgetCooldown,
    ];

    /// What the defect makes of the memory.
    pub(super) fn of_past(self, past: &mut crate::decide::Past, plan_new: &crate::ids::HostName) {
        if self == Self::TrustMembership {
            past.epoch = past.epoch.max(Epoch(u64::MAX / 2));
            for standbys in past.synchronous.values_mut() {
                *standbys = vec![plan_new.clone()];
            }
        }
    }

    /// What the defect makes of a plan.
    pub(super) fn of_plan(self, plan: &mut Plan) {
        for planned in &mut plan.steps {
            let step = std::mem::replace(&mut planned.step, Step::AwaitInSync);
            planned.step = self.of_step(step);
        }
    }

    fn of_step(self, step: Step) -> Step {
        let claim = |reason: &str| {
            vec![FenceWay::Operator {
                reason: reason.to_owned(),
            }]
        };
        match (self, step) {
            (Self::SkipFencing, Step::Fence { host, .. }) => Step::Fence {
                host,
                ways: claim("it will be fine"),
                lacks_at_most: None,
                trace: None,
            },
            (Self::PromoteBeforeEquality, Step::ProveEquality { from, .. }) => Step::Fence {
                host: from,
                ways: vec![FenceWay::Guard],
                lacks_at_most: None,
                trace: None,
            },
            (Self::ForgetToEmptySync, Step::SetSynchronous { standbys, .. })
                if standbys.is_empty() =>
            {
                Step::AwaitInSync
            }
            (Self::ForgetToRestoreSync, Step::SetSynchronous { standbys, .. })
                if !standbys.is_empty() =>
            {
                Step::AwaitInSync
            }
            (_, step) => step,
        }
    }
}
