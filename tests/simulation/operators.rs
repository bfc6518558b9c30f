//! Two people at the same time, each with a journal of their own: nobody but
//! the guards knows of both.

use futures::future::join;
use hafail::{
    decide::{Allowance, Intent},
    ids::Epoch,
    journal::{Event, Outcome},
    observation::ServerAdmin,
    order::PostgresState,
    plan::Kind,
    sim::{CrashPoint, Operator, Sim, fault::Fault, recover::plain},
    step::Step,
    topology::Replication,
};

use super::scenario::{Scenario, all_is_well, host, seconds, signature, site, told};

/// Hosts whose PostgreSQL accepts writes.
fn primaries(sim: &Sim) -> usize {
    let core = sim.lock();
    let databases = core.state.databases.values();
    databases
        .filter(|database| database.state == PostgresState::Primary)
        .count()
}

/// Ann looks, Ben switches over and is broken off at every record, and then Ann
/// runs the plan that she was shown.
#[test]
fn a_plan_that_another_run_was_quicker_than_makes_no_second_primary() {
    let switchover = Scenario::Switchover(Replication::Asynchronous);
    let (entries, _) = switchover.unbroken();
    for record in 1..=entries.len() {
        let (sim, ann) = switchover.prepare();
        let ben = Operator::new(&sim, "ben");
        let intent = plain("us-east-1", None);
        let (_, plan) = sim.run(ann.plan(&intent)).unwrap().unwrap();
        ben.store.crash_at(CrashPoint {
            record,
            durable: true,
        });
        sim.run(switchover.command(&ben));
        ben.store.process_died();
        let before = signature(&sim);
        let shown = plan.digest();
        sim.run(ann.run_shown(plan, &shown, Epoch(20)))
            .unwrap()
            .unwrap();
        let what = format!("broken off at record {record}");
        assert!(primaries(&sim) < 2, "{what}\n{}", sim.lock().story());
        if record == entries.len() {
            assert_eq!(signature(&sim), before, "nothing is stopped in vain");
        }
        all_is_well(&sim, &[&ann, &ben], &what);
    }
}

/// Ann's switchover has stopped the old primary when her machine falls asleep;
/// Ben, who cannot reach it, makes sure that it is stopped and fails over. Ann
/// finds her command still running, and interrupts it.
#[test]
fn a_run_that_goes_back_leaves_an_old_primary_that_was_replaced_stopped() {
    let switchover = Scenario::Switchover(Replication::Asynchronous);
    let (entries, _) = switchover.unbroken();
    let is_demotion = |step: usize| {
        let Event::RunStarted(started) = &entries[0].event else {
            panic!("a run begins with its start");
        };
        let planned = &started.plan.steps[step - 1];
        matches!(planned.step, Step::Demote { .. })
    };
    let demoted = entries
        .iter()
        .position(|entry| matches!(entry.event, Event::StepDone { step, .. } if is_demotion(step)));
    let (sim, ann) = switchover.prepare();
    let ben = Operator::new(&sim, "ben");
    ann.store.pause_at(demoted.unwrap() + 1, seconds(300));
    let fails_over = async {
        sim.sleep(seconds(5)).await;
        set_unreached(&sim, true);
        let answer = ben.failover(&fenced_by_hand()).await;
        set_unreached(&sim, false);
        ann.interrupt.set();
        answer
    };
    let (hers, his) = sim.run(join(switchover.command(&ann), fails_over)).unwrap();
    let story = sim.lock().story();
    assert_eq!(his.outcome(), Some(Outcome::Succeeded), "{his:?}\n{story}");
    assert_eq!(hers.outcome(), Some(Outcome::Unwound), "{hers:?}\n{story}");
    assert_eq!(primaries(&sim), 1, "{story}");
    all_is_well(&sim, &[&ann, &ben], "at the end");
}

/// Ann looks while nobody is primary; Ben promotes the other database, which
/// accepts writes. They were no part of the loss that Ann was shown.
#[test]
fn a_failover_gives_up_where_another_run_promoted_whom_it_fences() {
    let (sim, ann) = Scenario::Switchover(Replication::Asynchronous).prepare();
    let ben = Operator::new(&sim, "ben");
    let down = Fault::HostDown(host("site1-db"));
    down.set(&mut sim.lock(), true);
    sim.pass(seconds(1));
    down.set(&mut sim.lock(), false);
    sim.pass(seconds(3));
    let (_, plan) = sim
        .run(ann.plan(&plain("eu-west-1", None)))
        .unwrap()
        .unwrap();

    set_unreached(&sim, true);
    let his = sim.run(ben.failover(&fenced_by_hand())).unwrap();
    set_unreached(&sim, false);
    assert_eq!(his.outcome(), Some(Outcome::Succeeded), "{his:?}");
    sim.pass(seconds(2));

    let shown = plan.digest();
    let hers = sim.run(ann.run_shown(plan, &shown, Epoch(20))).unwrap();
    let story = sim.lock().story();
    assert_eq!(hers, Ok(Outcome::Unwound), "{story}");
    let state = sim.lock().state.databases[&host("site2-db")].state;
    assert_eq!(state, PostgresState::Primary, "{story}");
    all_is_well(&sim, &[&ann, &ben], "at the end");
}

/// Ann's machine dies before her run has fenced anybody. Ben fails over the
/// other way, out of the site of her candidate, which heard nothing of it; then
/// she goes on with her run. Her journal may have counted further than his.
#[test]
fn a_failover_gives_up_where_another_run_promoted_whom_it_powers_off() {
    for (is_off, epoch) in [(false, 2), (true, 2), (true, 20)] {
        let (sim, ann) = Scenario::Switchover(Replication::Synchronous).prepare();
        let ben = Operator::new(&sim, "ben");
        let set = |fault: Fault, on| fault.set(&mut sim.lock(), on);
        set(Fault::HostDown(host("site1-db")), true);
        ann.store.crash_at(CrashPoint {
            record: 3,
            durable: true,
        });
        let intent = plain("us-east-1", None);
        let gone = sim.run(async {
            let (_, plan) = ann.plan(&intent).await.expect("it is permitted");
            let shown = plan.digest();
            ann.run_shown(plan, &shown, Epoch(epoch)).await
        });
        ann.store.process_died();
        assert!(gone.is_none(), "{}", sim.lock().story());
        set(Fault::HostDown(host("site1-db")), false);
        sim.pass(seconds(5));

        set(Fault::SiteDown(site("site2")), true);
        sim.pass(seconds(2));
        let his = sim.run(ben.failover(&plain("eu-west-1", None))).unwrap();
        assert_eq!(
            his.outcome(),
            Some(Outcome::Succeeded),
            "{}",
            sim.lock().story()
        );
        set(Fault::SiteDown(site("site2")), false);
        set(Fault::HostDown(host("site2-db")), false);
        sim.pass(seconds(5));

        if is_off {
            set(Fault::HostDown(host("site1-db")), true);
        }
        let hers = sim.run(ann.resume(false)).unwrap();
        let story = sim.lock().story();
        assert_eq!(hers.outcome(), Some(Outcome::Superseded), "{story}");
        set(Fault::HostDown(host("site1-db")), false);
        all_is_well(&sim, &[&ann, &ben], "at the end");
    }
}

/// Ann is about to send a load balancer after the primary when Ben hands over.
#[test]
fn a_redirection_to_a_primary_that_another_run_replaced_changes_nothing() {
    let switchover = Scenario::Switchover(Replication::Synchronous);
    let (sim, ann) = switchover.prepare();
    let ben = Operator::new(&sim, "ben");
    told(&sim, "site1-lb", "site1-db", ServerAdmin::Maintenance);
    let intent = plain("eu-west-1", None);
    let (_, plan) = sim.run(ann.plan(&intent)).unwrap().unwrap();
    assert_eq!(plan.kind, Kind::Redirect);
    told(&sim, "site1-lb", "site1-db", ServerAdmin::Ready);
    let his = sim.run(switchover.command(&ben)).unwrap();
    assert_eq!(his.outcome(), Some(Outcome::Succeeded), "{his:?}");
    let before = signature(&sim);
    let shown = plan.digest();
    let hers = sim.run(ann.run_shown(plan, &shown, Epoch(20))).unwrap();
    let story = sim.lock().story();
    assert_eq!(hers, Ok(Outcome::Superseded), "{story}");
    assert_eq!(signature(&sim), before, "{story}");
    all_is_well(&sim, &[&ann, &ben], "at the end");
}

/// Nobody reaches the old primary, nor its cloud.
fn set_unreached(sim: &Sim, on: bool) {
    for fault in [Fault::Unheard(host("site1-db")), Fault::CloudDenied] {
        fault.set(&mut sim.lock(), on);
    }
}

fn fenced_by_hand() -> Intent {
    Intent {
        fenced_by_operator: Some("I stopped it".to_owned()),
        ..plain("us-east-1", Some(Allowance::Any))
    }
}
