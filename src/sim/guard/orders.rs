//! Orders in automatic mode: those that give or take the right to write go by
//! the store; what they do to PostgreSQL is the same in both modes.

use std::{sync::Arc, time::Duration};

use crate::{
    coordination::{How, Shared},
    ids::{Epoch, HostName},
    order::{Order, OrderAnswer, OrderRequest, PostgresState, WantedRole},
};

use super::{
    super::{Core, Sim, mutation::Mutation, quorum::SimQuorum},
    CALL, NAME, Program,
    take::NotGot,
};

/// An order waits so long for its turn.
const QUEUE: Duration = Duration::from_secs(2);

/// Lets the guard of a host carry out an order; none: it does not live.
pub(in crate::sim) fn take_order(
    core: &mut Core,
    sim: &Sim,
    host: &HostName,
    request: Arc<OrderRequest>,
    answer: impl FnOnce(&mut Core, OrderAnswer) + Send + 'static,
) -> Option<()> {
    let process = core.state.guards[host].process.clone()?;
    let program = Program {
        sim: sim.clone(),
        host: host.clone(),
        shared: Shared::new(Arc::new(SimQuorum::of(core, sim, host, CALL)), NAME),
        terms: core.state.settings.automatic?,
        process: process.clone(),
    };
    core.spawn(&process, async move {
        let given = program.take(&request).await;
        let mut core = program.sim.lock();
        core.tell(|| super::super::ports::story(&program.host, &request, &given));
        answer(&mut core, given);
    });
    Some(())
}

impl Program {
    async fn take(&self, request: &OrderRequest) -> OrderAnswer {
        if !self.begin_work(QUEUE).await {
            return refused("busy", "an order runs".to_owned());
        }
        let answer = self.take_in_hand(request).await;
        self.sim.lock().guard(&self.host).busy = false;
        answer
    }

    /// Waits for its turn to work on PostgreSQL.
    pub(super) async fn begin_work(&self, patience: Duration) -> bool {
        let mut waited = Duration::ZERO;
        loop {
            if self.take_work() {
                return true;
            }
            if waited >= patience {
                return false;
            }
            let pause = Duration::from_millis(10);
            self.sleep(pause).await;
            waited += pause;
        }
    }

    fn take_work(&self) -> bool {
        let mut core = self.sim.lock();
        !std::mem::replace(&mut core.guard(&self.host).busy, true)
    }

    async fn take_in_hand(&self, request: &OrderRequest) -> OrderAnswer {
        if let Err(why) = self.sim.lock().state.is_current(&self.host, request) {
            return refused("stale-epoch", why);
        }
        // The epoch of an order is remembered before it is carried out.
        let remembered = match &request.order {
            Order::Demote { .. } => self.remember_at_last(|disk| disk.grant = None).await,
            _ if self.state() == PostgresState::Primary => self.remember_at_last(|_| {}).await,
            _ => self.remember(|_| {}).await,
        };
        if !remembered {
            return self.failed("no space left on device".to_owned());
        }
        let epoch = request.epoch;
        let before = match &request.order {
            Order::Promote { in_sync, .. } if self.state() == PostgresState::Standby => {
                let in_sync = *in_sync || self.asks_sync();
                self.right_first(epoch, How::Promote { in_sync }).await
            }
            Order::Promote { .. } if self.state() == PostgresState::Primary => {
                if self.sim.lock().may_write(&self.host).is_none() {
                    return refused("not-a-standby", "accepts writes without the right".into());
                }
                self.right_first(epoch, How::GoOn).await
            }
            Order::Resume { .. } => self.right_first(epoch, How::GoOn).await,
            Order::Checkpoint if self.state() == PostgresState::Standby => {
                self.sim.lock().not_bound(&self.host, &self.terms)
            }
            _ => Ok(()),
        };
        if let Err(NotGot { id, why }) = before {
            return match id {
                Some(id) => refused(id, why),
                None => self.failed(why),
            };
        }
        self.carry_out(request).await
    }

    /// Plans of manual mode, which operators of automatic mode make where no
    /// watchers are played, know of no set.
    fn asks_sync(&self) -> bool {
        let core = self.sim.lock();
        let topology = core.state.topology();
        let replication = topology.database.replication;
        !topology.is_automatic() && replication == crate::topology::Replication::Synchronous
    }

    fn state(&self) -> PostgresState {
        self.sim.lock().state.databases[&self.host].state
    }

    pub(super) async fn right_first(&self, epoch: Epoch, how: How) -> Result<(), NotGot> {
        if self.mutation() == Some(Mutation::SkipProof) {
            return Ok(());
        }
        self.take_right(epoch, how).await?;
        let boots = self.sim.lock().state.machines[&self.host].boots;
        let grant = move |disk: &mut super::Disk| disk.grant = Some((epoch, boots));
        if !self.remember(grant).await {
            return Err(NotGot::no_room());
        }
        let held = self.sim.lock().held(&self.host).is_some();
        if held {
            return Ok(());
        }
        // The lease ended while all this was written.
        let why = "the right ended meanwhile".to_owned();
        Err(NotGot { id: None, why })
    }

    async fn carry_out(&self, request: &OrderRequest) -> OrderAnswer {
        let answer = {
            let mut core = self.sim.lock();
            let now = core.now();
            if matches!(request.order, Order::Synchronous { .. }) {
                return core.state.keeps_set_itself(&self.host, request);
            }
            let host = &self.host;
            if matches!(request.order, Order::Resume { .. }) {
                core.guard(host).set.starts();
            }
            let answer = core.state.obey(host, request, now);
            core.state.touch();
            if matches!(request.order, Order::Rewind { .. } | Order::Reclone { .. }) {
                // It may have cut what a member is said to have.
                core.check_sync();
            }
            answer
        };
        let database = self.sim.lock().state.databases[&self.host].wanted.clone();
        match (&request.order, &answer) {
            (Order::Demote { .. }, OrderAnswer::Done { .. }) => {
                self.remember(|disk| {
                    disk.grant = None;
                    disk.right = None;
                })
                .await;
                self.give_back().await;
            }
            // Taken for nothing: whoever waits for it need not.
            (Order::Promote { .. } | Order::Resume { .. }, OrderAnswer::Refused { .. })
                if database != WantedRole::Primary =>
            {
                self.give_back().await;
            }
            _ => {}
        }
        answer
    }

    fn failed(&self, why: String) -> OrderAnswer {
        let core = self.sim.lock();
        let status = Box::new(core.state.guard_status(&self.host));
        OrderAnswer::Failed { why, status }
    }
}

impl super::State {
    /// Who confirms commits is written in an order that an order from outside
    /// would break: the guard alone keeps it.
    fn keeps_set_itself(&mut self, host: &HostName, request: &OrderRequest) -> OrderAnswer {
        self.ledger.begins_order(host, request);
        self.adopt_epoch(host, request);
        OrderAnswer::Done {
            changed: false,
            what: "the guard keeps who confirms commits".to_owned(),
            status: Box::new(self.guard_status(host)),
        }
    }
}

fn refused(id: &str, why: String) -> OrderAnswer {
    let id = id.to_owned();
    OrderAnswer::Refused { id, why }
}
