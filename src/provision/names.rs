//! What is in a zone, and what asks for it from outside.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use super::resource::{Key, join};

/// An `A` record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddressRecord {
    pub zone: Key,
    /// Without the final dot.
    pub name: String,
    pub ttl: Duration,
    /// Elastic IPs by logical name, or addresses as text.
    pub addresses: BTreeSet<Key>,
    /// Values that are as good: a record that follows the active site is
    /// moved by failovers, and provisioning leaves it where it is.
    pub alternatives: Vec<BTreeSet<Key>>,
    /// Not empty: health checks choose one of these, the first that passes;
    /// the first of all where none does. `addresses` are those of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<Rank>,
}

/// One of the answers that a record can give.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rank {
    /// Tells the record sets of one name apart.
    pub id: String,
    pub addresses: BTreeSet<Key>,
    pub check: Key,
}

/// Asks a load balancer from outside whether its site is the active one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthCheck {
    /// Elastic IP by logical name, or an address as text.
    pub address: Key,
    pub port: u16,
    pub path: String,
    pub interval: Duration,
    /// So many answers in a row must agree.
    pub threshold: u32,
    /// It asks, and its answer is taken as it is.
    pub in_force: bool,
}

impl AddressRecord {
    /// What it answers, for people.
    #[must_use]
    pub fn answers(&self) -> String {
        if self.ranks.is_empty() {
            return join(&self.addresses);
        }
        let ranks = self.ranks.iter();
        let words = ranks.map(|rank| format!("{} by {}", join(&rank.addresses), rank.check));
        words.collect::<Vec<_>>().join(", else ")
    }

    /// Addresses and health checks.
    #[must_use]
    pub fn refers_to(&self) -> BTreeSet<Key> {
        let mut keys = self.addresses.clone();
        keys.extend(self.ranks.iter().map(|rank| rank.check.clone()));
        keys
    }
}

impl HealthCheck {
    /// Where it asks.
    #[must_use]
    pub fn asks(&self) -> String {
        format!("{}:{}{}", self.address, self.port, self.path)
    }
}
