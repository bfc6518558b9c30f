//! The lab's DNS server: answers for the hosted zones that the Route 53 API
//! holds, and probes their health checks.
//!
//! Whoever follows the API writes definitions into a shared [`Zones`] with
//! `watch::Sender::send_modify`; [`serve`] answers from the newest value and
//! [`probe_health`] is the only writer of [`Zones::health`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

mod answer;
mod health;
mod select;
mod server;
#[cfg(test)]
mod tests;
mod value;

/// Everything that the DNS server answers from.
///
/// Names may be written in any case, with or without the final dot.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    /// Hosted zones by their id (`/hostedzone/Z…` or any other unique key).
    pub zones: BTreeMap<String, Zone>,
    /// Names outside the zones that answer with a fixed address, for example
    /// the image registry of the lab.
    pub extra: BTreeMap<String, Ipv4Addr>,
    /// Address of this DNS server as its clients see it: the answer for every
    /// name server in the delegation set of a zone.
    pub server_address: Option<Ipv4Addr>,
    /// Definitions of health checks by id.
    pub health_checks: BTreeMap<String, HealthCheck>,
    /// Last verdict by health check id, written by [`probe_health`]. A check
    /// without a verdict counts as healthy, as a new one does in Route 53.
    pub health: BTreeMap<String, bool>,
}

/// One hosted zone.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// Apex, for example `votes.example.com`.
    pub name: String,
    /// Names of the delegation set, for example `ns-512.awsdns-00.net`.
    pub name_servers: Vec<String>,
    /// All record sets. `SOA` and `NS` of the apex are made up from
    /// `name_servers` where they are missing here.
    pub records: Vec<RecordSet>,
}

/// One record set as the Route 53 API describes it (aliases are not known).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSet {
    /// Full name; the first label may be `*`.
    pub name: String,
    /// Type of all values.
    pub kind: RecordKind,
    /// Time to live in seconds.
    pub ttl: u32,
    /// Values in the presentation form of the API: addresses, names, quoted
    /// strings for `TXT`, seven fields for `SOA`.
    pub values: Vec<String>,
    /// Tells record sets of one name and type apart.
    pub set_identifier: Option<String>,
    /// How to choose among record sets of one name and type.
    pub routing: Routing,
    /// Health check that takes this record set out while it fails.
    pub health_check_id: Option<String>,
}

/// Record types that the server knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordKind {
    /// IPv4 address.
    #[default]
    A,
    /// IPv6 address.
    Aaaa,
    /// Another name; followed inside the zones of the server.
    Cname,
    /// Text.
    Txt,
    /// Name server.
    Ns,
    /// Start of authority.
    Soa,
}

/// Routing policy of a record set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// The only record set of its name and type.
    #[default]
    Simple,
    /// Answered while it is healthy, and when nothing is.
    Primary,
    /// Answered while the primary fails and this one is healthy.
    Secondary,
    /// Answered with probability `weight` / sum of weights of healthy ones.
    Weighted(u64),
}

/// A health check, probed from the machine of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Where; only loopback addresses (the Elastic IPs of the lab) are dialled.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// Time between two probes.
    pub interval: Duration,
    /// Equal results in a row that change the verdict.
    pub failure_threshold: u32,
    /// Report the opposite of what is found.
    pub inverted: bool,
    /// Probe nothing, count as healthy (unhealthy when inverted).
    pub disabled: bool,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The port accepts a connection.
    Tcp,
    /// `GET path` answers 2xx or 3xx; `host` goes into the `Host` header.
    Http { path: String, host: Option<String> },
    /// As `Http` over TLS; certificates are not verified, as in Route 53.
    Https { path: String, host: Option<String> },
}

/// Serves `zones` on every address, UDP and TCP, until it is dropped.
///
/// # Errors
/// When an address cannot be bound, or a listener fails for good.
pub async fn serve(addrs: Vec<SocketAddr>, zones: watch::Receiver<Zones>) -> anyhow::Result<()> {
    server::bind(&addrs, zones).await?.run().await
}

/// Probes every health check of `zones` and writes verdicts into
/// [`Zones::health`], following changes of the definitions, until dropped.
pub async fn probe_health(zones: Arc<watch::Sender<Zones>>) {
    health::follow(zones).await;
}
