//! Two people at the same time, each with a journal of their own: nobody but
//! the guards knows of both.

use futures::future::join;
use hafail::{
    decide::Intent,
    ids::Epoch,
    journal::{Event, Outcome},
    order::PostgresState,
    sim::{
        CrashPoint, Operator, Sim,
        fault::Fault,
        recover::{plain, recover},
    },
    step::Step,
    topology::Replication,
};

use super::scenario::{Scenario, host, seconds, signature};

/// Hosts whose PostgreSQL accepts writes.
fn primaries(sim: &Sim) -> usize {
    let core = sim.lock();
    let databases = core.state.databases.values();
    databases
        .filter(|database| database.state == PostgresState::Primary)
        .count()
}

#[track_caller]
fn all_is_well(sim: &Sim, operators: &[&Operator], what: &str) {
    let recovered = recover(sim, operators);
    let core = sim.lock();
    assert_eq!(recovered, Ok(()), "{what}\n{}", core.story());
    assert_eq!(core.state.ledger.violations, [], "{what}\n{}", core.story());
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
    let unreached = [Fault::Unheard(host("site1-db")), Fault::CloudDenied];
    let set = |on| {
        unreached
            .iter()
            .for_each(|fault| fault.set(&mut sim.lock(), on))
    };
    let fails_over = async {
        sim.sleep(seconds(5)).await;
        set(true);
        let intent = Intent {
            fenced_by_operator: Some("I stopped it".to_owned()),
            ..plain("us-east-1", Some(hafail::decide::Allowance::Any))
        };
        let answer = ben.failover(&intent).await;
        set(false);
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
