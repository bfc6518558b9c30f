//! What the types cannot hold: references, limits, clashes, and whatever
//! would only fail on the hosts. Each check is a short function that reports.

mod automatic;
mod cutover;
mod dns;
mod hosts;
mod network;
mod places;
mod ports;
mod services;
mod stack;

use super::{
    Coordination, Role,
    node::Key,
    problem::Position,
    raw,
    read::{At, Entries, Reader, closest, list},
};
use crate::ids::HostName;

pub(super) use services::is_variable;
pub use stack::ENVIRONMENT_VARIABLES;

/// Reports all that is wrong with records that were read well enough.
pub(super) fn check(raw: &raw::Topology, reader: &mut Reader<'_>) {
    let plan = Overview::of(raw);
    hosts::check(&plan, reader);
    places::check(&plan, reader);
    network::check(&plan, reader);
    ports::check(&plan, reader);
    services::check(&plan, reader);
    stack::check(&plan, reader);
    dns::check(&plan, reader);
    cutover::check(&plan, reader);
    automatic::check(&plan, reader);
}

/// The topology as far as it could be read, with its sites and hosts at hand.
struct Overview<'r> {
    raw: &'r raw::Topology,
    sites: Vec<SiteView<'r>>,
}

/// A site.
struct SiteView<'r> {
    key: &'r Key,
    raw: &'r raw::Site,
    hosts: Vec<HostView<'r>>,
}

/// A host.
struct HostView<'r> {
    key: &'r Key,
    raw: &'r raw::Host,
    roles: Vec<Role>,
}

impl<'r> Overview<'r> {
    fn of(raw: &'r raw::Topology) -> Self {
        let sites = raw.sites.get().map_or(&[][..], |sites| sites.0.as_slice());
        let host = |(key, at): &'r (Key, At<raw::Host>)| HostView {
            key,
            raw: &at.value,
            roles: at.value.roles.get().map_or(Vec::new(), |roles| {
                roles.0.iter().map(|role| role.value).collect()
            }),
        };
        let site = |(key, at): &'r (Key, At<raw::Site>)| SiteView {
            key,
            raw: &at.value,
            hosts: entries(at.value.hosts.0.as_ref())
                .iter()
                .map(host)
                .collect(),
        };
        Self {
            raw,
            sites: sites.iter().map(site).collect(),
        }
    }

    /// Whether there is another site to replicate to.
    fn replicates(&self) -> bool {
        self.sites.iter().filter(|site| !site.is_witness()).count() > 1
    }

    /// Whether the watchers decide, through the store.
    fn is_automatic(&self) -> bool {
        let coordination = self.raw.coordination.as_ref();
        coordination.is_some_and(|at| at.value == Coordination::Etcd)
    }

    fn site_names(&self) -> Vec<&'r str> {
        self.sites
            .iter()
            .map(|site| site.key.text.as_str())
            .collect()
    }

    fn hosts(&self) -> impl Iterator<Item = (&SiteView<'r>, &HostView<'r>)> {
        let of = |site| {
            let site: &SiteView<'_> = site;
            site.hosts.iter().map(move |host| (site, host))
        };
        self.sites.iter().flat_map(of)
    }
}

impl HostView<'_> {
    fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// An existing machine, by any sign of it.
    fn is_static(&self) -> bool {
        let raw = self.raw;
        raw.host_key.is_some() || raw.ssh_address.is_some() || raw.ssh_port.is_some()
    }
}

impl SiteView<'_> {
    /// A place of its own for a witness, without anything that serves users.
    fn is_witness(&self) -> bool {
        let only = |host: &HostView<'_>| {
            let mut roles = host.roles.iter();
            roles.all(|role| matches!(role, Role::Witness | Role::Bastion))
        };
        self.with(Role::Witness).next().is_some() && self.hosts.iter().all(only)
    }

    fn with(&self, role: Role) -> impl Iterator<Item = &HostView<'_>> {
        self.hosts.iter().filter(move |host| host.is(role))
    }
}

/// The entries of an optional mapping.
fn entries<T>(field: Option<&At<Entries<T>>>) -> &[(Key, At<T>)] {
    field.map_or(&[], |at| at.value.0.as_slice())
}

/// Reports keys that are no names.
fn check_name(key: &Key, what: &str, reader: &mut Reader<'_>) {
    if HostName::try_from(key.text.clone()).is_err() {
        let message = format!(
            "{what} `{}` is not named by 1 to 63 lower-case letters, digits and inner hyphens",
            key.text
        );
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let other: String = key.text.chars().map(plain).take(63).collect();
        let hint = match other.trim_matches('-') {
            "" => "rename it, such as site1-db".to_owned(),
            other => format!("rename it, such as {other}"),
        };
        reader.error("invalid-name", key.at, message, hint);
    }
}

/// Reports a reference that leads nowhere.
fn unknown(reader: &mut Reader<'_>, at: Position, message: String, word: &str, known: &[&str]) {
    let hint = match closest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "add it first".to_owned(),
        None => format!("there is {}", list(known)),
    };
    reader.error("unknown-reference", at, message, hint);
}
