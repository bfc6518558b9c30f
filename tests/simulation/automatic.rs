//! Automatic mode: leases in a store of three places, dead-men, promises, who
//! has every acknowledged commit; and defects of them, each of which must be
//! caught.

use std::{collections::BTreeSet, time::Duration};

use hafail::{
    sim::{Settings, Sim, fault::Fault, mutation::Mutation, schedule, script::Mode},
    topology::Replication,
};

use crate::{
    many,
    scenario::{host, site},
};

/// So many schedules of automatic mode in each part.
const SHARE: u64 = 1_700;
/// A defect is caught within so many.
const SOON: u64 = 1_500;

fn schedules(part: u64) {
    let count = many::number("HAFAIL_SIM_SCHEDULES", SHARE);
    let first = many::number("HAFAIL_SIM_SEED", 0) + part * count;
    for seed in first..first + count {
        if let Err(failure) = schedule::run(Mode::Automatic, seed, None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn schedules_of_automatic_mode_1() {
    schedules(0);
}

#[test]
fn schedules_of_automatic_mode_2() {
    schedules(1);
}

#[test]
fn schedules_of_automatic_mode_3() {
    schedules(2);
}

#[test]
fn schedules_of_automatic_mode_4() {
    schedules(3);
}

/// The defect breaks the invariant within a few schedules. `first`: a seed
/// from which on it does so soon.
fn is_caught(mutation: Mutation, invariant: &str, first: u64) {
    let mut others = BTreeSet::new();
    for seed in first..first + SOON {
        if let Err(failure) = schedule::try_once(Mode::Automatic, seed, Some(mutation)) {
            let broken: Vec<_> = failure.violations.iter().map(|it| it.invariant).collect();
            if broken.contains(&invariant) {
                println!("{mutation:?} breaks {invariant} with seed {seed}");
                return;
            }
            others.extend(broken);
        }
    }
    panic!("{mutation:?} does not break {invariant}; it breaks {others:?}");
}

/// The primary is cut off, and so on; whether two could write at some time.
fn writes_twice(mutation: Option<Mutation>, seed: u64, troubles: &[(u64, u64, Fault)]) -> bool {
    let mut settings = Settings::automatic(Replication::Asynchronous);
    settings.mutation = mutation;
    settings.story = false;
    let sim = Sim::new(settings, seed);
    for (start, end, fault) in troubles {
        let (begin, stop) = (fault.clone(), fault.clone());
        let mut core = sim.lock();
        core.later(millis(*start), move |core| begin.set(core, true));
        core.later(millis(*end), move |core| stop.set(core, false));
    }
    sim.pass(millis(20_000));
    let core = sim.lock();
    let mut violations = core.state.ledger.violations.iter();
    violations.any(|violation| violation.invariant == "never_two_writers")
}

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

#[test]
fn a_promotion_without_the_right_is_caught() {
    is_caught(Mutation::SkipProof, "no_promotion_without_proof", 0);
}

#[test]
fn a_promotion_before_the_deadline_is_caught() {
    is_caught(Mutation::PromoteBeforeDeadline, "never_two_writers", 0);
}

#[test]
fn deadlines_by_the_wall_clock_are_caught() {
    let hour = -3_600_000;
    let troubles = [
        (5_000, 19_000, Fault::PlaceIsolated(site("site1"))),
        (5_200, 19_000, Fault::WallStep(host("site1-db"), hour)),
    ];
    assert!(writes_twice(Some(Mutation::UseWallTime), 1, &troubles));
    assert!(!writes_twice(None, 1, &troubles));
}

#[test]
fn a_deadline_that_counts_from_the_answer_is_caught() {
    is_caught(Mutation::CountFromAnswer, "never_two_writers", 300);
}

#[test]
fn a_set_that_is_written_in_the_wrong_order_is_caught() {
    let invariant = "no_acknowledged_loss_in_sync_mode";
    is_caught(Mutation::ForgetSync, invariant, 0);
}

#[test]
fn a_set_whose_writes_come_true_late_is_caught() {
    is_caught(Mutation::TrustUnanswered, "converges", 2_000);
}

#[test]
fn an_old_epoch_that_is_obeyed_is_caught() {
    is_caught(Mutation::AcceptOldEpoch, "no_stale_actor", 0);
}

#[test]
fn a_promise_that_a_restart_forgets_is_caught() {
    let troubles = [
        (5_000, 19_000, Fault::StoreUnreached(host("site1-db"))),
        (11_000, 19_000, Fault::GuardKilled(host("site2-db"))),
    ];
    let twice = |mutation| (0..10).any(|seed| writes_twice(mutation, seed, &troubles));
    assert!(twice(Some(Mutation::ForgetPromise)));
    assert!(!twice(None));
}

#[test]
fn a_right_that_goes_on_without_all_promises_is_caught() {
    let troubles = [(5_000, 19_000, Fault::PlaceIsolated(site("site1")))];
    assert!(writes_twice(
        Some(Mutation::OnePromiseMissing),
        1,
        &troubles
    ));
    assert!(!writes_twice(None, 1, &troubles));
}

#[test]
fn a_guard_without_a_dead_man_is_caught() {
    is_caught(Mutation::NoDeadMan, "never_two_writers", 0);
}

#[test]
fn a_right_whose_end_kills_nothing_is_caught() {
    is_caught(Mutation::SkipKill, "never_two_writers", 0);
}

/// The store's leader is frozen, its site is cut off, and it comes back to
/// renew a lease that another leader has ended.
#[test]
fn a_renewal_by_a_leader_that_is_none_is_caught() {
    let troubles = |thaw: u64| {
        [
            (5_000, thaw, Fault::Frozen(host("site1-lb"))),
            (5_000, 19_000, Fault::PlaceIsolated(site("site1"))),
        ]
    };
    let defect = Some(Mutation::TrustStaleLeader);
    let twice = |mutation| {
        let mut tries = (0..30).map(|seed| (seed, troubles(6_600 + seed % 10 * 100)));
        tries.any(|(seed, troubles)| writes_twice(mutation, seed, &troubles))
    };
    assert!(twice(defect));
    assert!(!twice(None));
}
