//! What the user wants: the topology, read from one file, that cannot be
//! wrong. The raw shape with positions is in `raw`, the checks in `check`.

mod automatic;
mod check;
mod dns;
mod lower;
mod node;
mod problem;
mod raw;
mod read;
mod reading;
mod ready;
mod schema;
mod secret;
mod values;

pub use automatic::{CloudAccess, Etcd, Heal, HealMode, OnStandbyLoss, Watch, WatchMode};
pub use check::ENVIRONMENT_VARIABLES;
pub use dns::{ACTIVE_PATH, CHECK_ANSWER, CHECK_INTERVAL, Cutover, Dns, Record};
pub use problem::{Position, Problem, Problems, Severity};
pub use reading::Reading;
pub use ready::Surroundings;
pub use schema::schema;
pub use secret::{SecretName, SecretSource};

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, time::Duration};

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::{
    ids::{HostName, Region, SiteName},
    right::Terms,
};

/// One description of everything: sites, hosts, database, queue, stack, load
/// balancers and DNS. All references are resolved and all limits checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Topology {
    /// Names the deployment; the value of the tag `hafail:topology`.
    pub name: String,
    pub objectives: Objectives,
    pub coordination: Coordination,
    /// The lease of the primary, in automatic coordination.
    pub lease: Terms,
    pub etcd: Etcd,
    pub watch: Watch,
    pub access: Access,
    /// Absent when every host is an existing machine.
    pub provision: Option<Provision>,
    pub sites: BTreeMap<SiteName, Site>,
    /// The site whose database is primary at the first deploy.
    pub initial_primary: SiteName,
    pub database: Database,
    pub queue: Queue,
    /// Services in the order in which they are started.
    pub stack: Vec<Service>,
    pub load_balancer: LoadBalancer,
    pub dns: Option<Dns>,
    /// Secrets that do not come from generation, by name.
    pub secrets: BTreeMap<SecretName, SecretSource>,
    /// Tags for every resource that is made.
    pub tags: BTreeMap<String, String>,
}

impl Topology {
    /// Whether watchers fail over by themselves, under leases.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.coordination == Coordination::Etcd
    }
}

/// What the user promises to theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Objectives {
    /// Time from the loss of the primary to the first accepted write.
    pub rto: Duration,
    /// Age of the newest acknowledged write that may be lost.
    pub rpo: Duration,
}

/// Who may decide on a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Coordination {
    /// The operator, by command, with a fencing proof.
    Manual,
    /// The watchers, through the store in three places.
    Etcd,
}

/// How hosts are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Access {
    pub ssh_user: String,
    /// Networks from which the bastions accept SSH.
    pub ssh_from: Vec<Ipv4Net>,
    /// The private key; generated at the first deploy when absent.
    pub ssh_key: Option<PathBuf>,
}

/// How instances are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provision {
    pub image: ImageFilter,
    /// Make one NAT gateway for each site, so that private hosts can install
    /// packages and pull images.
    pub nat_gateway: bool,
}

/// Finds the newest machine image of an owner by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageFilter {
    /// AWS account of the owner.
    pub owner: String,
    /// Name with `*` as wildcard.
    pub name: String,
}

/// One site: a region, its network and its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    pub name: SiteName,
    /// For static hosts, a label of the place.
    pub region: Region,
    /// Absent for static hosts.
    pub network: Option<Network>,
    pub hosts: BTreeMap<HostName, Host>,
}

/// The network of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    pub cidr: Ipv4Net,
    pub subnets: BTreeMap<String, Subnet>,
}

/// A subnet of a site, in one availability zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subnet {
    pub name: String,
    pub zone: String,
    pub cidr: Ipv4Net,
    pub public: bool,
}

/// What a host does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reached by SSH from outside; the way to the private hosts of its site.
    Bastion,
    /// HAProxy.
    Lb,
    /// Containers of the stack.
    App,
    /// Redis.
    Queue,
    /// PostgreSQL and the guard.
    Db,
    /// The third place of automatic coordination.
    Witness,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Bastion,
        Self::Lb,
        Self::App,
        Self::Queue,
        Self::Db,
        Self::Witness,
    ];

    /// The role as topologies write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bastion => "bastion",
            Self::Lb => "lb",
            Self::App => "app",
            Self::Queue => "queue",
            Self::Db => "db",
            Self::Witness => "witness",
        }
    }
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    pub name: HostName,
    pub site: SiteName,
    /// At least one.
    pub roles: std::collections::BTreeSet<Role>,
    pub place: Place,
}

impl Host {
    /// Whether the host has the role.
    #[must_use]
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// Where a host comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// An instance to be made.
    Instance {
        instance_type: String,
        /// Name of a subnet of the site.
        subnet: String,
        /// Fixed private address inside the subnet.
        address: Option<Ipv4Addr>,
        /// Size of the root volume in GiB.
        disk_gib: u32,
    },
    /// An existing machine.
    Static {
        /// Address of the host for other hosts.
        private_address: Ipv4Addr,
        /// Address for SSH from here; none: through the bastion of the site.
        ssh_address: Option<String>,
        ssh_port: u16,
        /// OpenSSH public host key, such as `ssh-ed25519 AAAA…`.
        host_key: String,
    },
}

/// How commits replicate to the other site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Replication {
    /// An acknowledged commit is on both sites.
    Synchronous,
    /// A failover may lose what had not been replicated.
    Asynchronous,
}

/// The PostgreSQL database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Major version, such as 15.
    pub version: u32,
    pub port: u16,
    pub name: String,
    /// Login role of the application; owner of the database.
    pub user: String,
    pub replication: Replication,
    /// Bytes of log that an asynchronous candidate may lack.
    pub maximum_lag_on_failover: u64,
    pub on_standby_loss: OnStandbyLoss,
    /// Extra settings of PostgreSQL.
    pub parameters: BTreeMap<String, String>,
    /// Port of the guard for role questions over HTTP (Patroni's 8008).
    pub guard_port: u16,
    /// Port of the guard for orders over mutual TLS.
    pub order_port: u16,
}

/// The Redis queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    pub port: u16,
    /// `true`: an accepted vote is confirmed by the replica in the other site.
    pub replicated: bool,
}

/// One containerised service of the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Such as `vote`; the prefix of container names.
    pub name: String,
    pub image: String,
    /// Command and arguments; the image's own when empty.
    pub command: Vec<String>,
    /// Containers for each site, spread over its app hosts.
    pub replicas: u32,
    /// Port inside the container that the load balancer reaches; none for
    /// services that are not served.
    pub container_port: Option<u16>,
    /// First port on the app host; replica n of a host gets port + n.
    pub host_port: Option<u16>,
    /// Where the load balancer listens for it.
    pub public_port: Option<u16>,
    /// Values may use `{{ queue.host }}` and the like.
    pub environment: BTreeMap<String, String>,
    pub health: Option<HealthCheck>,
}

/// How Docker and the load balancer ask for a service's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// HTTP path that answers 200 when ready.
    pub path: String,
    /// Command inside the container; none: no Docker health check.
    pub command: Option<String>,
    pub interval: Duration,
}

/// How requests spread over replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Replicas of the own site; those of other sites when none is up.
    LocalFirst,
    /// Replicas of all sites alike.
    AllReplicas,
}

/// The HAProxy of each site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancer {
    pub balance: Balance,
    /// Statistics page `/stats`, `/metrics` and `/active`.
    pub statistics_port: u16,
    /// The writable PostgreSQL.
    pub primary_port: u16,
    /// Any streaming standby within the lag, else the primary.
    pub replica_port: u16,
    /// The active queue.
    pub queue_port: u16,
    /// How long new database connections wait for a primary before refusal.
    pub hold: Duration,
}

/// What a record answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordTarget {
    Active,
    Site(SiteName),
}

impl Topology {
    /// All hosts of all sites, in order of site and name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.sites.values().flat_map(|site| site.hosts.values())
    }

    /// The hosts that have `role`.
    pub fn hosts_with(&self, role: Role) -> impl Iterator<Item = &Host> {
        self.hosts().filter(move |host| host.is(role))
    }

    /// The host of that name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts().find(|host| host.name.as_str() == name)
    }

    /// The site in that region; names of sites are accepted too.
    #[must_use]
    pub fn site_in(&self, region_or_site: &str) -> Option<&Site> {
        self.sites.values().find(|site| {
            site.region.as_str() == region_or_site || site.name.as_str() == region_or_site
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_topology_reads() {
        let text = include_str!("../topologies/two-regions.yaml");
        let reading = Topology::read(text, "topologies/two-regions.yaml");
        assert!(reading.topology.is_some(), "{}", reading.problems.render());
        let topology = reading.topology.unwrap();
        assert_eq!(topology.hosts().count(), 8);
        assert_eq!(topology.stack[0].name, "vote");
    }
}
