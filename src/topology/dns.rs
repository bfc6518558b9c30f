//! The hosted zone: its names, and what moves them.

use std::time::Duration;

use serde::Serialize;

use super::{RecordTarget, Site, Topology};

/// Time between two requests of one of Route 53's checkers: the shorter of
/// the two that it offers, and fixed once a health check is made.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// So long a checker waits for a connection (4 s) and then for the answer
/// (2 s) before it counts a request as failed.
pub const CHECK_ANSWER: Duration = Duration::from_secs(6);

/// Where load balancers say whether the primary is in their site.
pub const ACTIVE_PATH: &str = "/active";

/// The hosted zone and its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Such as `vote.example.org`, without the final dot.
    pub zone: String,
    /// Make the zone (and remove it at destroy), or expect that it exists.
    pub manage_zone: bool,
    pub cutover: Cutover,
    /// So many checks in a row must agree before the names follow.
    pub failure_threshold: u32,
    pub records: Vec<Record>,
}

/// What moves the names that follow the active site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cutover {
    /// A run changes the records, by the control plane of Route 53.
    Upsert,
    /// Health checks of Route 53, which ask the load balancers: a failover
    /// needs no control plane.
    HealthCheck,
}

/// A name of the zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Full name without the final dot.
    pub name: String,
    pub ttl: Duration,
    /// A record of the active site's load balancers, or of one fixed site's.
    pub target: RecordTarget,
}

impl Dns {
    /// Whether the record moves by health checks.
    #[must_use]
    pub fn follows_checks(&self, record: &Record) -> bool {
        self.cutover == Cutover::HealthCheck && record.target == RecordTarget::Active
    }

    /// Until all name servers answer another site, at worst: the checks of
    /// the one must fail and those of the other pass, at the same time.
    #[must_use]
    pub fn check_time(&self) -> Duration {
        CHECK_INTERVAL * self.failure_threshold + CHECK_ANSWER
    }
}

impl Topology {
    /// Whether health checks move the names, and not runs.
    #[must_use]
    pub fn follows_checks(&self) -> bool {
        let dns = self.dns.as_ref();
        dns.is_some_and(|dns| dns.cutover == Cutover::HealthCheck)
    }

    /// The sites that names can lead to, the one that is answered while no
    /// site or more than one is active first.
    #[must_use]
    pub fn ranked_sites(&self) -> Vec<&Site> {
        let mut sites: Vec<_> = self.serving_sites().collect();
        sites.sort_by_key(|site| site.name != self.initial_primary);
        sites
    }
}
