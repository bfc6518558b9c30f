//! What the status page stands on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};

use super::automatic::Automatic;
use crate::{
    ids::{HostName, SiteName},
    observation::{AddressRecord, Knowledge, Snapshot},
    order::{GuardStatus, PostgresState},
    ports::quorum::MemberHealth,
    topology::{Role, Topology},
};

/// Everything that was seen for one page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    pub snapshot: Snapshot,
    /// By host of the topology: what it says of itself, over SSH.
    pub hosts: BTreeMap<HostName, Knowledge<HostFacts>>,
    /// Public addresses of the load balancers, as found.
    pub addresses: BTreeMap<HostName, Ipv4Addr>,
    /// By name of the record.
    pub names: BTreeMap<String, Names>,
    /// Members of the shared store; none where there is no store.
    #[serde(default)]
    pub members: BTreeMap<String, MemberHealth>,
    /// What the shared store says; absent where nothing is automatic.
    #[serde(default, skip_serializing_if = "Knowledge::is_absent")]
    pub automatic: Knowledge<Automatic>,
    /// The last runs, newest first.
    pub runs: Knowledge<Vec<RunLine>>,
}

/// What a host says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// Milliseconds that the answer took.
    pub answered_ms: u64,
    /// Seconds since its boot.
    pub uptime_s: u64,
    /// Fullest file system that matters, in percent.
    pub disk_percent: u8,
    /// Containers and what Docker says of them, such as
    /// `Up 3 minutes (healthy)`.
    pub containers: BTreeMap<String, String>,
}

/// What is answered for a name, by server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    pub authoritative: BTreeMap<String, Knowledge<AddressRecord>>,
    pub resolved: BTreeMap<String, Knowledge<AddressRecord>>,
}

/// One run of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunLine {
    pub id: String,
    /// Wall time as text.
    pub started: String,
    /// Such as `switchover to site2`.
    pub what: String,
    /// Such as `succeeded`, `unwound`, `stuck`, `running`.
    pub outcome: String,
    /// It needs `hafail resume`.
    pub unfinished: bool,
}

impl View {
    /// The databases that accept writes.
    #[must_use]
    pub fn writers(&self) -> Vec<&GuardStatus> {
        let known = self.snapshot.guards.values().filter_map(Knowledge::known);
        known
            .filter(|status| status.postgres.state == PostgresState::Primary)
            .collect()
    }

    /// The only database that accepts writes.
    #[must_use]
    pub fn primary(&self) -> Option<&GuardStatus> {
        match self.writers().as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The site of the primary.
    #[must_use]
    pub fn active_site<'a>(&self, topology: &'a Topology) -> Option<&'a SiteName> {
        let primary = self.primary()?;
        topology.host(primary.host.as_str()).map(|host| &host.site)
    }

    /// Public addresses of the load balancers of a site.
    #[must_use]
    pub fn site_addresses(&self, topology: &Topology, site: &SiteName) -> BTreeSet<Ipv4Addr> {
        let balancers = topology
            .hosts_with(Role::Lb)
            .filter(|host| &host.site == site);
        balancers
            .filter_map(|host| self.addresses.get(&host.name).copied())
            .collect()
    }

    /// Bytes of log that `standby` has not received, as its primary and it
    /// itself say; the larger one.
    #[must_use]
    pub fn lag_bytes(&self, standby: &GuardStatus) -> Option<u64> {
        let primary = self.primary()?;
        let written = primary.postgres.written?;
        let received = standby.postgres.has()?;
        // The two were asked at slightly different moments: what the primary
        // saw confirmed counts when it is newer.
        let row = primary.postgres.standbys.get(standby.host.as_str());
        let confirmed = row.and_then(|row| row.flushed).unwrap_or(received);
        Some(written.bytes_since(received.max(confirmed)))
    }
}
