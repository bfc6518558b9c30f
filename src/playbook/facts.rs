//! What templates know: the topology, its hosts with their addresses, and
//! what follows from both.

use std::{collections::BTreeMap, time::Duration};

use minijinja::{Value, value::Serde};
use serde_json::{Map, Value as Json, json};

use crate::{
    ids::{HostName, SiteName},
    inventory::Inventory,
    topology::{Host, Role, Service, Site, Topology},
};

/// The facts of a deployment, the same for all playbooks of a run.
pub struct Facts {
    /// What is the same on all hosts.
    common: BTreeMap<String, Value>,
    /// What differs.
    own: BTreeMap<HostName, BTreeMap<String, Value>>,
    primary_site: SiteName,
}

impl Facts {
    /// Puts together all facts. `vars` are free; `primary_site` among them
    /// says which site is primary now, `topology.initial_primary` otherwise.
    #[must_use]
    pub fn new(topology: &Topology, inventory: &Inventory, vars: &BTreeMap<String, Json>) -> Self {
        let stated = vars.get("primary_site").and_then(Json::as_str);
        let primary_site = stated
            .and_then(|name| topology.sites.get(name))
            .map_or_else(
                || topology.initial_primary.clone(),
                |site| site.name.clone(),
            );
        let world = World {
            topology,
            inventory,
            primary: &primary_site,
        };
        let own = topology.hosts().map(|host| {
            let facts = world.of_host(host).into_iter().map(to_value);
            (host.name.clone(), facts.collect())
        });
        let mut common = world.common();
        common.insert("vars".to_owned(), json!(vars));
        Self {
            own: own.collect(),
            common: common.into_iter().map(to_value).collect(),
            primary_site,
        }
    }

    /// Everything that a template on that host may name, without secrets.
    #[must_use]
    pub fn of(&self, host: &HostName) -> BTreeMap<String, Value> {
        let mut facts = self.common.clone();
        if let Some(own) = self.own.get(host) {
            facts.extend(
                own.iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
        facts
    }

    /// The site whose database is primary.
    #[must_use]
    pub fn primary_site(&self) -> &SiteName {
        &self.primary_site
    }
}

fn to_value((name, json): (String, Json)) -> (String, Value) {
    (name, Value::from(Serde(json)))
}

struct World<'a> {
    topology: &'a Topology,
    inventory: &'a Inventory,
    primary: &'a SiteName,
}

impl World<'_> {
    fn common(&self) -> Map<String, Json> {
        let topology = self.topology;
        let mut by_role = Map::new();
        for role in Role::ALL {
            let hosts = topology.hosts_with(role).map(|host| self.host(host));
            by_role.insert(role.word().to_owned(), hosts.collect());
        }
        let first_of_primary = |role| {
            let mut hosts = topology.hosts_with(role);
            let found = hosts.find(|host| host.site == *self.primary);
            found.map_or(Json::Null, |host| self.host(host))
        };
        let standbys = topology.hosts_with(Role::Db);
        let standbys = standbys.filter(|host| host.site != *self.primary);
        let standbys: Vec<Json> = standbys.map(|host| self.host(host)).collect();
        let hosts: Vec<Json> = topology.hosts().map(|host| self.host(host)).collect();
        let sites: Vec<&SiteName> = topology.serving_sites().map(|site| &site.name).collect();
        object(json!({
            "topology": seconds(json!(topology)),
            "hosts": hosts,
            "hosts_by_role": by_role,
            "sites": sites,
            "primary_site": self.primary,
            "primary_host": first_of_primary(Role::Db),
            "primary_queue": first_of_primary(Role::Queue),
            "primary_lb": first_of_primary(Role::Lb),
            "standby_hosts": standbys,
            "containers": self.containers(),
            "store": self.store(),
            "inventory": self.inventory,
            "watchers": self.watchers(),
        }))
    }

    fn of_host(&self, host: &Host) -> Map<String, Json> {
        let topology = self.topology;
        let mut balancers = topology.hosts_with(Role::Lb);
        let balancer = balancers.find(|lb| lb.site == host.site);
        // Containers do not know the names of hosts.
        let entry = balancer.and_then(|lb| self.inventory.hosts.get(&lb.name));
        let lb = entry.map(|entry| entry.private_address);
        let ports = &topology.load_balancer;
        object(json!({
            "host": self.host(host),
            "site": host.site,
            "is_primary_site": host.site == *self.primary,
            "lb": { "host": lb },
            "queue": { "host": lb, "port": ports.queue_port },
            "database": {
                "host": lb,
                "port": ports.primary_port,
                "replica_port": ports.replica_port,
                "name": topology.database.name,
                "user": topology.database.user,
            },
        }))
    }

    fn host(&self, host: &Host) -> Json {
        let entry = self.inventory.hosts.get(&host.name);
        let region = self.topology.sites.get(&host.site);
        json!({
            "name": host.name,
            "site": host.site,
            "region": region.map(|site| &site.region),
            "roles": host.roles,
            "private_address": entry.map(|entry| entry.private_address),
            "public_address": entry.and_then(|entry| entry.public_address),
        })
    }

    /// The shared store of automatic coordination; without members where
    /// there is none.
    fn store(&self) -> Json {
        let topology = self.topology;
        let members = topology.store_members();
        let etcd = &topology.etcd;
        let urls = |port: u16| {
            let urls = members.iter();
            urls.map(move |host| format!("https://{}:{port}", host.name))
        };
        let names = members.iter().map(|host| host.name.as_str());
        let cluster = names.zip(urls(etcd.peer_port));
        let cluster: Vec<_> = cluster.map(|(name, url)| format!("{name}={url}")).collect();
        let terms = &topology.lease;
        json!({
            "members": members.iter().map(|host| self.host(host)).collect::<Vec<_>>(),
            "endpoints": urls(etcd.client_port).collect::<Vec<_>>(),
            "cluster": cluster.join(","),
            "prefix": format!("/hafail/{}/", topology.name),
            "heartbeat_ms": ms(etcd.heartbeat()),
            "election_ms": ms(etcd.election()),
            "terms": {
                "ttl_ms": ms(terms.ttl),
                "renew_every_ms": ms(terms.renew_every),
                "rpc_timeout_ms": ms(terms.rpc_timeout),
                "kill_time_ms": ms(terms.kill_time),
                "drift_margin_ms": ms(terms.drift_margin),
            },
        })
    }

    /// The hosts with a watcher: one in each place.
    fn watchers(&self) -> Vec<&HostName> {
        let members = self.topology.store_members().into_iter();
        members.map(|host| &host.name).collect()
    }

    fn containers(&self) -> Vec<Json> {
        let stack = &self.topology.stack;
        let sites = self.topology.sites.values();
        let placed = sites.flat_map(|site| stack.iter().map(move |service| (site, service)));
        placed
            .flat_map(|(site, service)| self.replicas(site, service))
            .collect()
    }

    /// The containers of a service in a site, dealt out to its app hosts.
    fn replicas(&self, site: &Site, service: &Service) -> Vec<Json> {
        let apps: Vec<&Host> = site.hosts.values().filter(|h| h.is(Role::App)).collect();
        if apps.is_empty() {
            return Vec::new();
        }
        let one = |n: usize| {
            let app = apps[n % apps.len()];
            let index = n / apps.len();
            let port = service.host_port.map(|first| usize::from(first) + index);
            let published = port.zip(service.container_port);
            let published = published.map(|(outer, inner)| format!("{outer}:{inner}"));
            let address = self.inventory.hosts.get(&app.name);
            json!({
                "name": format!("{}-{}", service.name, n + 1),
                "service": service.name,
                "host": app.name,
                "site": site.name,
                "address": address.map(|entry| entry.private_address),
                "index": index,
                "image": service.image,
                "command": service.command,
                "environment": service.environment,
                "port": port,
                "container_port": service.container_port,
                "ports": published.into_iter().collect::<Vec<_>>(),
                "health": health(service),
                "replicas": service.replicas,
            })
        };
        (0..service.replicas as usize).map(one).collect()
    }
}

/// How Docker asks; without a command it does not.
fn health(service: &Service) -> Json {
    let health = service.health.as_ref();
    let interval = health.map_or(Duration::from_secs(5), |health| health.interval);
    json!({
        "command": health.and_then(|health| health.command.as_deref()).unwrap_or_default(),
        "interval": seconds(json!(interval)),
    })
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

/// Durations, which serialise as seconds and nanoseconds, as one number of
/// seconds.
fn seconds(json: Json) -> Json {
    match json {
        Json::Object(map) => match duration(&map) {
            Some(number) => number,
            None => {
                let fields = map.into_iter().map(|(name, value)| (name, seconds(value)));
                Json::Object(fields.collect())
            }
        },
        Json::Array(list) => list.into_iter().map(seconds).collect(),
        other => other,
    }
}

fn duration(map: &Map<String, Json>) -> Option<Json> {
    let (secs, nanos) = (map.get("secs")?.as_u64()?, map.get("nanos")?.as_u64()?);
    match (map.len(), nanos) {
        (2, 0) => Some(json!(secs)),
        (2, _) => Some(json!(
            Duration::new(secs, u32::try_from(nanos).ok()?).as_secs_f64()
        )),
        _ => None,
    }
}
