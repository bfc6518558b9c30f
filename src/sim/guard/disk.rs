//! The disk of a database's host: what is remembered there, and how it fails.

use std::time::Duration;

use super::{super::State, Program};
use crate::{
    coordination::Right,
    ids::{Epoch, HostName},
    right::Promise,
};

/// What is on the disk of a guard's host.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub(super) right: Option<Right>,
    pub(super) promise: Option<Promise>,
    /// The epoch of the right that an order gave, and the boot.
    pub(super) grant: Option<(Epoch, u32)>,
    /// Its writes do not end; a process that is killed in one never runs again,
    /// and no other can take its place before it is gone.
    pub hangs: bool,
    /// Its writes fail.
    pub full: bool,
}

impl Disk {
    pub(super) fn takes_writes(&self) -> bool {
        !self.hangs && !self.full
    }
}

impl State {
    /// PostgreSQL there cannot write.
    #[must_use]
    pub fn disk_hangs(&self, host: &HostName) -> bool {
        self.guards.get(host).is_some_and(|guard| guard.disk.hangs)
    }

    /// PostgreSQL there has no room for another write.
    #[must_use]
    pub fn disk_is_full(&self, host: &HostName) -> bool {
        self.guards.get(host).is_some_and(|guard| guard.disk.full)
    }

    /// PostgreSQL can start there, and a standby receive.
    pub(in crate::sim) fn takes_writes(&self, host: &HostName) -> bool {
        let guard = self.guards.get(host);
        guard.is_none_or(|guard| guard.disk.takes_writes())
    }
}

impl Program {
    /// Waits until the disk ends a write; false: there was no room for it.
    pub(super) async fn remember(&self, change: impl FnOnce(&mut Disk) + Send) -> bool {
        while self.sim.lock().state.guards[&self.host].disk.hangs {
            self.sleep(Duration::from_millis(20)).await;
        }
        self.sleep(Duration::from_millis(1)).await;
        let mut core = self.sim.lock();
        let disk = &mut core.guard(&self.host).disk;
        if !disk.full {
            change(disk);
        }
        !disk.full
    }
}
