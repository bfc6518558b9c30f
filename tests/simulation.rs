//! The invariants of operating, each under its own name, on the simulated
//! world: every plan failed, crashed and repeated at every step, and thousands
//! of random schedules of faults.

use hafail::{
    decide::Intent,
    journal::Outcome,
    sim::{Answer, Operator, Settings, Sim},
    topology::Replication,
};

fn intent(region: &str) -> Intent {
    Intent {
        region: region.to_owned(),
        database_only: false,
        allow_data_loss: None,
        fenced_by_operator: None,
    }
}

#[test]
fn a_switchover_succeeds() {
    let sim = Sim::new(Settings::new(Replication::Synchronous), 1);
    let operator = Operator::new(&sim, "ann");
    sim.pass(std::time::Duration::from_secs(1));
    let answer = sim.run(operator.failover(&intent("us-east-1"))).unwrap();
    sim.pass(std::time::Duration::from_secs(1));
    let core = sim.lock();
    println!("{}", core.story());
    if let Answer::Ran(_, entries) = &answer {
        println!("{:#?}", entries.iter().rev().take(2).collect::<Vec<_>>());
    }
    assert_eq!(answer.outcome(), Some(Outcome::Succeeded), "{answer:?}");
    assert_eq!(core.is_healthy(), Ok(()));
    assert_eq!(core.state.ledger.violations, []);
}

#[test]
fn random_schedules() {
    for seed in seeds() {
        eprintln!("{seed} {:?}", std::time::SystemTime::now());
        if let Err(failure) = hafail::sim::schedule::run(seed, None) {
            panic!("{failure}");
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let from = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let first = from("HAFAIL_SIM_SEED", 0);
    first..first + from("HAFAIL_SIM_SCHEDULES", 2_000)
}
