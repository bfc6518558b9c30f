//! What a valid topology means, in a few lines.

use std::fmt::Write;

use crate::topology::{
    Balance, Host, Place, RecordTarget, Replication, SecretSource, Service, Site, Topology,
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
            count(topology.sites.len(), "site"),
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
        ("DNS", dns(topology)),
        ("secrets", secrets(topology)),
    ] {
        push(&mut text, &format!("{label:<15} {meaning}"));
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
    let network = site.network.as_ref().map_or("existing hosts".to_owned(), |net| net.cidr.to_string());
    let first = match site.name == topology.initial_primary && topology.sites.len() > 1 {
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
    if topology.sites.len() < 2 {
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
    match (topology.sites.len() > 1, topology.queue.replicated) {
        (false, _) => "in one site, on disk".to_owned(),
        (true, true) => "a vote is accepted once the other site's replica has it".to_owned(),
        (true, false) => "votes that wait in the queue are lost with their site".to_owned(),
    }
}

fn loss(topology: &Topology) -> String {
    if topology.sites.len() < 2 {
        return "an outage until the site is back".to_owned();
    }
    format!(
        "hafail failover --region REGION, by you, with a fencing proof; promised within {} s",
        topology.objectives.rto.as_secs_f64()
    )
}

fn dns(topology: &Topology) -> String {
    let Some(dns) = &topology.dns else {
        return "kept by other means: point users at the load balancers of the active site".to_owned();
    };
    let follows = |record: &&crate::topology::Record| record.target == RecordTarget::Active;
    let slowest = dns.records.iter().filter(follows).map(|record| record.ttl).max();
    match slowest {
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
