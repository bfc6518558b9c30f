//! `static-hosts.yaml`: machines that exist. The lab makes them as another
//! deployment's instances, which this one knows nothing of.

use std::{fs, path::Path};

use serde_json::Value;

use super::{
    account,
    lab::{Hafail, chapter, cleared, explained, home, on_host, root, variant},
};

const MACHINES: &str = "machines";
const ZONE: &str = "vote.example.org";

pub fn story() {
    let directory = tempfile::tempdir().unwrap();
    let machines = machines(&directory.path().join("machines.yaml"));
    let file = directory.path().join("static-hosts.yaml");
    cleared(&machines, || {
        fs::write(&file, filled_in(&machines_are_made(&machines))).unwrap();
        explained(Some(&file), || are_used(&Hafail::topology(&file)));
        let _chapter = chapter("the machines are removed");
        machines.run(&["destroy", "--yes"]).with(0);
        account::is_empty();
    });
}

fn are_used(hafail: &Hafail) {
    refuses_without_a_zone(hafail);
    let _zone = account::Zone::make(ZONE);
    is_deployed(hafail);
    moves(hafail);
    loses_a_machine(hafail);
    is_left_alone(hafail);
}

/// Two regions under another name, without names in the DNS.
fn machines(file: &Path) -> Hafail {
    let file = variant(
        "two-regions.yaml",
        &[("name: two-regions", "name: machines")],
        file,
    );
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("\ndns:\n").unwrap();
    let (_, after) = rest.split_once("\nsecrets:").unwrap();
    fs::write(&file, format!("{before}\nsecrets:{after}")).unwrap();
    Hafail::topology(file)
}

fn machines_are_made(machines: &Hafail) -> Value {
    let _chapter = chapter("machines");
    let made = machines
        .run(&["deploy", "--provision-only", "--yes"])
        .with(0)
        .json();
    assert_eq!(
        made["hosts"]["hosts"].as_object().unwrap().len(),
        8,
        "{made}"
    );
    made["hosts"]["hosts"].clone()
}

/// The shipped file with what a user has to fill in.
fn filled_in(hosts: &Value) -> String {
    let text = fs::read_to_string(root().join("topologies/static-hosts.yaml")).unwrap();
    let key = home().join(MACHINES).join("secrets/id_ed25519");
    let (mut host, mut filled) = (&Value::Null, String::new());
    for line in text.lines() {
        let word = line.trim();
        if let Some(known) = word.strip_suffix(':').and_then(|name| hosts.get(name)) {
            host = known;
        }
        let value = |of: &Value| {
            of.as_str()
                .unwrap_or_else(|| panic!("{line}: {host}"))
                .to_owned()
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let line = match word.split_once(' ').map_or(word, |(first, _)| first) {
            "address:" => format!("{indent}address: {}", value(&host["private_address"])),
            "ssh_address:" => format!("{indent}ssh_address: {}", value(&host["public_address"])),
            "host_key:" => format!("{indent}host_key: \"{}\"", value(&host["ssh"]["host_key"])),
            "#" if word.starts_with("# ssh_key:") => format!("{indent}ssh_key: {}", key.display()),
            _ => line.replace("registry.example.org", "registry.lab.internal:5000"),
        };
        filled.push_str(&line);
        filled.push('\n');
    }
    assert!(!filled.contains("REPLACE"), "{filled}");
    filled
}

/// The zone is the user's own, and does not exist yet.
fn refuses_without_a_zone(hafail: &Hafail) {
    hafail.run(&["validate"]).with(0);
    let refused = hafail.fails(&["deploy", "--yes"], 4, "needs-decision");
    refused
        .says("the hosted zone vote.example.org does not exist")
        .says("leave `dns` out");
}

fn is_deployed(hafail: &Hafail) {
    let _chapter = chapter("deploy over them, again, votes");
    assert!(hafail.deploys() > 0);
    hafail.deploys_nothing();
    hafail.counts_every_vote();
    hafail.healthy();
}

fn moves(hafail: &Hafail) {
    let _chapter = chapter("switchover");
    let moved = hafail
        .run(&["failover", "--region", "hall-b", "--yes"])
        .with(0)
        .json();
    assert_eq!(moved["outcome"], "succeeded", "{moved}");
    assert_eq!(moved["kind"], "switchover", "{moved}");
    assert_eq!(moved["lost_bytes"], 0, "{moved}");
}

/// No cloud can prove that it is off: the operator has to vouch for it.
fn loses_a_machine(hafail: &Hafail) {
    let _chapter = chapter("a machine dies and comes back");
    account::power_off(MACHINES, "site2-db");
    let command = ["failover", "--region", "hall-a", "--yes"];
    hafail
        .fails(&command, 4, "no-proof")
        .says("--fenced-by-operator");
    let vouched = [
        &command[..],
        &["--fenced-by-operator", "it was switched off at its plug"],
    ]
    .concat();
    let moved = hafail.run(&vouched).with(0).json();
    assert_eq!(moved["outcome"], "succeeded", "{moved}");
    assert_eq!(moved["kind"], "failover", "{moved}");
    assert_eq!(moved["proof"]["kind"], "asserted-by-operator", "{moved}");
    assert_eq!(moved["lost_bytes"], 0, "{moved}");
    account::power_on(MACHINES, "site2-db");
    let rejoined = hafail.run(&["rejoin", "site2-db", "--yes"]).with(0).json();
    assert_eq!(rejoined["outcome"], "succeeded", "{rejoined}");
    hafail.healthy();
    hafail.deploys_nothing();
}

/// `destroy` takes back the records, and nothing of the machines.
fn is_left_alone(hafail: &Hafail) {
    let _chapter = chapter("destroy leaves the machines as they are");
    let before = account::count(MACHINES);
    hafail.run(&["destroy", "--yes"]).with(0);
    assert_eq!(account::count(MACHINES), before);
    assert_eq!(
        account::records(ZONE),
        ["NS", "SOA"],
        "only the zone's own records are left"
    );
    on_host(
        MACHINES,
        "site1-db",
        "systemctl is-active hafail-guard && pgrep -u postgres postgres",
    );
    on_host(MACHINES, "site1-lb", "systemctl is-active haproxy");
}
