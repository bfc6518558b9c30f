//! What a watcher says to people.

use crate::{
    decide::{Act, Finding, Reaction},
    journal::{Entry, Outcome, Progress},
};

/// Something that people may want to know.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The decision is another one than before.
    Decided {
        findings: Vec<Finding>,
        reaction: Reaction,
    },
    /// It begins to act.
    Begins(Act),
    /// It has acted.
    Ended {
        act: Act,
        outcome: Outcome,
        entries: Vec<Entry>,
    },
    /// It could not act, or had to stop.
    Failed { act: Act, why: String },
    /// It does not see what it needs.
    Blind(String),
}

/// Where notices go.
pub trait Notices: Send + Sync {
    fn tell(&self, notice: &Notice);

    /// Each entry of a run that this watcher runs.
    fn entry(&self, _: &Entry, _: &Progress) {}
}

/// Says nothing.
pub struct Silent;

impl Notices for Silent {
    fn tell(&self, _: &Notice) {}
}
