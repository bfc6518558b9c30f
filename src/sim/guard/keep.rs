//! Keeping the right: renewals, promises where the store is silent, and the
//! end.

use std::time::Duration;

use futures::future::{Either, join_all, select};

use crate::{
    coordination::How,
    ids::HostName,
    order::WantedRole,
    ports::quorum::QuorumError,
    right::{Answer, Holding, Next, NoPromise, Promise, PromiseRequest, Stop},
};

use super::{
    super::{Core, core::Slot, machine, mutation::Mutation},
    Held, Program,
};

impl Program {
    /// Renews the right for as long as this host holds it, and ends it when
    /// its time is over.
    pub(super) async fn keep_forever(self) {
        loop {
            let (held, left) = {
                let core = self.sim.lock();
                let held = core.state.guards[&self.host].held.clone();
                let until = held.as_ref().map(|held| held.holding.until);
                (
                    held,
                    until.map(|until| until.saturating_sub(core.deadline_clock(&self.host))),
                )
            };
            let pause = left.map_or(self.terms.renew_every, |left| {
                left.min(self.terms.renew_every)
            });
            self.sleep(pause + Duration::from_micros(1)).await;
            let Some(held) = held else { continue };
            if self.sim.lock().held(&self.host).is_none() {
                self.lose(&held, Stop::Deadline).await;
                continue;
            }
            self.renew(&held).await;
        }
    }

    async fn renew(&self, held: &Held) {
        let sent = self.now();
        let asking = self.shared.quorum.renew(held.right.lease);
        let limit = self.sleep(self.terms.rpc_timeout);
        let answer = match select(asking, std::pin::pin!(limit)).await {
            Either::Left((Ok(()), _)) => Answer::Renewed,
            Either::Left((Err(QuorumError::NoSuchLease(_)), _)) => Answer::Ended,
            Either::Left((Err(_), _)) | Either::Right(_) => Answer::Silence,
        };
        let sent = match self.sim.lock().state.settings.mutation {
            Some(Mutation::CountFromAnswer) => self.terms.rpc_timeout + sent,
            _ => sent,
        };
        let next = held.holding.renewed(&self.terms, sent, self.now(), answer);
        match next {
            Next::AskPeers => {
                if answer == Answer::Ended && self.retake(held).await {
                    return;
                }
                self.ask_peers(held).await;
            }
            next => self.follow_up(held, next).await,
        }
    }

    async fn follow_up(&self, held: &Held, next: Next) {
        match next {
            Next::Hold(holding) => self.extend(held, holding),
            Next::Stop(why) => self.lose(held, why).await,
            Next::AskPeers => {}
        }
    }

    fn extend(&self, held: &Held, holding: Holding) {
        let mut core = self.sim.lock();
        let guard = core.guard(&self.host);
        let same = guard
            .held
            .as_ref()
            .is_some_and(|now| now.right == held.right);
        if same {
            let right = held.right;
            guard.held = Some(Held { right, holding });
            core.arm(&self.host, &holding);
            if holding.by_promises && !held.holding.by_promises {
                core.tell(|| format!("{} goes on by promises", self.host));
            }
        }
    }

    /// A new lease in the same epoch, where nobody else has taken the right.
    async fn retake(&self, held: &Held) -> bool {
        if !self.begin_turn().await {
            return false;
        }
        let taken = self.take_anew(held.right.epoch, How::GoOn).await;
        self.end_turn();
        taken.is_ok()
    }

    /// Asks every peer at once; all of them must promise.
    async fn ask_peers(&self, held: &Held) {
        let ask = PromiseRequest {
            host: self.host.clone(),
            epoch: held.right.epoch,
            for_ms: u64::try_from(self.terms.promise().as_millis()).unwrap_or(u64::MAX),
        };
        let sent = self.now();
        let (peers, mutation) = {
            let core = self.sim.lock();
            let all = core.state.guards.keys();
            let peers: Vec<_> = all.filter(|host| **host != self.host).cloned().collect();
            (peers, core.state.settings.mutation)
        };
        let needed = if mutation == Some(Mutation::OnePromiseMissing) {
            &peers[1..]
        } else {
            &peers
        };
        let asking = join_all(needed.iter().map(|peer| self.ask_peer(peer, &ask)));
        let limit = self.sleep(self.terms.rpc_timeout);
        let all = match select(asking, std::pin::pin!(limit)).await {
            Either::Left((answers, _)) => answers.iter().all(|answer| answer.is_ok()),
            Either::Right(_) => false,
        };
        let next = held.holding.promised(&self.terms, sent, self.now(), all);
        self.follow_up(held, next).await;
    }

    /// The peer's answer, or none for ever.
    async fn ask_peer(&self, peer: &HostName, ask: &PromiseRequest) -> Result<Promise, NoPromise> {
        let slot = Slot::default();
        {
            let mut core = self.sim.lock();
            let (from, to) = (self.host.clone(), peer.clone());
            let (sim, ask, slot) = (self.sim.clone(), ask.clone(), slot.clone());
            let way = core.way_between();
            let again = core.comes_again().map(|again| way + again);
            for way in [Some(way), again].into_iter().flatten() {
                let (from, to, sim) = (from.clone(), to.clone(), sim.clone());
                let (ask, slot) = (ask.clone(), slot.clone());
                core.look_later(way, move |core| {
                    if !core.state.is_on(&to) || !core.state.passes(&from, &to) {
                        return;
                    }
                    let at = to.clone();
                    let arrive =
                        move |core: &mut Core| promise_at(core, &sim, &at, from, ask, slot);
                    machine::at(core, &to, Box::new(arrive));
                });
            }
        }
        slot.await
    }

    /// The right is lost: PostgreSQL is killed at once and comes back as a
    /// standby.
    async fn lose(&self, held: &Held, why: Stop) {
        {
            let mut core = self.sim.lock();
            let guard = core.guard(&self.host);
            if guard.held.as_ref() != Some(held) {
                return;
            }
            guard.held = None;
            core.tell(|| format!("{} loses the right to write: {why}", self.host));
        }
        if self.mutation() != Some(Mutation::SkipKill) {
            self.stand_back(held).await;
        }
        if why == Stop::Deadline {
            let _ = self.shared.quorum.revoke(held.right.lease).await;
        }
    }

    /// Gives up being primary: PostgreSQL cannot serve here.
    pub(super) async fn step_down(&self, why: &str) {
        let held = self.sim.lock().guard(&self.host).held.take();
        let Some(held) = held else { return };
        self.sim
            .lock()
            .tell(|| format!("{} steps down: {why}", self.host));
        self.kill_all().await;
        self.sim.lock().disarm(&self.host);
        let _ = self.shared.quorum.revoke(held.right.lease).await;
        self.forget_right(held.right).await;
    }

    async fn stand_back(&self, held: &Held) {
        self.kill_all().await;
        self.sim.lock().disarm(&self.host);
        self.forget_right(held.right).await;
    }

    pub(super) async fn kill_all(&self) {
        let takes = {
            let mut core = self.sim.lock();
            let longest = u64::try_from(self.terms.kill_time.as_micros()).unwrap_or(0);
            Duration::from_micros(core.rng.between(100, longest / 2))
        };
        self.sleep(takes).await;
        self.sim.lock().kill_postgres(&self.host);
    }

    /// Not one that was taken since: a hung disk may hold this up for long.
    pub(super) async fn forget_right(&self, right: crate::coordination::Right) {
        if self.sim.lock().state.disk_is_full(&self.host) {
            // Tried again by the supervisor: whoever is to be primary is not
            // taken in as a standby.
            return;
        }
        {
            let mut core = self.sim.lock();
            let database = core.state.databases.get_mut(&self.host);
            let database = database.expect("a database");
            if database.wanted == WantedRole::Primary {
                database.wanted = WantedRole::Standby { upstream: None };
            }
        }
        self.remember(|disk| {
            if disk.right.is_none_or(|now| now == right) {
                disk.grant = None;
                disk.right = None;
            }
        })
        .await;
    }
}

/// `POST /promise`: durable before it is given.
fn promise_at(
    core: &mut Core,
    sim: &super::super::Sim,
    host: &HostName,
    asker: HostName,
    ask: PromiseRequest,
    slot: Slot<Result<Promise, NoPromise>>,
) {
    let Some(process) = core.state.guards[host].process.clone() else {
        return;
    };
    let (sim, host) = (sim.clone(), host.clone());
    core.spawn(&process.clone(), async move {
        let answer = {
            let mut core = sim.lock();
            let boot = core.boot_name(&host);
            let (takes, now) = (core.may_write(&host).is_some(), core.deadline_clock(&host));
            let guard = core.guard(&host);
            if guard.turn {
                Err(NoPromise::Primary)
            } else if !guard.disk.takes_writes() {
                Err(NoPromise::Forgetful)
            } else {
                let answer = guard.standing(takes, &boot).promise(&ask, now);
                guard.turn = answer.is_ok();
                answer
            }
        };
        if let Ok(promise) = &answer {
            // The disk takes a moment.
            sim.sleep(Duration::from_millis(1)).await;
            let mut core = sim.lock();
            core.guard(&host).disk.promise = Some(promise.clone());
            core.guard(&host).turn = false;
        }
        let mut core = sim.lock();
        if core.state.passes(&host, &asker) {
            let back = core.way_between();
            core.answer_later(back, slot, answer);
        }
    });
}

impl Core {
    /// How long a packet takes between two sites.
    pub(in crate::sim) fn way_between(&mut self) -> Duration {
        Duration::from_micros(self.rng.between(300, 30_000))
    }
}
