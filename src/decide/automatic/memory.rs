//! What a leader notes of its runs.

use super::{Act, Memory, TRIES};
use crate::{ports::store::RunId, right::Moment};

impl Memory {
    /// What was begun succeeded.
    pub fn succeeded(&mut self, act: &Act) {
        self.tried.remove(&act.sentence());
    }

    /// The primary that a run has promoted is gone: what is left of it is not
    /// tried again.
    pub fn is_void(&mut self, run: &RunId) {
        let key = Act::Resume(run.clone()).sentence();
        self.tried.insert(key, (TRIES, Moment::ZERO));
    }
}
