//! The world went on after it was looked at, or is told something late.

use std::time::Duration;

use futures::future::join;
use hafail::{
    decide::Allowance,
    ids::Epoch,
    journal::Outcome,
    observation::ServerAdmin,
    order::PostgresState,
    plan::{Kind, Plan},
    sim::{Operator, Settings, Sim, fault::Fault, recover::plain},
    step::{Backend, FenceWay},
    topology::Replication::{Asynchronous, Synchronous},
};

use super::scenario::{Scenario, all_is_well, fence_ways, host, seconds, site, told};

/// Load balancers know no epochs: an order of an older run, come late, takes
/// the new primary out at one of them.
#[test]
fn a_late_order_at_a_load_balancer_does_not_keep_a_run_open() {
    for lb in ["site1-lb", "site2-lb"] {
        let (sim, ann) = Scenario::Switchover(Synchronous).prepare();
        let late = async {
            while !uses(&sim, lb, "site2-db") {
                sim.sleep(seconds(1) / 1000).await;
            }
            told(&sim, lb, "site2-db", ServerAdmin::Maintenance);
        };
        let (answer, ()) = sim
            .run(join(ann.failover(&plain("us-east-1", None)), late))
            .unwrap();
        let story = sim.lock().story();
        assert_eq!(answer.outcome(), Some(Outcome::Succeeded), "{lb}\n{story}");
        assert!(uses(&sim, lb, "site2-db"), "{lb}\n{story}");
        all_is_well(&sim, &[&ann], lb);
    }
}

/// Queues know no epochs either: an order of an older run, come late, makes the
/// new active queue a copy of its copy.
#[test]
fn a_late_order_at_a_queue_does_not_keep_a_run_open() {
    let (sim, ann) = Scenario::Switchover(Synchronous).prepare();
    let late = async {
        let copies = |name, master| sim.lock().state.queues[&host(name)].of == master;
        while !copies("site2-queue", None) {
            sim.sleep(seconds(1) / 1000).await;
        }
        let mut core = sim.lock();
        core.state.queues.get_mut(&host("site2-queue")).unwrap().of = Some(host("site1-queue"));
    };
    let (answer, ()) = sim
        .run(join(ann.failover(&plain("us-east-1", None)), late))
        .unwrap();
    let story = sim.lock().story();
    assert_eq!(answer.outcome(), Some(Outcome::Succeeded), "{story}");
    all_is_well(&sim, &[&ann], "at the end");
}

/// A primary that nobody reaches through a load balancer is close to its
/// standby when Ann looks, and goes on until it is fenced.
#[test]
fn a_failover_gives_up_where_more_would_be_lost_than_permitted() {
    let (sim, ann, plan) = cut_off(None);
    Fault::StreamStalled(host("site2-db")).set(&mut sim.lock(), true);
    sim.pass(seconds(10));
    let shown = plan.digest();
    let outcome = sim.run(ann.run_shown(plan, &shown, Epoch(20))).unwrap();
    let story = sim.lock().story();
    assert_eq!(outcome, Ok(Outcome::Unwound), "{story}");
    assert!(
        story.contains("more than the 4096 that may be lost"),
        "{story}"
    );
    let state = sim.lock().state.databases[&host("site1-db")].state;
    assert_eq!(state, PostgresState::Primary, "it serves again\n{story}");
    Fault::StreamStalled(host("site2-db")).set(&mut sim.lock(), false);
    all_is_well(&sim, &[&ann], "at the end");
}

/// The same, and then its guard does not answer: off, it would not say how
/// far it went.
#[test]
fn no_machine_is_stopped_where_its_position_must_be_known() {
    let (sim, ann, plan) = cut_off(None);
    assert_eq!(fence_ways(&plan), [FenceWay::Guard]);
    let left = plan.left_out.iter().map(|left| left.why.as_str());
    assert!(
        left.clone()
            .any(|why| why.contains("--allow-data-loss any")),
        "{plan}"
    );
    Fault::Unheard(host("site1-db")).set(&mut sim.lock(), true);
    let shown = plan.digest();
    let outcome = sim.run(ann.run_shown(plan, &shown, Epoch(20))).unwrap();
    let story = sim.lock().story();
    assert_eq!(outcome, Ok(Outcome::Unwound), "{story}");
    let is_on = sim.lock().state.machines[&host("site1-db")].on;
    assert!(is_on, "{story}");
    Fault::Unheard(host("site1-db")).set(&mut sim.lock(), false);
    all_is_well(&sim, &[&ann], "at the end");

    let (_, _, plan) = cut_off(Some(Allowance::Any));
    assert_eq!(fence_ways(&plan), [FenceWay::Guard, FenceWay::PowerOff]);
}

/// What Ann is shown while no write comes through to a primary that runs.
fn cut_off(allowance: Option<Allowance>) -> (Sim, Operator, Plan) {
    let (sim, ann) = Scenario::Switchover(Asynchronous).prepare();
    let all = |admin| {
        for lb in ["site1-lb", "site2-lb"] {
            told(&sim, lb, "site1-db", admin);
        }
    };
    all(ServerAdmin::Maintenance);
    let planned = sim.run(ann.plan(&plain("us-east-1", allowance))).unwrap();
    all(ServerAdmin::Ready);
    let (_, plan) = planned.unwrap();
    (sim, ann, plan)
}

fn uses(sim: &Sim, lb: &str, database: &str) -> bool {
    let core = sim.lock();
    let mut usable = core.state.proxies[&host(lb)].usable(Backend::Database);
    usable.any(|name| name == database)
}

/// The disk of the primary hangs, and with it the order to stop, until after
/// the run has gone back.
#[test]
fn an_order_to_stop_that_comes_late_stops_nobody() {
    stopped_late(&[], seconds(15));
}

/// The same, and the run can take nothing back, because it reaches the primary
/// no more: nobody is left stopped for a run that has ended.
#[test]
fn a_database_that_a_run_left_stopped_stands_by() {
    let story = stopped_late(&[Fault::SiteIsolated(site("site1"))], seconds(11));
    let act = "begins: rejoin: site1-db starts as a standby of site2-db";
    assert!(story.contains(act), "{story}");
}

/// Other faults begin a second after the run, and last longer than it.
fn stopped_late(others: &[Fault], hangs_for: Duration) -> String {
    let sim = Sim::new(Settings::watched(Asynchronous), 11);
    let ann = Operator::new(&sim, "ann");
    sim.pass(seconds(5));
    let hangs = Fault::DiskHangs(host("site1-db"));
    let set = |fault: &Fault, on| fault.set(&mut sim.lock(), on);
    set(&hangs, true);
    let plan = loop {
        sim.pass(seconds(1) / 10);
        let planned = sim.run(ann.plan(&plain("us-east-1", None))).unwrap();
        let (_, plan) = planned.expect("its guard still says how far it is");
        if plan.kind == Kind::Failover {
            break plan;
        }
    };
    sim.pass(seconds(1));
    let shown = plan.digest();
    let happens = async {
        sim.sleep(seconds(1)).await;
        others.iter().for_each(|fault| set(fault, true));
        sim.sleep(hangs_for - seconds(1)).await;
        set(&hangs, false);
    };
    let run = ann.run_shown(plan, &shown, Epoch(20));
    let (outcome, ()) = sim.run(join(run, happens)).unwrap();
    others.iter().for_each(|fault| set(fault, false));
    sim.pass(seconds(30));
    let core = sim.lock();
    assert_eq!(outcome, Ok(Outcome::Unwound), "{}", core.story());
    assert_eq!(core.is_healthy(), Ok(()), "{}", core.story());
    assert_eq!(core.state.ledger.violations, [], "{}", core.story());
    core.story()
}
