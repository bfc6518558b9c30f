//! What watchers may do.

use std::time::Duration;

use crate::topology::{Heal, HealMode};

/// What the topology lets watchers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Look, say what would be done, and do nothing.
    pub observe: bool,
    /// A database may be astray for so long before it is rejoined.
    pub rejoin_after: Duration,
    /// The first pause between two tries of the same; doubled each time.
    pub again_after: Duration,
    /// What is done about machines that stay dead.
    pub heal: Heal,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            observe: false,
            rejoin_after: Duration::from_secs(3),
            again_after: Duration::from_secs(2),
            heal: Heal {
                mode: HealMode::Off,
                ..Heal::default()
            },
        }
    }
}
