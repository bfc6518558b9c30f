//! Load balancers that an order of a run of the past holds, and queues that
//! are no copies: they are sent after the primary.

use super::{
    Act, Memory, Policy, Reaction, RightHolder, Sight, View, decide_failover, intent, wait,
};
use crate::{
    decide::astray, ids::HostName, observation::ServerAdmin, right::Moment, step::Backend,
};

/// Redirects what has been astray for long enough. Only what an order mends:
/// a server whose checks fail comes back by itself, or not at all. True: users
/// are not served, or a rejoin would wait for it.
pub(super) fn react(
    view: &View<'_>,
    sight: &Sight<'_>,
    holder: &RightHolder,
    policy: &Policy,
    memory: &mut Memory,
    now: Moment,
) -> (Reaction, bool) {
    let urgent = unserved(view, &holder.host);
    let is_urgent = urgent.is_some();
    let Some(astray) = urgent.or_else(|| copyless(view, &holder.host)) else {
        memory.held = None;
        return (Reaction::Rest, false);
    };
    let since = *memory.held.get_or_insert(now);
    if now.saturating_sub(since) < policy.rejoin_after {
        return (wait(format!("{astray}, for now")), is_urgent);
    }
    let intent = intent(view, &view.site_of(&holder.host), true);
    let reaction = match decide_failover(sight, &intent) {
        Ok(plan) => Reaction::Act(Act::Run(Box::new(plan))),
        Err(refusal) => wait(refusal.message),
    };
    (reaction, is_urgent)
}

/// Writers or queue clients have nowhere to go.
fn unserved(view: &View<'_>, primary: &HostName) -> Option<String> {
    let queue = astray::queue_beside(view, primary);
    held_from(view, Backend::Database, primary)
        .or_else(|| held_from(view, Backend::Queue, queue?))
        .or_else(|| astray::takes_no_votes(view, queue?))
}

/// A queue beside the active one copies nothing.
fn copyless(view: &View<'_>, primary: &HostName) -> Option<String> {
    let queue = astray::queue_beside(view, primary)?;
    astray::queues(view, queue).into_iter().next()
}

/// A load balancer that was told not to use the server that it should.
fn held_from(view: &View<'_>, backend: Backend, wanted: &HostName) -> Option<String> {
    let mut known = view.snapshot().proxies.iter();
    known.find_map(|(lb, status)| {
        let servers = status.known()?.get(backend.name())?;
        let server = servers.get(wanted.as_str())?;
        (server.admin != ServerAdmin::Ready)
            .then(|| format!("{lb} was told not to use {wanted} for {}", backend.name()))
    })
}

#[cfg(test)]
mod tests;
