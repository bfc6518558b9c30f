//! The shared store of automatic coordination, as it was seen.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, HostName};

/// What the shared store says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSight {
    /// Who holds the right to write; none: nobody does.
    pub primary: Option<RightHolder>,
    /// Who took the right last; none: nobody ever did.
    pub last: Option<RightHolder>,
    /// Who has every acknowledged commit; empty where nobody keeps it.
    pub has_all: BTreeSet<HostName>,
    /// Why nothing is done automatically.
    pub paused: Option<String>,
    /// The run of the last automatic failover, while the next one needs an
    /// acknowledgement.
    pub cooling: Option<String>,
    /// The host of the watcher that leads.
    pub leader: Option<HostName>,
    /// Whether somebody works under the lock of runs.
    pub locked: bool,
    /// What was healed within the time for which that is limited: by run, the
    /// host.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub healed: std::collections::BTreeMap<String, HostName>,
    /// By place, where a watcher speaks: guards and balancers that it does not
    /// reach.
    pub unreached: std::collections::BTreeMap<HostName, BTreeSet<HostName>>,
    /// Members of the store that do not serve, each with the reason.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub silent: std::collections::BTreeMap<String, String>,
}

/// A host with the right to write of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RightHolder {
    pub host: HostName,
    pub epoch: Epoch,
}

impl StoreSight {
    /// Whether the right is free to be taken by the store's word.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.primary.is_none() && self.last.is_some()
    }
}
