//! Addresses of the internet of a lab, and the operator's link to it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

use crate::settings::{LABEL, Settings};

/// The operator's machine on its link to the internet (TEST-NET-3).
pub(super) const OPERATOR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The internet, as the next hop of everyone.
pub(super) const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The outer side of every internet gateway; each is alone on its link.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
/// The internet's link to the operator.
pub(super) const OPERATOR_LINK: &str = "op";
/// The bridge that holds the internet's own addresses.
pub(super) const SERVICES: &str = "services";

/// Names of the namespaces and links of one lab.
#[derive(Clone, Debug)]
pub struct Internet {
    prefix: String,
    /// Addresses of the lab's own services.
    services: BTreeSet<Ipv4Addr>,
    /// Those that the operator reaches through the link; the others listen on
    /// the operator's machine too.
    routed: BTreeSet<Ipv4Addr>,
    /// The operator's end of the link.
    pub link: String,
}

/// Name of the operator's interface of a lab; interfaces have 15 characters at most.
#[must_use]
pub fn host_link(lab: &str) -> String {
    let hash = Sha256::digest(lab.as_bytes());
    format!(
        "hlab{:02x}{:02x}{:02x}{:02x}",
        hash[0], hash[1], hash[2], hash[3]
    )
}

impl Internet {
    /// Names for the lab of these settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let ip = |address: std::net::SocketAddr| match address.ip() {
            std::net::IpAddr::V4(ip) => ip,
            std::net::IpAddr::V6(_) => {
                unreachable!("service addresses are made from a block of IPv4")
            }
        };
        let registry = ip(settings.registry());
        Self {
            prefix: format!("{LABEL}-{}.", settings.name),
            services: [ip(settings.api()), registry, ip(settings.dns())].into(),
            routed: [registry].into(),
            link: host_link(&settings.name),
        }
    }

    /// What names of all namespaces of the lab begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The namespace of the internet.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("{}internet", self.prefix)
    }

    /// The namespace of a VPC's router.
    #[must_use]
    pub fn vpc_namespace(&self, vpc: &str) -> String {
        format!("{}{vpc}", self.prefix)
    }

    /// Lines of `ip` that give the internet its own addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        std::iter::once(&INTERNET)
            .chain(&self.services)
            .map(|ip| format!("addr replace {ip}/32 dev {SERVICES}\n"))
    }

    /// Addresses that the operator's machine always routes into the lab.
    pub(super) fn always_routed(&self) -> &BTreeSet<Ipv4Addr> {
        &self.routed
    }
}

/// The internet forwards between VPCs and from the operator. Nothing of the lab
/// opens a connection to the operator's machine, and nobody answers for
/// addresses that are not reached: packets are dropped, as they are on AWS.
pub(super) const FILTER: &str = "\
table ip lab
delete table ip lab
table ip lab {
  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname \"op\" ct state new drop
    oifname \"op\" ct state invalid drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    ip daddr 203.0.113.0/24 ct state new drop
  }
  chain output {
    type filter hook output priority filter; policy accept;
    icmp type destination-unreachable drop
  }
}
";
