//! What a valid topology means, in a few lines.

use std::{fmt::Write, time::Duration};

use crate::topology::{
    Balance, CHECK_ANSWER, CHECK_INTERVAL, Coordination, Cutover, Host, Place, RecordTarget, Replication, SecretSource, Service, Site, Topology, WatchMode,
};

/// The lines.
pub(super) fn of(topology: &Topology) -> String {
    let mut text = String::new();
    let services = topology.stack.len();
    let containers: u32 = topology.stack.iter().map(|service| service.replicas).sum();
    push(
        &mut text,
        &format!(
            "{}: {}, {}, {} ({} in each site)",
            topology.name,
            places(topology),
            count(topology.hosts().count(), "host"),
            count(services, "service"),
            count(containers as usize, "container"),
        ),
    );
    for site in topology.sites.values() {
        self::site(&mut text, topology, site);
    }
    push(&mut text, "");
    for (label, meaning) in [
        ("entrances", entrances(topology)),
        ("replication", replication(topology)),
        ("queue", queue(topology)),
        ("loss of a site", loss(topology)),
        ("recovery", recovery(topology)),
        ("lease", lease(topology)),
        ("store", store(topology)),
        ("DNS", dns(topology)),
        ("secrets", secrets(topology)),
    ] {
        if !meaning.is_empty() {
            push(&mut text, &format!("{label:<15} {meaning}"));
        }
    }
    text
}

fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn count(number: usize, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}

fn site(text: &mut String, topology: &Topology, site: &Site) {
    let serving = topology.serving_sites().count();
    let network = site.network.as_ref().map_or("existing hosts".to_owned(), |net| net.cidr.to_string());
    let first = match site.name == topology.initial_primary && serving > 1 {
        true => ", primary at the first deploy",
        false => "",
    };
    push(text, &format!("  {}: {}, {network}{first}", site.name, site.region));
    let width = site.hosts.keys().map(|name| name.as_str().len()).max();
    for host in site.hosts.values() {
        let width = width.unwrap_or(0);
        push(text, &format!("    {:width$}  {:<12} {}", host.name, roles(host), place(host)));
    }
}

fn roles(host: &Host) -> String {
    let words = host.roles.iter().map(|role| role.word());
    words.collect::<Vec<_>>().join(", ")
}

fn place(host: &Host) -> String {
    match &host.place {
        Place::Instance {
            instance_type,
            subnet,
            ..
        } => format!("{instance_type} in {subnet}"),
        Place::Static {
            private_address,
            ssh_address,
            ..
        } => match ssh_address {
            Some(address) => format!("{private_address}, SSH to {address}"),
            None => format!("{private_address}, SSH through the bastion"),
        },
    }
}

fn entrances(topology: &Topology) -> String {
    let port = |service: &Service| Some(format!("{} on :{}", service.name, service.public_port?));
    let mut ports: Vec<_> = topology.stack.iter().filter_map(port).collect();
    ports.push(format!("statistics on :{}", topology.load_balancer.statistics_port));
    let spread = match topology.load_balancer.balance {
        Balance::LocalFirst => "containers of the own site first",
        Balance::AllReplicas => "containers of all sites alike",
    };
    format!("{}; {spread}", ports.join(", "))
}

fn replication(topology: &Topology) -> String {
    if topology.serving_sites().count() < 2 {
        return "none: one site, no standby; keep backups".to_owned();
    }
    match topology.database.replication {
        Replication::Synchronous => {
            "synchronous: a commit is acknowledged once the other site has it; a failover loses none"
                .to_owned()
        }
        Replication::Asynchronous => format!(
            "asynchronous: a failover may lose the newest commits, up to {} bytes; beyond that it is refused",
            topology.database.maximum_lag_on_failover
        ),
    }
}

fn queue(topology: &Topology) -> String {
    match (topology.serving_sites().count() > 1, topology.queue.replicated) {
        (false, _) => "in one site, on disk".to_owned(),
        (true, true) => "a vote is accepted once the other site's replica has it".to_owned(),
        (true, false) => "votes that wait in the queue are lost with their site".to_owned(),
    }
}

fn loss(topology: &Topology) -> String {
    if topology.serving_sites().count() < 2 {
        return "an outage until the site is back".to_owned();
    }
    if topology.coordination == Coordination::Etcd {
        let by = match topology.watch.mode {
            WatchMode::Automatic => "the watchers fail over",
            WatchMode::Observe => "the watchers only say so; hafail failover --region REGION, by you",
        };
        return format!("{by}; promised within {} s", topology.objectives.rto.as_secs_f64());
    }
    format!(
        "hafail failover --region REGION, by you, with a fencing proof; promised within {} s",
        topology.objectives.rto.as_secs_f64()
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Empty, as the next two, where nothing is automatic.
fn recovery(topology: &Topology) -> String {
    if topology.coordination == Coordination::Manual {
        return String::new();
    }
    let worst = topology.worst_case();
    format!(
        "at worst {} after the loss of the primary's host, {} after the loss of its site; PostgreSQL that dies is replaced at once",
        seconds(worst.host),
        seconds(worst.site)
    )
}

fn lease(topology: &Topology) -> String {
    if topology.coordination == Coordination::Manual {
        return String::new();
    }
    let terms = &topology.lease;
    let ms = |time: Duration| time.as_millis();
    format!(
        "{} s: renewed every {} ms + 2 × {} ms for an answer + {} ms to kill + {} ms drift = {} ms",
        terms.ttl.as_secs(),
        ms(terms.renew_every),
        ms(terms.rpc_timeout),
        ms(terms.kill_time),
        ms(terms.drift_margin),
        ms(terms.needed())
    )
}

fn store(topology: &Topology) -> String {
    let members = topology.store_members();
    let names: Vec<_> = members.iter().map(|host| host.name.as_str()).collect();
    let etcd = &topology.etcd;
    match names.as_slice() {
        [] => String::new(),
        names => format!(
            "etcd on {}; heartbeat {} ms, election after {} ms",
            names.join(", "),
            etcd.heartbeat().as_millis(),
            etcd.election().as_millis()
        ),
    }
}

fn places(topology: &Topology) -> String {
    let serving = topology.serving_sites().count();
    match topology.sites.len() - serving {
        0 => count(serving, "site"),
        _ => format!("{} and a witness", count(serving, "site")),
    }
}

fn dns(topology: &Topology) -> String {
    let Some(dns) = &topology.dns else {
        return "kept by other means: point users at the load balancers of the active site".to_owned();
    };
    let follows = |record: &&crate::topology::Record| record.target == RecordTarget::Active;
    let slowest = dns.records.iter().filter(follows).map(|record| record.ttl).max();
    match slowest {
        Some(ttl) if dns.cutover == Cutover::HealthCheck => format!(
            "{} follows the active site by health checks, with no call to Route 53: {} × {} s + {} s for an answer + {} s TTL = {} s at worst; their requests come from the internet to :{} of each load balancer",
            dns.zone,
            dns.failure_threshold,
            CHECK_INTERVAL.as_secs(),
            CHECK_ANSWER.as_secs(),
            ttl.as_secs(),
            (dns.check_time() + ttl).as_secs(),
            topology.load_balancer.statistics_port,
        ),
        Some(ttl) => format!(
            "{} follows the active site; at worst, a client stays {} s at a lost one",
            dns.zone,
            ttl.as_secs()
        ),
        None => format!("{} has fixed records only", dns.zone),
    }
}

fn secrets(topology: &Topology) -> String {
    let stated = topology.secrets.values().filter(|source| !matches!(source, SecretSource::Generated));
    let stated = stated.count();
    let generated = crate::topology::SecretName::ALL.len() - stated;
    match stated {
        0 => "all generated at the first deploy".to_owned(),
        _ => format!("{stated} from the places stated, {generated} generated at the first deploy"),
    }
}
