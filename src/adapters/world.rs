//! The real world of a deployment, put together. Nothing is connected to
//! before it is used, and what cannot be reached is unknown, not an error.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    aws::{Aws, Clients},
    clock::SystemClock,
    database::Login,
    end_to_end::SiteWriters,
    etcd::{Etcd, EtcdError, Tls},
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

/// How long the store may take, the way there included.
const STORE_PATIENCE: Duration = Duration::from_secs(4);

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
    #[error("names cannot be resolved")]
    Resolver(#[from] DnsError),
    #[error("the certificates for the store cannot be used")]
    Store(#[from] EtcdError),
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
    let inventory = &found.inventory;
    let ssh = Ssh::new(inventory, vault.ssh_key()?).with_deadlines(quick());
    let remote: Arc<dyn Remote> = Arc::new(ssh);
    let resolver = Arc::new(Resolver::from_environment()?);
    let login = login(topology, vault)?;
    let world = World {
        inventory: inventory.clone(),
        guards: Arc::new(guards(topology, vault, &remote)?),
        machines: Arc::new(Instances::new(clients.clone(), topology, &found)),
        records: Arc::new(ZoneRecords::new(
            clients.clone(),
            Arc::clone(&resolver),
            topology.dns.as_ref().map(|dns| dns.zone.clone()),
        )),
        proxies: Arc::new(RuntimeApi::new(Arc::clone(&remote), ADMIN_SOCKET)),
        queues: Arc::new(RedisQueues::new(
            Arc::clone(&remote),
            topology.queue.port,
            vault.secret(SecretName::QueuePassword)?,
            queue_names(topology, inventory),
        )),
        end_to_end: Arc::new(SiteWriters::new(
            Arc::clone(&remote),
            login.clone(),
            topology.load_balancer.primary_port,
            balancers(topology),
        )),
        clock: Arc::new(SystemClock::default()),
        quorum: store(topology, vault, &remote)?,
    };
    Ok(Deployment {
        found,
        clients,
        resolver,
        remote,
        login,
        world,
    })
}

fn guards(
    topology: &Topology,
    vault: &Vault,
    remote: &Arc<dyn Remote>,
) -> Result<GuardLinks, WorldError> {
    let operator = vault.operator_certificate()?;
    let client = GuardClient::new(&operator.ca_pem, &operator.cert_pem, &operator.key_pem)?;
    let hosts = topology.hosts_with(Role::Db).map(|host| host.name.clone());
    let port = topology.database.order_port;
    Ok(GuardLinks::new(Arc::clone(remote), client, port, hosts))
}

/// The shared store of automatic coordination.
fn store(
    topology: &Topology,
    vault: &Vault,
    remote: &Arc<dyn Remote>,
) -> Result<Option<Arc<dyn Quorum>>, WorldError> {
    let members = topology.store_members().into_iter();
    let members: Vec<HostName> = members.map(|host| host.name.clone()).collect();
    if members.is_empty() {
        return Ok(None);
    }
    let operator = vault.operator_certificate()?;
    let tls = Tls {
        ca: operator.ca_pem.clone(),
        certificate: operator.cert_pem.clone(),
        key: operator.key_pem.clone(),
    };
    let port = topology.etcd.client_port;
    let store = Etcd::through(remote, members, port, &tls, STORE_PATIENCE)?;
    Ok(Some(Arc::new(store)))
}

fn login(topology: &Topology, vault: &Vault) -> Result<Login, WorldError> {
    let authority = vault.authority()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.certificate_pem().as_bytes()) {
        let certificate = certificate.map_err(|error| rustls::Error::General(error.to_string()))?;
        roots.add(certificate)?;
    }
    let databases = topology.hosts_with(Role::Db).map(|host| host.name.clone());
    let password = vault.secret(SecretName::DatabaseUser)?;
    let names: Vec<HostName> = databases.collect();
    Ok(Login::new(&topology.database, &password, roots, &names)?)
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
