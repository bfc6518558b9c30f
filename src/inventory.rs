//! What there is: hosts with the addresses and keys that provisioning found.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::ids::{HostName, Region, SiteName};

/// The hosts of a deployment as found by the cloud, or as stated for static
/// hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    pub hosts: BTreeMap<HostName, HostEntry>,
}

/// One reachable host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    pub name: HostName,
    pub site: SiteName,
    pub region: Region,
    /// None for static hosts.
    pub instance_id: Option<String>,
    /// Address among the hosts of both sites.
    pub private_address: Ipv4Addr,
    /// Elastic IP, for load balancers and bastions.
    pub public_address: Option<Ipv4Addr>,
    pub ssh: SshWay,
}

/// How to reach a host by SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshWay {
    pub user: String,
    /// Name or address, as seen from the jump host when there is one.
    pub address: String,
    pub port: u16,
    /// OpenSSH public key that the host must present.
    pub host_key: String,
    /// The bastion to jump through.
    pub jump: Option<HostName>,
}
