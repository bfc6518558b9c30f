//! What is known, and what is not. Unknown is never evidence.

use serde::{Deserialize, Serialize};

/// Knowledge of something outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Knowledge<T> {
    /// Seen, and this is what was seen.
    Known(T),
    /// Could not be seen. Says nothing about the thing itself.
    Unknown {
        /// When it was last seen, as text for people; none: never.
        since: Option<String>,
        why: String,
    },
    /// Surely not there: the authority that would know it said so.
    Absent,
}

impl<T> Knowledge<T> {
    /// What was seen, if anything was.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown { .. } | Self::Absent => None,
        }
    }

    /// Could not be seen, for this reason.
    pub fn unknown(why: impl ToString) -> Self {
        Self::Unknown {
            since: None,
            why: why.to_string(),
        }
    }
}
