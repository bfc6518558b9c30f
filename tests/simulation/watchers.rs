//! The real watchers in three places, with their journals in the simulated
//! store; and defects of them, each of which must be caught.

use std::time::Duration;

use hafail::{
    decide::Allowance,
    journal::Outcome,
    observation::ServerAdmin,
    right::Terms,
    sim::{
        CrashPoint, Operator, Settings, Sim,
        fault::Fault,
        mutation::Mutation,
        recover::plain,
        schedule,
        script::Mode,
        watcher::{Ambush, Mischief},
    },
    topology::Replication,
};

use crate::{
    many,
    scenario::{host, seconds, site},
};

/// So many schedules in each part.
const SHARE: u64 = 500;
/// A defect is caught within so many.
const SOON: u64 = 300;

fn schedules(mode: Mode, part: u64) {
    let count = many::number("HAFAIL_SIM_SCHEDULES", SHARE);
    let first = many::number("HAFAIL_SIM_SEED", 0) + part * count;
    for seed in first..first + count {
        if let Err(failure) = schedule::run(mode, seed, None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn schedules_with_watchers_1() {
    schedules(Mode::Watched, 0);
}

#[test]
fn schedules_with_watchers_2() {
    schedules(Mode::Watched, 1);
}

#[test]
fn schedules_with_watchers_that_only_look() {
    schedules(Mode::Observed, 0);
}

fn world(mutation: Option<Mutation>) -> Sim {
    let mut settings = Settings::watched(Replication::Synchronous);
    settings.mutation = mutation;
    begun(settings)
}

fn begun(settings: Settings) -> Sim {
    let sim = Sim::new(settings, 11);
    sim.pass(seconds(5));
    sim
}

fn set(sim: &Sim, fault: &Fault, on: bool) {
    fault.set(&mut sim.lock(), on);
}

/// Runs that were begun, and promotions.
fn done(sim: &Sim) -> (usize, usize) {
    let core = sim.lock();
    let ledger = &core.state.ledger;
    (ledger.runs.len(), ledger.promotions.len())
}

#[test]
fn a_lost_site_is_failed_over_and_rejoined_by_itself() {
    let sim = world(None);
    let lost = Fault::SiteDown(site("site1"));
    set(&sim, &lost, true);
    sim.pass(seconds(20));
    assert_eq!(done(&sim).1, 1, "{}", sim.lock().story());
    set(&sim, &lost, false);
    sim.pass(seconds(40));
    let core = sim.lock();
    assert_eq!(core.is_healthy(), Ok(()), "{}", core.story());
    assert_eq!(core.state.ledger.violations, [], "{}", core.story());
}

/// The names follow the primary out of a site that is cut off, once.
#[test]
fn names_that_have_moved_are_not_moved_again() {
    let sim = world(None);
    set(&sim, &Fault::PlaceIsolated(site("site1")), true);
    sim.pass(seconds(40));
    assert_eq!(done(&sim).1, 1, "{}", sim.lock().story());
    // The failover, and perhaps a redirect when two places had spoken.
    assert!(done(&sim).0 <= 2, "{}", sim.lock().story());
}

/// Seed 726: the primary dies while its old one is rejoined. Whoever runs that
/// waits for it in vain, and must let go so that the other one can be looked
/// after, instead of holding the lock for minutes.
#[test]
fn a_rejoin_whose_primary_is_gone_is_let_go() {
    let sim = world(None);
    let (first, second) = (
        Fault::HostDown(host("site1-db")),
        Fault::HostDown(host("site2-db")),
    );
    set(&sim, &first, true);
    sim.pass(seconds(20));
    assert_eq!(done(&sim).1, 1, "{}", sim.lock().story());
    set(&sim, &first, false);
    while key(&sim, "lock").is_none() {
        sim.pass(Duration::from_millis(10));
    }
    set(&sim, &second, true);
    sim.pass(seconds(20));
    assert_eq!(key(&sim, "lock"), None, "{}", sim.lock().story());
    set(&sim, &second, false);
    sim.pass(seconds(20));
    sim.run(Operator::new(&sim, "ann").acknowledge());
    sim.pass(seconds(40));
    let core = sim.lock();
    assert_eq!(core.is_healthy(), Ok(()), "{}", core.story());
    assert_eq!(core.state.ledger.violations, [], "{}", core.story());
}

/// Seed 563: a load balancer that a late order of a run of the past holds is
/// let go.
#[test]
fn a_load_balancer_that_a_late_order_holds_is_let_go() {
    let sim = world(None);
    {
        let mut core = sim.lock();
        let proxy = core.state.proxies.get_mut(&host("site1-lb")).unwrap();
        let servers = proxy.backends.get_mut("pg_primary").unwrap();
        servers.get_mut("site1-db").unwrap().admin = ServerAdmin::Drain;
    }
    sim.pass(seconds(60));
    assert_eq!(sim.lock().is_healthy(), Ok(()));
}

/// What the store has below that name, in truth.
fn key(sim: &Sim, name: &str) -> Option<String> {
    let core = sim.lock();
    let quorum = core.state.quorum.as_ref()?;
    let text = quorum.text(&format!("/hafail/two-regions/live/{name}"));
    text.map(str::to_owned)
}

/// The leader dies, or sleeps, at each record of its failover; another one
/// goes on, and all is as it would have been.
#[test]
fn a_successor_goes_on_at_every_record() {
    let mischiefs = [
        Mischief::Dies { durable: true },
        Mischief::Dies { durable: false },
        Mischief::Sleeps(seconds(12)),
    ];
    for what in &mischiefs {
        for records in 1..=24 {
            let sim = world(None);
            let ambush = Ambush {
                records,
                what: what.clone(),
            };
            set(&sim, &Fault::Ambush(ambush), true);
            set(&sim, &Fault::HostDown(host("site1-db")), true);
            sim.pass(seconds(30));
            assert_eq!(
                done(&sim).1,
                1,
                "{records} {what:?}\n{}",
                sim.lock().story()
            );
            set(&sim, &Fault::HostDown(host("site1-db")), false);
            sim.pass(seconds(40));
            let core = sim.lock();
            let told = || format!("{records} {what:?}\n{}", core.story());
            assert_eq!(core.is_healthy(), Ok(()), "{}", told());
            assert_eq!(core.state.ledger.violations, [], "{}", told());
        }
    }
}

/// The primary that a switchover promoted dies before all is done: what is
/// left of that run waits for it in vain, and the other one must serve.
#[test]
fn a_new_primary_that_dies_is_failed_over_soon() {
    let sim = world(None);
    let ann = Operator::new(&sim, "ann");
    ann.store.crash_at(CrashPoint {
        record: 34,
        durable: true,
    });
    let gone = sim.run(ann.failover(&plain("us-east-1", None)));
    ann.store.process_died();
    assert!(gone.is_none(), "{}", sim.lock().story());
    assert_eq!(done(&sim).1, 1, "{}", sim.lock().story());
    sim.pass(seconds(1));
    set(&sim, &Fault::HostDown(host("site2-db")), true);
    sim.pass(seconds(40));
    assert_eq!(done(&sim).1, 2, "{}", sim.lock().story());
}

/// Both databases fail one after the other, and commits wait for a lost
/// standby: whom the first one waited for as primary, it does not wait for
/// when it is primary again, else nobody could write and the run stays open.
fn open_after_both_failed(mutation: Option<Mutation>) -> bool {
    let mut settings = Settings::watched(Replication::Synchronous);
    settings.mutation = mutation;
    settings.block_on_standby_loss = true;
    let sim = Sim::new(settings, 11);
    sim.pass(seconds(5));
    for lost in ["site1-db", "site2-db"] {
        let lost = Fault::GuardStopped(host(lost));
        set(&sim, &lost, true);
        sim.pass(seconds(20));
        set(&sim, &lost, false);
        sim.pass(seconds(20));
        sim.run(Operator::new(&sim, "ann").acknowledge());
        sim.pass(seconds(20));
    }
    assert_eq!(done(&sim).1, 2, "{}", sim.lock().story());
    sim.lock().is_healthy().is_err()
}

#[test]
fn a_primary_that_is_primary_again_does_not_wait_for_whom_it_did() {
    assert!(!open_after_both_failed(None));
    assert!(open_after_both_failed(Some(Mutation::ForgetToEmptySync)));
}

/// A switchover whose runner died is gone on with when the primary has lost
/// its right to write and is a standby by now: it cannot be stopped as a
/// primary, and must not be left stopped, because nobody else has all commits.
#[test]
fn a_primary_that_lost_its_right_in_a_switchover_is_not_left_stopped() {
    for record in 2..=8 {
        let sim = world(None);
        let ann = Operator::new(&sim, "ann");
        sim.run(ann.pause(seconds(20)));
        ann.store.crash_at(CrashPoint {
            record,
            durable: true,
        });
        let gone = sim.run(ann.failover(&plain("us-east-1", None)));
        ann.store.process_died();
        assert!(gone.is_none(), "{}", sim.lock().story());
        let (store, standby) = (
            Fault::QuorumLost(host("site1-lb")),
            Fault::HostDown(host("site2-db")),
        );
        set(&sim, &store, true);
        sim.pass(seconds(4));
        set(&sim, &standby, true);
        sim.pass(seconds(8));
        set(&sim, &store, false);
        sim.pass(seconds(20));
        set(&sim, &standby, false);
        sim.pass(seconds(60));
        let core = sim.lock();
        let told = || format!("record {record}\n{}", core.story());
        assert_eq!(core.is_healthy(), Ok(()), "{}", told());
        assert_eq!(core.state.ledger.violations, [], "{}", told());
    }
}

/// By hand, while the lease of a primary that lost power for a moment still
/// holds: it waits, and where its runner dies at any record, what it stopped
/// stands by, or nobody knows how much would be lost.
#[test]
fn a_failover_waits_for_the_lease_of_a_primary_that_was_away() {
    for record in 2..=16 {
        let sim = begun(Settings::watched(Replication::Asynchronous));
        let power = Fault::HostDown(host("site1-db"));
        set(&sim, &power, true);
        set(&sim, &power, false);
        sim.pass(seconds(1));
        let ann = Operator::new(&sim, "ann");
        ann.store.crash_at(CrashPoint {
            record,
            durable: true,
        });
        let at_any_loss = plain("us-east-1", Some(Allowance::Any));
        let answer = sim.run(ann.failover(&at_any_loss));
        ann.store.process_died();
        let story = || format!("record {record}\n{}", sim.lock().story());
        if let Some(answer) = answer {
            assert_eq!(answer.outcome(), Some(Outcome::Succeeded), "{}", story());
        }
        sim.pass(seconds(60));
        let healthy = sim.lock().is_healthy();
        assert_eq!(healthy, Ok(()), "{}", story());
    }
}

/// A primary that is not heard for a while, and renews its lease. It stops as
/// soon as it is heard, not after the longest lease there is, and follows from
/// then on, however busy the new primary is (seed 1744019).
#[test]
fn a_primary_that_was_not_heard_is_deposed_once_it_is() {
    let mut settings = Settings::watched(Replication::Asynchronous);
    settings.replication_delay = settings.write_every * 30;
    let sim = begun(settings);
    let full = Fault::DiskFull(host("site1-db"));
    set(&sim, &full, true);
    let ann = Operator::new(&sim, "ann");
    let unheard = Fault::Unheard(host("site1-db"));
    let for_a_while = async {
        while !sim.lock().story().contains("site2-db obeys Claim") {
            sim.sleep(Duration::from_millis(1)).await;
        }
        set(&sim, &unheard, true);
        sim.sleep(seconds(30)).await;
        set(&sim, &unheard, false);
        sim.lock().now()
    };
    let at_any_loss = plain("us-east-1", Some(Allowance::Any));
    let both = async { futures::join!(ann.failover(&at_any_loss), for_a_while) };
    let (answer, heard_again) = sim.run(both).unwrap();
    let story = sim.lock().story();
    assert_eq!(answer.outcome(), Some(Outcome::Succeeded), "{story}");
    let took = sim.lock().now() - heard_again;
    assert!(took < seconds(5), "{took:?}\n{story}");
    set(&sim, &full, false);
    sim.pass(seconds(20));
    let healthy = sim.lock().is_healthy();
    assert_eq!(healthy, Ok(()), "{}", sim.lock().story());
    assert_eq!(key(&sim, "lock"), None, "{}", sim.lock().story());
}

/// A primary whose disk is full has no successor where it waits for nobody:
/// people say when another one is to go on.
#[test]
fn a_primary_that_has_no_room_is_deposed_by_hand() {
    let sim = begun(Settings::watched(Replication::Asynchronous));
    let full = Fault::DiskFull(host("site1-db"));
    set(&sim, &full, true);
    sim.pass(seconds(5));
    assert_eq!(done(&sim).1, 0, "{}", sim.lock().story());
    let ann = Operator::new(&sim, "ann");
    let answer = sim.run(ann.failover(&plain("us-east-1", Some(Allowance::Any))));
    let outcome = answer.and_then(|answer| answer.outcome());
    assert_eq!(outcome, Some(Outcome::Succeeded), "{}", sim.lock().story());
    set(&sim, &full, false);
    sim.pass(seconds(60));
    let healthy = sim.lock().is_healthy();
    assert_eq!(healthy, Ok(()), "{}", sim.lock().story());
}

/// The runner dies at any record, and PostgreSQL of the new primary after it has
/// accepted writes: that it is no primary then does not say that it never was.
#[test]
fn a_primary_that_died_is_not_taken_for_one_that_never_was() {
    for record in 2..=24 {
        let mut settings = Settings::watched(Replication::Synchronous);
        settings.observe = true;
        let sim = begun(settings);
        let ann = Operator::new(&sim, "ann");
        ann.store.crash_at(CrashPoint {
            record,
            durable: false,
        });
        sim.run(ann.failover(&plain("us-east-1", None)));
        ann.store.process_died();
        sim.lock().stir();
        sim.pass(seconds(4));
        let broken = Fault::PostgresBroken(host("site2-db"));
        set(&sim, &broken, true);
        sim.pass(seconds(1));
        sim.run(ann.resume(false));
        ann.store.process_died();
        set(&sim, &broken, false);
        sim.pass(seconds(2));
        sim.run(ann.resume(true));
        for region in ["us-east-1", "eu-west-1"] {
            sim.pass(seconds(2));
            if sim.lock().state.writers().next().is_none() {
                sim.run(ann.failover(&plain(region, None)));
            }
        }
        sim.lock().stir();
        sim.pass(seconds(2));
        let core = sim.lock();
        let told = || format!("record {record}\n{}", core.story());
        assert_eq!(core.state.ledger.violations, [], "{}", told());
        let writer = core.state.writers().next().cloned();
        let writer = &core.state.databases[&writer.unwrap_or_else(|| panic!("{}", told()))];
        let acknowledged = core.state.ledger.acknowledged.iter();
        let lost: Vec<_> = acknowledged.filter(|(id, _)| !writer.has(*id)).collect();
        assert!(lost.is_empty(), "{lost:?} of {}", told());
    }
}

/// Whether a failover begins although a person has paused.
fn acts_while_paused(mutation: Option<Mutation>) -> bool {
    let sim = world(mutation);
    let operator = Operator::new(&sim, "ann");
    sim.run(operator.pause(seconds(60)));
    set(&sim, &Fault::SiteDown(site("site1")), true);
    sim.pass(seconds(20));
    done(&sim).0 > 0
}

#[test]
fn acting_while_paused_is_caught() {
    assert!(acts_while_paused(Some(Mutation::ActWhilePaused)));
    assert!(!acts_while_paused(None));
}

/// How often it fails over when both sites are lost in turn; in between the
/// leader may be stopped, so that another one leads.
fn failovers_in_a_row(mutation: Option<Mutation>, stops: bool) -> usize {
    let sim = world(mutation);
    for lost in ["site1", "site2"] {
        let leader = key(&sim, "leader").unwrap();
        let mut places = ["site1-lb", "site2-lb", "witness"].into_iter();
        let leader = places.find(|place| leader.contains(place)).unwrap();
        if stops && lost == "site2" {
            set(&sim, &Fault::WatcherStopped(host(leader)), true);
        }
        let lost = Fault::SiteDown(site(lost));
        set(&sim, &lost, true);
        sim.pass(seconds(20));
        set(&sim, &lost, false);
        sim.pass(seconds(40));
    }
    done(&sim).1
}

#[test]
fn a_cooldown_that_is_ignored_is_caught() {
    assert!(failovers_in_a_row(Some(Mutation::IgnoreCooldown), false) > 1);
    assert_eq!(failovers_in_a_row(None, false), 1);
}

#[test]
fn a_cooldown_that_the_next_leader_forgets_is_caught() {
    assert!(failovers_in_a_row(Some(Mutation::ForgetCooldown), true) > 1);
    assert_eq!(failovers_in_a_row(None, true), 1);
}

/// The primary does not reach the store and goes on under promises: whether
/// anything is begun against it.
fn acts_against_promises(mutation: Option<Mutation>) -> bool {
    let sim = world(mutation);
    set(&sim, &Fault::StoreUnreached(host("site1-db")), true);
    sim.pass(seconds(30));
    done(&sim).0 > 0
}

#[test]
fn a_failover_against_promises_is_caught() {
    assert!(!acts_against_promises(None));
    assert!(acts_against_promises(Some(Mutation::IgnorePromises)));
}

/// By hand, while the standby is still bound by a promise that the primary got
/// of it when it did not reach the store.
#[test]
fn a_switchover_waits_for_the_end_of_a_promise_before_it_stops_the_primary() {
    for (ttl, after) in [(3, 1), (3, 2), (3, 3), (3, 4), (30, 1), (30, 10), (60, 1)] {
        let mut settings = Settings::watched(Replication::Synchronous);
        settings.automatic = Some(Terms::of(seconds(ttl)));
        let sim = begun(settings);
        let unreached = Fault::StoreUnreached(host("site1-db"));
        set(&sim, &unreached, true);
        sim.pass(seconds(2 * ttl));
        set(&sim, &unreached, false);
        sim.pass(seconds(after));
        let ann = Operator::new(&sim, "ann");
        let answer = sim.run(ann.failover(&plain("us-east-1", None))).unwrap();
        let story = sim.lock().story();
        assert_eq!(answer.outcome(), Some(Outcome::Succeeded), "{story}");
    }
}

/// The defect breaks the invariant in a few schedules.
fn is_caught(mutation: Mutation, invariant: &str) {
    is_caught_in(Mode::Watched, mutation, invariant);
}

fn is_caught_in(mode: Mode, mutation: Mutation, invariant: &str) {
    for seed in 0..SOON {
        if let Err(failure) = schedule::try_once(mode, seed, Some(mutation)) {
            let mut broken = failure.violations.iter();
            if broken.any(|violation| violation.invariant == invariant) {
                println!("{mutation:?} breaks {invariant} with seed {seed}");
                return;
            }
        }
    }
    panic!("{mutation:?} does not break {invariant}");
}

#[test]
fn acting_while_observing_is_caught() {
    is_caught_in(
        Mode::Observed,
        Mutation::ActWhileObserving,
        "observers_do_nothing",
    );
}

#[test]
fn one_place_that_speaks_for_all_is_caught() {
    is_caught(Mutation::OneVoice, "unknown_is_no_evidence");
}

#[test]
fn a_journal_of_a_dead_leader_that_is_ignored_is_caught() {
    is_caught(Mutation::IgnoreJournal, "converges");
}

#[test]
fn working_without_the_lock_is_caught() {
    is_caught(Mutation::ResumeWithoutLock, "no_stale_actor");
}

/// How many watchers decide within a while of quiet.
fn deciders(mutation: Option<Mutation>) -> usize {
    let sim = world(mutation);
    sim.pass(Duration::from_secs(10));
    let core = sim.lock();
    let story = core.story();
    let decides = |place: &&&str| story.contains(&format!("watcher of {place}: Healthy"));
    ["site1-lb", "site2-lb", "witness"]
        .iter()
        .filter(decides)
        .count()
}

#[test]
fn acting_without_leading_is_caught() {
    assert!(deciders(Some(Mutation::ActWithoutLeading)) > 1);
    assert_eq!(deciders(None), 1);
}
