//! From answers to a commented file.

use std::fmt;

use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;

/// How commits replicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// An acknowledged commit is on both sites.
    Synchronous,
    /// A failover may lose what had not been replicated.
    Asynchronous,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Synchronous => "synchronous",
            Self::Asynchronous => "asynchronous",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self {
            Self::Synchronous => "an acknowledged commit is on both sites",
            Self::Asynchronous => "commits do not wait; a failover may lose the newest",
        };
        write!(f, "{}: {meaning}", self.word())
    }
}

/// What the file depends on.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub name: String,
    /// One for each site.
    pub regions: Vec<String>,
    /// Without effect where there is one site.
    pub replication: Mode,
    /// Region of a witness: the watchers decide; none: the operator does.
    pub witness: Option<String>,
    pub zone: Option<String>,
    pub manage_zone: bool,
    pub registry: String,
    pub ssh_from: String,
    /// Machines that exist, instead of instances.
    pub existing: bool,
}

#[derive(Serialize)]
struct Site<'a> {
    name: String,
    number: usize,
    region: &'a str,
    hosts: Vec<Host>,
}

#[derive(Serialize)]
struct Host {
    name: &'static str,
    roles: &'static str,
    address: String,
    ssh_address: Option<String>,
}

/// Has the form of a key and fits no host.
const PLACEHOLDER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIREPLACETHISKEYREPLACETHISKEYREPLACETHISKEYR";

fn hosts(site: usize) -> Vec<Host> {
    let roles = [("lb", "bastion, lb"), ("app", "app"), ("queue", "queue"), ("db", "db")];
    let numbered = roles.into_iter().zip(11..);
    numbered
        .map(|((name, roles), number)| Host {
            name,
            roles,
            address: format!("10.{site}0.0.{number}"),
            // An address of the block for documentation.
            ssh_address: (name == "lb").then(|| format!("203.0.113.{site}{number}")),
        })
        .collect()
}

/// The file. What the answers hold is put in as it is: parse the result.
pub(super) fn render(answers: &Answers) -> String {
    let named = answers.regions.iter().zip(1..);
    let sites: Vec<_> = named
        .map(|(region, number)| Site {
            name: format!("site{number}"),
            number,
            region,
            hosts: hosts(number),
        })
        .collect();
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    let values = serde_json::json!({
        "name": answers.name,
        "replication": (sites.len() > 1).then(|| answers.replication.word()),
        "witness": answers.witness,
        "zone": answers.zone,
        "manage_zone": answers.manage_zone,
        "registry": answers.registry,
        "ssh_from": answers.ssh_from,
        "existing": answers.existing,
        "placeholder_key": PLACEHOLDER_KEY,
        "owner": "platform",
        "sites": sites,
    });
    let text = engine
        .render_str(include_str!("topology.yaml"), value(&values))
        .expect("the template uses only what stands above; a test renders it");
    text.trim_end().to_owned() + "\n"
}

/// As the template engine takes it.
fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => Value::from(number.as_u64().unwrap_or_default()),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(entries) => {
            Value::from_pairs(entries.iter().map(|(key, item)| (key.as_str(), value(item))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    fn answers(sites: usize, replication: Mode, zone: bool, existing: bool) -> Answers {
        Answers {
            witness: None,
            ..automatic(sites, replication, zone, existing)
        }
    }

    fn automatic(sites: usize, replication: Mode, zone: bool, existing: bool) -> Answers {
        let regions = ["eu-west-1", "us-east-1"].iter().take(sites);
        Answers {
            name: "shop".to_owned(),
            regions: regions.map(|region| (*region).to_owned()).collect(),
            replication,
            witness: Some("eu-central-1".to_owned()),
            zone: zone.then(|| "shop.example.org".to_owned()),
            manage_zone: zone,
            registry: "registry.example.org/team".to_owned(),
            ssh_from: "203.0.113.0/24".to_owned(),
            existing,
        }
    }

    #[test]
    fn every_combination_is_valid() {
        for sites in [1, 2] {
            for mode in [Mode::Synchronous, Mode::Asynchronous] {
                for (zone, existing) in [(false, false), (false, true), (true, false), (true, true)] {
                    let text = render(&answers(sites, mode, zone, existing));
                    let reading = Topology::read(&text, "topology.yaml");
                    let topology = reading.topology;
                    let problems = reading.problems;
                    let topology = topology.unwrap_or_else(|| panic!("{}\n{text}", problems.render()));
                    let surprising = problems.problems.iter().filter(|p| p.id != "placeholder");
                    assert_eq!(surprising.count(), 0, "{}\n{text}", problems.render());
                    assert_eq!(topology.sites.len(), sites);
                    assert_eq!(topology.dns.is_some(), zone);
                    assert_eq!(topology.provision.is_none(), existing);
                    assert_eq!(topology.hosts().count(), 4 * sites);
                    assert!(!text.contains("\n\n\n"), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_witness_makes_it_automatic() {
        for mode in [Mode::Synchronous, Mode::Asynchronous] {
            for (zone, existing) in [(false, true), (true, false)] {
                let text = render(&automatic(2, mode, zone, existing));
                let reading = Topology::read(&text, "topology.yaml");
                let problems = reading.problems;
                let topology = reading.topology.unwrap_or_else(|| panic!("{}\n{text}", problems.render()));
                let surprising = problems.problems.iter().filter(|p| p.id != "placeholder");
                assert_eq!(surprising.count(), 0, "{}\n{text}", problems.render());
                let members: Vec<_> = topology.store_members().iter().map(|host| host.name.as_str()).collect();
                assert_eq!(members, ["site1-lb", "site2-lb", "witness"]);
            }
        }
    }

    #[test]
    fn what_stays_to_be_filled_in_is_said() {
        let text = render(&answers(2, Mode::Synchronous, false, true));
        let reading = Topology::read(&text, "topology.yaml");
        let places = reading.problems.problems.iter().filter(|p| p.id == "placeholder");
        assert_eq!(places.count(), 1);
    }
}
