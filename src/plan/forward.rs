//! What comes after the promotion, whichever way it came about. The order is
//! for speed: writes first, everything else at the same time or later.

use crate::{
    ids::HostName,
    observation::AddressRecord,
    step::{Backend, Part::Forward, Step},
    topology::{Dns, Role},
};

use super::build::{Builder, active_records, beside, site_of, with_role};

/// Numbers of steps that later ones wait for.
pub(super) struct Redirected {
    promoted: usize,
    /// Writes go to the new primary.
    routed: Vec<usize>,
    /// Queue clients go to the new active queue.
    queue: Vec<usize>,
    /// The last step that the cutover of DNS waits for.
    records: Option<usize>,
}

/// Sends writers, queue clients and names to the new site.
pub(super) fn redirect(plan: &mut Builder<'_>, promoted: usize) -> Redirected {
    let given = plan.given;
    let mut ready = promoted;
    if given.orders_set() {
        // Its standby is not there yet: commits must not wait for it.
        let step = Step::SetSynchronous {
            host: given.new.clone(),
            standbys: Vec::new(),
        };
        ready = plan.add(Forward, &[promoted], step);
    }
    send(plan, promoted, ready)
}

/// Sends them, once the primary is promoted and ready for writes.
pub(super) fn send(plan: &mut Builder<'_>, promoted: usize, ready: usize) -> Redirected {
    let given = plan.given;
    let routed = route(
        plan,
        &[ready],
        Backend::Database,
        &given.new,
        std::slice::from_ref(&given.old),
    );
    let queue = queue(plan, promoted);
    let records = records(plan, promoted);
    Redirected {
        promoted,
        routed,
        queue,
        records,
    }
}

fn route(
    plan: &mut Builder<'_>,
    after: &[usize],
    backend: Backend,
    to: &HostName,
    away: &[HostName],
) -> Vec<usize> {
    let balancers = with_role(plan.given.topology, Role::Lb);
    plan.each(Forward, after, &balancers, |lb| Step::Route {
        lb: lb.clone(),
        backend,
        to: to.clone(),
        away: away.to_vec(),
    })
}

fn queue(plan: &mut Builder<'_>, promoted: usize) -> Vec<usize> {
    let given = plan.given;
    let new = beside(given.topology, &given.new, Role::Queue);
    let old = beside(given.topology, &given.old, Role::Queue);
    let (Some(new), Some(old)) = (new, old) else {
        return Vec::new();
    };
    if new == old {
        return Vec::new();
    }
    let reachable = !given.unusable.contains_key(&old);
    let step = Step::PromoteQueue {
        host: new.clone(),
        from: reachable.then(|| old.clone()),
    };
    if !plan.usable(&new, &step) {
        return Vec::new();
    }
    let active = plan.add(Forward, &[promoted], step);
    let mut last = route(
        plan,
        &[active],
        Backend::Queue,
        &new,
        std::slice::from_ref(&old),
    );
    last.push(active);
    let step = Step::FollowQueue {
        host: old.clone(),
        master: new.clone(),
    };
    if plan.usable(&old, &step) {
        let follows = plan.add(Forward, &last, step);
        release_queue(plan, follows, &old);
    }
    last
}

/// The load balancers may use the queue again, once its site is active.
pub(super) fn release_queue(plan: &mut Builder<'_>, follows: usize, queue: &HostName) {
    let balancers = with_role(plan.given.topology, Role::Lb);
    plan.each(Forward, &[follows], &balancers, |lb| Step::Release {
        lb: lb.clone(),
        backend: Backend::Queue,
        server: queue.clone(),
    });
}

fn records(plan: &mut Builder<'_>, promoted: usize) -> Option<usize> {
    let given = plan.given;
    let records = active_records(
        given.topology,
        given.inventory,
        &site_of(given.topology, &given.new),
    );
    if records.is_empty() {
        return None;
    }
    if let Some(dns) = &given.topology.dns
        && given.topology.follows_checks()
    {
        return follow_checks(plan, promoted, dns, records);
    }
    let step = Step::MoveRecords {
        records: records.clone(),
    };
    if given.database_only {
        plan.leave_out(&step, "--database-only");
        return None;
    }
    let moved = plan.add(Forward, &[promoted], step);
    let in_sync = plan.add(Forward, &[moved], Step::AwaitInSync);
    Some(plan.add(Forward, &[in_sync], Step::AwaitAuthoritative { records }))
}

/// The names follow by themselves, whatever the run does.
fn follow_checks(
    plan: &mut Builder<'_>,
    promoted: usize,
    dns: &Dns,
    records: Vec<AddressRecord>,
) -> Option<usize> {
    let within = dns.check_time();
    let step = Step::AwaitChecks {
        records,
        within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
    };
    if plan.given.database_only {
        let why = "--database-only; the names follow all the same, by health checks";
        plan.leave_out(&step, why);
        return None;
    }
    Some(plan.add(Forward, &[promoted], step))
}

/// After a switchover the old primary needs no rewind: it follows.
pub(super) fn follow(plan: &mut Builder<'_>, redirected: &Redirected) {
    let given = plan.given;
    let (old, new) = (given.old.clone(), given.new.clone());
    let step = Step::Follow {
        host: old.clone(),
        upstream: new.clone(),
    };
    // Its start costs a moment of the network that the redirection needs first.
    let mut after = redirected.routed.clone();
    after.push(redirected.promoted);
    let followed = plan.add(Forward, &after, step);
    rejoined(plan, followed, &old, &new);
}

/// What a standby that follows again still needs to be a full member.
pub(super) fn rejoined(
    plan: &mut Builder<'_>,
    followed: usize,
    standby: &HostName,
    primary: &HostName,
) {
    let topology = plan.given.topology;
    let step = Step::AwaitStreaming {
        standby: standby.clone(),
        upstream: primary.clone(),
    };
    let streams = plan.add(Forward, &[followed], step);
    if plan.given.orders_set() {
        let step = Step::SetSynchronous {
            host: primary.clone(),
            standbys: vec![standby.clone()],
        };
        plan.add(Forward, &[streams], step);
    }
    let balancers = with_role(topology, Role::Lb);
    plan.each(Forward, &[streams], &balancers, |lb| Step::Release {
        lb: lb.clone(),
        backend: Backend::Database,
        server: standby.clone(),
    });
}

/// Looks from outside at what was done.
pub(super) fn verify(plan: &mut Builder<'_>, redirected: &Redirected) {
    let given = plan.given;
    let mut after = redirected.routed.clone();
    after.extend(&redirected.queue);
    after.push(redirected.promoted);
    verify_writes(plan, &after);
    if let Some(authoritative) = redirected.records {
        let records = active_records(
            given.topology,
            given.inventory,
            &site_of(given.topology, &given.new),
        );
        plan.add(Forward, &[authoritative], Step::AwaitResolvers { records });
    }
}

/// A write through the load balancer of each site that can be used.
pub(super) fn verify_writes(plan: &mut Builder<'_>, after: &[usize]) {
    let topology = plan.given.topology;
    for site in topology.sites.keys() {
        let balancer = topology
            .hosts_with(Role::Lb)
            .find(|host| &host.site == site);
        let step = Step::VerifyWrites { site: site.clone() };
        if balancer.is_some_and(|lb| plan.usable(&lb.name, &step)) {
            plan.add(Forward, after, step);
        }
    }
}
