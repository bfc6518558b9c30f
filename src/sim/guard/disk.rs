//! The disk of a database's host: what is remembered there, and how it fails.

use std::time::Duration;

use super::{super::State, Program};
use crate::{
    coordination::Right,
    ids::{Epoch, HostName},
    right::Promise,
};

/// What deposes a host is remembered so often on a full disk: a real guard
/// keeps more, which others may take.
const RESERVE: u8 = 2;

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
    /// How often, since the disk is full, the guard has used of the room that
    /// it keeps for its memory.
    spent: u8,
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
        self.write_down(change, false).await
    }

    /// The same of what deposes this host, for which some room is kept.
    pub(super) async fn remember_at_last(&self, change: impl FnOnce(&mut Disk) + Send) -> bool {
        self.write_down(change, true).await
    }

    async fn write_down(&self, change: impl FnOnce(&mut Disk) + Send, at_last: bool) -> bool {
        while self.sim.lock().state.guards[&self.host].disk.hangs {
            self.sleep(Duration::from_millis(20)).await;
        }
        self.sleep(Duration::from_millis(1)).await;
        let mut core = self.sim.lock();
        let disk = &mut core.guard(&self.host).disk;
        let room = !disk.full || (at_last && disk.spent < RESERVE);
        disk.spent = match disk.full {
            true => disk.spent.saturating_add(u8::from(at_last)),
            false => 0,
        };
        if room {
            change(disk);
        }
        room
    }
}
