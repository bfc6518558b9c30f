//! A machine that stays dead comes back. Nobody is promoted: what follows for
//! its database is a rejoin of its own.

use crate::{
    ids::HostName,
    step::{Answers, Part::Forward, Step},
    topology::{Host, Role, Topology},
};

use super::{Kind, Move, Plan, build::Builder};

/// What is done about a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healing {
    /// It is stopped.
    Start,
    /// It runs and does not work.
    Restart,
    /// It is gone.
    Replace,
}

/// Stop → start → wait, or make → configure → wait. `old` and `new` are both the running primary.
#[must_use]
pub fn heal(given: &Move<'_>, host: &Host, healing: Healing) -> Plan {
    let mut plan = Builder::new(given);
    let name = || host.name.clone();
    let steps = match healing {
        Healing::Start => vec![Step::StartMachine { host: name() }],
        Healing::Restart => vec![
            Step::StopMachine { host: name() },
            Step::StartMachine { host: name() },
        ],
        Healing::Replace => vec![
            Step::MakeMachine { host: name() },
            Step::Configure { host: name() },
        ],
    };
    let mut last: Vec<usize> = Vec::new();
    for step in steps {
        last = vec![plan.add(Forward, &last, step)];
    }
    let answers = answers(given.topology, host);
    let step = Step::AwaitHost {
        host: name(),
        answers,
    };
    plan.add(Forward, &last, step);
    plan.finish(Kind::Heal)
}

/// By what it is known that the host works.
fn answers(topology: &Topology, host: &Host) -> Answers {
    if host.is(Role::Db) {
        Answers::Guard
    } else if host.is(Role::Lb) {
        Answers::Balancer
    } else if host.is(Role::Queue) {
        Answers::Queue
    } else if host.is(Role::App) {
        let at: Vec<HostName> = topology
            .hosts_with(Role::Lb)
            .map(|balancer| balancer.name.clone())
            .collect();
        Answers::Replicas { at }
    } else {
        Answers::Machine
    }
}
