//! The ways between sites, each of which can be cut in one direction.

use std::collections::BTreeSet;

use crate::ids::{HostName, SiteName};

use super::State;

/// Ways that are cut: from the first to the second, nothing arrives.
#[derive(Clone, Debug, Default)]
pub struct Cuts(BTreeSet<(SiteName, SiteName)>);

impl Cuts {
    /// Cuts a way in one direction, or mends it.
    pub fn set(&mut self, from: &SiteName, to: &SiteName, cut: bool) {
        let way = (from.clone(), to.clone());
        if cut {
            self.0.insert(way);
        } else {
            self.0.remove(&way);
        }
    }

    fn passes(&self, from: &SiteName, to: &SiteName) -> bool {
        self.0.is_empty() || !self.0.iter().any(|(a, b)| a == from && b == to)
    }
}

impl State {
    /// What one host sends arrives at the other; whether that one runs is
    /// another question.
    #[must_use]
    pub fn passes(&self, from: &HostName, to: &HostName) -> bool {
        let (from, to) = (&self.machines[from], &self.machines[to]);
        if from.site == to.site {
            return true;
        }
        let linked = self.linked || from.witness || to.witness;
        linked && self.cuts.passes(&from.site, &to.site)
    }

    /// Both run, and packets pass between them in both directions.
    #[must_use]
    pub fn connected(&self, one: &HostName, other: &HostName) -> bool {
        self.runs(one) && self.runs(other) && self.passes(one, other) && self.passes(other, one)
    }

    /// Has power and is not frozen.
    #[must_use]
    pub fn runs(&self, host: &HostName) -> bool {
        let machine = &self.machines[host];
        machine.on && !machine.frozen
    }
}
