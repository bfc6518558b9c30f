//! The keys of a topology file, as written. The comments here become the
//! descriptions in the JSON Schema.

mod automatic;

use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    Balance, Coordination, Cutover, OnStandbyLoss, Replication, Role,
    node::{Node, Value},
    problem::PLAIN_SECRET,
    read::{At, Entries, Field, List, Read, Reader, Required, field_name, record},
    values::{Cidr, Label, Plain, Port, Size, Time},
};
use crate::ids::{Region, SiteName};

pub(super) use automatic::{Etcd, Heal, Lease, Watch};

record! {
    /// One description of everything: sites, hosts, database, queue, stack,
    /// load balancers and DNS.
    Topology {
        /// Names the deployment; every resource carries it as a tag.
        name: Required<Label>,
        /// What you promise to your users.
        objectives: Required<Objectives>,
        /// Who decides on a failover; `manual`: the operator, by command;
        /// `etcd`: the watchers, through a store in three places.
        coordination: Option<At<Coordination>>,
        /// The lease of the primary; it follows from `objectives.rto` where
        /// left out.
        lease: Option<At<Lease>>,
        /// The store of automatic coordination.
        etcd: Option<At<Etcd>>,
        /// The watchers of automatic coordination.
        watch: Option<At<Watch>>,
        /// How hosts are reached by SSH.
        access: Required<Access>,
        /// How instances are made; leave it out where all hosts exist.
        provision: Option<At<Provision>>,
        /// The site whose database is primary at the first deploy.
        initial_primary: Required<SiteName>,
        /// The sites by name, each a region with its network and hosts.
        sites: Required<Entries<Site>>,
        /// The PostgreSQL database.
        database: Required<Database>,
        /// The Redis queue.
        queue: Required<Queue>,
        /// Containerised services by name, in the order they are started.
        stack: Required<Entries<Service>>,
        /// The HAProxy of each site.
        load_balancer: Required<LoadBalancer>,
        /// The hosted zone; leave it out to keep DNS by other means.
        dns: Option<At<Dns>>,
        /// Where secrets come from; those not named here are generated at the
        /// first deploy.
        secrets: Option<At<Secrets>>,
        /// Tags for every resource that is made.
        tags: Option<At<Entries<Plain>>>,
    }
}

record! {
    /// What you promise to your users.
    Objectives {
        /// Time from the loss of the primary to the first accepted write.
        rto: Required<Time>,
        /// Age of the newest acknowledged write that may be lost.
        rpo: Required<Time>,
    }
}

record! {
    /// How hosts are reached by SSH.
    Access {
        /// User of the image or machine; must be able to become root.
        ssh_user: Required<String>,
        /// Networks from which the bastions accept SSH.
        ssh_from: Option<At<List<Cidr>>>,
        /// The private key, absolute, below `~/` or relative to this file;
        /// generated at the first deploy when absent.
        ssh_key: Option<At<String>>,
    }
}

record! {
    /// How instances are made.
    Provision {
        /// Finds the newest machine image.
        image: Required<Image>,
        /// Make one NAT gateway for each site, so that private hosts can
        /// install packages and pull images. Default: true.
        nat_gateway: Option<At<bool>>,
    }
}

record! {
    /// Finds the newest machine image of an owner by its name.
    Image {
        /// AWS account of the owner, in quotes.
        owner: Required<String>,
        /// Name of the image, with `*` as wildcard.
        name: Required<String>,
    }
}

record! {
    /// One site: a region, its network and its hosts.
    Site {
        /// The cloud region; for existing hosts, a label of the place.
        region: Required<Region>,
        /// The private network; leave it out where all hosts exist.
        cidr: Option<At<Cidr>>,
        /// Subnets by name.
        subnets: Option<At<Entries<Subnet>>>,
        /// Hosts by name.
        hosts: Required<Entries<Host>>,
    }
}

record! {
    /// A subnet of a site, in one availability zone.
    Subnet {
        /// Availability zone, such as eu-west-1a.
        zone: Required<Label>,
        /// A part of the site's network.
        cidr: Required<Cidr>,
        /// Has a route to the internet. Default: false.
        public: Option<At<bool>>,
    }
}

record! {
    /// One host: an instance to be made (`type` and `subnet`), or an existing
    /// machine (`address` and `host_key`).
    Host {
        /// What the host does.
        roles: Required<List<Role>>,
        /// Instance type, such as t3.small.
        r#type: Option<At<String>>,
        /// Name of a subnet of the site.
        subnet: Option<At<Label>>,
        /// Size of the root volume in GiB. Default: 20.
        disk_gib: Option<At<u32>>,
        /// Address for the other hosts: of an existing machine, or a fixed
        /// one inside the subnet.
        address: Option<At<Ipv4Addr>>,
        /// Existing machine: name or address for SSH from the operator;
        /// without it, SSH goes through the bastion of the site.
        ssh_address: Option<At<String>>,
        /// Existing machine: port of SSH. Default: 22.
        ssh_port: Option<At<Port>>,
        /// Existing machine: its OpenSSH public host key, such as
        /// `ssh-ed25519 AAAA…`.
        host_key: Option<At<String>>,
    }
}

record! {
    /// The PostgreSQL database.
    Database {
        /// Major version. Default: 15.
        version: Option<At<u32>>,
        /// Default: 5432.
        port: Option<At<Port>>,
        /// Name of the database. Default: postgres.
        name: Option<At<String>>,
        /// Login role of the application and owner of the database.
        /// Default: vote.
        user: Option<At<String>>,
        /// `synchronous`: an acknowledged commit is on both sites.
        /// `asynchronous`: a failover may lose what had not been replicated.
        /// Left out where there is one site.
        replication: Option<At<Replication>>,
        /// Bytes of log that an asynchronous candidate may lack.
        /// Default: 1MiB.
        maximum_lag_on_failover: Option<At<Size>>,
        /// What a primary does whose synchronous standby is lost, in
        /// automatic coordination; `degrade`: it goes on alone; `block`: its
        /// writes wait. Default: degrade.
        on_standby_loss: Option<At<OnStandbyLoss>>,
        /// Extra settings of PostgreSQL.
        parameters: Option<At<Entries<Plain>>>,
        /// Port of the guard for role questions over HTTP. Default: 8008.
        guard_port: Option<At<Port>>,
        /// Port of the guard for orders over mutual TLS. Default: 8009.
        order_port: Option<At<Port>>,
    }
}

record! {
    /// The Redis queue.
    Queue {
        /// Default: 6379.
        port: Option<At<Port>>,
        /// `true`: an accepted vote is confirmed by the replica in the other
        /// site. Default: true where there are two sites.
        replicated: Option<At<bool>>,
    }
}

record! {
    /// One containerised service of the stack.
    Service {
        /// Container image with its tag.
        image: Required<String>,
        /// Command and arguments; the image's own when left out.
        command: Option<At<List<Plain>>>,
        /// Containers for each site, spread over its app hosts. Default: 1.
        replicas: Option<At<u32>>,
        /// Port inside the container that the load balancer reaches; none for
        /// services that are not served.
        container_port: Option<At<Port>>,
        /// First port on the app host; replica n of a host gets port + n.
        host_port: Option<At<Port>>,
        /// Where the load balancer listens for it.
        public_port: Option<At<Port>>,
        /// Environment; values may use `{{ queue.host }}` and the like.
        environment: Option<At<Entries<Plain>>>,
        /// How Docker and the load balancer ask for its health.
        health: Option<At<Health>>,
    }
}

record! {
    /// How Docker and the load balancer ask for a service's health.
    Health {
        /// HTTP path that answers 200 when ready.
        path: Required<String>,
        /// Command inside the container; none: no Docker health check.
        command: Option<At<String>>,
        /// Default: 2s.
        interval: Option<At<Time>>,
    }
}

record! {
    /// The HAProxy of each site.
    LoadBalancer {
        /// `local-first`: replicas of the own site, those of other sites when
        /// none is up. `all-replicas`: all sites alike. Default: local-first.
        balance: Option<At<Balance>>,
        /// Statistics page `/stats`, `/metrics` and `/active`. Default: 8404.
        statistics_port: Option<At<Port>>,
        /// The writable PostgreSQL. Default: 5000.
        primary_port: Option<At<Port>>,
        /// Any streaming standby within the lag, else the primary.
        /// Default: 5001.
        replica_port: Option<At<Port>>,
        /// The active queue. Default: 6379.
        queue_port: Option<At<Port>>,
        /// How long new database connections wait for a primary before they
        /// are refused. Default: 10s.
        hold: Option<At<Time>>,
    }
}

record! {
    /// The hosted zone and its records.
    Dns {
        /// Such as vote.example.org, without the final dot.
        zone: Required<String>,
        /// Make the zone (and remove it at destroy), or expect that it
        /// exists. Default: false.
        manage_zone: Option<At<bool>>,
        /// What moves the names that follow the active site. `upsert`: the
        /// run of a failover, by the control plane of Route 53;
        /// `health-check`: Route 53 itself, whose health checks ask the load
        /// balancers. Default: upsert.
        cutover: Option<At<Cutover>>,
        /// With `health-check`: so many checks in a row, one every 10 s, must
        /// agree before the names follow; 1 to 10. Default: 1.
        failure_threshold: Option<At<u32>>,
        /// Names of the zone.
        records: Required<List<Record>>,
    }
}

record! {
    /// A name of the zone.
    Record {
        /// Full name without the final dot.
        name: Required<String>,
        /// How long resolvers may keep it. Default: 5s.
        ttl: Option<At<Time>>,
        /// `active`: the load balancers of the active site; or the name of a
        /// site: always that site's.
        target: Required<Label>,
    }
}

record! {
    /// Where secrets come from.
    Secrets {
        /// Superuser of PostgreSQL, for guard and operator.
        database_superuser: Option<At<Secret>>,
        /// Role that streams.
        database_replication: Option<At<Secret>>,
        /// Role that pg_rewind uses.
        database_rewind: Option<At<Secret>>,
        /// Role of the application.
        database_user: Option<At<Secret>>,
        /// Password of Redis.
        queue_password: Option<At<Secret>>,
        /// Password of the statistics page.
        statistics_password: Option<At<Secret>>,
    }
}

/// Where one secret comes from.
pub(in crate::topology) enum Secret {
    Generated,
    Stated(SecretPlace),
}

record! {
    /// A file or an environment variable that holds a secret.
    SecretPlace {
        /// File with the secret, absolute, below `~/` or relative to this
        /// file; a final line break is not part of it.
        file: Option<At<String>>,
        /// Environment variable with the secret.
        environment: Option<At<String>>,
    }
}

impl Read for Secret {
    const EXPECTED: &'static str = "`generated`, `{ file: … }` or `{ environment: … }`";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "generated" => Some(Self::Generated),
            Value::Mapping(_) => SecretPlace::read(node, reader).map(Self::Stated),
            // The value itself may be the secret: it is not repeated.
            _ => {
                let message = format!("{} does not say where the secret comes from", reader.here());
                let hint = format!("write {}, never the secret itself", Self::EXPECTED);
                reader.error(PLAIN_SECRET, node.at, message, hint);
                None
            }
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let place = |key: &str, what: &str| {
            json_schema!({
                "type": "object",
                "required": [key],
                "additionalProperties": false,
                "properties": { key: { "type": "string", "description": what } },
            })
        };
        json_schema!({
            "description": "Where one secret comes from.",
            "oneOf": [
                { "const": "generated" },
                place("file", "File with the secret; a final line break is not part of it."),
                place("environment", "Environment variable with the secret."),
            ],
        })
    }
}
