//! Names that health checks move: they follow a switchover, a failover and
//! the loss of a site while Route 53's control plane refuses everything.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Instant,
};

use hafail::adapters::resolver::ask;
use serde_json::Value;

use super::{
    account::{self, Faults, lab_api},
    lab::{Hafail, chapter, keeps, until, variable, variant},
};

const DEPLOYMENT: &str = "automatic";
const NAMES: [&str; 2] = ["vote.example.org", "result.vote.example.org"];
/// A long lease, because this is no story of speed; the next failover needs
/// no acknowledgement.
const CHANGES: [(&str, &str); 3] = [
    ("  rto: 10s ", "  rto: 30s "),
    ("failover_cooldown: 10m", "failover_cooldown: 1s"),
    (
        "  manage_zone: true",
        "  manage_zone: true\n  cutover: health-check",
    ),
];

/// What the control plane of Route 53 can be asked.
const CONTROL_PLANE: [&str; 12] = [
    "ChangeResourceRecordSets",
    "ListResourceRecordSets",
    "GetChange",
    "GetHostedZone",
    "ListHostedZones",
    "ListHostedZonesByName",
    "ListHealthChecks",
    "GetHealthCheck",
    "UpdateHealthCheck",
    "ListTagsForResource",
    "ListTagsForResources",
    "ChangeTagsForResource",
];

pub fn topology(directory: &Path) -> PathBuf {
    variant("automatic.yaml", &CHANGES, &directory.join("checked.yaml"))
}

pub fn story(topology: &Path) {
    let hafail = Hafail::topology(topology);
    {
        let _chapter = chapter("deploy, and again");
        hafail.deploys();
        hafail.deploys_nothing();
        hafail.healthy();
        lead_to(&hafail, &site_of(&hafail.primary()));
    }
    a_switchover(&hafail);
    the_database_is_lost(&hafail);
    the_site_is_lost(&hafail);
    if !keeps() {
        let _chapter = chapter("destroy");
        hafail.run(&["destroy", "--yes"]).with(0);
        account::is_empty();
    }
}

fn a_switchover(hafail: &Hafail) {
    let _chapter = chapter("a switchover without a control plane");
    let to = other(&site_of(&hafail.primary()));
    let refused = Faults::of(&CONTROL_PLANE, "ServiceUnavailable");
    lab_api("DELETE", "calls", "");
    let region = if to == "site1" {
        "eu-west-1"
    } else {
        "us-east-1"
    };
    let report = hafail
        .run(&["failover", "--region", region, "--yes"])
        .with(0);
    let report = report.json();
    let kinds: Vec<_> = report["steps"].as_array().unwrap().iter().collect();
    let has = |kind: &str| kinds.iter().any(|step| step["kind"] == kind);
    assert!(has("await-checks") && !has("move-records"), "{report}");
    assert_eq!(report["dns"]["authoritative"], true, "{report}");
    lead_to(hafail, &to);
    let calls: Vec<Value> = serde_json::from_str(&lab_api("GET", "calls", "")).unwrap();
    let changed = calls.iter().filter(|call| {
        let action = call["action"].as_str().unwrap_or_default();
        CONTROL_PLANE.contains(&action) && call["changes"] == true
    });
    assert_eq!(changed.count(), 0, "{calls:?}");
    drop(refused);
    hafail.healthy();
}

/// Nobody is needed; the names go to where the writer is.
fn the_database_is_lost(hafail: &Hafail) {
    let _chapter = chapter("power cut of the primary");
    let before = hafail.primary();
    let refused = Faults::of(&CONTROL_PLANE, "ServiceUnavailable");
    account::power_off(DEPLOYMENT, &before);
    lead_to(hafail, &other(&site_of(&before)));
    drop(refused);
    account::power_on(DEPLOYMENT, &before);
    hafail.healthy();
}

fn the_site_is_lost(hafail: &Hafail) {
    let _chapter = chapter("the primary's region goes dark, and is back");
    let before = hafail.primary();
    let site = site_of(&before);
    let hosts = ["db", "lb", "queue", "app"].map(|role| format!("{site}-{role}"));
    let refused = Faults::of(&CONTROL_PLANE, "ServiceUnavailable");
    std::thread::scope(|scope| {
        for host in &hosts {
            scope.spawn(|| account::power_off(DEPLOYMENT, host));
        }
    });
    lead_to(hafail, &other(&site));
    drop(refused);
    for host in &hosts {
        account::power_on(DEPLOYMENT, host);
    }
    hafail.healthy();
}

/// Waits until the zone's server answers every name with that site's address.
#[track_caller]
fn lead_to(hafail: &Hafail, site: &str) {
    let begun = Instant::now();
    // As the deployment has them; names of sites never move.
    let wanted = answer(&format!("{site}.vote.example.org")).expect("the site has a name");
    until(|| {
        let answers = NAMES.map(answer);
        let all = answers.iter().flatten().filter(|it| **it == wanted).count();
        match all == NAMES.len() {
            true => Ok(()),
            false => Err(format!(
                "{NAMES:?} answer {answers:?}, not {wanted:?}: {}",
                hafail.run(&["status"])
            )),
        }
    });
    eprintln!(
        "      names lead to {site} after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
}

fn answer(name: &str) -> Option<BTreeSet<Ipv4Addr>> {
    let server: SocketAddr = variable("HAFAIL_RESOLVERS").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let asked = runtime.unwrap().block_on(ask(server, name, true));
    asked.ok().map(|answer| answer.addresses)
}

fn site_of(host: &str) -> String {
    host.split('-').next().unwrap().to_owned()
}

fn other(site: &str) -> String {
    if site == "site1" { "site2" } else { "site1" }.to_owned()
}
