//! The simulated world behind the ports.

mod outside;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    ids::HostName,
    inventory::Inventory,
    observation::{Machine, MachineState, ProxyOrder, ProxyStatus, QueueStatus},
    order::{GuardStatus, OrderAnswer, OrderRequest, PostgresState, Trace},
    ports::{
        PortError, World, guards::Guards, machines::Machines, proxies::Proxies, queues::Queues,
    },
};

use super::{
    Sim,
    delivery::{Party, What, ask, deliver, order_by_right},
    machine,
    mutation::Mutation,
};

const QUICK: Duration = Duration::from_secs(2);
/// The way of a write to a load balancer and back.
const WRITE: Duration = Duration::from_millis(20);
/// The same while nothing else happens.
const QUIET_WRITE: Duration = Duration::from_millis(200);

/// The world as operators reach it.
#[must_use]
pub(super) fn world(sim: &Sim) -> World {
    let party = Party {
        sim: sim.clone(),
        from: None,
        who: None,
    };
    let inventory = sim.lock().state.inventory();
    world_of(party, inventory)
}

/// The world as somebody reaches it.
pub(super) fn world_of(party: Party, inventory: Inventory) -> World {
    let shared = Arc::new(party);
    World {
        rebuild: None,
        inventory,
        guards: shared.clone(),
        machines: shared.clone(),
        records: shared.clone(),
        proxies: shared.clone(),
        queues: shared.clone(),
        end_to_end: shared.clone(),
        front_doors: shared.clone(),
        clock: shared,
        quorum: None,
    }
}

#[async_trait]
impl Guards for Party {
    async fn status(&self, host: &HostName) -> Result<GuardStatus, PortError> {
        let of = host.clone();
        let what = What::Of("the guard of", host.clone());
        let watched = self.sim.lock().state.settings.watched;
        ask(self, Some(host), what, QUICK, move |core| {
            let (what, why) = (of.to_string(), "connection refused".to_owned());
            if core.state.lacks_guard(&of) || (watched && core.state.guard_sleeps(&of)) {
                return Err(PortError::Unreachable { what, why });
            }
            let mut status = core.state.guard_status(&of);
            let promised = status.lease.as_ref().is_some_and(|lease| lease.by_promises);
            if promised && core.state.settings.mutation == Some(Mutation::IgnorePromises) {
                // The defect: whoever does not reach the store is done for.
                status.lease = None;
                status.postgres.state = PostgresState::Hung;
            }
            Ok(status)
        })
        .await
    }

    async fn order(
        &self,
        host: &HostName,
        request: OrderRequest,
        deadline: Duration,
    ) -> Result<OrderAnswer, PortError> {
        let to = host.clone();
        let request = Arc::new(request);
        let what = What::Order(host.clone(), request.clone());
        if self.sim.lock().state.settings.automatic.is_some() {
            return order_by_right(self, what, request, deadline).await;
        }
        deliver(self, Some(host), what, deadline, move |core| {
            let now = core.now();
            let answer = core.state.obey(&to, &request, now);
            core.tell(|| story(&to, &request, &answer));
            Ok(answer)
        })
        .await
    }
}

pub(super) fn story(host: &HostName, request: &OrderRequest, answer: &OrderAnswer) -> String {
    let OrderRequest { run, epoch, order } = request;
    match answer {
        OrderAnswer::Done { what, .. } => {
            format!("{host} obeys {order:?} of {run} ({epoch}): {what}")
        }
        OrderAnswer::Refused { id, why } => {
            format!("{host} refuses {order:?} of {run} ({epoch}): {id}, {why}")
        }
        OrderAnswer::Failed { why, .. } => {
            format!("{host} fails {order:?} of {run} ({epoch}): {why}")
        }
    }
}

#[async_trait]
impl Machines for Party {
    async fn state(&self, host: &HostName) -> Result<Machine, PortError> {
        let of = host.clone();
        ask(
            self,
            None,
            What::Of("the cloud about", host.clone()),
            QUICK,
            move |core| {
                let machine = &core.state.machines[&of];
                let state = match (machine.denied, core.state.settings.mutation) {
                    (false, _) => machine.reported,
                    (true, Some(Mutation::UnknownIsDown)) if !machine.heard => {
                        MachineState::Terminated
                    }
                    (true, Some(Mutation::UnknownIsDown)) => MachineState::Running,
                    (true, _) => return Err(denied("ec2:DescribeInstances")),
                };
                let deposed = machine.deposed.clone();
                Ok(Machine {
                    state,
                    deposed,
                    impaired: false,
                })
            },
        )
        .await
    }

    async fn depose(&self, host: &HostName, by: &Trace) -> Result<(), PortError> {
        let (of, by) = (host.clone(), by.clone());
        let what = What::Of("marking", host.clone());
        deliver(self, None, what, QUICK, move |core| {
            if core.state.settings.mutation == Some(Mutation::LeaveNoTrace) {
                return Ok(());
            }
            let machine = core.state.machines.get_mut(&of).expect("a known host");
            if machine.denied {
                return Err(denied("ec2:CreateTags"));
            }
            machine.deposed = Some(by.clone());
            Ok(())
        })
        .await
    }

    async fn power_off(&self, host: &HostName) -> Result<(), PortError> {
        let of = host.clone();
        deliver(
            self,
            None,
            What::Of("stopping", host.clone()),
            QUICK,
            move |core| {
                if core.state.machines[&of].denied {
                    return Err(denied("ec2:StopInstances"));
                }
                machine::stop_by_force(core, &of);
                Ok(())
            },
        )
        .await
    }

    async fn power_on(&self, host: &HostName) -> Result<(), PortError> {
        let of = host.clone();
        deliver(
            self,
            None,
            What::Of("starting", host.clone()),
            QUICK,
            move |core| {
                machine::power_on(core, &of);
                Ok(())
            },
        )
        .await
    }
}

fn denied(permission: &str) -> PortError {
    PortError::Denied {
        what: "the cloud".to_owned(),
        why: "not authorised".to_owned(),
        permission: Some(permission.to_owned()),
    }
}

#[async_trait]
impl Proxies for Party {
    async fn status(&self, lb: &HostName) -> Result<ProxyStatus, PortError> {
        let of = lb.clone();
        ask(
            self,
            Some(lb),
            What::Of("the load balancer", lb.clone()),
            QUICK,
            move |core| Ok(core.state.proxies[&of].backends.clone()),
        )
        .await
    }

    async fn tell(&self, lb: &HostName, orders: &[ProxyOrder]) -> Result<(), PortError> {
        let (of, orders) = (lb.clone(), orders.to_vec());
        deliver(
            self,
            Some(lb),
            What::Of("orders to", lb.clone()),
            QUICK,
            move |core| {
                let proxy = core.state.proxies.get_mut(&of).expect("a known host");
                for order in &orders {
                    let failed = |why| PortError::Failed {
                        what: of.to_string(),
                        why,
                    };
                    proxy.obey(order).map_err(failed)?;
                }
                let told: Vec<_> = orders
                    .iter()
                    .map(|o| format!("{}/{} {:?}", o.backend, o.server, o.what))
                    .collect();
                core.tell(|| format!("{of} is told {}", told.join(", ")));
                Ok(())
            },
        )
        .await
    }
}

#[async_trait]
impl Queues for Party {
    async fn status(&self, host: &HostName) -> Result<QueueStatus, PortError> {
        let of = host.clone();
        ask(
            self,
            Some(host),
            What::Of("the queue", host.clone()),
            QUICK,
            move |core| Ok(core.state.queue_status(&of)),
        )
        .await
    }

    async fn pause_writes(&self, host: &HostName, time: Duration) -> Result<(), PortError> {
        let of = host.clone();
        deliver(
            self,
            Some(host),
            What::Of("pausing", host.clone()),
            QUICK,
            move |core| {
                let until = core.now() + time;
                core.state
                    .queues
                    .get_mut(&of)
                    .expect("a known host")
                    .paused_until = until;
                Ok(())
            },
        )
        .await
    }

    async fn promote(&self, host: &HostName) -> Result<(), PortError> {
        let of = host.clone();
        deliver(
            self,
            Some(host),
            What::Of("promoting", host.clone()),
            QUICK,
            move |core| {
                core.tell(|| format!("{of} becomes a queue master"));
                core.state.promote_queue(&of);
                Ok(())
            },
        )
        .await
    }

    async fn require_confirmation(&self, host: &HostName, required: bool) -> Result<(), PortError> {
        let of = host.clone();
        let word = if required { "needs" } else { "waives" };
        deliver(
            self,
            Some(host),
            What::Of("what is confirmed by", host.clone()),
            QUICK,
            move |core| {
                core.tell(|| format!("queue {of} {word} confirmation"));
                Ok(())
            },
        )
        .await
    }

    async fn follow(&self, host: &HostName, master: &HostName) -> Result<(), PortError> {
        let (of, master) = (host.clone(), master.clone());
        deliver(
            self,
            Some(host),
            What::Of("following by", host.clone()),
            QUICK,
            move |core| {
                core.tell(|| format!("queue {of} follows {master}"));
                core.state.follow_queue(&of, &master);
                Ok(())
            },
        )
        .await
    }
}
