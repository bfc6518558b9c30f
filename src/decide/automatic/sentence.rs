//! Reactions for people.

use super::Reaction;

impl Reaction {
    /// One line: what was decided, and why where nothing is done.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Rest => "nothing to do".to_owned(),
            Self::Wait { why } => format!("waits: {why}"),
            Self::Act(act) => act.sentence(),
            Self::Withheld { act, why } => format!("would {}: {why}", act.sentence()),
            Self::Blocked(refusal) => {
                format!("blocked ({}): {}", refusal.reason.id(), refusal.message)
            }
        }
    }
}
