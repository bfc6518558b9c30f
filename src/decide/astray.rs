//! What should follow the primary and does not.

use crate::{
    ids::HostName,
    observation::{Knowledge, QueueRole, ServerAdmin},
    plan::active_records,
    step::Backend,
    topology::Role,
};

use super::{Intent, view::View};

/// One sentence for each thing that is known not to follow.
pub(super) fn astray(view: &View<'_>, intent: &Intent, primary: &HostName) -> Vec<String> {
    let site = view.site_of(primary);
    let mut found = routes(view, Backend::Database, primary);
    if let Some(queue) = queue_beside(view, primary) {
        found.extend(routes(view, Backend::Queue, queue));
        found.extend(queues(view, queue));
    }
    if !intent.database_only && !view.topology().follows_checks() {
        found.extend(records(view, &site));
    }
    found
}

/// The queue of the primary's site, which is the active one.
pub(super) fn queue_beside<'a>(view: &View<'a>, primary: &HostName) -> Option<&'a HostName> {
    let site = view.site_of(primary);
    let mut queues = view.topology().hosts_with(Role::Queue);
    queues.find(|host| host.site == site).map(|host| &host.name)
}

fn routes(view: &View<'_>, backend: Backend, wanted: &HostName) -> Vec<String> {
    let known = view
        .snapshot()
        .proxies
        .iter()
        .filter_map(|(lb, status)| Some((lb, status.known()?)));
    let strays = known.filter_map(|(lb, status)| {
        let servers = status.get(backend.name())?.iter();
        let usable = servers.filter(|(_, server)| server.admin == ServerAdmin::Ready && server.up);
        let usable: Vec<_> = usable.map(|(name, _)| name.as_str()).collect();
        let to = if usable.is_empty() {
            "nobody".to_owned()
        } else {
            usable.join(" and ")
        };
        (usable != [wanted.as_str()])
            .then(|| format!("{lb} sends {} to {to}, not {wanted}", backend.name()))
    });
    strays.collect()
}

/// The active queue, where it is a copy.
pub(super) fn takes_no_votes(view: &View<'_>, active: &HostName) -> Option<String> {
    match &view.snapshot().queues.get(active)?.known()?.role {
        QueueRole::Replica { of, .. } => Some(format!("{active} copies {of} and takes no votes")),
        QueueRole::Master { .. } => None,
    }
}

pub(super) fn queues(view: &View<'_>, active: &HostName) -> Vec<String> {
    let known = view
        .snapshot()
        .queues
        .iter()
        .filter_map(|(host, status)| Some((host, status.known()?)));
    let strays = known.filter_map(|(host, status)| match &status.role {
        QueueRole::Replica { .. } if host == active => takes_no_votes(view, host),
        QueueRole::Master { .. } if host != active => Some(format!(
            "{host} is a queue of its own, it does not copy {active}"
        )),
        _ => None,
    });
    strays.collect()
}

fn records(view: &View<'_>, site: &crate::ids::SiteName) -> Vec<String> {
    let wanted = active_records(view.topology(), view.inventory(), site);
    let strays =
        wanted
            .into_iter()
            .filter_map(|record| match view.snapshot().records.get(&record.name) {
                Some(Knowledge::Known(now)) if now.addresses != record.addresses => {
                    Some(format!("{} does not point to {site}", record.name))
                }
                _ => None,
            });
    strays.collect()
}
