//! The tables of the page. A cell says `unknown` where nothing was seen, never
//! what was true earlier.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, presets};

use super::{
    databases::{bytes, state},
    render::Look,
    view::{HostFacts, View},
};
use crate::{
    ids::HostName,
    observation::{AddressRecord, Knowledge, ProxyServer, QueueRole, SERVICE_BACKEND},
    order::{GuardStatus, WantedRole},
    topology::{Host, Role, Topology},
};

/// Draws a table without lines, which survives every pipe and copy.
pub fn draw(mut table: Table, look: Look) -> String {
    table.load_style(presets::NOTHING);
    match look.width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    let lines = table.lines();
    // Without a frame the space at the left edge is of no use.
    let lines: Vec<_> = lines.map(|line| line[1..].trim_end().to_owned()).collect();
    lines.join("\n")
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.set_header(header);
    table
}

/// `known(value)`, or in a word why there is no value.
fn cell<T>(knowledge: Option<&Knowledge<T>>, known: impl Fn(&T) -> String) -> String {
    match knowledge {
        Some(Knowledge::Known(value)) => known(value),
        Some(Knowledge::Unknown { .. }) => "unknown".into(),
        Some(Knowledge::Absent) | None => "-".into(),
    }
}

pub fn hosts(topology: &Topology, view: &View) -> Option<Table> {
    let mut table = table([
        "SITE",
        "HOST",
        "ROLES",
        "MACHINE",
        "ANSWERS",
        "UP",
        "DISK",
        "CONTAINERS",
    ]);
    for host in topology.hosts() {
        let facts = view.hosts.get(&host.name);
        table.add_row([
            host.site.to_string(),
            host.name.to_string(),
            roles(host),
            cell(view.snapshot.machines.get(&host.name), |machine| {
                machine.state.word().into()
            }),
            cell(facts, |facts| format!("{} ms", facts.answered_ms)),
            cell(facts, |facts| uptime(facts.uptime_s)),
            cell(facts, |facts| format!("{} %", facts.disk_percent)),
            cell(facts, containers),
        ]);
    }
    Some(table)
}

fn roles(host: &Host) -> String {
    let words = host.roles.iter().map(|role| role.word());
    words.collect::<Vec<_>>().join(" ")
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `vote 3/3, worker 1/1`: containers that are up, by service.
fn containers(facts: &HostFacts) -> String {
    let mut services: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, state) in &facts.containers {
        let service = name
            .rsplit_once('-')
            .map_or(name.as_str(), |(service, _)| service);
        let entry = services.entry(service).or_default();
        entry.1 += 1;
        if state.starts_with("Up") && !state.contains("unhealthy") {
            entry.0 += 1;
        }
    }
    let words = services
        .iter()
        .map(|(service, (up, all))| format!("{service} {up}/{all}"));
    words.collect::<Vec<_>>().join(", ")
}

pub fn databases(topology: &Topology, view: &View) -> Option<Table> {
    let mut table = table([
        "DATABASE", "ROLE", "EPOCH", "TIMELINE", "POSITION", "BEHIND", "STREAMS", "SLOTS",
    ]);
    for host in topology.hosts_with(Role::Db) {
        let guard = view.snapshot.guards.get(&host.name);
        let postgres = |show: fn(&GuardStatus) -> String| cell(guard, show);
        table.add_row([
            host.name.to_string(),
            postgres(role),
            postgres(|status| status.epoch.to_string()),
            postgres(|status| or_dash(status.postgres.timeline.as_ref())),
            postgres(position),
            cell(guard, |status| behind(view, status)),
            postgres(streams),
            postgres(slots),
        ]);
    }
    Some(table)
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".into(), ToString::to_string)
}

fn role(status: &GuardStatus) -> String {
    let is = state(status.postgres.state);
    let wanted = match status.wanted {
        WantedRole::Uninitialised => "uninitialised",
        WantedRole::Primary => "primary",
        WantedRole::Standby { .. } => "standby",
        WantedRole::Stopped => "stopped",
    };
    if is == wanted {
        is.to_owned()
    } else {
        format!("{is} (wanted: {wanted})")
    }
}

fn position(status: &GuardStatus) -> String {
    let postgres = &status.postgres;
    let position = postgres.written.or(postgres.received).or(postgres.replayed);
    match (position, postgres.shutdown_checkpoint) {
        (Some(position), _) => position.to_string(),
        (None, Some(position)) => format!("{position} (at its stop)"),
        (None, None) => "-".into(),
    }
}

fn behind(view: &View, status: &GuardStatus) -> String {
    let is_writer = view
        .writers()
        .iter()
        .any(|writer| writer.host == status.host);
    match view.lag_bytes(status) {
        Some(lag) if !is_writer => bytes(lag),
        _ => "-".into(),
    }
}

fn streams(status: &GuardStatus) -> String {
    let postgres = &status.postgres;
    if let Some(upstream) = &postgres.streaming_from {
        let age = postgres
            .last_message_ms
            .map(|age| format!(", heard {age} ms ago"));
        return format!("from {upstream}{}", age.unwrap_or_default());
    }
    let rows = postgres.standbys.iter();
    let to: Vec<_> = rows
        .map(|(name, row)| format!("to {name} ({}, {})", row.state, row.sync_state))
        .collect();
    let problem = postgres.problem.clone().unwrap_or_else(|| "nothing".into());
    if to.is_empty() {
        problem
    } else {
        to.join(", ")
    }
}

fn slots(status: &GuardStatus) -> String {
    let slots = status.postgres.slots.iter();
    let words: Vec<_> = slots
        .map(|(name, slot)| format!("{name} {}", if slot.active { "active" } else { "idle" }))
        .collect();
    if words.is_empty() {
        "-".into()
    } else {
        words.join(", ")
    }
}

pub fn balancers(view: &View) -> Option<Table> {
    let known = view.snapshot.proxies.values().filter_map(Knowledge::known);
    let mut backends: Vec<&String> = known.flat_map(BTreeMap::keys).collect();
    backends.sort();
    backends.dedup();
    let mut header = vec!["LOAD BALANCER".to_owned()];
    header.extend(backends.iter().map(ToString::to_string));
    if backends.is_empty() {
        header.push("BACKENDS".to_owned());
    }
    let columns = header.len();
    let mut table = Table::new();
    table.set_header(header);
    for (host, status) in &view.snapshot.proxies {
        let mut row = vec![host.to_string()];
        match status {
            Knowledge::Known(status) => {
                row.extend(backends.iter().map(|name| backend(name, status.get(*name))));
            }
            _ => row.resize(columns, "unknown".into()),
        }
        table.add_row(row);
    }
    (!view.snapshot.proxies.is_empty()).then_some(table)
}

/// `site1-db (1/2)`: names for the backends that lead to one place, counts for
/// the others.
fn backend(name: &str, servers: Option<&BTreeMap<String, ProxyServer>>) -> String {
    let Some(servers) = servers else {
        return "-".into();
    };
    let up: Vec<_> = servers.iter().filter(|(_, server)| server.up).collect();
    let count = format!("{}/{}", up.len(), servers.len());
    if name.starts_with(SERVICE_BACKEND) {
        return count;
    }
    let names: Vec<_> = up.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        format!("none {count}")
    } else {
        format!("{} {count}", names.join(", "))
    }
}

pub fn queues(view: &View) -> Option<Table> {
    let mut table = table(["QUEUE", "ROLE", "VOTES", "OFFSET", "LINK"]);
    for (host, status) in &view.snapshot.queues {
        let role = cell(Some(status), |status| match status.role {
            QueueRole::Master { .. } => "master".into(),
            QueueRole::Replica { .. } => "replica".into(),
        });
        let link = cell(Some(status), |status| match &status.role {
            QueueRole::Master { replicas: 1 } => "1 replica connected".into(),
            QueueRole::Master { replicas } => format!("{replicas} replicas connected"),
            QueueRole::Replica { of, linked: true } => format!("of {of}, linked"),
            QueueRole::Replica { of, linked: false } => format!("of {of}, NOT linked"),
        });
        table.add_row([
            host.to_string(),
            role,
            cell(Some(status), |status| status.votes.to_string()),
            cell(Some(status), |status| status.offset.to_string()),
            link,
        ]);
    }
    (!view.snapshot.queues.is_empty()).then_some(table)
}

pub fn names(topology: &Topology, view: &View) -> Option<Table> {
    let dns = topology.dns.as_ref()?;
    let mut table = table(["NAME", "TTL", "ZONE", "AUTHORITATIVE", "RESOLVERS"]);
    for record in &dns.records {
        let zone = view.snapshot.records.get(&record.name);
        let servers = view.names.get(&record.name);
        table.add_row([
            record.name.clone(),
            cell(zone, |record| format!("{} s", record.ttl)),
            cell(zone, |record| addresses(topology, view, record)),
            servers.map_or_else(String::new, |names| {
                answers(topology, view, &names.authoritative)
            }),
            servers.map_or_else(String::new, |names| {
                answers(topology, view, &names.resolved)
            }),
        ]);
    }
    Some(table)
}

/// `site1 203.0.113.7`, or the address alone where it is nobody's.
fn addresses(topology: &Topology, view: &View, record: &AddressRecord) -> String {
    let words = record.addresses.iter().map(|address| {
        let mut owners = view.addresses.iter().filter(|(_, owned)| *owned == address);
        let site = owners.next().and_then(|(host, _)| site(topology, host));
        site.map_or_else(|| address.to_string(), |site| format!("{site} {address}"))
    });
    words.collect::<Vec<_>>().join(", ")
}

fn site(topology: &Topology, host: &HostName) -> Option<String> {
    topology
        .host(host.as_str())
        .map(|host| host.site.to_string())
}

/// What servers answer, each answer once with the number of servers.
fn answers(
    topology: &Topology,
    view: &View,
    servers: &BTreeMap<String, Knowledge<AddressRecord>>,
) -> String {
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for answer in servers.values() {
        let text = match answer {
            Knowledge::Known(record) => addresses(topology, view, record),
            Knowledge::Unknown { .. } => "no answer".into(),
            Knowledge::Absent => "no such name".into(),
        };
        *said.entry(text).or_default() += 1;
    }
    let words = said.iter().map(|(text, count)| match count {
        1 if servers.len() == 1 => text.clone(),
        count => format!("{text} ({count} of {})", servers.len()),
    });
    words.collect::<Vec<_>>().join(", ")
}

pub fn runs(view: &View) -> Option<Table> {
    let runs = view.runs.known().filter(|runs| !runs.is_empty())?;
    let mut table = table(["LAST RUNS", "WHAT", "OUTCOME", "ID"]);
    for run in runs {
        table.add_row([&run.started, &run.what, &run.outcome, &run.id]);
    }
    Some(table)
}
