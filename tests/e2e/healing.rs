//! Machines and containers that die behind hafail's back, in automatic mode:
//! they come back by themselves, one after the other.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    account,
    lab::{Hafail, chapter, keeps, on_host, until, variant},
};

const DEPLOYMENT: &str = "automatic";
/// Less patience, no acknowledgement of the next failover, a lease that a busy
/// machine does not lose, and less to run.
const CHANGES: [(&str, &str); 4] = [
    ("  rto: 10s ", "  rto: 14s "),
    ("failover_cooldown: 10m", "failover_cooldown: 1s"),
    ("replicas: 3", "replicas: 1"),
    (
        "heal: { mode: start, after: 2m, at_most: 3, within: 30m }",
        "heal: { mode: replace, after: 20s, at_most: 6, within: 60m }",
    ),
];

pub fn topology(directory: &Path) -> PathBuf {
    variant("automatic.yaml", &CHANGES, &directory.join("healing.yaml"))
}

pub fn story(topology: &Path) {
    let hafail = Hafail::topology(topology);
    {
        let _chapter = chapter("deploy, and again");
        hafail.deploys();
        hafail.healthy();
        hafail.deploys_nothing();
    }
    containers_come_back();
    hafail.healthy();
    two_machines_are_started_one_after_the_other(&hafail);
    a_deposed_primary_comes_back_as_a_standby(&hafail);
    machines_are_made_anew(&hafail);
    the_limit_is_kept(&hafail);
    if !keeps() {
        hafail.run(&["destroy", "--yes"]).with(0);
        account::is_empty();
    }
}

/// Whatever is done to them on their host.
fn containers_come_back() {
    const HOST: &str = "site1-app";
    let name = on_host(
        DEPLOYMENT,
        HOST,
        "docker ps --format '{{.Names}}' | grep vote | sort | head -n 1",
    );
    let name = name.trim();
    let faults = [
        (
            "process is killed",
            format!("kill -9 $(docker inspect -f '{{{{.State.Pid}}}}' {name})"),
        ),
        ("is removed", format!("docker rm -f {name}")),
        ("is stopped by hand", format!("docker stop -t 1 {name}")),
        (
            "answers no more",
            format!("kill -STOP $(docker inspect -f '{{{{.State.Pid}}}}' {name})"),
        ),
        (
            "loses its engine",
            "systemctl kill --signal=KILL docker".to_owned(),
        ),
        (
            "has an engine that is stopped",
            "systemctl stop docker docker.socket".to_owned(),
        ),
    ];
    for (title, fault) in faults {
        let title = format!("a container {title}");
        let _chapter = chapter(&title);
        // Also the moment in which Docker itself brings it back.
        let start = |said: &str| said.split_whitespace().nth(1).map(str::to_owned);
        let look = format!(
            "docker inspect -f '{{{{.State.Health.Status}}}} {{{{.State.StartedAt}}}}' {name} 2> /dev/null || true"
        );
        let before = on_host(DEPLOYMENT, HOST, &look);
        on_host(DEPLOYMENT, HOST, &fault);
        until(|| {
            let now = on_host(DEPLOYMENT, HOST, &look);
            match now.starts_with("healthy") && start(&now) != start(&before) {
                true => Ok(()),
                false => Err(format!("{title}: {name} is {now}")),
            }
        });
    }
}

fn two_machines_are_started_one_after_the_other(hafail: &Hafail) {
    let _chapter = chapter("two machines are stopped, and are back");
    let hosts = ["site1-app", "site2-queue"];
    for host in hosts {
        account::power_off(DEPLOYMENT, host);
    }
    for host in hosts {
        until_healed(hafail, host, 1);
    }
    hafail.healthy_but(&["dns-elsewhere"]);
    one_at_a_time(hafail);
    hafail.counts_every_vote();
}

fn a_deposed_primary_comes_back_as_a_standby(hafail: &Hafail) {
    let _chapter = chapter("the primary's machine is stopped, and is back as a standby");
    account::power_off(DEPLOYMENT, "site1-db");
    until_healed(hafail, "site1-db", 1);
    hafail.healthy_but(&["dns-elsewhere"]);
    let status = hafail.run(&["status"]).json();
    assert_eq!(status["primary"], "site2-db", "{status}");
    one_at_a_time(hafail);
}

/// One of each kind: also a database, which is copied, and may take over again,
/// and those that hold a member of the store and a watcher.
fn machines_are_made_anew(hafail: &Hafail) {
    let hosts = [
        "site2-app",
        "site1-db",
        "site2-queue",
        "site2-lb",
        "witness",
    ];
    for host in hosts {
        let title = format!("{host} is gone with its disk, and is made anew");
        let _chapter = chapter(&title);
        let times = healings(hafail, host) + 1;
        let active = host == "site2-queue";
        if active {
            queue(host, "RPUSH accepted 1 2 3 && redis-cli WAIT 1 5000");
        }
        account::terminate(DEPLOYMENT, host);
        until_healed(hafail, host, times);
        hafail.healthy_but(&["dns-elsewhere"]);
        if active {
            // What only its copy still had; and the copy follows.
            assert_eq!(queue(host, "LRANGE accepted 0 -1"), "1\n2\n3\n");
            assert_eq!(queue("site1-queue", "LLEN accepted"), "3\n");
            queue(host, "DEL accepted");
        }
    }
    one_at_a_time(hafail);
    hafail.counts_every_vote();
    // Watchers learn the new machines' identities, and nothing else differs
    // from what a deploy makes.
    hafail.deploys();
    hafail.deploys_nothing();
}

/// Asks a queue.
fn queue(host: &str, what: &str) -> String {
    let password = "export REDISCLI_AUTH=$(sed -n 's/^requirepass //p' /etc/redis/hafail.conf)";
    on_host(DEPLOYMENT, host, &format!("{password}; redis-cli {what}"))
}

/// Six different ones are healed by now.
fn the_limit_is_kept(hafail: &Hafail) {
    let _chapter = chapter("another machine is left for people");
    account::power_off(DEPLOYMENT, "site1-queue");
    hafail.until_why_says("watch.heal.at_most is 6");
    account::power_on(DEPLOYMENT, "site1-queue");
    hafail.healthy_but(&["dns-elsewhere"]);
}

/// Waits until that many runs that healed the host have succeeded.
fn until_healed(hafail: &Hafail, host: &str, times: usize) {
    until(|| match healings(hafail, host) < times {
        true => Err(format!("{host} is not back: {}", hafail.run(&["history"]))),
        false => Ok(()),
    });
}

/// How many runs have healed the host.
fn healings(hafail: &Hafail, host: &str) -> usize {
    let history = hafail.run(&["history"]).with(0).json();
    let runs = history.as_array().into_iter().flatten();
    let healed = runs.filter(|run| run["kind"] == "heal" && run["outcome"] == "succeeded");
    let of_host = |run: &&Value| {
        let first = run["steps"][0]["what"].as_str().unwrap_or_default();
        first.split(' ').any(|word| word == host)
    };
    healed.filter(of_host).count()
}

/// No run began before the one before it had ended.
fn one_at_a_time(hafail: &Hafail) {
    let history = hafail.run(&["history"]).with(0).json();
    let runs: Vec<_> = history.as_array().unwrap().iter().collect();
    assert!(runs.len() > 1, "{history}");
    for pair in runs.windows(2) {
        let (ended, started) = (pair[0]["ended"].as_str(), pair[1]["started"].as_str());
        assert!(
            ended.is_some() && ended <= started,
            "{} overlaps {}",
            pair[0],
            pair[1]
        );
    }
}
