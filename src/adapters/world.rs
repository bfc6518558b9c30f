//! The real world of a deployment, put together. Nothing is connected to
//! before it is used, and what cannot be reached is unknown, not an error.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use secrecy::SecretString;

use super::{
    aws::{Aws, Clients},
    clock::SystemClock,
    database::Login,
    direct::Direct,
    end_to_end::SiteWriters,
    etcd::{Etcd, EtcdError, Tls},
    front_doors::{self, SiteDoors},
    guard_client::{GuardClient, GuardClientError},
    guards::GuardLinks,
    machines::Instances,
    pki::PkiError,
    proxies::RuntimeApi,
    queues::RedisQueues,
    records::ZoneRecords,
    resolver::{DnsError, Resolver},
    secrets::{Vault, VaultError},
    ssh::{Deadlines, Ssh},
    watch_config::{WatchConfig, WatchConfigError, read},
};
use crate::{
    ids::HostName,
    inventory::Inventory,
    ports::{World, quorum::Quorum, remote::Remote},
    provision::{FoundHosts, find_inventory},
    topology::{Role, SecretName, Topology},
};

/// Where HAProxy listens for administration on every load balancer.
pub const ADMIN_SOCKET: &str = "/run/haproxy/admin.sock";

/// Limits of time for looking and operating: a host that is gone must not hold
/// up the others.
#[must_use]
pub fn quick() -> Deadlines {
    Deadlines {
        connect: Duration::from_millis(1500),
        authenticate: Duration::from_millis(1500),
        open: Duration::from_millis(1500),
    }
}

/// A deployment as it was found, with all ways to it.
#[derive(Clone)]
pub struct Deployment {
    /// The hosts, and why others are missing.
    pub found: FoundHosts,
    pub clients: Clients,
    pub resolver: Arc<Resolver>,
    pub remote: Arc<dyn Remote>,
    /// How the application logs in to its database.
    pub login: Login,
    pub world: World,
}

/// Why the way to a deployment could not be prepared. All of it is on this
/// machine; hosts that do not answer are no error.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("the secrets of the deployment cannot be used")]
    Vault(#[from] VaultError),
    #[error("the certificates of the deployment cannot be used")]
    Authority(#[from] PkiError),
    #[error("the operator's certificate cannot be used")]
    Guards(#[from] GuardClientError),
    #[error("TLS to the database cannot be prepared")]
    Tls(#[from] rustls::Error),
    #[error("the way to the shared store cannot be prepared")]
    Store(#[from] EtcdError),
    #[error("a file of the watcher cannot be used")]
    Files(#[from] WatchConfigError),
    #[error("names cannot be resolved")]
    Resolver(#[from] DnsError),
}

/// Asks the cloud for the hosts of the topology and prepares the ways to them.
///
/// # Errors
/// Secrets or certificates of this machine cannot be used.
pub async fn open(topology: &Topology, vault: &Vault) -> Result<Deployment, WorldError> {
    let clients = clients(topology).await;
    let cloud = Aws {
        clients: clients.clone(),
    };
    let found = find_inventory(topology, &cloud).await;
    connect(topology, found, vault, clients)
}

/// The clients for the regions of a topology; none for static hosts.
pub async fn clients(topology: &Topology) -> Clients {
    let sites = topology
        .sites
        .values()
        .filter(|site| site.network.is_some());
    Clients::new(sites.map(|site| site.region.clone())).await
}

/// Prepares the ways to the hosts that were found. Quick: connects to nothing.
///
/// # Errors
/// Secrets or certificates of this machine cannot be used.
pub fn connect(
    topology: &Topology,
    found: FoundHosts,
    vault: &Vault,
    clients: Clients,
) -> Result<Deployment, WorldError> {
    let ssh = Ssh::new(&found.inventory, vault.ssh_key()?).with_deadlines(quick());
    let remote: Arc<dyn Remote> = Arc::new(ssh);
    let operator = vault.operator_certificate()?;
    let tls = Tls {
        ca: operator.ca_pem,
        certificate: operator.cert_pem,
        key: operator.key_pem,
    };
    let members = topology.store_members().into_iter();
    let members: Vec<_> = members.map(|host| host.name.clone()).collect();
    let quorum: Option<Arc<dyn Quorum>> = match members.as_slice() {
        [] => None,
        _ => {
            let port = topology.etcd.client_port;
            Some(Arc::new(Etcd::through(
                &remote, members, port, &tls, FROM_AFAR,
            )?))
        }
    };
    let keys = Keys {
        tls,
        database: vault.secret(SecretName::DatabaseUser)?,
        queue: vault.secret(SecretName::QueuePassword)?,
    };
    let ways = Ways {
        topology,
        found: &found,
        remote: &remote,
        clients: &clients,
        keys,
    };
    let (resolver, login) = (Arc::new(Resolver::from_environment()?), ways.login()?);
    let world = ways.world(&resolver, &login, quorum)?;
    Ok(Deployment {
        found,
        clients,
        resolver,
        remote,
        login,
        world,
    })
}

/// How long the store may take to answer over SSH.
const FROM_AFAR: Duration = Duration::from_secs(3);

/// The world as a watcher on one of the hosts reaches it.
///
/// # Errors
/// Files of its configuration cannot be used.
pub async fn watched(topology: &Topology, config: &WatchConfig) -> Result<World, WorldError> {
    /// How long a connection between two hosts may take.
    const DIRECT: Duration = Duration::from_secs(1);
    let files = &config.tls;
    let tls = Tls {
        ca: read(&files.ca)?,
        certificate: read(&files.cert)?,
        key: read(&files.key)?,
    };
    let sockets = [(ADMIN_SOCKET.to_owned(), config.admin_port)].into();
    let direct = Direct::new(&config.inventory, sockets, &tls, DIRECT)?;
    let etcd = Etcd::new(&config.endpoints, &tls, topology.lease.rpc_timeout)?;
    let remote: Arc<dyn Remote> = Arc::new(direct);
    let ways = Ways {
        topology,
        found: &FoundHosts {
            inventory: config.inventory.clone(),
            ..FoundHosts::default()
        },
        remote: &remote,
        clients: &clients(topology).await,
        keys: Keys {
            tls,
            database: secret(&config.database_password)?,
            queue: secret(&config.queue_password)?,
        },
    };
    let (resolver, login) = (Arc::new(Resolver::from_environment()?), ways.login()?);
    ways.world(&resolver, &login, Some(Arc::new(etcd)))
}

/// The password in a file: its first line.
fn secret(path: &std::path::Path) -> Result<SecretString, WorldError> {
    let text = read(path)?;
    Ok(text.lines().next().unwrap_or_default().to_owned().into())
}

/// What opens the doors of a deployment.
struct Keys {
    tls: Tls,
    /// Password of the application's database user.
    database: SecretString,
    /// Password of the queues.
    queue: SecretString,
}

/// What a world is made from.
struct Ways<'a> {
    topology: &'a Topology,
    found: &'a FoundHosts,
    remote: &'a Arc<dyn Remote>,
    clients: &'a Clients,
    keys: Keys,
}

impl Ways<'_> {
    fn world(
        &self,
        resolver: &Arc<Resolver>,
        login: &Login,
        quorum: Option<Arc<dyn Quorum>>,
    ) -> Result<World, WorldError> {
        let (topology, inventory) = (self.topology, &self.found.inventory);
        Ok(World {
            inventory: inventory.clone(),
            guards: Arc::new(self.guards()?),
            machines: Arc::new(Instances::new(self.clients.clone(), topology, self.found)),
            records: Arc::new(ZoneRecords::of(
                self.clients.clone(),
                Arc::clone(resolver),
                topology,
            )),
            proxies: Arc::new(RuntimeApi::new(Arc::clone(self.remote), ADMIN_SOCKET)),
            queues: Arc::new(RedisQueues::new(
                Arc::clone(self.remote),
                topology.queue.port,
                self.keys.queue.clone(),
                queue_names(topology, inventory),
            )),
            end_to_end: Arc::new(SiteWriters::new(
                Arc::clone(self.remote),
                login.clone(),
                topology.load_balancer.primary_port,
                balancers(topology),
            )),
            front_doors: Arc::new(SiteDoors::new(
                Arc::clone(self.remote),
                balancers(topology),
                front_doors::doors(topology),
            )),
            clock: Arc::new(SystemClock::default()),
            quorum,
            rebuild: None,
        })
    }

    fn guards(&self) -> Result<GuardLinks, WorldError> {
        let tls = &self.keys.tls;
        let client = GuardClient::new(&tls.ca, &tls.certificate, &tls.key)?;
        let hosts = self.topology.hosts_with(Role::Db);
        let hosts = hosts.map(|host| host.name.clone());
        let port = self.topology.database.order_port;
        Ok(GuardLinks::new(
            Arc::clone(self.remote),
            client,
            port,
            hosts,
        ))
    }

    fn login(&self) -> Result<Login, WorldError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.keys.tls.ca.as_bytes()) {
            let certificate =
                certificate.map_err(|error| rustls::Error::General(error.to_string()))?;
            roots.add(certificate)?;
        }
        let databases = self.topology.hosts_with(Role::Db);
        let names: Vec<HostName> = databases.map(|host| host.name.clone()).collect();
        let (database, password) = (&self.topology.database, &self.keys.database);
        Ok(Login::new(database, password, roots, &names)?)
    }
}

fn queue_names(
    topology: &Topology,
    inventory: &Inventory,
) -> BTreeMap<std::net::Ipv4Addr, HostName> {
    let queues = topology.hosts_with(Role::Queue);
    let entries = queues.filter_map(|host| inventory.hosts.get(&host.name));
    entries
        .map(|entry| (entry.private_address, entry.name.clone()))
        .collect()
}

/// The load balancers of each site.
fn balancers(topology: &Topology) -> BTreeMap<crate::ids::SiteName, Vec<HostName>> {
    let sites = topology.sites.values();
    sites
        .map(|site| {
            let hosts = site.hosts.values().filter(|host| host.is(Role::Lb));
            (
                site.name.clone(),
                hosts.map(|host| host.name.clone()).collect(),
            )
        })
        .collect()
}
