//! The last part of the page: what could not be seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::view::View;
use crate::{ids::HostName, observation::Knowledge};

/// What could not be seen, each reason once. What lies on a host that cannot
/// be seen itself needs no reason of its own.
pub fn unseen(view: &View) -> Option<String> {
    let mut reasons = Reasons::new();
    let hosts = &view.hosts;
    let on_seen = |host: &HostName| !matches!(hosts.get(host), Some(Knowledge::Unknown { .. }));
    collect(&mut reasons, "", hosts, |_| true);
    collect(&mut reasons, "guard of ", &view.snapshot.guards, on_seen);
    collect(&mut reasons, "HAProxy of ", &view.snapshot.proxies, on_seen);
    collect(&mut reasons, "Redis of ", &view.snapshot.queues, on_seen);
    collect(&mut reasons, "machine of ", &view.snapshot.machines, |_| {
        true
    });
    collect(&mut reasons, "record ", &view.snapshot.records, |_| true);
    collect(&mut reasons, "writes in ", &view.snapshot.writes, |_| true);
    for (site, services) in &view.snapshot.doors {
        // No write through a load balancer that is not seen: no page either.
        let write = view.snapshot.writes.get(site);
        if !matches!(write, Some(Knowledge::Unknown { .. })) {
            let prefix = format!("front door of {site} for ");
            collect(&mut reasons, &prefix, services, |_| true);
        }
    }
    // Servers fail for all names alike.
    let mut servers = BTreeSet::new();
    for names in view.names.values() {
        let new = |server: &String| !servers.contains(server);
        collect(&mut reasons, "DNS server ", &names.authoritative, new);
        collect(&mut reasons, "resolver ", &names.resolved, new);
        servers.extend(
            names
                .authoritative
                .keys()
                .chain(names.resolved.keys())
                .cloned(),
        );
    }
    let mut text = String::new();
    for ((since, why), names) in reasons {
        let since = if since.is_empty() {
            String::new()
        } else {
            format!(" since {since}")
        };
        let _ = writeln!(text, "NOT SEEN{since}: {why}\n  {}", names.join(", "));
    }
    (!text.is_empty()).then_some(text)
}

/// Names of what was not seen, by since when and why.
type Reasons<'a> = BTreeMap<(&'a str, &'a str), Vec<String>>;

fn collect<'a, K: ToString, T>(
    reasons: &mut Reasons<'a>,
    prefix: &str,
    known: &'a BTreeMap<K, Knowledge<T>>,
    wanted: impl Fn(&K) -> bool,
) {
    for (name, knowledge) in known.iter().filter(|(name, _)| wanted(name)) {
        if let Knowledge::Unknown { since, why } = knowledge {
            let key = (since.as_deref().unwrap_or_default(), why.as_str());
            let name = format!("{prefix}{}", name.to_string());
            reasons.entry(key).or_default().push(name);
        }
    }
}
