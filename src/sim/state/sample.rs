//! The topology that is simulated: two sites with one host of each role.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ids::{HostName, Region, SiteName},
    topology::{
        Access, Balance, Coordination, Cutover, Database, Dns, Etcd, Host, LoadBalancer,
        Objectives, OnStandbyLoss, Place, Queue, Record, RecordTarget, Replication, Role, Site,
        Topology, Watch,
    },
};

/// `site1` in eu-west-1 (primary) and `site2` in us-east-1.
#[must_use]
pub fn two_sites(replication: Replication) -> Topology {
    let sites = [site("site1", "eu-west-1"), site("site2", "us-east-1")];
    Topology {
        name: "two-regions".to_owned(),
        objectives: Objectives {
            rto: Duration::from_secs(30),
            rpo: Duration::ZERO,
        },
        coordination: Coordination::Manual,
        lease: crate::right::Terms::default(),
        etcd: Etcd::default(),
        watch: Watch::default(),
        access: Access {
            ssh_user: "admin".to_owned(),
            ssh_from: Vec::new(),
            ssh_key: None,
        },
        provision: None,
        sites: sites
            .into_iter()
            .map(|site| (site.name.clone(), site))
            .collect(),
        initial_primary: name("site1"),
        database: Database {
            version: 15,
            port: 5432,
            name: "postgres".to_owned(),
            user: "vote".to_owned(),
            replication,
            maximum_lag_on_failover: 4096,
            on_standby_loss: OnStandbyLoss::Degrade,
            parameters: BTreeMap::new(),
            guard_port: 8008,
            order_port: 8009,
        },
        queue: Queue {
            port: 6379,
            replicated: true,
        },
        stack: Vec::new(),
        load_balancer: LoadBalancer {
            balance: Balance::LocalFirst,
            statistics_port: 8404,
            primary_port: 5000,
            replica_port: 5001,
            queue_port: 6379,
            hold: Duration::from_secs(10),
        },
        dns: Some(names()),
        secrets: BTreeMap::new(),
        tags: BTreeMap::new(),
    }
}

/// The same with a witness in eu-central-1.
#[must_use]
pub fn three_places(replication: Replication) -> Topology {
    let mut topology = two_sites(replication);
    let place = name("witness");
    let host = host(&place, "witness", Role::Witness);
    let site = Site {
        name: place.clone(),
        region: "eu-central-1".parse::<Region>().expect("a label"),
        network: None,
        hosts: [(host.name.clone(), host)].into(),
    };
    topology.sites.insert(place, site);
    topology
}

fn names() -> Dns {
    Dns {
        zone: "vote.example.org".to_owned(),
        manage_zone: true,
        cutover: Cutover::Upsert,
        failure_threshold: 1,
        records: vec![
            record("vote.example.org"),
            record("result.vote.example.org"),
        ],
    }
}

fn record(name: &str) -> Record {
    Record {
        name: name.to_owned(),
        ttl: Duration::from_secs(1),
        target: RecordTarget::Active,
    }
}

fn site(name_: &str, region: &str) -> Site {
    let roles = [("lb", Role::Lb), ("queue", Role::Queue), ("db", Role::Db)];
    let hosts = roles.map(|(suffix, role)| host(&name(name_), &format!("{name_}-{suffix}"), role));
    Site {
        name: name(name_),
        region: region.parse::<Region>().expect("a label"),
        network: None,
        hosts: hosts
            .into_iter()
            .map(|host| (host.name.clone(), host))
            .collect(),
    }
}

fn host(site: &SiteName, name: &str, role: Role) -> Host {
    Host {
        name: name.parse::<HostName>().expect("a label"),
        site: site.clone(),
        roles: [role].into(),
        place: Place::Instance {
            instance_type: "t3.small".to_owned(),
            subnet: "private".to_owned(),
            address: None,
            disk_gib: 8,
        },
    }
}

fn name(text: &str) -> SiteName {
    text.parse().expect("a label")
}
