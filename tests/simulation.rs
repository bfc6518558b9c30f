//! The invariants of operating, each under its own name, on the simulated
//! world: every plan failed, crashed and repeated at every step, thousands of
//! random schedules of faults, and deliberate defects that must be caught.
//!
//! `HAFAIL_SIM_SCHEDULES` sets how many schedules each test runs,
//! `HAFAIL_SIM_SEED` where they begin; a failing seed prints its story.

#[path = "simulation/automatic.rs"]
mod automatic;
#[path = "simulation/late.rs"]
mod late;
#[path = "simulation/many.rs"]
mod many;
#[path = "simulation/operators.rs"]
mod operators;
#[path = "simulation/quorum.rs"]
mod quorum;
#[path = "simulation/scenario.rs"]
mod scenario;
#[path = "simulation/watchers.rs"]
mod watchers;

use std::collections::BTreeSet;

use hafail::{
    decide::{Allowance, Reason},
    ids::Epoch,
    journal::{Event, Outcome},
    plan::Kind,
    ports::store::Store,
    sim::{
        Answer, CrashPoint, Operator, Settings, Sim,
        fault::Fault,
        mutation::Mutation,
        recover::{plain, recover},
        schedule,
        script::Mode,
    },
    step::FenceWay,
    topology::Replication,
};
use scenario::{ALL, Scenario, all_is_well, fence_ways, host, seconds, site};

/// Random schedules, every invariant checked on each.
fn schedules(share: u64) {
    let count = many::number("HAFAIL_SIM_SCHEDULES", 600);
    let first = many::number("HAFAIL_SIM_SEED", 0) + share * count;
    for seed in first..first + count {
        if let Err(failure) = schedule::run(Mode::Manual, seed, None) {
            panic!("{failure}");
        }
    }
}

/// What `scripts/simulate` runs.
#[test]
#[ignore = "as many as HAFAIL_SIM_SCHEDULES says, on all cores, with figures"]
fn more_schedules() {
    many::run_as_asked();
}

/// The defect breaks the invariant within a few schedules.
fn is_caught(mutation: Mutation, invariant: &str) {
    let mut others = BTreeSet::new();
    for seed in 0..400 {
        if let Err(failure) = schedule::try_once(Mode::Manual, seed, Some(mutation)) {
            if failure
                .violations
                .iter()
                .any(|violation| violation.invariant == invariant)
            {
                return;
            }
            others.extend(
                failure
                    .violations
                    .iter()
                    .map(|violation| violation.invariant),
            );
        }
    }
    panic!("{mutation:?} does not break {invariant}; it breaks {others:?}");
}

#[test]
fn never_two_writers() {
    schedules(0);
    // The primary is alive behind a cut; each defect lets it be believed dead.
    let isolated = [Fault::SiteIsolated(site("site1")), Fault::CloudDenied];
    assert!(!writes_twice(None, &isolated, true));
    assert!(!writes_twice(None, &isolated[..1], false));
    assert!(writes_twice(
        Some(Mutation::SkipFencing),
        &isolated[..1],
        false
    ));
    assert!(writes_twice(
        Some(Mutation::UnknownIsDown),
        &isolated,
        false
    ));
    // The primary is dead and comes back.
    let dead = [Fault::HostDown(host("site1-db"))];
    assert!(!writes_twice(None, &dead, true));
    assert!(writes_twice(Some(Mutation::BootWritable), &dead, true));
}

/// Whether two databases could acknowledge writes in the course of a failover
/// under these faults, which end after it or stay.
fn writes_twice(mutation: Option<Mutation>, faults: &[Fault], end: bool) -> bool {
    let mut settings = Settings::new(Replication::Asynchronous);
    settings.mutation = mutation;
    let sim = Sim::new(settings, 13);
    let operator = Operator::new(&sim, "ann");
    sim.pass(seconds(1));
    faults
        .iter()
        .for_each(|fault| fault.set(&mut sim.lock(), true));
    sim.pass(seconds(1));
    sim.run(operator.failover(&plain("us-east-1", Some(Allowance::Any))));
    if end {
        faults
            .iter()
            .for_each(|fault| fault.set(&mut sim.lock(), false));
    }
    sim.pass(seconds(3));
    let core = sim.lock();
    core.state
        .ledger
        .violations
        .iter()
        .any(|violation| violation.invariant == "never_two_writers")
}

#[test]
fn no_promotion_without_proof() {
    schedules(1);
    is_caught(Mutation::SkipFencing, "no_promotion_without_proof");
    // Every promotion of every plan has its proof in the journal before it.
    for scenario in ALL {
        let (entries, _) = scenario.unbroken();
        let proof = entries
            .iter()
            .position(|entry| matches!(entry.event, Event::ProofRecorded(_)));
        let promotion = scenario.promotion_starts(&entries);
        assert_eq!(proof.is_some(), promotion.is_some(), "{scenario:?}");
        assert!(proof <= promotion, "{scenario:?}");
    }
}

#[test]
fn no_acknowledged_loss_in_sync_mode() {
    schedules(2);
    // Commits on the new primary waited for nobody after the failover; its
    // standby came back behind and must not be trusted.
    let trusted = |mutation, with_own_journal: bool| {
        let mut settings = Settings::new(Replication::Synchronous);
        settings.mutation = mutation;
        let sim = Sim::new(settings, 7);
        let operator = Operator::new(&sim, "ann");
        let second = if with_own_journal {
            Operator::new(&sim, "ben")
        } else {
            operator.beside("ben")
        };
        let set = |fault: Fault, on| fault.set(&mut sim.lock(), on);
        sim.pass(seconds(1));
        set(Fault::SiteDown(site("site1")), true);
        sim.run(operator.failover(&plain("us-east-1", None)));
        set(Fault::SiteDown(site("site1")), false);
        sim.pass(seconds(2));
        set(Fault::SiteDown(site("site2")), true);
        let answer = sim.run(second.failover(&plain("eu-west-1", None))).unwrap();
        let violations = sim.lock().state.ledger.violations.clone();
        (answer, violations)
    };
    for with_own_journal in [false, true] {
        let (answer, violations) = trusted(None, with_own_journal);
        assert!(
            matches!(&answer, Answer::Refused(r) if r.reason == Reason::NotKnownInSync),
            "{answer:?}"
        );
        assert_eq!(violations, []);
    }
    for (mutation, with_own_journal) in [
        (Mutation::TrustMembership, false),
        (Mutation::LeaveNoTrace, true),
    ] {
        let (_, violations) = trusted(Some(mutation), with_own_journal);
        assert_eq!(violations[0].invariant, "no_acknowledged_loss_in_sync_mode");
    }
}

#[test]
fn loss_within_budget_in_async_mode() {
    schedules(3);
    is_caught(
        Mutation::PromoteBeforeEquality,
        "loss_within_budget_in_async_mode",
    );
    // What cannot be known is refused, unless the operator accepts anything.
    let sim = Sim::new(Settings::new(Replication::Asynchronous), 3);
    let operator = Operator::new(&sim, "ann");
    sim.pass(seconds(1));
    Fault::SiteDown(site("site1")).set(&mut sim.lock(), true);
    for allowance in [None, Some(Allowance::Bytes(1 << 40))] {
        let answer = sim
            .run(operator.failover(&plain("us-east-1", allowance)))
            .unwrap();
        assert!(
            matches!(&answer, Answer::Refused(r) if r.reason == Reason::LossUnknown),
            "{answer:?}"
        );
    }
    let answer = sim
        .run(operator.failover(&plain("us-east-1", Some(Allowance::Any))))
        .unwrap();
    assert_eq!(answer.outcome(), Some(Outcome::Succeeded), "{answer:?}");
}

#[test]
fn no_stale_actor() {
    schedules(4);
    is_caught(Mutation::AcceptOldEpoch, "no_stale_actor");
    // A runner that slept while another one did everything changes nothing.
    for record in 1..30 {
        let sim = Sim::new(Settings::new(Replication::Synchronous), 11);
        let (ann, ben) = (Operator::new(&sim, "ann"), Operator::new(&sim, "ben"));
        sim.pass(seconds(1));
        ann.store.pause_at(record, seconds(60));
        let intent = plain("us-east-1", None);
        sim.run(async {
            futures::join!(ann.failover(&intent), async {
                sim.sleep(seconds(5)).await;
                ben.failover(&intent).await
            })
        });
        let recovered = recover(&sim, &[&ann, &ben]);
        let core = sim.lock();
        assert_eq!(recovered, Ok(()), "record {record}\n{}", core.story());
        assert_eq!(
            core.state.ledger.violations,
            [],
            "record {record}\n{}",
            core.story()
        );
    }
}

#[test]
fn converges() {
    schedules(5);
    let mutation = Mutation::ForgetToRestoreSync;
    let caught = ALL.iter().any(|scenario| scenario.with(mutation).is_err());
    assert!(caught, "{mutation:?} is not caught");
    // There, and back under loss: the old set of the first primary is still
    // in its configuration, and would let every commit wait for ever.
    let there_and_back = |mutation| {
        let mut settings = Settings::new(Replication::Synchronous);
        settings.mutation = mutation;
        let sim = Sim::new(settings, 7);
        let operator = Operator::new(&sim, "ann");
        sim.pass(seconds(1));
        sim.run(operator.failover(&plain("us-east-1", None)));
        Fault::SiteDown(site("site2")).set(&mut sim.lock(), true);
        let answer = sim.run(operator.failover(&plain("eu-west-1", None)));
        answer.unwrap().outcome()
    };
    assert_eq!(there_and_back(None), Some(Outcome::Succeeded));
    assert_eq!(
        there_and_back(Some(Mutation::ForgetToEmptySync)),
        Some(Outcome::Stuck)
    );
}

#[test]
fn unknown_is_no_evidence() {
    let sim = Sim::new(Settings::new(Replication::Synchronous), 5);
    let operator = Operator::new(&sim, "ann");
    sim.pass(seconds(1));
    let intent = plain("us-east-1", None);
    // Nobody but the cloud sees the primary, which is alive and well.
    Fault::Unheard(host("site1-db")).set(&mut sim.lock(), true);
    let (_, plan) = sim.run(operator.plan(&intent)).unwrap().unwrap();
    assert_eq!(
        fence_ways(&plan),
        [FenceWay::PowerOff],
        "only what is known can prove anything"
    );
    // The cloud is silent too: then nothing proves anything.
    Fault::CloudDenied.set(&mut sim.lock(), true);
    let refusal = sim.run(operator.plan(&intent)).unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::NoProof);
    assert!(
        refusal
            .next
            .iter()
            .any(|next| next.contains("--fenced-by-operator"))
    );
    // An unseen candidate is no candidate, whatever is said of the primary.
    Fault::Unheard(host("site2-db")).set(&mut sim.lock(), true);
    let refusal = sim.run(operator.plan(&intent)).unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::StandbyUnknown);
    assert!(
        sim.lock().state.ledger.orders.is_empty(),
        "looking gave orders"
    );
}

#[test]
fn plan_shown_is_plan_run() {
    for scenario in ALL {
        let (sim, operator) = scenario.prepare();
        let answer = sim.run(scenario.command(&operator)).unwrap();
        let Answer::Ran(Outcome::Succeeded, entries) = answer else {
            panic!("{scenario:?}: {answer:?}");
        };
        let Event::RunStarted(started) = &entries[0].event else {
            panic!("a run begins with its start");
        };
        assert_eq!(started.plan.digest(), started.shown);
        let steps: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry.event {
                Event::StepStarted { step } => Some(step),
                _ => None,
            })
            .collect();
        let once: BTreeSet<_> = steps.iter().copied().collect();
        assert_eq!(steps.len(), once.len(), "a step ran twice");
        assert_eq!(
            once,
            (1..=started.plan.steps.len()).collect(),
            "{scenario:?}"
        );
        let planned: BTreeSet<_> = started
            .plan
            .steps
            .iter()
            .filter_map(|p| scenario::order_of(&p.step))
            .collect();
        let core = sim.lock();
        let run = started.run.to_string();
        for (host, request) in core
            .state
            .ledger
            .orders
            .iter()
            .filter(|(_, request)| request.run == run)
        {
            let given = (host.clone(), scenario::word(&request.order));
            assert!(planned.contains(&given), "{given:?} was not in the plan");
        }
    }
}

#[test]
fn another_plan_than_the_shown_one_is_not_run() {
    let sim = Sim::new(Settings::new(Replication::Synchronous), 5);
    let operator = Operator::new(&sim, "ann");
    sim.pass(seconds(1));
    let (_, mut plan) = sim
        .run(operator.plan(&plain("us-east-1", None)))
        .unwrap()
        .unwrap();
    let shown = plan.digest();
    plan.steps.pop();
    let error = sim
        .run(operator.run_shown(plan, &shown, Epoch(9)))
        .unwrap()
        .unwrap_err();
    assert!(error.contains("that was shown"), "{error}");
    assert_eq!(operator.store.count(), 0);
    assert!(sim.lock().state.ledger.orders.is_empty());
}

#[test]
fn resume_equals_unbroken_run() {
    for scenario in ALL {
        let (entries, end) = scenario.unbroken();
        for record in 1..=entries.len() {
            for durable in [true, false] {
                let point = CrashPoint { record, durable };
                let (sim, operator) = scenario.prepare();
                operator.store.crash_at(point);
                let unbroken = sim.run(scenario.command(&operator));
                operator.store.process_died();
                if unbroken.is_none() {
                    sim.pass(seconds(1));
                    scenario.go_on(&sim, &operator);
                }
                scenario.assert_end(&sim, &end, &format!("{scenario:?} {point:?}"));
            }
        }
    }
}

#[test]
fn repeat_is_harmless() {
    for scenario in ALL {
        let (entries, end) = scenario.unbroken();
        for record in 2..entries.len() {
            let (sim, operator) = scenario.prepare();
            // The effect is there, its record is not, twice over.
            let point = CrashPoint {
                record,
                durable: false,
            };
            operator.store.crash_at(point);
            sim.run(scenario.command(&operator));
            operator.store.process_died();
            operator.store.crash_at(CrashPoint {
                record: 3,
                durable: false,
            });
            sim.run(operator.resume(false));
            operator.store.process_died();
            scenario.go_on(&sim, &operator);
            scenario.assert_end(&sim, &end, &format!("{scenario:?} {point:?}"));
            let again = sim.run(scenario.command(&operator)).unwrap();
            let done = [Reason::AlreadyActive, Reason::AlreadyJoined];
            assert!(
                matches!(&again, Answer::Refused(r) if done.contains(&r.reason)),
                "{again:?}"
            );
        }
    }
}

#[test]
fn every_plan_survives_a_failure_at_every_step() {
    for scenario in ALL {
        let (entries, _) = scenario.unbroken();
        let Event::RunStarted(started) = &entries[0].event else {
            panic!("a run begins with its start");
        };
        for planned in &started.plan.steps {
            for fault in scenario::faults_of(&planned.step) {
                let what = format!(
                    "{scenario:?}, step {} ({}), {fault:?}",
                    planned.number, planned.step
                );
                let (sim, operator) = scenario.prepare();
                operator
                    .store
                    .fault_at_step(planned.number, fault, seconds(100));
                let answer = sim.run(scenario.command(&operator)).unwrap();
                assert!(answer.outcome().is_some(), "{what}: {answer:?}");
                sim.pass(seconds(110));
                all_is_well(&sim, &[&operator], &what);
            }
        }
    }
}

#[test]
fn an_interrupt_before_the_promotion_undoes_everything() {
    let scenario = Scenario::Switchover(Replication::Synchronous);
    let (entries, _) = scenario.unbroken();
    let promotion = scenario.promotion_starts(&entries).unwrap();
    for wait in 1..40 {
        let (sim, operator) = scenario.prepare();
        let before = scenario::signature(&sim);
        let interrupt = operator.interrupt.clone();
        sim.lock()
            .later(std::time::Duration::from_millis(wait), move |_| {
                interrupt.set()
            });
        let answer = sim.run(scenario.command(&operator)).unwrap();
        sim.pass(seconds(2));
        match answer {
            Answer::Ran(Outcome::Unwound, entries) => {
                assert!(entries.len() < promotion * 3);
                assert_eq!(
                    scenario::signature(&sim),
                    before,
                    "after {wait} ms\n{}",
                    sim.lock().story()
                );
            }
            Answer::Ran(Outcome::Interrupted | Outcome::Succeeded, _) => {}
            answer => panic!("after {wait} ms: {answer:?}"),
        }
        assert_eq!(sim.lock().state.ledger.violations, []);
    }
}

#[test]
fn what_went_astray_is_sent_after_the_primary() {
    let sim = Sim::new(Settings::new(Replication::Synchronous), 5);
    let operator = Operator::new(&sim, "ann");
    sim.pass(seconds(1));
    let mut intent = plain("us-east-1", None);
    intent.database_only = true;
    let answer = sim.run(operator.failover(&intent)).unwrap();
    assert_eq!(answer.outcome(), Some(Outcome::Succeeded), "{answer:?}");
    sim.pass(seconds(1));
    let answer = sim
        .run(operator.failover(&plain("us-east-1", None)))
        .unwrap();
    let Answer::Ran(Outcome::Succeeded, entries) = &answer else {
        panic!("{answer:?}");
    };
    let Event::RunStarted(started) = &entries[0].event else {
        panic!("a run begins with its start");
    };
    assert_eq!(started.plan.kind, Kind::Redirect);
    let promoted = sim.lock().state.ledger.promotions.len();
    assert_eq!(promoted, 1);
    assert!(scenario::signature(&sim).contains("names site2"));
}

#[test]
fn a_second_run_is_refused_while_one_is_open() {
    let scenario = Scenario::Switchover(Replication::Synchronous);
    let (sim, operator) = scenario.prepare();
    operator.store.crash_at(CrashPoint {
        record: 12,
        durable: true,
    });
    assert!(sim.run(scenario.command(&operator)).is_none());
    operator.store.process_died();
    let answer = sim.run(scenario.command(&operator)).unwrap();
    assert!(
        matches!(&answer, Answer::Refused(r) if r.reason == Reason::RunInProgress),
        "{answer:?}"
    );
    let runs = sim.run(operator.store.list()).unwrap().unwrap();
    assert_eq!(runs.len(), 1);
}

/// The primary rebooted while the plan was read: it is a standby now, and
/// there is nothing to copy from it, however long one waits.
#[test]
fn a_rejoin_does_not_wait_for_a_source_that_is_gone() {
    let (sim, operator) = Scenario::Rejoin(Replication::Synchronous).prepare();
    let ground = sim.run(operator.look()).unwrap();
    let topology = sim.lock().state.topology().clone();
    let plan = ground.rejoin(&topology, "site1-db").unwrap();
    let reboot = Fault::HostDown(host("site2-db"));
    reboot.set(&mut sim.lock(), true);
    reboot.set(&mut sim.lock(), false);
    sim.pass(seconds(1));
    let before = sim.lock().now();
    let answer = sim.run(operator.run(&ground, plan)).unwrap();
    assert_eq!(answer.outcome(), Some(Outcome::Stuck), "{answer:?}");
    let took = sim.lock().now() - before;
    assert!(took < seconds(120), "{took:?}");
}
