//! Taking the right, and giving it back.

use std::time::Duration;

use crate::{
    coordination::{Claim, How, NotTaken, Primary, Right},
    ids::{Epoch, HostName},
    right::{Holding, Terms},
};

use super::{
    super::{Core, mutation::Mutation},
    Held, Program,
};

/// Why this host does not get the right: the id of a refusal, or none where
/// it failed and may go through later.
pub(super) struct NotGot {
    pub id: Option<&'static str>,
    pub why: String,
}

impl NotGot {
    /// The disk is full.
    pub(super) fn no_room() -> Self {
        let why = "no room to remember it".to_owned();
        Self { id: None, why }
    }
}

impl From<NotTaken> for NotGot {
    fn from(error: NotTaken) -> Self {
        let id = error.refusal();
        let why = error.to_string();
        Self { id, why }
    }
}

impl Core {
    /// Whether no promise keeps a host from taking the right.
    pub(super) fn not_bound(&self, host: &HostName, terms: &Terms) -> Result<(), NotGot> {
        let boot = self.boot_name(host);
        let standing = self.state.guards[host].standing(false, &boot);
        match standing.bound(terms, self.deadline_clock(host)) {
            Some((_, promise)) => Err(NotGot {
                id: Some("promised"),
                why: format!("bound by a promise to {}", promise.to),
            }),
            None => Ok(()),
        }
    }
}

impl Program {
    /// Takes the right to write for an epoch, or takes the one that is held
    /// over into it.
    pub(super) async fn take_right(&self, epoch: Epoch, how: How) -> Result<(), NotGot> {
        while !self.begin_turn().await {
            self.sleep(Duration::from_millis(5)).await;
        }
        let taken = self.take_in_turn(epoch, how).await;
        self.end_turn();
        taken
    }

    /// One at a time takes the right or promises.
    pub(super) async fn begin_turn(&self) -> bool {
        let mut core = self.sim.lock();
        !std::mem::replace(&mut core.guard(&self.host).turn, true)
    }

    pub(super) fn end_turn(&self) {
        self.sim.lock().guard(&self.host).turn = false;
    }

    async fn take_in_turn(&self, epoch: Epoch, how: How) -> Result<(), NotGot> {
        let held = {
            let core = self.sim.lock();
            core.not_bound(&self.host, &self.terms)?;
            core.held(&self.host).cloned()
        };
        let Some(held) = held else {
            return self.take_anew(epoch, how).await;
        };
        let claim = self.claim(epoch, how);
        let right = self.shared.take(held.right.lease, &claim).await?;
        self.hold(right, held.holding).await
    }

    pub(super) async fn take_anew(&self, epoch: Epoch, how: How) -> Result<(), NotGot> {
        let sent = self.now();
        let lease = self.shared.quorum.lease(self.terms.ttl).await;
        let lease = lease.map_err(NotTaken::Store)?;
        let claim = self.claim(epoch, how);
        let taken = self.shared.take(lease, &claim).await;
        let early = self.mutation() == Some(Mutation::PromoteBeforeDeadline);
        match taken {
            Ok(right) => {
                let taken = self.hold(right, Holding::sent(&self.terms, sent)).await;
                if taken.is_err() {
                    let _ = self.shared.quorum.revoke(lease).await;
                }
                taken
            }
            // The defect: whoever holds the right is not waited for.
            Err(NotTaken::Held(_)) if early => {
                let created = crate::ports::quorum::Revision(0);
                let right = Right {
                    lease,
                    epoch,
                    created,
                };
                self.hold(right, Holding::sent(&self.terms, sent)).await
            }
            Err(error) => {
                // Also one that came true unheard must not stay.
                let _ = self.shared.quorum.revoke(lease).await;
                Err(error.into())
            }
        }
    }

    fn claim(&self, epoch: Epoch, how: How) -> Claim {
        let core = self.sim.lock();
        let database = &core.state.databases[&self.host];
        let primary = Primary {
            host: self.host.clone(),
            epoch,
            timeline: Some(database.timeline),
            lsn: Some(database.end()),
        };
        let confirming = database.synchronous.iter().cloned().collect();
        let mut claim = Claim::new(primary, how, confirming);
        // The defect: that it has everything is not asked for.
        claim.in_sync &= core.state.settings.mutation != Some(Mutation::TrustMembership);
        claim
    }

    /// Arms the dead-man and remembers the right, then holds it.
    async fn hold(&self, right: Right, holding: Holding) -> Result<(), NotGot> {
        let before = self.sim.lock().held(&self.host).is_some();
        self.sim.lock().arm(&self.host, &holding);
        if !self.remember(|disk| disk.right = Some(right)).await {
            if !before {
                self.sim.lock().disarm(&self.host);
            }
            return Err(NotGot::no_room());
        }
        let mut core = self.sim.lock();
        core.guard(&self.host).held = Some(Held { right, holding });
        let (host, epoch) = (&self.host, right.epoch);
        core.tell(|| format!("{host} holds the right to write in epoch {epoch}"));
        Ok(())
    }

    /// Gives the right back, so that nobody waits for its end.
    pub(super) async fn give_back(&self) {
        let held = {
            let mut core = self.sim.lock();
            core.disarm(&self.host);
            core.guard(&self.host).held.take()
        };
        if let Some(held) = held {
            let _ = self.shared.quorum.revoke(held.right.lease).await;
        }
    }

    pub(super) fn mutation(&self) -> Option<Mutation> {
        self.sim.lock().state.settings.mutation
    }
}
