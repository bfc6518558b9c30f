//! The ground truth of the simulated world.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};

use crate::{
    coordination::SyncSet,
    ids::{HostName, SiteName},
    inventory::{HostEntry, Inventory, SshWay},
    right::Terms,
    topology::{Replication, Role, Topology},
};

use super::{
    check::Ledger, clients::Held, database::Database, guard::Guard, hosts::Hosts, machine::Machine,
    mutation::Mutation, network::Cuts, proxy::Proxy, queue::Queue, quorum::Quorum, zone::Zone,
};

mod sample;

pub use sample::{three_places, two_sites};

/// How a world is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub topology: Arc<Topology>,
    /// How long a log record takes to the other site.
    pub replication_delay: Duration,
    /// Clients write so often at each site while something happens.
    pub write_every: Duration,
    /// A defect that the checker must find.
    pub mutation: Option<Mutation>,
    /// Automatic mode, with these terms.
    pub automatic: Option<Terms>,
    /// Real watchers work in the three places, and operators with them.
    pub watched: bool,
    /// They are told to look and do nothing.
    pub observe: bool,
    /// Commits wait for a lost standby instead of going on without it.
    pub block_on_standby_loss: bool,
    /// What happens is told.
    pub story: bool,
}

impl Settings {
    /// Two sites and a witness, where everything goes by itself.
    #[must_use]
    pub fn automatic(replication: Replication) -> Self {
        Self {
            topology: Arc::new(three_places(replication)),
            automatic: Some(Terms::default()),
            ..Self::new(replication)
        }
    }

    /// The same with the real watchers.
    #[must_use]
    pub fn watched(replication: Replication) -> Self {
        let mut topology = three_places(replication);
        topology.coordination = crate::topology::Coordination::Etcd;
        Self {
            topology: Arc::new(topology),
            watched: true,
            ..Self::automatic(replication)
        }
    }

    /// Two sites, as usual.
    #[must_use]
    pub fn new(replication: Replication) -> Self {
        Self {
            topology: Arc::new(two_sites(replication)),
            replication_delay: Duration::from_millis(8),
            write_every: Duration::from_millis(40),
            mutation: None,
            automatic: None,
            watched: false,
            observe: false,
            block_on_standby_loss: false,
            story: true,
        }
    }
}

/// Everything that is so.
pub struct State {
    pub settings: Settings,
    pub machines: Hosts<Machine>,
    pub databases: Hosts<Database>,
    pub proxies: Hosts<Proxy>,
    pub queues: Hosts<Queue>,
    pub zone: Zone,
    /// The shared store; none in manual mode.
    pub quorum: Option<Quorum>,
    /// Who has every acknowledged commit, as the store says.
    pub(super) sync: Option<SyncSet>,
    /// Guards of automatic mode.
    pub guards: Hosts<Guard>,
    /// The two sites reach each other.
    pub linked: bool,
    /// Ways that are cut besides.
    pub cuts: Cuts,
    pub ledger: Ledger,
    /// Per thousand requests whose answer, or the request itself, is lost.
    pub unreliable: u64,
    /// Per thousand messages that arrive twice.
    pub doubling: u64,
    /// Writes that load balancers hold.
    pub(super) held: Vec<Held>,
    /// When the world next changes by itself.
    pub(super) due: Duration,
    touched: bool,
    /// The round of the clients that comes next.
    pub(super) ticks: u64,
    pub(super) sites: Vec<Place>,
}

/// The hosts of a site.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub site: SiteName,
    pub lb: HostName,
    pub db: HostName,
    pub queue: HostName,
}

impl Place {
    /// None: a witness, which serves nobody.
    fn of(topology: &Topology, site: &SiteName) -> Option<Self> {
        let host = |role| {
            let mut hosts = topology.hosts_with(role);
            let host = hosts.find(|host| &host.site == site);
            host.map(|host| host.name.clone())
        };
        Some(Self {
            site: site.clone(),
            lb: host(Role::Lb)?,
            db: host(Role::Db)?,
            queue: host(Role::Queue)?,
        })
    }
}

impl State {
    /// As the deploy left it: the initial primary, its standby streaming.
    #[must_use]
    pub fn healthy(settings: Settings) -> Self {
        let topology = settings.topology.clone();
        let names = |role| topology.hosts_with(role).map(|host| host.name.clone());
        let sites: Vec<_> = topology
            .sites
            .keys()
            .filter_map(|site| Place::of(&topology, site))
            .collect();
        let initial = sites
            .iter()
            .find(|place| place.site == topology.initial_primary);
        let initial = initial.expect("the initial primary's site is there");
        let (primary, active) = (initial.db.clone(), initial.queue.clone());
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
                .map(|host| {
                    let mut machine = Machine::deployed(host.site.clone());
                    machine.witness = host.is(Role::Witness);
                    (host.name.clone(), machine)
                })
                .collect(),
            databases: databases.collect(),
            proxies: names(Role::Lb)
                .map(|lb| (lb, Proxy::deployed(&topology)))
                .collect(),
            queues: queues.collect(),
            zone: Zone::deployed(&topology),
            sync: None,
            quorum: settings.automatic.map(|_| {
                let members = names(Role::Lb).chain(names(Role::Witness));
                Quorum::new(members.collect())
            }),
            guards: names(Role::Db)
                .map(|host| (host, Guard::default()))
                .collect(),
            linked: true,
            cuts: Cuts::default(),
            ledger: Ledger::default(),
            unreliable: 0,
            doubling: 0,
            held: Vec::new(),
            due: Duration::ZERO,
            touched: false,
            ticks: 0,
            sites,
            settings,
        }
    }

    /// Lets the log and the queues flow, and acknowledges what may be.
    pub fn settle(&mut self, now: Duration) {
        self.touched = false;
        self.due = Duration::MAX;
        self.replicate(now);
        self.acknowledge(now);
        self.copy_queues(now);
    }

    /// The same, where something has arrived or run out since the last time.
    pub(super) fn settle_if_due(&mut self, now: Duration) -> bool {
        let due = self.due <= now;
        if due {
            self.settle(now);
        }
        due
    }

    /// Something changes by itself at that time, and not before.
    pub(super) fn changes_at(&mut self, at: Duration) {
        self.due = self.due.min(at);
    }

    /// Somebody who only looks has changed something all the same.
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    pub(super) fn was_touched(&self) -> bool {
        self.touched
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

    /// The host of that role in a site.
    #[must_use]
    pub fn host_in(&self, site: &SiteName, role: Role) -> HostName {
        let place = self.place(site);
        match role {
            Role::Lb => place.lb.clone(),
            Role::Db => place.db.clone(),
            Role::Queue => place.queue.clone(),
            _ => panic!("no such hosts are simulated"),
        }
    }

    pub(super) fn place(&self, site: &SiteName) -> &Place {
        let mut places = self.sites.iter();
        let place = places.find(|place| &place.site == site);
        place.expect("a known site")
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
