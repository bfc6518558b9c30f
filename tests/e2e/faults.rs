//! Real faults under automatic mode, with writers at work: nobody is needed,
//! nothing acknowledged is lost, and no two databases accept writes at once.
//! Each fault ends by itself on its host, even where the test dies.
//!
//! `HAFAIL_FAULTS` tells only those whose names contain one of its words.

#[path = "faults/databases.rs"]
mod databases;
#[path = "faults/disks.rs"]
mod disks;
#[path = "faults/hosts.rs"]
mod hosts;
#[path = "faults/links.rs"]
mod links;
#[path = "faults/operators.rs"]
mod operators;
#[path = "faults/watchers.rs"]
mod watchers;
#[path = "faults/writers.rs"]
mod writers;

use std::{cell::RefCell, path::Path, time::Duration};

use super::{
    account,
    lab::{Hafail, chapter, keeps, on_host, until, variant},
};
use writers::Seen;

const DEPLOYMENT: &str = "automatic";
const DATABASES: [&str; 2] = ["site1-db", "site2-db"];
/// A lease that a busy machine does not lose, because these are no stories of
/// speed; less to run; the next failover needs no acknowledgement.
const CHANGES: [(&str, &str); 3] = [
    ("  rto: 10s ", "  rto: 14s "),
    ("replicas: 3", "replicas: 1"),
    ("failover_cooldown: 10m", "failover_cooldown: 1s"),
];

/// The process of the guard, and of the watcher, in a script.
const GUARD: &str = "$(systemctl show --property MainPID --value hafail-guard)";
const WATCHER: &str = "$(systemctl show --property MainPID --value hafail-watch)";

/// Where the deployment is described, for explanations as well.
pub fn topology(directory: &Path) -> std::path::PathBuf {
    variant("automatic.yaml", &CHANGES, &directory.join("faults.yaml"))
}

/// A name, and what happens.
pub type Story = (&'static str, fn(&World<'_>));

macro_rules! stories {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((stringify!($name), $module::$name)),*]
    };
}

/// Told in every test run.
pub const SOME: &[Story] = stories![
    databases::postgresql_is_killed,
    databases::the_guard_is_killed,
    databases::postgresql_is_frozen,
    hosts::power_cut_of_the_primary,
    links::the_primary_is_cut_off,
    links::the_sites_are_cut_from_each_other,
    watchers::the_leader_dies_in_the_middle,
    hosts::a_region_goes_dark,
];

/// Told by `scripts/faults` besides.
pub const OTHERS: &[Story] = stories![
    databases::the_guard_is_frozen,
    databases::postgresql_dies_again_and_again,
    databases::a_standby_stops_streaming,
    databases::a_rewind_fails,
    hosts::the_primary_stands_still,
    hosts::the_standby_loses_power,
    hosts::the_promoted_primary_dies_as_well,
    hosts::both_databases_lose_power,
    hosts::a_wall_clock_is_moved,
    hosts::a_second_fault_during_another,
    links::the_primary_is_not_heard,
    links::the_primary_hears_nothing,
    links::the_link_of_the_primary_flaps,
    links::a_region_is_cut_off,
    watchers::the_witness_is_lost,
    watchers::the_store_loses_its_majority,
    watchers::the_leader_dies_after_each_step,
    operators::nothing_is_done_while_paused,
    operators::the_old_primary_is_back_during_a_switchover,
    disks::a_disk_is_full,
    disks::a_full_disk_is_left_by_hand,
    disks::a_disk_hangs,
];

/// Deploys, tells these stories, and destroys unless told to keep.
pub fn story(topology: &Path, stories: &[Story]) {
    let hafail = Hafail::topology(topology);
    {
        let _chapter = chapter("deploy");
        hafail.deploys();
        settled(&hafail);
    }
    let world = World {
        hafail: &hafail,
        figures: RefCell::default(),
    };
    let wanted = std::env::var("HAFAIL_FAULTS").unwrap_or_default();
    let is_wanted = |name: &str| wanted.split(',').any(|word| name.contains(word));
    for (name, tell) in stories.iter().filter(|(name, _)| is_wanted(name)) {
        let title = name.replace('_', " ");
        let _chapter = chapter(&title);
        world.begin(&title);
        tell(&world);
    }
    world.print_figures();
    if !keeps() {
        hafail.run(&["destroy", "--yes"]).with(0);
        account::is_empty();
    }
}

/// The deployed system.
pub struct World<'a> {
    hafail: &'a Hafail,
    /// By story: the longest time in which nothing was accepted, from the
    /// fault on, through the load balancer of each site.
    figures: RefCell<Vec<(String, Vec<Seen>)>>,
}

impl World<'_> {
    fn begin(&self, title: &str) {
        self.figures
            .borrow_mut()
            .push((title.to_owned(), Vec::new()));
    }

    /// A fault while writers work for so many seconds; then all is well again.
    fn under_load(&self, seconds: u64, fault: impl FnOnce()) -> Seen {
        // What an earlier fault left to do would be in the way of this one.
        settled(self.hafail);
        let seen = writers::work(self.hafail, Duration::from_secs(seconds), fault);
        eprintln!("      {seen}");
        if let Some((_, all)) = self.figures.borrow_mut().last_mut() {
            all.push(seen.clone());
        }
        seen
    }

    /// Something that happens while writers work.
    fn while_writing(&self, seconds: u64, what: impl FnOnce()) {
        let seen = writers::work(self.hafail, Duration::from_secs(seconds), what);
        eprintln!("      {seen}");
    }

    /// A fault after which the other database is primary.
    fn fails_over(&self, seconds: u64, fault: impl FnOnce(&str)) -> String {
        let before = self.hafail.primary();
        let seen = self.under_load(seconds, || fault(&before));
        assert_ne!(seen.primary, before, "nothing was failed over: {seen}");
        before
    }

    /// A fault that leaves the primary where it is.
    fn stays(&self, seconds: u64, fault: impl FnOnce(&str)) -> Seen {
        let before = self.hafail.primary();
        let seen = self.under_load(seconds, || fault(&before));
        assert_eq!(seen.primary, before, "failed over without need: {seen}");
        seen
    }

    fn until_primary_is(&self, wanted: &str) {
        let lacks = format!("{wanted} is not primary");
        self.hafail.until_status(&lacks, |status| {
            (status.json()["primary"] == wanted).then_some(())
        });
    }

    /// Gives a command that may be refused yet, until it succeeds.
    fn until_done(&self, command: &[&str]) {
        until(|| match self.hafail.run(command) {
            ended if ended.code == Some(0) => Ok(()),
            ended => Err(ended.to_string()),
        });
    }

    /// How many failovers have ended.
    fn failovers(&self) -> usize {
        let history = self.hafail.run(&["history"]).with(0).json();
        let runs = history.as_array().into_iter().flatten();
        runs.filter(|run| run["kind"] == "failover" && run["ended"].is_string())
            .count()
    }

    fn until_failed_over(&self, before: usize) {
        until(|| match self.failovers() == before {
            true => Err("no failover has ended".to_owned()),
            false => Ok(()),
        });
    }

    fn print_figures(&self) {
        eprintln!("\n    longest time without an accepted commit, ms");
        for (title, seen) in self.figures.borrow().iter() {
            for seen in seen {
                eprintln!("    {title:<48} {}", seen.gaps());
            }
        }
    }
}

/// Drops all packets from and to these networks, or all, for so many seconds.
fn cut(host: &str, networks: &[&str], seconds: u32) {
    let mut rules = Vec::new();
    if networks.is_empty() {
        rules.push("i iif != lo drop".to_owned());
        rules.push("o oif != lo drop".to_owned());
    }
    for network in networks {
        rules.push(format!("i ip saddr {network} drop"));
        rules.push(format!("o ip daddr {network} drop"));
    }
    filter(host, &rules, seconds);
}

/// Puts rules into the chains `i` (in) and `o` (out) for so many seconds.
fn filter(host: &str, rules: &[String], seconds: u32) {
    let mut script = "nft add table inet cut; \
                      nft add chain inet cut i '{ type filter hook input priority -10; }'; \
                      nft add chain inet cut o '{ type filter hook output priority -10; }'; "
        .to_owned();
    for rule in rules {
        script += &format!("nft add rule inet cut {rule}; ");
    }
    script += &format!("(sleep {seconds}; nft delete table inet cut) > /dev/null 2>&1 & disown");
    on_host(DEPLOYMENT, host, &script);
}

/// All but the stream of the log goes on between the databases.
fn stops_streaming(standby: &str, seconds: u32) {
    let port = ["i tcp sport 5432 drop", "o tcp dport 5432 drop"];
    filter(standby, &port.map(str::to_owned), seconds);
}

fn other(host: &str) -> &'static str {
    let found = DATABASES.iter().find(|it| **it != host);
    found.expect("there are two")
}

/// `site1` of `site1-db`.
fn site(host: &str) -> &str {
    &host[..5]
}

fn region(host: &str) -> &'static str {
    match site(host) {
        "site1" => "eu-west-1",
        _ => "us-east-1",
    }
}

fn hosts_of(site: &str) -> [String; 4] {
    ["db", "lb", "queue", "app"].map(|role| format!("{site}-{role}"))
}

/// Both databases are in their roles, the standby confirms commits, and all
/// else follows.
fn settled(hafail: &Hafail) {
    hafail.healthy_but(&["dns-elsewhere"]);
}

/// Cuts the power of these hosts at once.
fn power_off(hosts: &[impl AsRef<str> + Sync]) {
    std::thread::scope(|scope| {
        for host in hosts {
            scope.spawn(|| account::power_off(DEPLOYMENT, host.as_ref()));
        }
    });
}
