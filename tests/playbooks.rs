//! Every playbook that is shipped can be filled in for the topologies that are
//! shipped: nothing undefined, no secret in the wrong place.

use std::{collections::BTreeMap, path::Path};

use hafail::{
    configure::{Library, Options, Request, Secrets, Source, Tls, prepare},
    inventory::{HostEntry, Inventory, SshWay},
    playbook::SECRETS,
    topology::Topology,
};

fn inventory(topology: &Topology) -> Inventory {
    let hosts = topology.hosts().zip(10_u8..).map(|(host, last)| {
        let entry = HostEntry {
            name: host.name.clone(),
            site: host.site.clone(),
            region: topology.sites[&host.site].region.clone(),
            instance_id: None,
            private_address: [10, 0, 0, last].into(),
            public_address: None,
            ssh: SshWay {
                user: "admin".to_owned(),
                address: host.name.to_string(),
                port: 22,
                host_key: "ssh-ed25519 AAAA".to_owned(),
                jump: None,
            },
        };
        (host.name.clone(), entry)
    });
    Inventory {
        hosts: hosts.collect(),
    }
}

fn secrets(topology: &Topology) -> Secrets {
    let tls = topology.hosts().map(|host| {
        let tls = Tls {
            ca: "ca".to_owned(),
            cert: "cert".to_owned(),
            key: "key".to_owned().into(),
        };
        (host.name.clone(), tls)
    });
    Secrets {
        values: SECRETS
            .iter()
            .map(|name| ((*name).to_owned(), format!("value of {name}").into()))
            .collect(),
        tls: tls.collect(),
    }
}

#[test]
fn every_playbook_fits_every_topology() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = Library::open(&Source::Directory(root.join("playbooks"))).unwrap();
    let program = root.join("Cargo.toml").display().to_string();
    let vars = [
        ("agent_binary", program.as_str()),
        ("agent_machine", "x86_64"),
        ("agent_libc", "2.36"),
        ("topology_file", program.as_str()),
        ("aws_endpoint", "http://cloud.example"),
        ("resolvers", ""),
    ];
    let vars: BTreeMap<String, serde_json::Value> = vars
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in std::fs::read_dir(root.join("topologies")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let topology = Topology::parse(&text, &path.display().to_string()).unwrap();
        let (inventory, secrets) = (inventory(&topology), secrets(&topology));
        for (playbook, description) in library.list() {
            assert!(!description.is_empty(), "{playbook} has a description");
            let prepared = prepare(&Request {
                library: &library,
                playbook: &playbook,
                topology: &topology,
                inventory: &inventory,
                secrets: &secrets,
                vars: vars.clone(),
                options: Options::default(),
            });
            if let Err(error) = prepared {
                wrong.push(format!("{playbook} with {}:\n{error}", topology.name));
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
