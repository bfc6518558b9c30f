//! The right as this guard holds it.

use serde::{Deserialize, Serialize};

use crate::{
    coordination::Right,
    ids::Epoch,
    ports::quorum::{LeaseId, Revision},
    right::Holding,
};

/// A right with its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub right: Right,
    pub holding: Holding,
}

/// The right as it is remembered over a restart of the guard; its deadline is
/// where the dead-man reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    pub lease: LeaseId,
    pub epoch: Epoch,
    pub created: Revision,
}

impl From<Right> for Remembered {
    fn from(right: Right) -> Self {
        Self {
            lease: right.lease,
            epoch: right.epoch,
            created: right.created,
        }
    }
}

impl From<Remembered> for Right {
    fn from(remembered: Remembered) -> Self {
        Self {
            lease: remembered.lease,
            epoch: remembered.epoch,
            created: remembered.created,
        }
    }
}
