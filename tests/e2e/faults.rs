//! Real faults under automatic mode, with writers at work: nobody is needed,
//! nothing acknowledged is lost, and no two databases accept writes at once.
//! Each fault ends by itself on its host, even where the test dies.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    account,
    lab::{Ended, Hafail, Started, chapter, on_host, try_on_host, variant},
};

const DEPLOYMENT: &str = "automatic";
const DATABASES: [&str; 2] = ["site1-db", "site2-db"];
/// Three seconds of lease; the next failover needs no acknowledgement.
const CHANGES: [(&str, &str); 2] = [
    (
        "etcd:\n  round_trip: 100ms",
        "lease: { ttl: 3s }\n\netcd:\n  round_trip: 10ms",
    ),
    ("failover_cooldown: 10m", "failover_cooldown: 1s"),
];
/// From a fault to the first accepted write through a load balancer, at
/// worst, on a machine that builds at the same time. `scripts/bench` measures.
const RECOVERED: u64 = 15_000;
/// All is as before.
const SETTLED: Duration = Duration::from_secs(90);

/// The process of the guard, and of the watcher, in a script.
const GUARD: &str = "$(systemctl show --property MainPID --value hafail-guard)";
const WATCHER: &str = "$(systemctl show --property MainPID --value hafail-watch)";

/// Where the deployment is described, for explanations as well.
pub fn topology(directory: &Path) -> std::path::PathBuf {
    variant("automatic.yaml", &CHANGES, &directory.join("faults.yaml"))
}

pub fn story(topology: &Path, keep: bool) {
    let hafail = Hafail::topology(topology);
    {
        let _chapter = chapter("deploy");
        hafail.deploys();
        settled(&hafail);
    }
    let world = World { hafail: &hafail };
    world.postgresql_is_killed();
    world.the_guard_is_killed();
    world.the_guard_is_frozen();
    world.postgresql_is_frozen();
    world.power_cut_of_the_primary();
    world.the_primary_is_cut_off();
    world.the_sites_are_cut_from_each_other();
    world.the_standby_loses_power();
    world.the_store_loses_its_majority();
    world.the_leader_dies_in_the_middle();
    world.nothing_is_done_while_paused();
    world.the_promoted_primary_dies_as_well();
    world.both_databases_lose_power();
    world.a_rewind_fails();
    world.a_region_goes_dark();
    if !keep {
        hafail.run(&["destroy", "--yes"]).with(0);
        account::is_empty();
    }
}

struct World<'a> {
    hafail: &'a Hafail,
}

/// What writers saw.
struct Seen {
    load: Value,
    longest_gap: u64,
    /// The primary afterwards.
    primary: String,
}

impl World<'_> {
    fn postgresql_is_killed(&self) {
        let _chapter = chapter("PostgreSQL is killed");
        let primary = primary(self.hafail);
        self.under_load("15s", || {
            on_host(
                DEPLOYMENT,
                &primary,
                "kill -9 $(head -n 1 /var/lib/hafail/postgresql/15/data-*/postmaster.pid)",
            );
        });
    }

    fn the_guard_is_killed(&self) {
        let _chapter = chapter("the guard is killed");
        let before = primary(self.hafail);
        let seen = self.under_load("8s", || {
            on_host(DEPLOYMENT, &before, &format!("kill -KILL {GUARD}"));
        });
        assert_eq!(seen.primary, before, "systemd brings it back in time");
    }

    /// The dead-man acts, and the other site takes over.
    fn the_guard_is_frozen(&self) {
        let _chapter = chapter("the guard is frozen");
        let before = primary(self.hafail);
        let seen = self.under_load("20s", || {
            let script = format!(
                "pid={GUARD}; kill -STOP $pid; (sleep 12; kill -CONT $pid) > /dev/null 2>&1 & disown"
            );
            on_host(DEPLOYMENT, &before, &script);
        });
        assert_ne!(seen.primary, before);
    }

    fn postgresql_is_frozen(&self) {
        let _chapter = chapter("PostgreSQL is frozen");
        let before = primary(self.hafail);
        let seen = self.under_load("20s", || {
            on_host(DEPLOYMENT, &before, "pkill -STOP -u postgres -x postgres");
        });
        assert_ne!(seen.primary, before);
    }

    fn power_cut_of_the_primary(&self) {
        let _chapter = chapter("power cut of the primary, and back");
        let before = primary(self.hafail);
        let seen = self.under_load("20s", || account::power_off(DEPLOYMENT, &before));
        assert_ne!(seen.primary, before);
        account::power_on(DEPLOYMENT, &before);
        settled(self.hafail);
    }

    fn the_primary_is_cut_off(&self) {
        let _chapter = chapter("the primary is cut off from everything");
        let before = primary(self.hafail);
        let seen = self.under_load("25s", || cut(&before, &[], 12));
        assert_ne!(seen.primary, before);
    }

    /// Both see the witness: the lease holds, and the standby leaves the set.
    fn the_sites_are_cut_from_each_other(&self) {
        let _chapter = chapter("the sites are cut from each other");
        let before = primary(self.hafail);
        let (here, there) = (
            &before[..5],
            if before.starts_with("site1") {
                "10.20.0.0/16"
            } else {
                "10.10.0.0/16"
            },
        );
        let seen = self.under_load_from(here, "20s", || {
            for role in ["db", "lb", "queue", "app"] {
                cut(&format!("{here}-{role}"), &[there], 10);
            }
        });
        assert_eq!(seen.primary, before);
    }

    fn the_standby_loses_power(&self) {
        let _chapter = chapter("the standby loses power, and is back");
        let before = primary(self.hafail);
        let standby = other(&before);
        let seen = self.under_load("12s", || account::power_off(DEPLOYMENT, standby));
        assert_eq!(seen.primary, before);
        account::power_on(DEPLOYMENT, standby);
        settled(self.hafail);
    }

    /// The service goes on under promises, and nothing is automatic.
    fn the_store_loses_its_majority(&self) {
        let _chapter = chapter("the store loses its majority");
        let before = primary(self.hafail);
        let seen = self.under_load("16s", || {
            for member in ["witness", "site2-lb"] {
                let script = "systemctl stop hafail-etcd; \
                              (sleep 9; systemctl start hafail-etcd) > /dev/null 2>&1 & disown";
                on_host(DEPLOYMENT, member, script);
            }
        });
        assert_eq!(seen.primary, before);
        assert!(seen.longest_gap < 3_000, "{}", seen.load);
    }

    /// Another watcher goes on with the run of the one that died.
    fn the_leader_dies_in_the_middle(&self) {
        let _chapter = chapter("the leader dies in the middle of a failover");
        let before = primary(self.hafail);
        let leader = leader(self.hafail);
        let seen = self.under_load("30s", || {
            // As soon as it has begun to act.
            let script = format!(
                "pid={WATCHER}; (timeout 30 journalctl -u hafail-watch -f -n 0 | grep -q -m 1 'acts act=\"failover'; \
                 kill -STOP $pid; sleep 10; kill -KILL $pid) > /dev/null 2>&1 & disown"
            );
            on_host(DEPLOYMENT, &leader, &script);
            account::power_off(DEPLOYMENT, &before);
        });
        assert_ne!(seen.primary, before);
        account::power_on(DEPLOYMENT, &before);
        settled(self.hafail);
    }

    fn nothing_is_done_while_paused(&self) {
        let _chapter = chapter("a power cut while paused");
        let before = primary(self.hafail);
        let pause = ["pause", "--for", "20s", "--why", "a test"];
        self.hafail.run(&pause).with(0);
        let begun = Instant::now();
        account::power_off(DEPLOYMENT, &before);
        let why = loop {
            let why = self.hafail.run(&["why", "--last", "1"]).with(0);
            if why.stdout.contains("withheld") || begun.elapsed() > Duration::from_secs(15) {
                break why;
            }
        };
        why.says("paused: a test");
        self.until_primary_is(other(&before));
        assert!(
            begun.elapsed() > Duration::from_secs(14),
            "{:?}",
            begun.elapsed()
        );
        account::power_on(DEPLOYMENT, &before);
        settled(self.hafail);
    }

    /// The old primary may lack what the new one acknowledged alone: it is not
    /// promoted, and the refusal says what would unblock it.
    fn the_promoted_primary_dies_as_well(&self) {
        let _chapter = chapter("the promoted primary dies as well");
        let first = primary(self.hafail);
        let second = other(&first);
        account::power_off(DEPLOYMENT, &first);
        self.until_primary_is(second);
        account::power_off(DEPLOYMENT, second);
        account::power_on(DEPLOYMENT, &first);
        let begun = Instant::now();
        let why = loop {
            let why = self.hafail.run(&["why", "--last", "1"]).with(0);
            if why.stdout.contains("not-known-in-sync") {
                break why;
            }
            assert!(begun.elapsed() < SETTLED, "not refused: {why}");
        };
        why.says("commits on").says("--allow-data-loss any");
        account::power_on(DEPLOYMENT, second);
        self.until_primary_is(second);
        settled(self.hafail);
    }

    /// Whichever is back first.
    fn both_databases_lose_power(&self) {
        for old_first in [true, false] {
            let back = if old_first { "old primary" } else { "standby" };
            let title = format!("both databases lose power, the {back} is back first");
            let _chapter = chapter(&title);
            let old = primary(self.hafail);
            let (first, second) = match old_first {
                true => (old.as_str(), other(&old)),
                false => (other(&old), old.as_str()),
            };
            std::thread::scope(|scope| {
                for host in DATABASES {
                    scope.spawn(|| account::power_off(DEPLOYMENT, host));
                }
            });
            account::power_on(DEPLOYMENT, first);
            self.until_primary_is(first);
            account::power_on(DEPLOYMENT, second);
            settled(self.hafail);
            self.under_load("3s", || {});
        }
    }

    /// The old primary is copied anew, into another directory.
    fn a_rewind_fails(&self) {
        let _chapter = chapter("a rewind fails");
        let before = primary(self.hafail);
        let tool = "/usr/lib/postgresql/15/bin/pg_rewind";
        let broken = format!(
            "mv {tool} {tool}.away; printf '#!/bin/sh\nexit 1\n' > {tool}; chmod 755 {tool}"
        );
        on_host(DEPLOYMENT, &before, &broken);
        let seen = self.under_load("20s", || cut(&before, &[], 8));
        assert_ne!(seen.primary, before);
        settled(self.hafail);
        let kept = "ls -d /var/lib/hafail/postgresql/15/data-* | wc -l";
        let directories = on_host(DEPLOYMENT, &before, kept);
        assert!(
            directories.trim() != "1",
            "the old directory is kept: {directories}"
        );
        let mended = format!(
            "mv {tool}.away {tool}; hafail guard order --config /etc/hafail/guard.json drop-kept"
        );
        on_host(DEPLOYMENT, &before, &mended);
    }

    /// The names move as well.
    fn a_region_goes_dark(&self) {
        let _chapter = chapter("the primary's region goes dark, and is back");
        let before = primary(self.hafail);
        let site = &before[..5];
        let hosts = ["db", "lb", "queue", "app"].map(|role| format!("{site}-{role}"));
        self.under_load_from(&other(&before)[..5], "30s", || {
            std::thread::scope(|scope| {
                for host in &hosts {
                    scope.spawn(|| account::power_off(DEPLOYMENT, host));
                }
            });
        });
        self.until_primary_is(other(&before));
        let begun = Instant::now();
        loop {
            let status = self.hafail.run(&["status"]);
            let names = format!("vote.example.org leads to {site}");
            if !status.stdout.contains(&names) {
                break;
            }
            assert!(
                begun.elapsed() < SETTLED,
                "the names did not move: {status}"
            );
        }
        for host in &hosts {
            account::power_on(DEPLOYMENT, host);
        }
        settled(self.hafail);
    }

    /// Lets a fault happen while writers work, and waits until all is well.
    fn under_load(&self, time: &str, fault: impl FnOnce()) -> Seen {
        let any = other(&primary(self.hafail))[..5].to_owned();
        self.under_load_from(&any, time, fault)
    }

    fn under_load_from(&self, site: &str, time: &str, fault: impl FnOnce()) -> Seen {
        // What an earlier fault left to do would be in the way of this one.
        settled(self.hafail);
        let directs = DATABASES.map(Direct::start);
        let arguments = [
            "load",
            "--sql",
            "--site",
            site,
            "--duration",
            time,
            "--every",
            "10ms",
        ];
        let mut load: Started = self.hafail.start(&arguments);
        load.until(|line| line.contains("accepted"));
        fault();
        let load: Ended = load.end();
        let load = load.json();
        for direct in directs {
            direct.stop();
        }
        assert_eq!(
            (&load["lost"], &load["phantom"]),
            (&0.into(), &0.into()),
            "{load}"
        );
        let longest_gap = load["longest_gap_ms"].as_u64().unwrap();
        assert!(longest_gap < RECOVERED, "{load}");
        eprintln!("      longest gap {longest_gap} ms, 0 lost");
        one_writer_at_a_time();
        Seen {
            longest_gap,
            primary: primary(self.hafail),
            load,
        }
    }

    fn until_primary_is(&self, wanted: &str) {
        let begun = Instant::now();
        while primary(self.hafail) != wanted {
            assert!(begun.elapsed() < SETTLED, "{wanted} is not primary");
        }
    }
}

/// Writes straight at a database, on its own host, waiting for no standby:
/// whatever it commits there says that the host accepted writes then.
struct Direct(&'static str);

const DIRECT: &str = "cat > /run/direct.sh <<'END'
echo $$ > /run/direct.pid
while :; do
    if psql --quiet --no-psqlrc -h /var/run/postgresql -U postgres -d postgres -c \"SET synchronous_commit = local; CREATE TABLE IF NOT EXISTS direct (n int); INSERT INTO direct VALUES (1)\" > /dev/null 2>&1; then
        date +%s%N >> /run/direct.log
    fi
    sleep 0.02
done
END
chmod 755 /run/direct.sh; touch /run/direct.log /run/direct.pid; chown postgres /run/direct.log /run/direct.pid
setsid --fork timeout 120 runuser -u postgres -- bash /run/direct.sh > /dev/null 2>&1 < /dev/null";

impl Direct {
    fn start(host: &'static str) -> Self {
        on_host(
            DEPLOYMENT,
            host,
            &format!("rm -f /run/direct.log; {DIRECT}"),
        );
        Self(host)
    }

    fn stop(&self) {
        // The host may be off: then its writer is gone as well.
        let script = "kill $(cat /run/direct.pid) || true";
        let _ = try_on_host(DEPLOYMENT, self.0, script);
    }
}

/// Commits of both hosts by the one clock that hosts of a lab share: where
/// the writer changes, it changes once.
fn one_writer_at_a_time() {
    let commits = |host: &str| -> Vec<u64> {
        let text = try_on_host(DEPLOYMENT, host, "cat /run/direct.log").stdout;
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let mut all: Vec<(u64, usize)> = Vec::new();
    for (index, host) in DATABASES.iter().enumerate() {
        all.extend(commits(host).into_iter().map(|at| (at, index)));
    }
    all.sort_unstable();
    let changes = all.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    assert!(
        changes <= 1,
        "the writer changed {changes} times: two accepted writes at once"
    );
}

/// Drops all packets from and to these networks, or all, for so many seconds.
fn cut(host: &str, networks: &[&str], seconds: u32) {
    let mut script = "nft add table inet cut; \
                      nft add chain inet cut i '{ type filter hook input priority -10; }'; \
                      nft add chain inet cut o '{ type filter hook output priority -10; }'; "
        .to_owned();
    if networks.is_empty() {
        script +=
            "nft add rule inet cut i iif != lo drop; nft add rule inet cut o oif != lo drop; ";
    }
    for network in networks {
        script += &format!(
            "nft add rule inet cut i ip saddr {network} drop; nft add rule inet cut o ip daddr {network} drop; "
        );
    }
    script += &format!("(sleep {seconds}; nft delete table inet cut) > /dev/null 2>&1 & disown");
    on_host(DEPLOYMENT, host, &script);
}

fn other(host: &str) -> &'static str {
    let found = DATABASES.iter().find(|it| **it != host);
    found.expect("there are two")
}

/// The primary, as the page says.
fn primary(hafail: &Hafail) -> String {
    let begun = Instant::now();
    loop {
        let status = hafail.run(&["status"]);
        if let Some(host) = status.json()["primary"].as_str() {
            return host.to_owned();
        }
        assert!(begun.elapsed() < SETTLED, "no primary: {status}");
    }
}

/// The host of the watcher that leads.
fn leader(hafail: &Hafail) -> String {
    let why = hafail.run(&["why", "--last", "1"]).with(0).json();
    why[0]["by"].as_str().expect("somebody decided").to_owned()
}

/// Both databases are in their roles, the standby confirms commits, and all
/// else follows.
fn settled(hafail: &Hafail) {
    hafail.healthy_but(&["dns-elsewhere"]);
}
