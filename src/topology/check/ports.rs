//! Ports that two programs of one host would both listen on.

use super::{HostView, Overview, SiteView, entries};
use crate::topology::{
    Role,
    problem::Position,
    raw,
    read::{At, Reader},
    values::Port,
};

/// A port, what listens there, and where the file says so.
struct Listener {
    port: u32,
    what: String,
    at: Position,
}

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let mut reported: Vec<(String, String)> = Vec::new();
    for (site, host) in plan.hosts() {
        let listeners = listeners(plan, site, host);
        for (index, second) in listeners.iter().enumerate() {
            let clash = listeners[..index]
                .iter()
                .find(|first| first.port == second.port);
            let Some(first) = clash else { continue };
            let pair = (first.what.clone(), second.what.clone());
            // The same clash on the hosts of another site is the same mistake.
            if reported.contains(&pair) {
                continue;
            }
            let message = format!(
                "the port {} of `{}` is taken twice: by {} and by {}",
                second.port, host.key.text, first.what, second.what
            );
            let hint = "give one of them another port";
            reader.error("port-clash", first.at.max(second.at), message, hint);
            reported.push(pair);
        }
    }
    for (key, service) in entries(plan.raw.stack.0.as_ref()) {
        limits(&key.text, key.at, &service.value, reader);
        shape(&key.text, &service.value, reader);
    }
}

fn listeners(plan: &Overview<'_>, site: &SiteView<'_>, host: &HostView<'_>) -> Vec<Listener> {
    let mut all = vec![Listener {
        port: 22,
        what: "SSH".to_owned(),
        at: Position::default(),
    }];
    if host.is(Role::Db) {
        database(plan, &mut all);
    }
    if host.is(Role::Queue)
        && let Some(queue) = &plan.raw.queue.0
    {
        all.push(listener(&queue.value.port, 6379, "the queue", queue.at));
    }
    if host.is(Role::Lb) {
        load_balancer(plan, &mut all);
    }
    if plan.is_automatic() && (host.is(Role::Lb) || host.is(Role::Witness)) {
        let etcd = plan.raw.etcd.as_ref();
        let at = etcd.map_or(Position::default(), |at| at.at);
        let of = |field: Option<&Option<At<Port>>>, default, what: &str| {
            listener(field.unwrap_or(&None), default, what, at)
        };
        let watch = plan.raw.watch.as_ref();
        let admin = watch.map(|at| &at.value.admin_port);
        if host.is(Role::Lb) {
            all.push(of(admin, 8406, "the watchers' `admin_port`"));
        }
        let raw = etcd.map(|at| &at.value);
        all.extend([
            of(
                raw.map(|raw| &raw.client_port),
                2379,
                "the store's `client_port`",
            ),
            of(
                raw.map(|raw| &raw.peer_port),
                2380,
                "the store's `peer_port`",
            ),
        ]);
    }
    if host.is(Role::App) {
        let apps = site.with(Role::App).count();
        for (key, service) in entries(plan.raw.stack.0.as_ref()) {
            containers(&key.text, &service.value, apps, &mut all);
        }
    }
    all
}

/// A listener on the stated or the default port.
fn listener(field: &Option<At<Port>>, default: u16, what: &str, section: Position) -> Listener {
    Listener {
        port: field.as_ref().map_or(default, |at| at.value.0).into(),
        what: what.to_owned(),
        at: field.as_ref().map_or(section, |at| at.at),
    }
}

fn database(plan: &Overview<'_>, all: &mut Vec<Listener>) {
    let Some(section) = &plan.raw.database.0 else {
        return;
    };
    let raw = &section.value;
    all.extend([
        listener(&raw.port, 5432, "the database", section.at),
        listener(
            &raw.guard_port,
            8008,
            "the guard's `guard_port`",
            section.at,
        ),
        listener(
            &raw.order_port,
            8009,
            "the guard's `order_port`",
            section.at,
        ),
    ]);
}

fn load_balancer(plan: &Overview<'_>, all: &mut Vec<Listener>) {
    let Some(section) = &plan.raw.load_balancer.0 else {
        return;
    };
    let raw = &section.value;
    let of = |field, default, key: &str| {
        let what = format!("the load balancer's `{key}`");
        listener(field, default, &what, section.at)
    };
    all.extend([
        of(&raw.statistics_port, 8404, "statistics_port"),
        of(&raw.primary_port, 5000, "primary_port"),
        of(&raw.replica_port, 5001, "replica_port"),
        of(&raw.queue_port, 6379, "queue_port"),
    ]);
    for (key, service) in entries(plan.raw.stack.0.as_ref()) {
        if let Some(port) = &service.value.public_port {
            all.push(Listener {
                port: port.value.0.into(),
                what: format!("the `public_port` of `{}`", key.text),
                at: port.at,
            });
        }
    }
}

/// The ports of a service's containers on one of the site's app hosts.
fn containers(name: &str, raw: &raw::Service, apps: usize, all: &mut Vec<Listener>) {
    let Some(first) = &raw.host_port else { return };
    for index in 0..replicas_on_a_host(raw, apps) {
        all.push(Listener {
            port: u32::from(first.value.0) + index,
            what: format!("replica {index} of `{name}`"),
            at: first.at,
        });
    }
}

fn replicas_on_a_host(raw: &raw::Service, apps: usize) -> u32 {
    let replicas = raw
        .replicas
        .as_ref()
        .map_or(1, |at| at.value)
        .min(MOST_REPLICAS);
    replicas.div_ceil(u32::try_from(apps).unwrap_or(1).max(1))
}

/// Containers of one service in one site.
const MOST_REPLICAS: u32 = 100;

/// The three ports of a service belong together.
fn shape(name: &str, raw: &raw::Service, reader: &mut Reader<'_>) {
    let wrong = |key| reader.was_wrong(&["stack", name, key]);
    if ["container_port", "host_port", "public_port"]
        .into_iter()
        .any(wrong)
    {
        return;
    }
    let (inner, outer, public) = (&raw.container_port, &raw.host_port, &raw.public_port);
    let mut lacks = |key: &str, because: &str, at: Position, hint: &str| {
        let message = format!("the service `{name}` has `{because}` and lacks `{key}`");
        reader.error("missing-key", at, message, hint);
    };
    match (inner, outer) {
        (None, Some(port)) => lacks(
            "container_port",
            "host_port",
            port.at,
            "add `container_port:`, where the program listens inside the container",
        ),
        (Some(port), None) => lacks(
            "host_port",
            "container_port",
            port.at,
            "add `host_port:`, the first port on the app hosts, such as 8080",
        ),
        (None, None) => {
            if let Some(port) = public {
                lacks(
                    "container_port",
                    "public_port",
                    port.at,
                    "add `container_port:` and `host_port:`: the load balancer reaches it there",
                );
            }
        }
        (Some(_), Some(_)) => {}
    }
}

/// How many replicas there can be, and whether ports are left for them.
fn limits(name: &str, at: Position, raw: &raw::Service, reader: &mut Reader<'_>) {
    if let Some(replicas) = &raw.replicas
        && replicas.value > MOST_REPLICAS
    {
        let message = format!(
            "{} replicas of `{name}` in each site are too many",
            replicas.value
        );
        let hint = format!("write a number up to {MOST_REPLICAS}");
        reader.error("invalid-value", replicas.at, message, hint);
    }
    if let Some(replicas) = &raw.replicas
        && replicas.value == 0
    {
        let message = format!("`{name}` has 0 replicas: it will not run");
        reader.warning(
            "no-effect",
            at,
            message,
            "write 1 or more, or remove the service",
        );
    }
    if let Some(first) = &raw.host_port {
        let last = u32::from(first.value.0) + replicas_on_a_host(raw, 1).max(1) - 1;
        if last > u32::from(u16::MAX) {
            let message = format!("the last replica of `{name}` would get the port {last}");
            reader.error(
                "invalid-value",
                first.at,
                message,
                "write a lower `host_port`",
            );
        }
    }
}
