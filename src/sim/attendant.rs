//! The least that makes automatic mode go on: on each place a program that
//! looks at the store, and gives orders to guards. All of them act at once,
//! without a leader or a journal: what the guards allow must be safe anyway.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;

use crate::{
    coordination::{Shared, State as Keys},
    ids::{Epoch, HostName},
    order::{GuardStatus, Order, OrderAnswer, OrderRequest, PostgresState, WantedRole},
    ports::clock::Clock,
    topology::Replication,
};

use super::{
    Core, Sim,
    clock::ClockOf,
    core::Slot,
    guard::{NAME, take_order},
    machine,
    quorum::SimQuorum,
    watcher,
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(1500);
/// So many looks a host that was stopped is left alone.
const PATIENT: u32 = 6;
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(700);

struct Attendant {
    sim: Sim,
    host: HostName,
    shared: Shared,
    databases: Vec<HostName>,
    synchronous: bool,
    orders: u64,
    /// Looks in a row at which nobody could take the right.
    helpless: u32,
}

/// Starts the attendant of a host.
pub(super) fn start(core: &mut Core, sim: &Sim, host: &HostName) {
    if core.state.settings.watched {
        return watcher::start(core, sim, host);
    }
    let process = core.new_process(host);
    let state = &core.state;
    let quorum = Arc::new(SimQuorum::of(core, sim, host, PATIENCE));
    let attendant = Attendant {
        sim: sim.clone(),
        host: host.clone(),
        shared: Shared::new(quorum, NAME),
        databases: state.guards.keys().cloned().collect(),
        synchronous: state.topology().database.replication == Replication::Synchronous,
        orders: process.number * 1000,
        helpless: 0,
    };
    core.attendants.push(process.clone());
    core.spawn(&process, attendant.work());
}

/// It ends with its machine.
pub(super) fn lost_power(core: &mut Core, host: &HostName) {
    let processes = core.attendants.iter();
    let own = processes.filter(|process| &process.host == host).cloned();
    for process in own.collect::<Vec<_>>() {
        core.kill(&process);
    }
    core.attendants.retain(|process| &process.host != host);
}

/// It starts with its machine.
pub(super) fn booted(core: &mut Core, host: &HostName) {
    let quorum = core.state.quorum.as_ref();
    if quorum.is_some_and(|quorum| quorum.members.contains(host)) {
        let sim = core.handle();
        start(core, &sim, host);
    }
}

impl Attendant {
    async fn work(mut self) {
        let clock = ClockOf {
            sim: self.sim.clone(),
            host: self.host.clone(),
        };
        loop {
            let jitter = self.sim.lock().rng.between(0, 400);
            clock.sleep(PERIOD + Duration::from_millis(jitter)).await;
            let Ok(keys) = self.shared.state().await else {
                continue;
            };
            self.look(&keys).await;
        }
    }

    async fn look(&mut self, keys: &Keys) {
        let asked = self.databases.iter().map(|host| self.status(host));
        let answers = join_all(asked).await;
        let hosts = self.databases.iter().cloned();
        let known: BTreeMap<_, _> = hosts
            .zip(answers)
            .filter_map(|(host, status)| Some((host, status?)))
            .collect();
        let newest = known.values().map(|status| status.epoch).max();
        let epoch = newest.unwrap_or_default().max(keys.newest_epoch()).next();
        match &keys.primary {
            None => self.promote(keys, &known, epoch).await,
            Some(primary) => self.rejoin(&primary.value.host, &known, epoch).await,
        }
    }

    /// Nobody holds the right: whoever has everything may take it.
    async fn promote(
        &mut self,
        keys: &Keys,
        known: &BTreeMap<HostName, GuardStatus>,
        epoch: Epoch,
    ) {
        let able = known.iter().filter(|(host, status)| {
            let standby = status.postgres.state == PostgresState::Standby;
            standby && (!self.synchronous || keys.sync.is_none() || keys.has_all(host))
        });
        // The one that has most; of equals the one that was not primary.
        let best = able.max_by_key(|(host, status)| {
            let was = keys
                .epoch
                .as_ref()
                .is_some_and(|last| last.value.host == **host);
            (status.postgres.received, !was)
        });
        if let Some((host, _)) = best {
            let host = host.clone();
            self.helpless = 0;
            let order = Order::Promote {
                at_least: None,
                in_sync: self.synchronous,
            };
            self.order(&host, epoch, order).await;
            return;
        }
        self.helpless += 1;
        if self.helpless > PATIENT {
            self.wake(keys, known, epoch).await;
        }
    }

    /// Whoever has everything was stopped by a run that came to nothing.
    async fn wake(&mut self, keys: &Keys, known: &BTreeMap<HostName, GuardStatus>, epoch: Epoch) {
        let stopped = known.iter().find(|(host, status)| {
            status.wanted == WantedRole::Stopped && (!self.synchronous || keys.has_all(host))
        });
        let host = stopped.map(|(host, _)| host.clone());
        let mut others = self.databases.iter();
        let upstream = others.find(|other| Some(*other) != host.as_ref()).cloned();
        if let (Some(host), Some(upstream)) = (host, upstream) {
            self.order(&host, epoch, Order::Follow { upstream }).await;
        }
    }

    /// The others follow the primary, where it is one.
    async fn rejoin(
        &mut self,
        primary: &HostName,
        known: &BTreeMap<HostName, GuardStatus>,
        epoch: Epoch,
    ) {
        let leads = known.get(primary);
        if leads.is_none_or(|status| status.postgres.state != PostgresState::Primary) {
            return;
        }
        let astray = known.iter().find(|(host, status)| {
            let follows = WantedRole::Standby {
                upstream: Some(primary.clone()),
            };
            let streams = status.postgres.streaming_from.is_some();
            *host != primary && !(status.wanted == follows && streams)
        });
        let Some((host, status)) = astray else {
            return;
        };
        let (host, upstream) = (host.clone(), primary.clone());
        if status.postgres.state == PostgresState::Primary {
            return;
        }
        let order = Order::Rewind { upstream };
        self.order(&host, epoch, order).await;
    }

    async fn status(&self, host: &HostName) -> Option<GuardStatus> {
        let of = host.clone();
        self.ask(host, move |core, _, answer| {
            let status = core.state.guard_status(&of);
            answer(core, status);
        })
        .await
    }

    async fn order(&mut self, host: &HostName, epoch: Epoch, order: Order) {
        self.orders += 1;
        let run = format!("{}-{}", self.host, self.orders);
        let request = Arc::new(OrderRequest { run, epoch, order });
        let to = host.clone();
        let _: Option<OrderAnswer> = self
            .ask(host, move |core, sim, answer| {
                take_order(core, sim, &to, request.clone(), answer);
            })
            .await;
    }

    /// Asks a guard over the network; none: no answer.
    async fn ask<T: Send + 'static>(
        &self,
        host: &HostName,
        what: impl Fn(&mut Core, &Sim, Answer<T>) + Send + Sync + 'static,
    ) -> Option<T> {
        let slot = Slot::default();
        {
            let mut core = self.sim.lock();
            core.give_up_later(PATIENCE, slot.clone(), || None);
            let (from, to, sim) = (self.host.clone(), host.clone(), self.sim.clone());
            let lost = core.is_lost();
            let (way, back) = (core.way_between(), core.way_between());
            let late = core.is_lost().then(|| core.rng.between(100, 5_000));
            let way = way + Duration::from_millis(late.unwrap_or(0));
            let again = core.comes_again().map(|again| way + again);
            let what = Arc::new(what);
            for way in [Some(way), again].into_iter().flatten() {
                let (from, to, sim) = (from.clone(), to.clone(), sim.clone());
                let (what, slot) = (what.clone(), slot.clone());
                core.look_later(way, move |core| {
                    if lost || !core.state.is_on(&to) || !core.state.passes(&from, &to) {
                        return;
                    }
                    let at = to.clone();
                    let arrive = move |core: &mut Core| {
                        if core.state.guards[&at].process.is_none() {
                            return core.answer_later(back, slot, None);
                        }
                        let host = at.clone();
                        let answer = move |core: &mut Core, value: T| {
                            if core.state.passes(&host, &from) && !core.is_lost() {
                                core.answer_later(back, slot, Some(value));
                            }
                        };
                        what(core, &sim, Box::new(answer));
                    };
                    machine::at(core, &to, Box::new(arrive));
                });
            }
        }
        slot.await
    }
}

type Answer<T> = Box<dyn FnOnce(&mut Core, T) + Send>;

impl Core {
    /// Whether a message goes astray.
    fn is_lost(&mut self) -> bool {
        let chance = self.state.unreliable;
        chance > 0 && self.rng.permille(chance)
    }
}
