//! What automatic mode adds to the world: a store, guards that hold the right
//! to write, and somebody who gives them orders.

use super::{Core, Sim, attendant, guard, quorum};

/// Starts everything, where the mode is automatic.
pub(super) fn start(core: &mut Core, sim: &Sim) {
    if core.state.settings.automatic.is_none() {
        return;
    }
    quorum::start(core);
    let guards: Vec<_> = core.state.guards.keys().cloned().collect();
    for host in &guards {
        guard::deploy(core, host);
        guard::start(core, sim, host);
    }
    for host in core.known().members.clone() {
        attendant::start(core, sim, &host);
    }
}

impl Core {
    /// Notes what the store says of who has every acknowledged commit, for
    /// the checker.
    pub(super) fn heed_sync(&mut self, keys: &[String]) {
        let key = guard::key("sync");
        if !keys.contains(&key) {
            return;
        }
        let quorum = self.state.quorum.as_ref();
        let text = quorum.and_then(|quorum| quorum.text(&key));
        self.state.sync = text.and_then(|text| serde_json::from_str(text).ok());
        self.check_sync();
    }
}
