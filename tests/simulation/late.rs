//! The world went on after it was looked at, or is told something late.

use futures::future::join;
use hafail::{
    journal::Outcome,
    observation::ServerAdmin,
    sim::{Sim, recover::plain},
    step::Backend,
    topology::Replication::Synchronous,
};

use super::scenario::{Scenario, all_is_well, host, seconds, told};

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

fn uses(sim: &Sim, lb: &str, database: &str) -> bool {
    let core = sim.lock();
    let mut usable = core.state.proxies[&host(lb)].usable(Backend::Database);
    usable.any(|name| name == database)
}
