//! Machines, their power, their cloud, and the ways to them.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    ids::{HostName, SiteName},
    observation::MachineState,
    order::Trace,
};

use super::{Core, attendant, clock::HostClock, events::Action, guard};

/// One machine.
pub struct Machine {
    pub site: SiteName,
    pub on: bool,
    /// As the cloud reports it.
    pub reported: MachineState,
    /// The trace that a run left on it.
    pub deposed: Option<Trace>,
    /// Requests of operators arrive.
    pub heard: bool,
    /// Answers get back to operators.
    pub answers: bool,
    /// Requests take this long more.
    pub slow: Duration,
    /// The cloud refuses to be asked or told about it.
    pub denied: bool,
    /// Counts power-ons: what was begun before the last one is gone.
    pub boots: u32,
    /// Nothing of it runs, its clock goes on.
    pub frozen: bool,
    pub thawed_at: Duration,
    /// What arrived while it was frozen.
    pub(super) inbox: Vec<Action>,
    /// Processes that are stopped by a signal.
    pub stopped: BTreeSet<u64>,
    pub clock: HostClock,
    /// The store does not let it in.
    pub shut_out: bool,
    /// It is in the third place.
    pub witness: bool,
}

impl Machine {
    /// As the deploy left it.
    pub(super) fn deployed(site: SiteName) -> Self {
        Self {
            site,
            on: true,
            reported: MachineState::Running,
            deposed: None,
            heard: true,
            answers: true,
            slow: Duration::ZERO,
            denied: false,
            boots: 0,
            frozen: false,
            thawed_at: Duration::ZERO,
            inbox: Vec::new(),
            stopped: BTreeSet::new(),
            clock: HostClock::exact(),
            shut_out: false,
            witness: false,
        }
    }
}

/// Cuts the power and lets the cloud report it.
pub(super) fn cut_power(core: &mut Core, host: &HostName) {
    let machine = core.state.machines.get_mut(host).expect("a known host");
    machine.reported = MachineState::Stopped;
    if !machine.on {
        return;
    }
    machine.on = false;
    machine.frozen = false;
    machine.inbox.clear();
    machine.stopped.clear();
    core.tell(|| format!("power of {host} is cut"));
    core.state.lost_power(host);
    guard::lost_power(core, host);
    core.member_ended(host);
    attendant::lost_power(core, host);
}

/// Powers on: services start as their units say.
pub(super) fn power_on(core: &mut Core, host: &HostName) {
    let now = core.now();
    let machine = core.state.machines.get_mut(host).expect("a known host");
    machine.reported = MachineState::Running;
    if machine.on {
        return;
    }
    machine.on = true;
    machine.boots += 1;
    machine.clock.boot(now);
    core.tell(|| format!("{host} boots"));
    core.state.booted(host, now);
    guard::booted(core, host);
    attendant::booted(core, host);
}

/// Nothing of the host runs any more until it is thawed; its clock goes on.
pub(super) fn freeze(core: &mut Core, host: &HostName, on: bool) {
    let now = core.now();
    let machine = core.state.machines.get_mut(host).expect("a known host");
    if !machine.on || machine.frozen == on {
        return;
    }
    machine.frozen = on;
    if on {
        return;
    }
    machine.thawed_at = now;
    let inbox = std::mem::take(&mut machine.inbox);
    core.thaw_tasks();
    for action in inbox {
        action(core);
    }
}

/// Lets something happen at a host: later, while it is frozen.
pub(super) fn at(core: &mut Core, host: &HostName, action: Action) {
    let machine = core.state.machines.get_mut(host).expect("a known host");
    if machine.frozen {
        machine.inbox.push(action);
    } else {
        action(core);
    }
}

/// What StopInstances with force starts.
pub(super) fn stop_by_force(core: &mut Core, host: &HostName) {
    let machine = core.state.machines.get_mut(host).expect("a known host");
    if machine.reported.is_down() || machine.reported == MachineState::Stopping {
        return;
    }
    machine.reported = MachineState::Stopping;
    core.tell(|| format!("the cloud begins to stop {host}"));
    let host = host.clone();
    let wait = Duration::from_millis(core.rng.between(300, 4000));
    core.later(wait, move |core| {
        let stopping = core.state.machines[&host].reported == MachineState::Stopping;
        if stopping {
            cut_power(core, &host);
        }
    });
}

impl super::State {
    fn lost_power(&mut self, host: &HostName) {
        if let Some(database) = self.databases.get_mut(host) {
            database.crash();
        }
    }

    fn booted(&mut self, host: &HostName, now: Duration) {
        if let Some(database) = self.databases.get_mut(host) {
            database.boot(self.settings.mutation);
        }
        if let Some(proxy) = self.proxies.get_mut(host) {
            proxy.restart();
        }
        self.boot_queue(host, now);
    }
}
