//! The ground truth of the simulated world.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use crate::{
    ids::{HostName, SiteName},
    inventory::{HostEntry, Inventory, SshWay},
    topology::{Replication, Role, Topology},
};

use super::{
    check::Ledger, database::Database, machine::Machine, mutation::Mutation, proxy::Proxy,
    queue::Queue, zone::Zone,
};

mod sample;

pub use sample::two_sites;

/// How a world is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub topology: Topology,
    /// How long a log record takes to the other site.
    pub replication_delay: Duration,
    /// Clients write so often at each site.
    pub write_every: Duration,
    /// A defect that the checker must find.
    pub mutation: Option<Mutation>,
}

impl Settings {
    /// Two sites, as usual.
    #[must_use]
    pub fn new(replication: Replication) -> Self {
        Self {
            topology: two_sites(replication),
            replication_delay: Duration::from_millis(8),
            write_every: Duration::from_millis(40),
            mutation: None,
        }
    }
}

/// Everything that is so.
pub struct State {
    pub settings: Settings,
    pub machines: BTreeMap<HostName, Machine>,
    pub databases: BTreeMap<HostName, Database>,
    pub proxies: BTreeMap<HostName, Proxy>,
    pub queues: BTreeMap<HostName, Queue>,
    pub zone: Zone,
    /// The sites reach each other.
    pub linked: bool,
    pub ledger: Ledger,
    /// Per thousand requests whose answer, or the request itself, is lost.
    pub unreliable: u64,
}

impl State {
    /// As the deploy left it: the initial primary, its standby streaming.
    #[must_use]
    pub fn healthy(settings: Settings) -> Self {
        let topology = settings.topology.clone();
        let names = |role| topology.hosts_with(role).map(|host| host.name.clone());
        let primary = in_site(&topology, &topology.initial_primary, Role::Db);
        let active = in_site(&topology, &topology.initial_primary, Role::Queue);
        let databases = names(Role::Db).map(|host| {
            let others: Vec<_> = names(Role::Db).filter(|other| *other != host).collect();
            let database = Database::deployed(&topology, &host, &primary, others);
            (host, database)
        });
        let queues = names(Role::Queue).map(|host| {
            let queue = Queue::deployed((host != active).then(|| active.clone()));
            (host, queue)
        });
        Self {
            machines: topology
                .hosts()
                .map(|host| (host.name.clone(), Machine::deployed(host.site.clone())))
                .collect(),
            databases: databases.collect(),
            proxies: names(Role::Lb)
                .map(|lb| (lb, Proxy::deployed(&topology)))
                .collect(),
            queues: queues.collect(),
            zone: Zone::deployed(&topology),
            linked: true,
            ledger: Ledger::default(),
            unreliable: 0,
            settings,
        }
    }

    /// Lets the log and the queues flow, and acknowledges what may be.
    pub fn settle(&mut self, now: Duration) {
        self.replicate(now);
        self.acknowledge(now);
        self.copy_queues(now);
    }

    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.settings.topology
    }

    #[must_use]
    pub fn is_on(&self, host: &HostName) -> bool {
        self.machines[host].on
    }

    #[must_use]
    pub fn site_of(&self, host: &HostName) -> SiteName {
        self.machines[host].site.clone()
    }

    /// Both run, and packets pass between them.
    #[must_use]
    pub fn connected(&self, one: &HostName, other: &HostName) -> bool {
        let (one, other) = (&self.machines[one], &self.machines[other]);
        one.on && other.on && (self.linked || one.site == other.site)
    }

    /// The host of that role in a site.
    #[must_use]
    pub fn host_in(&self, site: &SiteName, role: Role) -> HostName {
        in_site(self.topology(), site, role)
    }

    /// What provisioning would have found.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        let entry = |(index, host): (usize, &crate::topology::Host)| {
            let last = u8::try_from(index + 10).expect("few hosts");
            let public = host.is(Role::Lb).then(|| Ipv4Addr::new(203, 0, 113, last));
            let entry = HostEntry {
                name: host.name.clone(),
                site: host.site.clone(),
                region: self.topology().sites[&host.site].region.clone(),
                instance_id: Some(format!("i-{last:08x}")),
                private_address: Ipv4Addr::new(10, 0, 0, last),
                public_address: public,
                ssh: SshWay {
                    user: "admin".to_owned(),
                    address: host.name.to_string(),
                    port: 22,
                    host_key: String::new(),
                    jump: None,
                },
            };
            (host.name.clone(), entry)
        };
        Inventory {
            hosts: self.topology().hosts().enumerate().map(entry).collect(),
        }
    }

    /// Addresses of the load balancers of a site.
    #[must_use]
    pub fn addresses(&self, site: &SiteName) -> BTreeSet<Ipv4Addr> {
        let inventory = self.inventory();
        let entries = inventory.hosts.values().filter(|entry| &entry.site == site);
        entries.filter_map(|entry| entry.public_address).collect()
    }
}

fn in_site(topology: &Topology, site: &SiteName, role: Role) -> HostName {
    let host = topology.hosts_with(role).find(|host| &host.site == site);
    host.expect("each site has each role").name.clone()
}
