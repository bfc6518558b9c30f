//! Machines that stay dead. What counts is the cloud's word, never silence
//! alone: a host that is merely not seen may well serve others.

use super::{Act, Memory, Policy, Reaction, RightHolder, View, wait};
use crate::{
    decide::given,
    ids::HostName,
    observation::{Knowledge, MachineState, ProxyStatus},
    plan::{self, Healing, Loss},
    right::Moment,
    topology::{HealMode, Host, Role},
};

/// How a machine is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dead {
    Stopped,
    /// There is none any more.
    Gone,
    /// It runs, its cloud says that it does not work, and nobody reaches it.
    Impaired,
}

/// Heals the first machine that has been dead for long enough.
pub(super) fn react(
    view: &View<'_>,
    holder: &RightHolder,
    policy: &Policy,
    memory: &mut Memory,
    now: Moment,
) -> Reaction {
    if policy.heal.mode == HealMode::Off {
        return Reaction::Rest;
    }
    let dead: Vec<_> = in_order(view)
        .into_iter()
        .filter_map(|host| Some((host, dead(view, host)?)))
        .collect();
    let is_dead = |name: &HostName| dead.iter().any(|(host, _)| &host.name == name);
    memory.dead.retain(|host, _| is_dead(host));
    let mut waits = Reaction::Rest;
    for (host, how) in dead {
        let since = *memory.dead.entry(host.name.clone()).or_insert(now);
        match healing(view, holder, policy, host, how) {
            Ok(_) if now.saturating_sub(since) < policy.heal.after => {
                let after = policy.heal.after.as_secs();
                let said = evidence(view, host, how);
                waits = wait(format!(
                    "{said}; it is healed once that has lasted {after} s"
                ));
            }
            Ok(healing) => {
                return within_limits(view, policy, host, act(view, holder, host, how, healing));
            }
            Err(why) => waits = wait(why),
        }
    }
    waits
}

/// Those that many depend on first, databases last.
fn in_order<'a>(view: &View<'a>) -> Vec<&'a Host> {
    let mut hosts: Vec<_> = view.topology().hosts().collect();
    let rank = |host: &Host| {
        let roles = [Role::Lb, Role::Witness, Role::Queue, Role::App];
        roles
            .iter()
            .position(|role| host.is(*role))
            .unwrap_or(roles.len())
    };
    hosts.sort_by_key(|host| rank(host));
    hosts
}

fn dead(view: &View<'_>, host: &Host) -> Option<Dead> {
    let machine = view.machine(&host.name)?;
    match machine.state {
        MachineState::Stopped => Some(Dead::Stopped),
        MachineState::Terminated => Some(Dead::Gone),
        MachineState::Running if machine.impaired && is_silent(view, host) => Some(Dead::Impaired),
        _ => None,
    }
}

/// Nothing of it is seen from any place.
fn is_silent(view: &View<'_>, host: &Host) -> bool {
    let snapshot = view.snapshot();
    let name = &host.name;
    let unseen = unseen(&snapshot.guards, name)
        && unseen(&snapshot.proxies, name)
        && unseen(&snapshot.queues, name);
    let Some(store) = view.store() else {
        return false;
    };
    let asked = host.is(Role::Db) || host.is(Role::Lb);
    let members = view.topology().store_members();
    let mut places = members.into_iter().filter(|place| &place.name != name);
    let agree = places.all(|place| {
        let unreached = store.unreached.get(&place.name);
        unreached.is_some_and(|unreached| !asked || unreached.contains(name))
    });
    // Its own watcher would be heard in the store.
    unseen && agree && !store.unreached.contains_key(name) && serves_nobody(view, host)
}

fn unseen<T>(seen: &std::collections::BTreeMap<HostName, Knowledge<T>>, host: &HostName) -> bool {
    seen.get(host).is_none_or(|known| known.known().is_none())
}

/// Every load balancer is seen, or is this host, and finds none of its
/// replicas up.
fn serves_nobody(view: &View<'_>, host: &Host) -> bool {
    let proxies = &view.snapshot().proxies;
    !host.is(Role::App)
        || proxies
            .iter()
            .filter(|(name, _)| **name != host.name)
            .all(|(_, known)| {
                let seen = known.known();
                seen.is_some_and(|seen| is_away(seen, &host.name))
            })
}

/// Whether a load balancer knows replicas of the host, and finds none up.
#[must_use]
pub fn is_away(seen: &ProxyStatus, host: &HostName) -> bool {
    let servers = seen.values().flatten();
    let of_host = |name: &str| {
        let replica = name.split_once('.');
        replica.is_some_and(|(_, of)| of == host.as_str())
    };
    let mut replicas = servers.filter(|(name, _)| of_host(name)).peekable();
    replicas.peek().is_some() && replicas.all(|(_, server)| !server.up)
}

/// What may be done about it, or why nothing.
fn healing(
    view: &View<'_>,
    holder: &RightHolder,
    policy: &Policy,
    host: &Host,
    how: Dead,
) -> Result<Healing, String> {
    let name = &host.name;
    let said = evidence(view, host, how);
    if name == &holder.host {
        return Err(format!("{said}, and {name} holds the right to write"));
    }
    let cooling = view.store().and_then(|store| store.cooling.as_ref());
    if let (true, Some(run)) = (host.is(Role::Db), cooling) {
        return Err(format!(
            "{said}; databases are healed when the cooldown after run {run} has ended"
        ));
    }
    match how {
        Dead::Stopped => Ok(Healing::Start),
        Dead::Impaired => Ok(Healing::Restart),
        // A standby that is gone has lost what it had: nothing is destroyed.
        Dead::Gone if policy.heal.mode == HealMode::Replace => Ok(Healing::Replace),
        Dead::Gone => Err(format!("{said}: hafail deploy makes it anew")),
    }
}

/// The number of machines within a time is limited.
fn within_limits(view: &View<'_>, policy: &Policy, host: &Host, act: Act) -> Reaction {
    let healed = view.store().map(|store| &store.healed);
    let healed: Vec<_> = healed.into_iter().flatten().collect();
    let same = healed.iter().filter(|(_, healed)| **healed == host.name);
    let others: std::collections::BTreeSet<_> = healed
        .iter()
        .filter(|(_, healed)| **healed != host.name)
        .map(|(_, healed)| healed.as_str())
        .collect();
    let minutes = policy.heal.within.as_secs().div_ceil(60);
    if same.count() >= TRIES {
        let name = &host.name;
        let why = format!("{name} was healed {TRIES} times within {minutes} minutes");
        return Reaction::Withheld { act, why };
    }
    if others.len() >= policy.heal.at_most as usize {
        let others: Vec<_> = others.into_iter().collect();
        let why = format!(
            "watch.heal.at_most is {} within {minutes} minutes: {}",
            policy.heal.at_most,
            others.join(", ")
        );
        return Reaction::Withheld { act, why };
    }
    Reaction::Act(act)
}

/// How often one machine may be healed within the time of the limit.
const TRIES: usize = 2;

fn act(view: &View<'_>, holder: &RightHolder, host: &Host, how: Dead, healing: Healing) -> Act {
    let because = vec![evidence(view, host, how), view.says_primary(&holder.host)];
    let loss = Loss::Nothing {
        because: "healing promotes nobody".to_owned(),
    };
    let (old, new) = (holder.host.clone(), holder.host.clone());
    let given = given(view, true, old, new, because, loss);
    Act::Run(Box::new(plan::heal(&given, host, healing)))
}

fn evidence(view: &View<'_>, host: &Host, how: Dead) -> String {
    let name = &host.name;
    let machine = view.machine(name);
    match how {
        Dead::Stopped => match machine.and_then(|machine| machine.deposed.as_ref()) {
            Some(trace) => format!(
                "the cloud says that {name} is stopped; run {} had deposed its database",
                trace.run
            ),
            None => format!("the cloud says that {name} is stopped"),
        },
        Dead::Gone => format!("the cloud says that there is no machine of {name} any more"),
        Dead::Impaired => {
            format!("the cloud says that {name} is impaired, and no place reaches it")
        }
    }
}

#[cfg(test)]
mod tests;
