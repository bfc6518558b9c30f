//! What patient operators do once the faults have ended.

use std::time::Duration;

use crate::{
    decide::{Allowance, Intent, Reason},
    ids::HostName,
    order::PostgresState,
    topology::Role,
};

use super::{Answer, Operator, Sim, fault::Fault};

/// Commands that it may take to get healthy again.
const ROUNDS: usize = 30;

/// Gives sensible commands until all is well.
///
/// # Errors
/// What is not well after many of them.
pub fn recover(sim: &Sim, operators: &[&Operator]) -> Result<(), String> {
    for round in 0..ROUNDS {
        let open = operators.iter().any(|operator| unfinished(sim, operator));
        if !open && sim.lock().is_healthy().is_ok() {
            return Ok(());
        }
        mend(sim, operators, round);
        sim.pass(Duration::from_secs(2));
    }
    let what = sim.lock().is_healthy().err();
    let what = what.unwrap_or_else(|| "a run does not end".to_owned());
    Err(format!("after {ROUNDS} commands {what}"))
}

/// Lets automatic mode get well by itself; operators only end what they had
/// begun, and power machines on that they had stopped.
///
/// # Errors
/// What is not well after that time.
pub fn by_itself(sim: &Sim, operators: &[&Operator], within: Duration) -> Result<(), String> {
    let end = sim.lock().now() + within;
    for round in 0.. {
        let open = operators.iter().find(|operator| unfinished(sim, operator));
        let healthy = sim.lock().is_healthy();
        if (open.is_none() && healthy.is_ok()) || sim.lock().now() > end {
            return healthy;
        }
        power_all_on(sim);
        if let Some(operator) = open {
            operator.interrupt.clear();
            sim.run(operator.resume(round % 5 > 2));
        }
        sim.pass(Duration::from_millis(500));
    }
    unreachable!("time ends")
}

/// The same with the real watchers: people only power machines on and
/// acknowledge what was done; all else is the leader's. But names of a site
/// that is dark no more are theirs: after a while they send them after the
/// primary.
///
/// # Errors
/// What is not well after that time.
pub fn by_watchers(sim: &Sim, operator: &Operator, within: Duration) -> Result<(), String> {
    let begin = sim.lock().now();
    let end = begin + within;
    loop {
        let healthy = {
            let core = sim.lock();
            match core.open_run() {
                Some(run) => Err(format!("{run} is left open")),
                None => core.is_healthy(),
            }
        };
        if healthy.is_ok() || sim.lock().now() > end {
            return healthy;
        }
        power_all_on(sim);
        sim.run(operator.acknowledge());
        if sim.lock().now() > begin + within / 2
            && let (Some(primary), _) = databases(sim)
        {
            sim.run(operator.failover(&plain(&region_of(sim, &primary), None)));
        }
        sim.pass(Duration::from_millis(500));
    }
}

fn unfinished(sim: &Sim, operator: &Operator) -> bool {
    sim.run(operator.has_open_run()).unwrap_or(false)
}

fn mend(sim: &Sim, operators: &[&Operator], round: usize) {
    power_all_on(sim);
    let patient = round % 10 < 7;
    for operator in operators {
        operator.interrupt.clear();
        if unfinished(sim, operator) {
            sim.run(operator.resume(!patient));
            return;
        }
    }
    let operator = operators.last().expect("there is an operator");
    let (primary, others) = databases(sim);
    let Some(primary) = primary else {
        return elect(sim, operator, round);
    };
    for host in others {
        sim.run(operator.rejoin(host.as_str()));
    }
    sim.run(operator.failover(&plain(&region_of(sim, &primary), None)));
}

fn region_of(sim: &Sim, host: &HostName) -> String {
    let core = sim.lock();
    let site = core.state.site_of(host);
    core.state.topology().sites[&site].region.to_string()
}

/// Machines that a fence stopped do not start by themselves.
fn power_all_on(sim: &Sim) {
    let mut core = sim.lock();
    let hosts: Vec<_> = core.state.machines.keys().cloned().collect();
    for host in hosts {
        if !core.state.is_on(&host) {
            Fault::HostDown(host).set(&mut core, false);
        }
    }
}

/// No primary: each region is tried without loss, then with any.
fn elect(sim: &Sim, operator: &Operator, round: usize) {
    let allowance = (round >= 6).then_some(Allowance::Any);
    for region in ["eu-west-1", "us-east-1"] {
        let answer = sim.run(operator.failover(&plain(region, allowance)));
        match answer {
            Some(Answer::Refused(refusal)) if refusal.reason != Reason::RunInProgress => {}
            _ => return,
        }
    }
}

fn databases(sim: &Sim) -> (Option<HostName>, Vec<HostName>) {
    let core = sim.lock();
    let all = core
        .state
        .topology()
        .hosts_with(Role::Db)
        .map(|host| host.name.clone());
    let is_primary = |host: &HostName| core.state.databases[host].state == PostgresState::Primary;
    let (primaries, others): (Vec<_>, Vec<_>) = all.partition(is_primary);
    (primaries.into_iter().next(), others)
}

/// A wish for a region, nothing special.
#[must_use]
pub fn plain(region: &str, allow_data_loss: Option<Allowance>) -> Intent {
    Intent {
        region: region.to_owned(),
        database_only: false,
        allow_data_loss,
        fenced_by_operator: None,
    }
}
