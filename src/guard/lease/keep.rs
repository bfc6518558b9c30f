//! Keeping the right: renewals, promises where the store is silent, and the
//! end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Held, Lease, boottime};
use crate::{
    coordination::{How, Right},
    guard::{Guard, process, store::Persisted},
    order::WantedRole,
    ports::quorum::QuorumError,
    right::{Answer, Next, Stop},
};

/// Between two looks at the dead-man.
const KILL: Duration = Duration::from_millis(500);
const MINDED: Duration = Duration::from_secs(1);

impl Guard {
    /// Renews the right for as long as this host holds it.
    pub(in crate::guard) async fn keep_forever(self: Arc<Self>) {
        let Some(lease) = &self.lease else {
            return std::future::pending().await;
        };
        let mut news = lease.held.subscribe();
        loop {
            let held = news.borrow_and_update().clone();
            let Some(held) = held else {
                let _ = news.changed().await;
                continue;
            };
            tokio::time::sleep(lease.terms.renew_every).await;
            self.renew(lease, &held).await;
        }
    }

    /// Sees to it that there is always a dead-man, of this very program.
    pub(in crate::guard) async fn mind_dead_man(self: Arc<Self>) {
        let Some(lease) = &self.lease else {
            return std::future::pending().await;
        };
        loop {
            if !lease.dead_man.is_well()
                && let Err(error) = lease.dead_man.renew().await
            {
                tracing::error!(%error, "no dead-man watches over PostgreSQL");
            }
            tokio::time::sleep(MINDED).await;
        }
    }

    async fn renew(self: &Arc<Self>, lease: &Lease, held: &Held) {
        let sent = boottime();
        let asking = lease.shared.quorum.renew(held.right.lease);
        let answer = match tokio::time::timeout(lease.terms.rpc_timeout, asking).await {
            Ok(Ok(())) => Answer::Renewed,
            Ok(Err(QuorumError::NoSuchLease(_))) => Answer::Ended,
            Ok(Err(_)) | Err(_) => Answer::Silence,
        };
        let next = held.holding.renewed(&lease.terms, sent, boottime(), answer);
        match next {
            Next::AskPeers => {
                if answer == Answer::Ended && self.retake(lease, held).await {
                    return;
                }
                self.ask_peers(lease, held).await;
            }
            next => self.follow_up(lease, held, next).await,
        }
    }

    pub(super) async fn follow_up(self: &Arc<Self>, lease: &Lease, held: &Held, next: Next) {
        match next {
            Next::Hold(holding) => {
                if holding.by_promises && !held.holding.by_promises {
                    tracing::warn!("the store is silent: all peers promised instead");
                }
                let next = Held {
                    holding,
                    ..held.clone()
                };
                // An order may have given it back, or taken it into a newer
                // epoch, meanwhile.
                let kept = lease.held.send_if_modified(|current| {
                    let same = current.as_ref().is_some_and(|now| now.right == held.right);
                    if same {
                        // Armed under the same lock that a disarm goes by.
                        if let Err(error) = lease.dead_man.arm(holding.until) {
                            tracing::error!(%error, "cannot move the deadline");
                            return false;
                        }
                        *current = Some(next.clone());
                    }
                    same
                });
                if !kept {
                    tracing::debug!("the right changed while it was renewed");
                }
            }
            Next::Stop(why) => self.lose(held, why).await,
            Next::AskPeers => {}
        }
    }

    /// The lease ended while the peers kept their promises: a new one, in the
    /// same epoch, where nobody else has taken the right.
    async fn retake(self: &Arc<Self>, lease: &Lease, held: &Held) -> bool {
        let _turn = lease.turn.lock().await;
        let claim = self.claim(held.right.epoch, How::GoOn);
        match self.take_anew(lease, &claim).await {
            Ok(()) => {
                tracing::info!("took the right anew after the store was silent");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the right is not taken anew yet");
                false
            }
        }
    }

    /// Kills PostgreSQL when the deadline passes, however long a renewal or
    /// an order takes.
    pub(in crate::guard) async fn mind_deadline(self: Arc<Self>) {
        let Some(lease) = &self.lease else {
            return std::future::pending().await;
        };
        let mut news = lease.held.subscribe();
        loop {
            let held = news.borrow_and_update().clone();
            let Some(held) = held else {
                let _ = news.changed().await;
                continue;
            };
            let left = held.holding.until.saturating_sub(boottime());
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _ = news.changed() => {}
            }
            if lease.held.borrow().as_ref() == Some(&held) && !held.holding.holds(boottime()) {
                self.lose(&held, Stop::Deadline).await;
            }
        }
    }

    /// The right is lost: PostgreSQL is killed at once, whatever else goes on
    /// here, and comes back as a standby.
    pub(in crate::guard) async fn lose(self: &Arc<Self>, held: &Held, why: Stop) {
        let Some(lease) = &self.lease else { return };
        let mut mine = false;
        lease.held.send_if_modified(|current| {
            mine = current.as_ref() == Some(held);
            if mine {
                *current = None;
            }
            mine
        });
        if !mine {
            return;
        }
        tracing::error!(%why, epoch = %held.right.epoch, "lost the right to write: killing PostgreSQL");
        self.stand_back(held.right).await;
        if why == Stop::Deadline {
            // It may still be there: whoever waits for its end need not.
            let _ = lease.shared.quorum.revoke(held.right.lease).await;
        }
    }

    /// Gives up being primary: PostgreSQL cannot serve here.
    pub(in crate::guard) async fn step_down(self: &Arc<Self>, why: &str) {
        let Some(lease) = &self.lease else { return };
        let Some(held) = lease.held.send_replace(None) else {
            return;
        };
        tracing::error!(why, epoch = %held.right.epoch, "stepping down as primary");
        self.counters.stepped_down();
        self.kill_all().await;
        lease.disarm();
        // Before anything is written: the disk may be why.
        if let Err(error) = lease.shared.quorum.revoke(held.right.lease).await {
            tracing::warn!(%error, "the lease ends by itself");
        }
        self.forget(held.right).await;
    }

    async fn stand_back(self: &Arc<Self>, right: Right) {
        self.kill_all().await;
        if let Some(lease) = &self.lease {
            lease.disarm();
        }
        self.forget(right).await;
    }

    pub(super) async fn kill_all(self: &Arc<Self>) {
        let guard = Arc::clone(self);
        let limit = self
            .lease
            .as_ref()
            .map_or(KILL, |lease| lease.terms.kill_time);
        let killing = tokio::task::spawn_blocking(move || {
            let (root, postgres) = (guard.config.version_dir(), guard.config.program("postgres"));
            process::kill_below(&root, &postgres, limit)
        });
        match killing.await {
            Ok(Ok(true)) => {}
            // It never runs again, so it acknowledges nothing.
            Ok(Ok(false)) => {
                tracing::error!("PostgreSQL is killed and not gone: its disk may hang")
            }
            Ok(Err(error)) => tracing::error!(%error, "cannot kill PostgreSQL"),
            Err(error) => tracing::error!(%error, "cannot kill PostgreSQL"),
        }
        self.publish(crate::guard::view::View::ended);
    }

    pub(super) async fn forget(self: &Arc<Self>, right: Right) {
        self.remember_lost(right).await;
        self.supervise.notify_one();
    }

    /// Only this right: an order may have taken a newer one meanwhile.
    async fn remember_lost(self: &Arc<Self>, right: Right) {
        let forgotten = self.remember(move |state| {
            if state.right != Some(right.into()) {
                return;
            }
            if state.wanted == WantedRole::Primary {
                state.wanted = WantedRole::Standby { upstream: None };
            }
            state.grant = None;
            state.right = None;
        });
        if let Err(error) = forgotten.await {
            // Without a deadline nobody believes the memory.
            tracing::error!(%error, "cannot remember that the right is lost");
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// A right whose loss could not be remembered when it came, for the disk
    /// was full: tried again, since a host that is to be primary refuses to be
    /// taken in as a standby. The caller has the hands.
    pub(in crate::guard) async fn forget_lost(self: &Arc<Self>) {
        let Some(lease) = &self.lease else { return };
        // Whoever takes a right remembers it before it is held.
        let Ok(_turn) = lease.turn.try_lock() else {
            return;
        };
        if lease.held.borrow().is_some() {
            return;
        }
        let primary = |state: &Persisted| state.wanted == WantedRole::Primary;
        let lost = self
            .store
            .with(|state| state.right.filter(|_| primary(state)));
        if let Some(right) = lost {
            self.remember_lost(right.into()).await;
        }
    }
}
