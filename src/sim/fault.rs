//! Faults by name.

use std::time::Duration;

use crate::{
    ids::{HostName, SiteName},
    order::PostgresState,
};

use super::{
    Core, guard, machine,
    watcher::{self, Ambush},
};

/// Something that goes wrong, and ends again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power cut of one host; the cloud says stopped.
    HostDown(HostName),
    /// Power cut of all hosts of a site.
    SiteDown(SiteName),
    /// PostgreSQL dies and does not come back by itself.
    PostgresBroken(HostName),
    /// Requests to the host do not arrive; it goes on.
    Unheard(HostName),
    /// Requests arrive, answers do not.
    Unanswering(HostName),
    Slow(HostName, Duration),
    /// The sites do not reach each other; operators reach both.
    LinkCut,
    /// A site is cut from operators and from the other site; it goes on.
    SiteIsolated(SiteName),
    /// The cloud refuses.
    CloudDenied,
    /// The control plane of DNS is dark.
    ZoneDark,
    /// So many per thousand requests go astray.
    Unreliable(u64),
    RewindFails(HostName),
    /// Nothing of the host runs; its clock goes on.
    Frozen(HostName),
    /// The guard is stopped by a signal; PostgreSQL goes on.
    GuardStopped(HostName),
    /// The guard dies; systemd starts it again.
    GuardKilled(HostName),
    /// PostgreSQL dies once.
    PostgresKilled(HostName),
    /// From the first place nothing arrives at the second.
    Cut(SiteName, SiteName),
    CutBoth(SiteName, SiteName),
    /// From and to all other places.
    PlaceIsolated(SiteName),
    /// A member of the store does not run.
    MemberDown(HostName),
    /// All members but this one do not run.
    QuorumLost(HostName),
    /// A host does not reach the store: its certificate has ended.
    StoreUnreached(HostName),
    /// So many per thousand messages arrive twice, the second time late.
    Doubling(u64),
    /// Writes of the database host's disk do not end.
    DiskHangs(HostName),
    /// The database host's disk takes no more.
    DiskFull(HostName),
    /// A standby runs, and neither receives nor confirms anything.
    StreamStalled(HostName),
    /// The wall clock is set by so many milliseconds.
    WallStep(HostName, i64),
    /// The watcher of a place dies; its host starts it again.
    WatcherKilled(HostName),
    /// The watcher of a place is stopped by a signal.
    WatcherStopped(HostName),
    /// What befalls the watcher that writes the nth record from now.
    Ambush(Ambush),
}

impl Fault {
    /// Begins, or ends.
    pub fn set(&self, core: &mut Core, on: bool) {
        core.tell(|| format!("{} {self:?}", if on { "FAULT" } else { "end of" }));
        match self {
            Self::HostDown(host) => power(core, host, !on),
            Self::SiteDown(site) => {
                for host in hosts(core, site) {
                    power(core, &host, !on);
                }
            }
            Self::PostgresBroken(host) => broken(core, host, on),
            Self::Unheard(host) => machine(core, host).heard = !on,
            Self::Unanswering(host) => machine(core, host).answers = !on,
            Self::Slow(host, by) => {
                machine(core, host).slow = if on { *by } else { Duration::ZERO }
            }
            Self::LinkCut => core.state.linked = !on,
            Self::SiteIsolated(site) => {
                core.state.linked = !on;
                for host in hosts(core, site) {
                    machine(core, &host).heard = !on;
                }
            }
            Self::CloudDenied => {
                let hosts: Vec<_> = core.state.machines.keys().cloned().collect();
                hosts
                    .iter()
                    .for_each(|host| machine(core, host).denied = on);
            }
            Self::ZoneDark => core.state.zone.dark = on,
            Self::Unreliable(permille) => core.state.unreliable = if on { *permille } else { 0 },
            Self::RewindFails(host) => {
                core.state
                    .databases
                    .get_mut(host)
                    .expect("a database")
                    .rewind_fails = on;
            }
            fault => fault.set_further(core, on),
        }
    }

    /// Faults of programs, ways and clocks.
    fn set_further(&self, core: &mut Core, on: bool) {
        match self {
            Self::Frozen(host) => machine::freeze(core, host, on),
            Self::GuardStopped(host) => guard::stop(core, host, on),
            Self::GuardKilled(host) if on => guard::crash(core, host),
            Self::PostgresKilled(host) if on => guard::kill_postgres(core, host),
            Self::Cut(from, to) => core.state.cuts.set(from, to, on),
            Self::CutBoth(one, other) => cut_both(core, one, other, on),
            Self::PlaceIsolated(place) => {
                let sites: Vec<_> = core.state.topology().sites.keys().cloned().collect();
                for other in sites.iter().filter(|other| *other != place) {
                    cut_both(core, place, other, on);
                }
            }
            Self::MemberDown(member) => core.member_down(member, on),
            Self::QuorumLost(left) => {
                let members = core.state.quorum.as_ref().map(|quorum| &quorum.members);
                let members = members.cloned().unwrap_or_default();
                for member in members.iter().filter(|member| *member != left) {
                    core.member_down(member, on);
                }
            }
            Self::StoreUnreached(host) => machine(core, host).shut_out = on,
            Self::Doubling(permille) => core.state.doubling = if on { *permille } else { 0 },
            Self::DiskHangs(host) => disk(core, host).hangs = on,
            Self::DiskFull(host) => disk(core, host).full = on,
            Self::StreamStalled(host) => {
                let database = core.state.databases.get_mut(host);
                database.expect("a database").stalled = on;
            }
            Self::WatcherKilled(host) if on => watcher::crash(core, host),
            Self::WatcherStopped(host) => watcher::stop(core, host, on),
            Self::Ambush(ambush) if on => core.ambush = Some(ambush.clone()),
            Self::WallStep(host, by) if on => machine(core, host).clock.wall_ahead += by,
            _ => {}
        }
    }
}

fn cut_both(core: &mut Core, one: &SiteName, other: &SiteName, on: bool) {
    core.state.cuts.set(one, other, on);
    core.state.cuts.set(other, one, on);
}

fn hosts(core: &Core, site: &SiteName) -> Vec<HostName> {
    core.state.topology().sites[site]
        .hosts
        .keys()
        .cloned()
        .collect()
}

fn power(core: &mut Core, host: &HostName, on: bool) {
    if on {
        machine::power_on(core, host);
    } else {
        machine::cut_power(core, host);
    }
}

fn broken(core: &mut Core, host: &HostName, on: bool) {
    let database = core.state.databases.get_mut(host).expect("a database");
    database.broken = on;
    if on {
        database.crash();
    } else if core.state.is_on(host) && core.state.settings.automatic.is_none() {
        // In automatic mode only its guard starts it.
        let database = core.state.databases.get_mut(host).expect("a database");
        if database.state == PostgresState::Stopped {
            database.restart();
        }
    }
}

fn disk<'a>(core: &'a mut Core, host: &HostName) -> &'a mut guard::Disk {
    &mut core.state.guards.get_mut(host).expect("a database").disk
}

fn machine<'a>(core: &'a mut Core, host: &HostName) -> &'a mut super::machine::Machine {
    core.state.machines.get_mut(host).expect("a known host")
}
