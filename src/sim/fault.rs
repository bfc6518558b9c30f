//! Faults by name.

use std::time::Duration;

use crate::{
    ids::{HostName, SiteName},
    order::PostgresState,
};

use super::{Core, machine};

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
        }
    }
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
    } else if core.state.is_on(host) {
        let database = core.state.databases.get_mut(host).expect("a database");
        if database.state == PostgresState::Stopped {
            database.restart();
        }
    }
}

fn machine<'a>(core: &'a mut Core, host: &HostName) -> &'a mut super::machine::Machine {
    core.state.machines.get_mut(host).expect("a known host")
}
