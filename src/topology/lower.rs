//! From raw records in which the checks found nothing wrong to the topology.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Access, Balance, Coordination, Cutover, Database, Dns, Etcd, HealthCheck, Host, ImageFilter,
    LoadBalancer, Network, Objectives, Place, Provision, Queue, Record, RecordTarget, Replication,
    SecretName, SecretSource, Service, Site, Subnet, Topology, raw,
    read::{At, Entries},
    values::{Plain, Port, Time},
};
use super::{Heal, OnStandbyLoss, Watch};
use crate::{
    ids::{HostName, SiteName},
    right::Terms,
};

/// Makes the topology; none only where a problem was reported before.
pub(super) fn lower(raw: &raw::Topology, folder: &Path) -> Option<Topology> {
    let objectives = raw.objectives.get()?;
    let sites = raw.sites.get()?.0.iter();
    let sites: BTreeMap<_, _> = sites
        .map(|(key, raw)| {
            let name = SiteName::try_from(key.text.clone()).ok()?;
            Some((name.clone(), site(name, &raw.value)?))
        })
        .collect::<Option<_>>()?;
    let services = raw.stack.get()?.0.iter();
    let serving = sites.values().filter(|site: &&Site| site.serves()).count();
    let etcd = etcd(raw);
    Some(Topology {
        name: raw.name.get()?.0.clone(),
        objectives: Objectives {
            rto: objectives.rto.get()?.0,
            rpo: objectives.rpo.get()?.0,
        },
        coordination: or(&raw.coordination, Coordination::Manual),
        lease: lease(raw, &etcd).unwrap_or_default(),
        etcd,
        watch: watch(raw),
        access: access(raw.access.get()?, folder)?,
        provision: optional(&raw.provision, |raw| {
            let image = raw.image.get()?;
            Some(Provision {
                image: ImageFilter {
                    owner: image.owner.get()?.clone(),
                    name: image.name.get()?.clone(),
                },
                nat_gateway: or(&raw.nat_gateway, true),
            })
        })?,
        initial_primary: raw.initial_primary.get()?.clone(),
        database: database(raw.database.get()?),
        queue: Queue {
            port: port(&raw.queue.get()?.port, 6379),
            replicated: or(&raw.queue.get()?.replicated, serving > 1),
        },
        stack: services
            .map(|(key, raw)| service(&key.text, &raw.value))
            .collect::<Option<_>>()?,
        load_balancer: load_balancer(raw.load_balancer.get()?),
        dns: optional(&raw.dns, dns)?,
        secrets: match &raw.secrets {
            Some(at) => secrets(&at.value, folder),
            None => BTreeMap::new(),
        },
        tags: plain(&raw.tags),
        sites,
    })
}

/// The value, or what stands for its absence.
fn or<T: Copy>(field: &Option<At<T>>, default: T) -> T {
    field.as_ref().map_or(default, |at| at.value)
}

pub(super) fn port(field: &Option<At<Port>>, default: u16) -> u16 {
    or(field, Port(default)).0
}

fn time(field: &Option<At<Time>>, default: Duration) -> Duration {
    or(field, Time(default)).0
}

/// An optional part: none inside where absent, none outside where wrong.
#[expect(clippy::option_option, reason = "absent and wrong are different")]
fn optional<R, T>(field: &Option<At<R>>, lower: impl FnOnce(&R) -> Option<T>) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(at) => lower(&at.value).map(Some),
    }
}

fn plain(field: &Option<At<Entries<Plain>>>) -> BTreeMap<String, String> {
    let entries = field.iter().flat_map(|at| &at.value.0);
    entries
        .map(|(key, at)| (key.text.clone(), at.value.0.clone()))
        .collect()
}

/// Paths are relative to the topology file; `~/` is left to whoever opens
/// them, who knows the home.
pub(super) fn path(text: &str, folder: &Path) -> PathBuf {
    if text.starts_with("~/") {
        PathBuf::from(text)
    } else {
        folder.join(text)
    }
}

fn access(raw: &raw::Access, folder: &Path) -> Option<Access> {
    let networks = raw.ssh_from.iter().flat_map(|at| &at.value.0);
    Some(Access {
        ssh_user: raw.ssh_user.get()?.clone(),
        ssh_from: networks.map(|at| at.value.0).collect(),
        ssh_key: raw.ssh_key.as_ref().map(|at| path(&at.value, folder)),
    })
}

fn site(name: SiteName, raw: &raw::Site) -> Option<Site> {
    let hosts = raw.hosts.get()?.0.iter();
    let subnets = raw.subnets.iter().flat_map(|at| &at.value.0);
    let subnets =
        subnets.map(|(key, raw)| Some((key.text.clone(), subnet(&key.text, &raw.value)?)));
    let network = match &raw.cidr {
        None => None,
        Some(cidr) => Some(Network {
            cidr: cidr.value.0,
            subnets: subnets.collect::<Option<_>>()?,
        }),
    };
    Some(Site {
        region: raw.region.get()?.clone(),
        network,
        hosts: hosts
            .map(|(key, raw)| {
                let host = host(&key.text, &name, &raw.value)?;
                Some((host.name.clone(), host))
            })
            .collect::<Option<_>>()?,
        name,
    })
}

fn subnet(name: &str, raw: &raw::Subnet) -> Option<Subnet> {
    Some(Subnet {
        name: name.to_owned(),
        zone: raw.zone.get()?.0.clone(),
        cidr: raw.cidr.get()?.0,
        public: or(&raw.public, false),
    })
}

fn host(name: &str, site: &SiteName, raw: &raw::Host) -> Option<Host> {
    let place = match &raw.host_key {
        Some(key) => Place::Static {
            private_address: raw.address.as_ref()?.value,
            ssh_address: raw.ssh_address.as_ref().map(|at| at.value.clone()),
            ssh_port: port(&raw.ssh_port, 22),
            host_key: key.value.clone(),
        },
        None => Place::Instance {
            instance_type: raw.r#type.as_ref()?.value.clone(),
            subnet: raw.subnet.as_ref()?.value.0.clone(),
            address: raw.address.as_ref().map(|at| at.value),
            disk_gib: or(&raw.disk_gib, 20),
        },
    };
    Some(Host {
        name: HostName::try_from(name.to_owned()).ok()?,
        site: site.clone(),
        roles: raw.roles.get()?.0.iter().map(|at| at.value).collect(),
        place,
    })
}

fn database(raw: &raw::Database) -> Database {
    let text = |field: &Option<At<String>>, default: &str| {
        field.as_ref().map_or(default, |at| &at.value).to_owned()
    };
    Database {
        version: or(&raw.version, 15),
        port: port(&raw.port, 5432),
        name: text(&raw.name, "postgres"),
        user: text(&raw.user, "vote"),
        replication: or(&raw.replication, Replication::Asynchronous),
        maximum_lag_on_failover: raw
            .maximum_lag_on_failover
            .as_ref()
            .map_or(1 << 20, |at| at.value.0),
        on_standby_loss: or(&raw.on_standby_loss, OnStandbyLoss::Degrade),
        parameters: plain(&raw.parameters),
        guard_port: port(&raw.guard_port, 8008),
        order_port: port(&raw.order_port, 8009),
    }
}

pub(super) fn etcd(raw: &raw::Topology) -> Etcd {
    let default = Etcd::default();
    let Some(raw) = &raw.etcd else { return default };
    let raw = &raw.value;
    Etcd {
        client_port: port(&raw.client_port, default.client_port),
        peer_port: port(&raw.peer_port, default.peer_port),
        round_trip: time(&raw.round_trip, default.round_trip),
    }
}

/// The terms as stated; what is not follows from `ttl`, and that from the
/// objective. None: no lease meets the objective.
pub(super) fn lease(raw: &raw::Topology, etcd: &Etcd) -> Option<Terms> {
    let stated = raw.lease.as_ref().map(|at| &at.value);
    let ttl = stated.and_then(|raw| raw.ttl.as_ref());
    let base = match ttl {
        Some(ttl) => Terms::of(ttl.value.0),
        None => {
            let rto = raw.objectives.get()?.rto.get()?.0;
            let terms = Terms::within(rto, etcd.outage())?;
            (terms.ttl >= etcd.shortest_lease()).then_some(terms)?
        }
    };
    Some(terms(base, stated))
}

/// The terms of a base with what is stated of them, but for `ttl`.
pub(super) fn terms(base: Terms, stated: Option<&raw::Lease>) -> Terms {
    let Some(raw) = stated else { return base };
    Terms {
        ttl: base.ttl,
        renew_every: time(&raw.renew_every, base.renew_every),
        rpc_timeout: time(&raw.rpc_timeout, base.rpc_timeout),
        kill_time: time(&raw.kill_time, base.kill_time),
        drift_margin: time(&raw.drift_margin, base.drift_margin),
    }
}

fn watch(raw: &raw::Topology) -> Watch {
    let default = Watch::default();
    let Some(raw) = &raw.watch else {
        return default;
    };
    let raw = &raw.value;
    let text = |field: &Option<At<String>>| field.as_ref().map(|at| at.value.clone());
    Watch {
        mode: or(&raw.mode, default.mode),
        failover_cooldown: time(&raw.failover_cooldown, default.failover_cooldown),
        heal: heal(raw.heal.as_ref().map(|at| &at.value)),
        cloud_access: or(&raw.cloud_access, default.cloud_access),
        admin_port: port(&raw.admin_port, default.admin_port),
        webhook: text(&raw.webhook),
        sns_topic: text(&raw.sns_topic),
    }
}

/// Healing with its defaults.
pub(super) fn heal(raw: Option<&raw::Heal>) -> Heal {
    let default = Heal::default();
    let Some(raw) = raw else { return default };
    Heal {
        mode: or(&raw.mode, default.mode),
        after: time(&raw.after, default.after),
        at_most: or(&raw.at_most, default.at_most),
        within: time(&raw.within, default.within),
    }
}

fn service(name: &str, raw: &raw::Service) -> Option<Service> {
    let port = |field: &Option<At<Port>>| field.as_ref().map(|at| at.value.0);
    let command = raw.command.iter().flat_map(|at| &at.value.0);
    Some(Service {
        name: name.to_owned(),
        image: raw.image.get()?.clone(),
        command: command.map(|at| at.value.0.clone()).collect(),
        replicas: or(&raw.replicas, 1),
        container_port: port(&raw.container_port),
        host_port: port(&raw.host_port),
        public_port: port(&raw.public_port),
        environment: plain(&raw.environment),
        health: optional(&raw.health, |raw| {
            Some(HealthCheck {
                path: raw.path.get()?.clone(),
                command: raw.command.as_ref().map(|at| at.value.clone()),
                interval: time(&raw.interval, Duration::from_secs(2)),
            })
        })?,
    })
}

fn load_balancer(raw: &raw::LoadBalancer) -> LoadBalancer {
    LoadBalancer {
        balance: or(&raw.balance, Balance::LocalFirst),
        statistics_port: port(&raw.statistics_port, 8404),
        primary_port: port(&raw.primary_port, 5000),
        replica_port: port(&raw.replica_port, 5001),
        queue_port: port(&raw.queue_port, 6379),
        hold: time(&raw.hold, Duration::from_secs(10)),
    }
}

fn dns(raw: &raw::Dns) -> Option<Dns> {
    let records = raw.records.get()?.0.iter();
    Some(Dns {
        zone: raw.zone.get()?.clone(),
        manage_zone: or(&raw.manage_zone, false),
        cutover: or(&raw.cutover, Cutover::Upsert),
        failure_threshold: or(&raw.failure_threshold, 1),
        records: records.map(|at| record(&at.value)).collect::<Option<_>>()?,
    })
}

fn record(raw: &raw::Record) -> Option<Record> {
    let target = raw.target.get()?;
    Some(Record {
        name: raw.name.get()?.clone(),
        ttl: time(&raw.ttl, Duration::from_secs(5)),
        target: match target.0.as_str() {
            "active" => RecordTarget::Active,
            site => RecordTarget::Site(site.parse().ok()?),
        },
    })
}

fn secrets(raw: &raw::Secrets, folder: &Path) -> BTreeMap<SecretName, SecretSource> {
    let source = |raw: &raw::Secret| match raw {
        raw::Secret::Generated => SecretSource::Generated,
        raw::Secret::Stated(place) => match (&place.file, &place.environment) {
            (Some(file), _) => SecretSource::File(path(&file.value, folder)),
            (None, Some(variable)) => SecretSource::Environment(variable.value.clone()),
            (None, None) => SecretSource::Generated,
        },
    };
    raw.named()
        .into_iter()
        .filter_map(|(name, field)| Some((name, source(&field.as_ref()?.value))))
        .collect()
}

impl raw::Secrets {
    /// The secrets with their names.
    pub(super) fn named(&self) -> [(SecretName, &Option<At<raw::Secret>>); 6] {
        [
            (SecretName::DatabaseSuperuser, &self.database_superuser),
            (SecretName::DatabaseReplication, &self.database_replication),
            (SecretName::DatabaseRewind, &self.database_rewind),
            (SecretName::DatabaseUser, &self.database_user),
            (SecretName::QueuePassword, &self.queue_password),
            (SecretName::StatisticsPassword, &self.statistics_password),
        ]
    }
}
