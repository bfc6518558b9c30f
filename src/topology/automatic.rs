//! Automatic coordination: the store in three places, and the watchers.

use std::time::Duration;

use serde::Serialize;

use super::{Coordination, Host, Role, Site, Topology};
use crate::right::WorstCase;

/// The members of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Etcd {
    pub client_port: u16,
    pub peer_port: u16,
    /// The longest between two members.
    pub round_trip: Duration,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            client_port: 2379,
            peer_port: 2380,
            round_trip: Duration::from_millis(100),
        }
    }
}

impl Etcd {
    /// How often the leader says that it lives: as long as a round trip, as
    /// etcd's tuning guide has it, and not so often that it costs.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        let ms = self.round_trip.as_millis().max(50).next_multiple_of(10);
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// How long members hear nothing until they elect: ten heartbeats.
    #[must_use]
    pub fn election(&self) -> Duration {
        10 * self.heartbeat()
    }

    /// From the loss of the store's leader until leases run again, at worst:
    /// a member waits for up to two election times and then needs two rounds
    /// of votes, and the new leader lengthens all leases by one election
    /// time.
    #[must_use]
    pub fn outage(&self) -> Duration {
        3 * self.election() + 2 * self.round_trip
    }

    /// etcd makes no shorter lease.
    #[must_use]
    pub fn shortest_lease(&self) -> Duration {
        let ms = (self.election() * 3 / 2).as_millis().div_ceil(1000);
        Duration::from_secs(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

/// Who acts on what the watchers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchMode {
    /// The watchers fail over, rejoin and repair.
    Automatic,
    /// They say what they would do.
    Observe,
}

/// By what right watchers ask the cloud and move records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CloudAccess {
    /// The instance profile of their hosts, which you attach.
    InstanceProfile,
    /// The access key that the operator has at the deploy.
    Operator,
}

/// What watchers do about machines that stay dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HealMode {
    /// Nothing.
    Off,
    /// They start one that is stopped, and restart one that is impaired.
    Start,
    /// They also make one anew that is gone.
    Replace,
}

/// Healing of machines, within limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Heal {
    pub mode: HealMode,
    /// How long a machine must stay dead.
    pub after: Duration,
    /// So many machines at most …
    pub at_most: u32,
    /// … in this time; and never two at once.
    pub within: Duration,
}

impl Default for Heal {
    fn default() -> Self {
        Self {
            mode: HealMode::Start,
            after: Duration::from_secs(120),
            at_most: 3,
            within: Duration::from_secs(1800),
        }
    }
}

/// The watchers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Watch {
    pub mode: WatchMode,
    /// A second automatic failover within this time needs an acknowledgement.
    pub failover_cooldown: Duration,
    pub heal: Heal,
    pub cloud_access: CloudAccess,
    /// Behind which load balancers show the watchers their runtime API.
    pub admin_port: u16,
    /// Where events are posted.
    pub webhook: Option<String>,
    /// ARN of a topic for events.
    pub sns_topic: Option<String>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            mode: WatchMode::Automatic,
            failover_cooldown: Duration::from_secs(600),
            heal: Heal::default(),
            cloud_access: CloudAccess::InstanceProfile,
            admin_port: 8406,
            webhook: None,
            sns_topic: None,
        }
    }
}

/// What a primary does whose synchronous standby is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnStandbyLoss {
    /// Goes on alone, which is said.
    #[default]
    Degrade,
    /// Lets writes wait.
    Block,
}

impl Site {
    /// Whether it serves users; a witness's site does not.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.hosts.values().any(|host| host.is(Role::Db))
    }

    /// The host that holds a member of the store.
    fn store_member(&self) -> Option<&Host> {
        let role = if self.serves() {
            Role::Lb
        } else {
            Role::Witness
        };
        self.hosts.values().find(|host| host.is(role))
    }
}

impl Topology {
    /// Whether watchers make machines anew.
    #[must_use]
    pub fn replaces_machines(&self) -> bool {
        self.coordination == Coordination::Etcd && self.watch.heal.mode == HealMode::Replace
    }

    /// The sites that serve users.
    pub fn serving_sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.values().filter(|site| site.serves())
    }

    /// The hosts with a member of the store, one in each place; none where
    /// there is no store.
    #[must_use]
    pub fn store_members(&self) -> Vec<&Host> {
        match self.coordination {
            Coordination::Manual => Vec::new(),
            Coordination::Etcd => {
                let sites = self.sites.values();
                sites.filter_map(Site::store_member).collect()
            }
        }
    }

    /// Whether the host is a client of the store: its members, the watchers
    /// beside them, and the guards.
    #[must_use]
    pub fn asks_the_store(&self, host: &Host) -> bool {
        let roles = [Role::Db, Role::Lb, Role::Witness];
        self.coordination == Coordination::Etcd && roles.iter().any(|role| host.is(*role))
    }

    /// From a fault to the first accepted write, at worst.
    #[must_use]
    pub fn worst_case(&self) -> WorstCase {
        self.lease.worst_case(self.etcd.outage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(round_trip: u64) -> Etcd {
        Etcd {
            round_trip: Duration::from_millis(round_trip),
            ..Etcd::default()
        }
    }

    #[test]
    fn times_follow_the_round_trip() {
        let times = |round_trip| {
            let etcd = etcd(round_trip);
            [etcd.heartbeat(), etcd.election(), etcd.shortest_lease()].map(|time| time.as_millis())
        };
        assert_eq!(times(1), [50, 500, 1000]);
        assert_eq!(times(100), [100, 1000, 2000]);
        assert_eq!(times(141), [150, 1500, 3000]);
    }
}
