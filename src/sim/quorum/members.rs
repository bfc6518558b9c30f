//! Who leads the store, and what time does to its leases.

use std::time::Duration;

use crate::ids::HostName;

use super::{super::Core, ELECTION, Missed, Quorum, Stale};

/// Between two looks at who hears whom.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// Between two looks for leases that have ended.
const EXPIRY: Duration = Duration::from_millis(500);

/// The store's own life, for ever.
pub(in crate::sim) fn start(core: &mut Core) {
    beat(core);
    expire(core);
}

fn beat(core: &mut Core) {
    core.look_later(HEARTBEAT, |core| {
        if core.store().is_some() {
            mind_leader(core);
            beat(core);
        }
    });
}

fn expire(core: &mut Core) {
    core.look_later(EXPIRY, |core| {
        end_leases(core);
        expire(core);
    });
}

impl Core {
    pub(in crate::sim) fn store(&mut self) -> Option<&mut Quorum> {
        self.state.quorum.as_mut()
    }

    pub(in crate::sim) fn known(&self) -> &Quorum {
        self.state.quorum.as_ref().expect("this world has a store")
    }

    /// Whether a member runs and exchanges packets with a majority.
    pub(super) fn has_majority(&self, member: usize) -> bool {
        let quorum = self.known();
        let host = &quorum.members[member];
        let hears = |other: &HostName| {
            !quorum.down.contains(other) && (other == host || self.state.connected(host, other))
        };
        let heard = quorum.members.iter().filter(|other| hears(other)).count();
        self.serves(host) && heard * 2 > quorum.members.len()
    }

    /// The member on that host runs.
    pub(super) fn serves(&self, host: &HostName) -> bool {
        self.state.runs(host) && !self.known().down.contains(host)
    }

    /// Lets the member on a host end, or start again.
    pub(in crate::sim) fn member_down(&mut self, host: &HostName, down: bool) {
        let Some(quorum) = self.store() else { return };
        if down {
            quorum.down.insert(host.clone());
        } else {
            quorum.down.remove(host);
        }
        self.member_ended(host);
    }

    /// A member that starts again leads nobody.
    pub(in crate::sim) fn member_ended(&mut self, host: &HostName) {
        let Some(quorum) = self.store() else { return };
        let is = |member: usize| &quorum.members[member] == host;
        if quorum.leader.is_some_and(is) {
            quorum.leader = None;
            quorum.hanging.clear();
        }
        if quorum.stale.as_ref().is_some_and(|stale| is(stale.member)) {
            quorum.stale = None;
        }
    }

    /// The leader, where it can get anything done.
    pub(super) fn working_leader(&self) -> Option<usize> {
        let leader = self.known().leader?;
        self.has_majority(leader).then_some(leader)
    }

    fn moment_of(&self, member: usize) -> crate::right::Moment {
        self.moment(&self.known().members[member])
    }
}

fn mind_leader(core: &mut Core) {
    let now = core.now();
    mind_stale(core);
    if core.working_leader().is_some() {
        let quorum = core.store().expect("it is there");
        if quorum.missed.take().is_some() {
            // What waited for the majority happens after all.
            let hanging = std::mem::take(&mut quorum.hanging);
            hanging.into_iter().for_each(|change| change(core));
        }
        return;
    }
    let Some(missed) = &core.known().missed else {
        let election = u64::try_from(ELECTION.as_millis()).expect("short");
        let elects = core.rng.between(election, 2 * election);
        let steps_down = core.rng.between(election, 2 * election);
        core.store().expect("it is there").missed = Some(Missed {
            elects_at: now + Duration::from_millis(elects),
            steps_down_at: now + Duration::from_millis(steps_down),
        });
        return;
    };
    if missed.elects_at <= now {
        elect(core);
    }
}

/// An old leader steps down when it has heard no majority for a while, or
/// hears of the new one; while it is frozen, it does neither.
fn mind_stale(core: &mut Core) {
    let now = core.now();
    let Some(stale) = &core.known().stale else {
        return;
    };
    let (member, until) = (stale.member, stale.until);
    let host = core.known().members[member].clone();
    if core.state.machines[&host].frozen {
        let election = u64::try_from(ELECTION.as_millis()).expect("short");
        let longer = now + Duration::from_millis(core.rng.between(election, 2 * election));
        let stale = core.store().and_then(|quorum| quorum.stale.as_mut());
        stale.expect("it was just looked at").until = longer;
    } else if until <= now || core.has_majority(member) || !core.serves(&host) {
        core.store().expect("it is there").stale = None;
    }
}

fn elect(core: &mut Core) {
    let members = core.known().members.len();
    let able: Vec<_> = (0..members)
        .filter(|member| core.has_majority(*member))
        .collect();
    if able.is_empty() {
        return;
    }
    let next = *core.rng.pick(&able);
    let moment = core.moment_of(next);
    let quorum = core.store().expect("it is there");
    let missed = quorum.missed.take().expect("an election has a reason");
    if let Some(old) = quorum.leader.filter(|old| *old != next) {
        quorum.stale = Some(Stale {
            member: old,
            term: quorum.term,
            until: missed.steps_down_at,
        });
    }
    quorum.leader = Some(next);
    quorum.term += 1;
    // Nobody but the old leader had them.
    quorum.hanging.clear();
    quorum.begin_leases_anew(moment);
    let (host, term) = (quorum.members[next].clone(), quorum.term);
    core.tell(|| format!("{host} leads the store in term {term}; leases begin anew"));
}

fn end_leases(core: &mut Core) {
    let Some(leader) = core.working_leader() else {
        return;
    };
    let moment = core.moment_of(leader);
    for lease in core.known().ended(moment) {
        core.check_ended(lease);
        core.end_lease(lease, "has run out");
    }
}

impl Core {
    pub(super) fn way_to_member(&mut self) -> Duration {
        Duration::from_micros(self.rng.between(300, 20_000))
    }

    pub(super) fn end_lease(&mut self, lease: crate::ports::quorum::LeaseId, why: &str) {
        let keys = self.store().expect("it is there").revoke(lease);
        if !keys.is_empty() {
            self.tell(|| format!("lease {:x} {why}: {} are gone", lease.0, keys.join(", ")));
            self.notify(&keys);
        }
    }

    /// Wakes whoever waits for a change of these keys.
    pub(super) fn notify(&mut self, keys: &[String]) {
        self.heed_sync(keys);
        self.heed_evidence(keys);
        let quorum = self.store().expect("it is there");
        let watches = std::mem::take(&mut quorum.watches);
        let (told, waiting): (Vec<_>, Vec<_>) = watches
            .into_iter()
            .partition(|watch| keys.iter().any(|key| key.starts_with(&watch.prefix)));
        quorum.watches = waiting;
        for watch in told {
            let member = self.known().members[watch.member].clone();
            // A member behind a cut learns nothing, or cannot say so.
            if self.has_majority(watch.member) && self.state.connected(&member, &watch.from) {
                let back = Duration::from_micros(self.rng.between(300, 20_000));
                self.answer_later(back, watch.answer, Ok(true));
            }
        }
    }
}
