//! Taking the right, and giving it back.

use std::sync::Arc;

use super::{Held, Lease, boottime, other};
use crate::{
    coordination::{Claim, How, NotTaken, Primary, Right},
    guard::{
        Guard,
        store::{Persisted, StoreError},
    },
    ids::Epoch,
    order::{PostgresState, WantedRole},
    ports::quorum::LeaseId,
    right::{Holding, Moment, Standing},
};

/// Why this host does not get the right.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error("bound for {} ms by a promise to {to} in epoch {epoch}", left.as_millis())]
    Promised {
        to: crate::ids::HostName,
        epoch: Epoch,
        left: std::time::Duration,
    },
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("cannot remember the right")]
    Memory(#[from] StoreError),
    #[error("no dead-man watches over PostgreSQL: {0}")]
    DeadMan(std::io::Error),
}

impl TakeError {
    /// The id of the refusal; none: it failed, and may go through later.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Promised { .. } => Some("promised"),
            Self::NotTaken(why) => why.refusal(),
            Self::Memory(_) | Self::DeadMan(_) => None,
        }
    }
}

/// How long a new store may take to answer.
const BROUGHT: std::time::Duration = std::time::Duration::from_secs(10);

impl Guard {
    /// Takes the right to write for an epoch, or takes the one that is held
    /// over into it. Nothing to do where no store coordinates.
    ///
    /// # Errors
    /// Why not; nothing is held then that was not before.
    pub(in crate::guard) async fn take_right(
        self: &Arc<Self>,
        epoch: Epoch,
        how: How,
    ) -> Result<(), TakeError> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let _turn = lease.turn.lock().await;
        self.not_bound(lease)?;
        if !lease.dead_man.is_well() {
            lease.dead_man.renew().await.map_err(TakeError::DeadMan)?;
        }
        let claim = self.claim(epoch, how);
        match lease.held() {
            Some(held) => {
                let right = lease.shared.take(held.right.lease, &claim).await?;
                self.hold(lease, right, held.holding).await
            }
            None => self.take_anew(lease, &claim).await,
        }
    }

    /// Takes the right of a running primary over into a newer epoch.
    ///
    /// # Errors
    /// Why not; the older one is held on then.
    pub(super) async fn take_further(self: &Arc<Self>, epoch: Epoch) -> Result<(), TakeError> {
        self.take_right(epoch, How::GoOn).await?;
        let grant = self.grant(epoch);
        self.remember(|state| state.grant = Some(grant)).await?;
        tracing::info!(%epoch, "goes on in the epoch in which the store has the right");
        Ok(())
    }

    pub(super) async fn take_anew(
        self: &Arc<Self>,
        lease: &Lease,
        claim: &Claim,
    ) -> Result<(), TakeError> {
        // Before the request, so that the right never outlives the lease.
        let sent = boottime();
        let id = lease.shared.quorum.lease(lease.terms.ttl).await;
        let id = id.map_err(NotTaken::Store)?;
        let taken = match lease.shared.take(id, claim).await {
            Ok(right) => {
                let holding = Holding::sent(&lease.terms, sent);
                self.hold(lease, right, holding).await
            }
            Err(error) => Err(error.into()),
        };
        if taken.is_err() {
            // Also one that came true unheard must not stay.
            end(lease, id).await;
        }
        taken
    }

    pub(super) fn claim(&self, epoch: Epoch, how: How) -> Claim {
        let postgres = self.view.borrow().postgres.clone();
        let primary = Primary {
            host: self.config.host.clone(),
            epoch,
            timeline: postgres.timeline,
            lsn: postgres.written.or(postgres.received),
        };
        let confirming = |state: &Persisted| state.synchronous.iter().cloned().collect();
        Claim::new(primary, how, self.store.with(confirming))
    }

    /// Whether no promise keeps this host from taking the right.
    ///
    /// # Errors
    /// To whom it is bound.
    pub(in crate::guard) fn not_bound(&self, lease: &Lease) -> Result<(), TakeError> {
        let now = boottime();
        self.standing(lease, false, |standing| {
            match standing.bound(&lease.terms, now) {
                Some((until, promise)) => Err(TakeError::Promised {
                    to: promise.to.clone(),
                    epoch: promise.epoch,
                    left: until.saturating_sub(now),
                }),
                None => Ok(()),
            }
        })
    }

    /// What the rules of promises need to know of this guard.
    pub(super) fn standing<T>(
        &self,
        lease: &Lease,
        takes: bool,
        look: impl FnOnce(Standing<'_>) -> T,
    ) -> T {
        self.store.with(|state| {
            look(Standing {
                takes: takes || lease.held().is_some(),
                given: state.promise.as_ref(),
                boot: &self.boot,
                began: lease.began,
            })
        })
    }

    /// Arms the dead-man and remembers the right, then holds it.
    pub(super) async fn hold(
        self: &Arc<Self>,
        lease: &Lease,
        right: Right,
        holding: Holding,
    ) -> Result<(), TakeError> {
        let before = lease.held().is_some();
        lease
            .dead_man
            .arm(holding.until)
            .map_err(TakeError::DeadMan)?;
        let remembered = self.remember(move |state| state.right = Some(right.into()));
        if let Err(error) = remembered.await {
            if !before {
                lease.disarm();
            }
            return Err(error.into());
        }
        lease.held.send_modify(|current| {
            // Whoever lost an older right may have disarmed meanwhile.
            if let Err(error) = lease.dead_man.arm(holding.until) {
                tracing::error!(%error, "cannot set the deadline");
            }
            *current = Some(Held { right, holding });
        });
        Ok(())
    }

    /// A right by which this host may not write: nobody else could take it, for
    /// as long as it is renewed. The caller has the hands.
    pub(in crate::guard) async fn give_back_unwanted(self: &Arc<Self>) {
        let Some(lease) = &self.lease else { return };
        let Err(why) = self.may_write() else { return };
        let Some(held) = lease.held.borrow().clone() else {
            return;
        };
        tracing::warn!(%why, "gives the right to write back");
        if self.view.borrow().postgres.state == PostgresState::Primary {
            self.kill_all().await;
        }
        self.give_back().await;
        self.forget(held.right).await;
    }

    /// A primary from the time before there was a store takes the right in it,
    /// where nobody has ever done so: its service goes on.
    pub(in crate::guard) async fn bring_right_along(self: &Arc<Self>) {
        let Some(lease) = &self.lease else { return };
        let before = self.store.with(|state| {
            let grant = state.grant.as_ref().filter(|grant| grant.boot == self.boot);
            let manual = state.wanted == WantedRole::Primary && state.right.is_none();
            grant.filter(|_| manual).map(|grant| grant.epoch)
        });
        let Some(epoch) = before else { return };
        let begin = std::time::Instant::now();
        while begin.elapsed() < BROUGHT {
            match lease.shared.state().await {
                Ok(state) if state.epoch.is_some() => return,
                Ok(_) => match self.take_right(epoch, How::GoOn).await {
                    Ok(()) => return tracing::info!(%epoch, "took the right in the new store"),
                    Err(error) => tracing::warn!(%error, "the right is not taken yet"),
                },
                Err(error) => tracing::warn!(%error, "the store does not answer yet"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Gives the right back, so that nobody waits for its end. PostgreSQL is
    /// dead, or a standby: whoever calls this has seen to it.
    pub(in crate::guard) async fn give_back(&self) {
        let Some(lease) = &self.lease else { return };
        let held = lease.held.send_replace(None);
        lease.disarm();
        if let Some(held) = held {
            end(lease, held.right.lease).await;
        }
    }

    /// The right that an earlier guard of this boot held, where its deadline
    /// has not passed.
    pub(in crate::guard) fn take_over(&self) -> std::io::Result<()> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let until: Option<Moment> = lease.dead_man.deadline()?;
        let remembered = self.store.with(|state| {
            let granted = state.grant.as_ref().filter(|grant| grant.boot == self.boot);
            granted.and(state.right)
        });
        if let (Some(until), Some(right)) = (until, remembered) {
            let holding = Holding {
                until,
                by_promises: false,
            };
            let right = right.into();
            lease.held.send_replace(Some(Held { right, holding }));
            tracing::info!(left = ?until.saturating_sub(boottime()), "took over the right to write");
        }
        Ok(())
    }
}

/// Ends a lease where the store can be asked; else it ends by itself.
async fn end(lease: &Lease, id: LeaseId) {
    if let Err(error) = lease.shared.quorum.revoke(id).await {
        let error = other(error);
        tracing::warn!(%error, "the lease ends by itself");
    }
}
