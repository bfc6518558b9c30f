//! What one look of a leader stands on, for tests.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use crate::{
    decide::{Memory, Past, Policy, Reaction, Sight, Verdict, decide_automatically},
    ids::{Epoch, HostName},
    inventory::Inventory,
    observation::{
        Knowledge, Machine, MachineState, ProxyServer, ProxyStatus, RightHolder, ServerAdmin,
        Snapshot, StoreSight,
    },
    order::GuardStatus,
    topology::{Heal, Role, Topology},
};

/// Machines are healed after so many seconds.
pub const AFTER: u64 = 120;

pub fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn topology() -> Topology {
    let text = include_str!("../../../topologies/automatic.yaml");
    Topology::read(text, "automatic.yaml").topology.unwrap()
}

pub fn guard(name: &str, wanted: &serde_json::Value, postgres: &serde_json::Value) -> GuardStatus {
    let mut all = json!({
        "system_identifier": "7", "timeline": 1, "written": null, "received": null,
        "replayed": null, "shutdown_checkpoint": null, "streaming_from": null,
        "last_message_ms": null, "standbys": {}, "slots": {},
        "synchronous_standby_names": null, "problem": null,
    });
    let all_of = all.as_object_mut().unwrap();
    all_of.extend(postgres.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "host": name, "version": "0", "epoch": 3, "wanted": wanted, "postgres": all,
    }))
    .unwrap()
}

pub fn machine(state: MachineState) -> Knowledge<Machine> {
    Knowledge::Known(Machine {
        state,
        deposed: None,
        impaired: false,
    })
}

pub fn replicas(up: bool) -> ProxyStatus {
    let server = |up| ProxyServer {
        admin: ServerAdmin::Ready,
        up,
        sessions: 0,
    };
    let servers = [
        ("vote-1.site1-app".to_owned(), server(up)),
        ("vote-1.site2-app".to_owned(), server(true)),
    ];
    [("svc_vote".to_owned(), servers.into())].into()
}

/// What one look of a leader stands on: site1-db is primary, all is well.
pub struct Scene {
    pub topology: Topology,
    pub snapshot: Snapshot,
    pub past: Past,
    pub policy: Policy,
    pub memory: Memory,
}

impl Scene {
    pub fn new() -> Self {
        let topology = topology();
        let primary = guard("site1-db", &json!("primary"), &json!({"state": "primary"}));
        let standby = guard(
            "site2-db",
            &json!({"standby": {"upstream": "site1-db"}}),
            &json!({"state": "standby", "streaming_from": "site1-db"}),
        );
        let holder = RightHolder {
            host: host("site1-db"),
            epoch: Epoch(3),
        };
        let members = topology.store_members().into_iter();
        let store = StoreSight {
            primary: Some(holder.clone()),
            last: Some(holder),
            unreached: members
                .map(|it| (it.name.clone(), Default::default()))
                .collect(),
            ..StoreSight::default()
        };
        let known = |role| topology.hosts_with(role).map(|host| host.name.clone());
        let snapshot = Snapshot {
            taken: String::new(),
            guards: [primary, standby]
                .map(|guard| (guard.host.clone(), Knowledge::Known(guard)))
                .into(),
            machines: topology
                .hosts()
                .map(|host| (host.name.clone(), machine(MachineState::Running)))
                .collect(),
            proxies: known(Role::Lb)
                .map(|host| (host, Knowledge::Known(replicas(true))))
                .collect(),
            queues: BTreeMap::new(),
            records: BTreeMap::new(),
            writes: BTreeMap::new(),
            doors: BTreeMap::new(),
            store: Knowledge::Known(store),
        };
        let policy = Policy {
            heal: Heal {
                after: Duration::from_secs(AFTER),
                ..Heal::default()
            },
            ..Policy::default()
        };
        Self {
            topology,
            snapshot,
            past: Past::default(),
            policy,
            memory: Memory::default(),
        }
    }

    pub fn state(mut self, name: &str, state: MachineState) -> Self {
        self.snapshot.machines.insert(host(name), machine(state));
        self
    }

    pub fn store(&mut self) -> &mut StoreSight {
        match &mut self.snapshot.store {
            Knowledge::Known(store) => store,
            _ => unreachable!("it is known"),
        }
    }

    /// The machine runs, its cloud says that it does not work, and nobody
    /// reaches it.
    pub fn impaired(mut self, name: &str) -> Self {
        let name = host(name);
        if let Some(Knowledge::Known(machine)) = self.snapshot.machines.get_mut(&name) {
            machine.impaired = true;
        }
        if let Some(guard) = self.snapshot.guards.get_mut(&name) {
            *guard = Knowledge::unknown("no answer");
        }
        if let Some(proxy) = self.snapshot.proxies.get_mut(&name) {
            *proxy = Knowledge::unknown("no answer");
        }
        let store = self.store();
        store.unreached.remove(&name);
        for unreached in store.unreached.values_mut() {
            unreached.insert(name.clone());
        }
        self
    }

    pub fn look(&mut self, at: u64) -> Reaction {
        self.verdict(at).reaction
    }

    pub fn verdict(&mut self, at: u64) -> Verdict {
        let inventory = Inventory::default();
        let sight = Sight {
            topology: &self.topology,
            inventory: &inventory,
            snapshot: &self.snapshot,
            past: &self.past,
        };
        let now = Duration::from_secs(at);
        let verdict = decide_automatically(&sight, &self.policy, &self.memory, now);
        self.memory = verdict.memory.clone();
        verdict
    }
}
