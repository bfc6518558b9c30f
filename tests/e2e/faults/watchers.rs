//! Watchers and the store.

use super::{DEPLOYMENT, Hafail, WATCHER, World, account, databases, on_host, settled};

/// The host of the watcher that leads.
pub fn leader(hafail: &Hafail) -> String {
    let why = hafail.run(&["why", "--last", "1"]).with(0).json();
    why[0]["by"].as_str().expect("somebody decided").to_owned()
}

/// The service goes on under promises, and nothing is automatic.
pub fn the_store_loses_its_majority(world: &World<'_>) {
    let seen = world.stays(12, |_| {
        for member in ["witness", "site2-lb"] {
            let script = "systemctl stop hafail-etcd; \
                          (sleep 9; systemctl start hafail-etcd) > /dev/null 2>&1 & disown";
            on_host(DEPLOYMENT, member, script);
        }
    });
    assert!(seen.gap() < 3_000, "{seen}");
}

/// No client notices, the watchers say it, and the two places that are left
/// still fail over.
pub fn the_witness_is_lost(world: &World<'_>) {
    let seen = world.stays(10, |_| account::power_off(DEPLOYMENT, "witness"));
    assert!(seen.gap() < 3_000, "{seen}");
    world.hafail.until_why_says("store-degraded");
    let before = world.hafail.primary();
    account::power_off(DEPLOYMENT, &before);
    world.until_primary_is(super::other(&before));
    account::power_on(DEPLOYMENT, &before);
    account::power_on(DEPLOYMENT, "witness");
    settled(world.hafail);
}

/// Another watcher goes on with the run of the one that died.
pub fn the_leader_dies_in_the_middle(world: &World<'_>) {
    let leader = leader(world.hafail);
    let before = world.fails_over(20, |primary| {
        dies_once_it_says(&leader, "acts act=\"failover");
        account::power_off(DEPLOYMENT, primary);
    });
    account::power_on(DEPLOYMENT, &before);
    settled(world.hafail);
}

/// After each step of a failover in turn.
pub fn the_leader_dies_after_each_step(world: &World<'_>) {
    let mut step = 0;
    loop {
        step += 1;
        settled(world.hafail);
        let leader = leader(world.hafail);
        world.fails_over(22, |primary| {
            dies_once_it_says(&leader, &format!("step done .*step={step} "));
            databases::freeze_guard(primary, 20);
        });
        let steps = steps_of_the_last_failover(world.hafail);
        eprintln!("      the leader died after step {step} of {steps}");
        if step + 1 >= steps {
            return;
        }
    }
}

/// How many there were so far.
pub fn failovers(hafail: &Hafail) -> usize {
    let history = hafail.run(&["history"]).with(0).json();
    let runs = history.as_array().expect("runs").iter();
    runs.filter(|run| run["kind"] == "failover").count()
}

fn steps_of_the_last_failover(hafail: &Hafail) -> u64 {
    let history = hafail.run(&["history"]).with(0).json();
    let runs = history.as_array().expect("runs").iter();
    let failovers = runs.filter(|run| run["kind"] == "failover");
    let newest = failovers.max_by_key(|run| run["run"].as_str().map(str::to_owned));
    let run = newest.expect("it failed over")["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = hafail.run(&["history", &run]).with(0).json();
    told["steps"].as_array().expect("steps").len() as u64
}

/// Stops it for long enough to lose the lead, then kills it: what it began is
/// never gone on with by itself.
fn dies_once_it_says(leader: &str, pattern: &str) {
    let script = format!(
        "pid={WATCHER}; (timeout 120 journalctl -u hafail-watch -f -n 0 | grep -q -m 1 '{pattern}'; \
         kill -STOP $pid; sleep 10; kill -KILL $pid) > /dev/null 2>&1 & disown"
    );
    on_host(DEPLOYMENT, leader, &script);
}
