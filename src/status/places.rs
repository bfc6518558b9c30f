//! Findings about places: sites, load balancers, queues, names and hosts.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    databases::ago,
    findings::{Finding, Severity},
    view::View,
};
use crate::{
    ids::{HostName, SiteName},
    observation::{Knowledge, MachineState, QueueRole, SERVICE_BACKEND, is_down},
    topology::{RecordTarget, Role, Site, Topology},
};

/// Backends of HAProxy that have their own findings.
const PRIMARY: &str = "pg_primary";
const REPLICA: &str = "pg_replica";
const QUEUE: &str = "queue_active";

/// A disk that is fuller than that is said.
const FULL_PERCENT: u8 = 90;

/// The id of a site of which all machines are down.
pub const SITE_DARK: &str = "site-dark";

/// Sites of which no host can be seen.
pub fn dark_sites(topology: &Topology, view: &View) -> Vec<Finding> {
    let dark = topology.sites.values().filter(|site| is_dark(view, site));
    dark.map(|site| {
        let off = site.hosts.keys().all(|host| {
            let machine = view.snapshot.machines.get(host).and_then(Knowledge::known);
            machine.is_some_and(|machine| machine.is_down())
        });
        let (name, region) = (&site.name, &site.region);
        if off {
            let text = format!("all machines of {name} ({region}) are down");
            return Finding::new(SITE_DARK, Severity::Degraded, text).next("hafail deploy");
        }
        let text = format!(
            "no host of {name} ({region}) can be seen; they may well run: the way there may be cut"
        );
        Finding::new("site-unseen", Severity::Degraded, text)
    })
    .collect()
}

fn is_dark(view: &View, site: &Site) -> bool {
    let unseen = |host: &HostName| !matches!(view.hosts.get(host), Some(Knowledge::Known(_)));
    site.hosts.keys().all(unseen)
}

fn in_dark(topology: &Topology, view: &View, host: &HostName) -> bool {
    let site = topology
        .host(host.as_str())
        .and_then(|host| topology.sites.get(&host.site));
    site.is_some_and(|site| is_dark(view, site))
}

/// Load balancers lead to the primary, to its queue and to enough replicas.
pub fn balancers(topology: &Topology, view: &View) -> Vec<Finding> {
    let mut found = Vec::new();
    for (host, status) in &view.snapshot.proxies {
        match status {
            Knowledge::Known(status) => found.extend(balancer(topology, view, host, status)),
            Knowledge::Unknown { since, why } if !in_dark(topology, view, host) => {
                let text = format!(
                    "HAProxy on {host} cannot be seen{}: {why}",
                    ago(since.as_ref())
                );
                found.push(Finding::new("balancer-unseen", Severity::Unseen, text));
            }
            Knowledge::Unknown { .. } | Knowledge::Absent => {}
        }
    }
    found
}

fn balancer(
    topology: &Topology,
    view: &View,
    host: &HostName,
    status: &crate::observation::ProxyStatus,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (backend, servers) in status {
        let up: BTreeSet<&str> = servers
            .iter()
            .filter(|(_, server)| server.up)
            .map(|(name, _)| name.as_str())
            .collect();
        let expected = match backend.as_str() {
            PRIMARY => view.primary().map(|primary| primary.host.as_str()),
            QUEUE => active_queue(topology, view).map(HostName::as_str),
            // Empty while no standby is in step: then the primary serves.
            REPLICA => continue,
            _ => {
                found.extend(replicas(host, backend, up.len(), servers.len()));
                continue;
            }
        };
        if let Some(expected) = expected
            && up != BTreeSet::from([expected])
        {
            let leads = if up.is_empty() {
                "nowhere".to_owned()
            } else {
                up.into_iter().collect::<Vec<_>>().join(" and ")
            };
            let text = format!("{backend} on {host} leads to {leads}, not to {expected}");
            found.push(
                Finding::new("balancer-elsewhere", Severity::Critical, text)
                    .next(format!("hafail logs {host}")),
            );
        }
    }
    found
}

fn replicas(host: &HostName, backend: &str, up: usize, total: usize) -> Option<Finding> {
    let text = format!("{backend} on {host} has {up} of {total} servers up");
    match up {
        0 if total > 0 => {
            Some(Finding::new("service-down", Severity::Critical, text).next("hafail logs"))
        }
        up if up < total => Some(Finding::new("replicas-down", Severity::Degraded, text)),
        _ => None,
    }
}

/// Services answer at the front doors. Where the load balancer is not seen, or
/// has nothing up behind it, that is said already.
pub fn doors(topology: &Topology, view: &View) -> Vec<Finding> {
    let doors = view.snapshot.doors.iter().flat_map(|(site, services)| {
        let services = services.iter();
        services.map(move |(service, answer)| (site, service, answer))
    });
    let found = doors.filter(|(site, service, _)| is_up(topology, view, site, service));
    found
        .filter_map(|(site, service, answer)| {
            let door = format!("{service} through the load balancer of {site}");
            match answer {
                Knowledge::Known(answer) if !answer.is_open() => {
                    let text = format!("{door} answers {}", answer.status);
                    let finding = Finding::new("front-door-shut", Severity::Critical, text);
                    Some(finding.next("hafail logs"))
                }
                Knowledge::Unknown { since, why } => {
                    let text = format!("{door} cannot be seen{}: {why}", ago(since.as_ref()));
                    Some(Finding::new("front-door-unseen", Severity::Unseen, text))
                }
                Knowledge::Known(_) | Knowledge::Absent => None,
            }
        })
        .collect()
}

/// Whether a load balancer of the site says that a server of the service is up.
fn is_up(topology: &Topology, view: &View, site: &SiteName, service: &str) -> bool {
    let in_site = topology
        .hosts_with(Role::Lb)
        .filter(|host| &host.site == site);
    let mut statuses = in_site.filter_map(|host| view.snapshot.proxies.get(&host.name)?.known());
    statuses.any(|status| {
        let servers = status.get(&format!("{SERVICE_BACKEND}{service}"));
        servers.is_some_and(|servers| !is_down(servers))
    })
}

/// The queue of the site where the primary is.
fn active_queue<'a>(topology: &'a Topology, view: &View) -> Option<&'a HostName> {
    let site = view.active_site(topology)?;
    let mut queues = topology
        .hosts_with(Role::Queue)
        .filter(|host| &host.site == site);
    queues.next().map(|host| &host.name)
}

/// The active queue is a master and all others follow it.
pub fn queues(topology: &Topology, view: &View) -> Vec<Finding> {
    let Some(active) = active_queue(topology, view) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (host, status) in &view.snapshot.queues {
        let text = match status {
            Knowledge::Known(status) => match (&status.role, host == active) {
                (QueueRole::Master { .. }, true) => continue,
                (QueueRole::Replica { of, linked: true }, false) if *of == active.as_str() => {
                    continue;
                }
                (QueueRole::Master { .. }, false) => {
                    format!("{host} is a second active queue beside {active}")
                }
                (QueueRole::Replica { of, .. }, true) => {
                    format!("{host}, the active queue, follows {of} and takes no votes")
                }
                (QueueRole::Replica { of, linked: true }, false) => {
                    format!("{host} follows {of}, not {active}")
                }
                (QueueRole::Replica { of, linked: false }, false) => {
                    format!("{host} has no link to {of}: votes are not confirmed by it")
                }
            },
            Knowledge::Unknown { since, why } if !in_dark(topology, view, host) => {
                let text = format!(
                    "Redis on {host} cannot be seen{}: {why}",
                    ago(since.as_ref())
                );
                found.push(Finding::new("queue-unseen", Severity::Unseen, text));
                continue;
            }
            Knowledge::Unknown { .. } | Knowledge::Absent => continue,
        };
        let severity = if host == active {
            Severity::Critical
        } else {
            Severity::Degraded
        };
        found.push(Finding::new("queue-role", severity, text).next("hafail run deploy-redis"));
    }
    found
}

/// One finding for all things of a kind that could not be seen.
fn all_unseen<K, T>(
    id: &'static str,
    what: &str,
    known: &BTreeMap<K, Knowledge<T>>,
) -> Option<Finding> {
    let mut reasons = known.values().filter_map(|knowledge| match knowledge {
        Knowledge::Unknown { why, .. } => Some(why),
        Knowledge::Known(_) | Knowledge::Absent => None,
    });
    let first = reasons.next()?;
    let count = reasons.count() + 1;
    let text = format!("{count} of {} {what} cannot be seen: {first}", known.len());
    Some(Finding::new(id, Severity::Unseen, text))
}

/// Every record says the address that it should, and servers say what the
/// zone says.
pub fn names(topology: &Topology, view: &View) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        all_unseen("zone-unseen", "records of the zone", &view.snapshot.records)
            .into_iter()
            .collect();
    for record in topology.dns.iter().flat_map(|dns| &dns.records) {
        let site = match &record.target {
            RecordTarget::Active => view.active_site(topology),
            RecordTarget::Site(site) => Some(site),
        };
        match view.snapshot.records.get(&record.name) {
            Some(Knowledge::Known(zone)) => {
                if let Some(site) = site {
                    found.extend(elsewhere(topology, view, &record.name, zone, site));
                }
            }
            Some(Knowledge::Absent) => {
                let text = format!("the zone has no record {}", record.name);
                found.push(
                    Finding::new("record-missing", Severity::Critical, text).next("hafail deploy"),
                );
            }
            // Said once for all records.
            Some(Knowledge::Unknown { .. }) | None => {}
        }
    }
    found
}

fn elsewhere(
    topology: &Topology,
    view: &View,
    name: &str,
    zone: &crate::observation::AddressRecord,
    site: &SiteName,
) -> Option<Finding> {
    let wanted = view.site_addresses(topology, site);
    if wanted.is_empty() || zone.addresses == wanted {
        return stale(view, name, zone);
    }
    let shown: Vec<_> = zone.addresses.iter().map(ToString::to_string).collect();
    let owner = topology.sites.keys().find(|other| {
        let addresses = view.site_addresses(topology, other);
        !addresses.is_empty() && zone.addresses.is_subset(&addresses)
    });
    let leads = owner.map_or_else(|| shown.join(", "), ToString::to_string);
    let text = format!("{name} leads to {leads}, not to {site}");
    let finding = |text| Finding::new("dns-elsewhere", Severity::Degraded, text);
    let dns = topology.dns.as_ref()?;
    let mut records = dns.records.iter();
    if records.any(|record| record.name == name && dns.follows_checks(record)) {
        let balancer = topology
            .hosts_with(Role::Lb)
            .find(|host| &host.site == site);
        let text = format!(
            "{text}; health checks move it, at the latest {} s after a failover",
            dns.check_time().as_secs()
        );
        let next = balancer.map(|host| format!("hafail logs {}", host.name));
        return Some(finding(text).next(next.unwrap_or_default()));
    }
    let region = &topology.sites[site].region;
    Some(finding(text).next(format!("hafail failover --region {region}")))
}

/// Authoritative servers must agree with the zone; resolvers may lag for the
/// time to live, which the table shows.
fn stale(view: &View, name: &str, zone: &crate::observation::AddressRecord) -> Option<Finding> {
    let servers = &view.names.get(name)?.authoritative;
    let differing = servers.iter().find(|(_, answer)| {
        answer
            .known()
            .is_some_and(|answer| answer.addresses != zone.addresses)
    })?;
    let text = format!(
        "the authoritative server {} does not yet answer the zone's {name}",
        differing.0
    );
    Some(Finding::new("dns-not-in-sync", Severity::Degraded, text))
}

/// Hosts exist, run, answer and have room.
pub fn hosts(topology: &Topology, view: &View) -> Vec<Finding> {
    let mut found: Vec<Finding> = all_unseen("machine-unseen", "machines", &view.snapshot.machines)
        .into_iter()
        .collect();
    for host in topology.hosts() {
        if is_dark(view, &topology.sites[&host.site]) {
            continue;
        }
        let name = &host.name;
        if let Some(Knowledge::Known(machine)) = view.snapshot.machines.get(name)
            && machine.state != MachineState::Running
        {
            let text = format!("the machine of {name} is {}", machine.state.word());
            let finding = Finding::new("machine-down", Severity::Degraded, text);
            found.push(finding.next("hafail deploy"));
            continue;
        }
        match view.hosts.get(name) {
            Some(Knowledge::Known(facts)) => found.extend(facts_of(name, facts)),
            Some(Knowledge::Unknown { since, why }) => {
                let text = format!("{name} cannot be seen{}: {why}", ago(since.as_ref()));
                found.push(Finding::new("host-unseen", Severity::Unseen, text));
            }
            Some(Knowledge::Absent) => {
                let text = format!("{name} does not exist");
                found.push(
                    Finding::new("host-missing", Severity::Degraded, text).next("hafail deploy"),
                );
            }
            None => {}
        }
    }
    found
}

fn facts_of(host: &HostName, facts: &super::view::HostFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.disk_percent >= FULL_PERCENT {
        let text = format!("the disk of {host} is {} % full", facts.disk_percent);
        found.push(Finding::new("disk-full", Severity::Degraded, text));
    }
    let ill = facts
        .containers
        .iter()
        .filter(|(_, state)| !state.starts_with("Up") || state.contains("unhealthy"));
    for (container, state) in ill {
        let text = format!("container {container} on {host}: {state}");
        found.push(
            Finding::new("container-ill", Severity::Degraded, text)
                .next(format!("hafail logs {host}")),
        );
    }
    found
}
