//! What a guard must remember over its own restarts and the machine's boots.
//! Written and synced before any effect.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, RwLock},
};

use serde::{Deserialize, Serialize};

use super::reserve::Reserve;
use crate::{
    ids::{Epoch, HostName},
    order::WantedRole,
};

/// The memory of a guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persisted {
    /// The newest epoch of an accepted order.
    pub epoch: Epoch,
    /// The run that brought it. Two operators may begin at once and choose the
    /// same epoch: it belongs to the first.
    #[serde(default)]
    pub holder: Option<String>,
    pub wanted: WantedRole,
    /// The right to write, where an order gave it.
    #[serde(default)]
    pub grant: Option<Grant>,
    /// Name of the data directory below the version's folder.
    #[serde(default)]
    pub data: Option<String>,
    /// A rewind began, in this boot, and did not end: the data directory must
    /// not start.
    #[serde(default)]
    pub rewinding: Option<String>,
    /// Who must confirm commits while this host is primary.
    #[serde(default)]
    pub synchronous: Vec<HostName>,
    /// The epoch of the order that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronous_in: Option<Epoch>,
    /// The right under the shared store's lease, for a guard that takes over.
    #[serde(default)]
    pub right: Option<super::lease::Remembered>,
    /// The promise given last.
    #[serde(default)]
    pub promise: Option<crate::right::Promise>,
}

/// Says that an order made this host the writer of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub epoch: Epoch,
    /// The boot of the machine in which it was given; worth nothing later.
    pub boot: String,
    /// Whom the host followed before, in case the promotion is withdrawn.
    #[serde(default)]
    pub before: Option<HostName>,
}

impl Default for Persisted {
    fn default() -> Self {
        Self {
            epoch: Epoch(0),
            holder: None,
            wanted: WantedRole::Uninitialised,
            grant: None,
            data: None,
            rewinding: None,
            synchronous: Vec::new(),
            synchronous_in: None,
            right: None,
            promise: None,
        }
    }
}

/// Why the memory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot read the guard's state {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the guard's state {path} is damaged: {source}")]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write the guard's state {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// The memory with its file.
pub struct Store {
    path: PathBuf,
    current: RwLock<Persisted>,
    /// Held while a change is made: each begins with what the last one left.
    writing: Mutex<()>,
    reserve: Reserve,
}

impl Store {
    /// Reads the memory, or begins an empty one. A file that can't be read is
    /// an error: forgetting an epoch would let a stale order pass.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join("state.json");
        let current = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StoreError::Damaged {
                path: path.clone(),
                source,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Persisted::default(),
            Err(source) => return Err(StoreError::Read { path, source }),
        };
        let reserve = Reserve::new(state_dir);
        reserve.keep();
        Ok(Self {
            path,
            current: RwLock::new(current),
            writing: Mutex::default(),
            reserve,
        })
    }

    /// The memory as last written.
    pub fn get(&self) -> Persisted {
        self.read().clone()
    }

    /// Looks at the memory without a copy.
    pub fn with<T>(&self, look: impl FnOnce(&Persisted) -> T) -> T {
        look(&self.read())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Persisted> {
        self.current.read().expect("no holder of this lock panics")
    }

    /// Changes the memory: durable when this returns, unchanged on error. What
    /// deposes the host is remembered also where the disk is full; else nothing
    /// is taken on there.
    pub fn update(&self, change: impl FnOnce(&mut Persisted)) -> Result<(), StoreError> {
        let _writing = self.writing.lock().expect("no holder of this lock panics");
        let mut next = self.get();
        change(&mut next);
        if next == *self.read() {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(&next).expect("plain data with string keys");
        let write = || write_durably(&self.path, &bytes, 0o600);
        let written = match self.with(|now| deposes(now, &next)) {
            true => self.reserve.spend(write),
            false => write(),
        };
        written.map_err(|source| StoreError::Write {
            path: self.path.clone(),
            source,
        })?;
        *self.current.write().expect("no holder of this lock panics") = next;
        self.reserve.keep();
        Ok(())
    }
}

/// Whether somebody else is to be primary: the host is to be stopped, or a newer
/// run is at work on a primary.
fn deposes(now: &Persisted, next: &Persisted) -> bool {
    let is_newer = next.epoch > now.epoch;
    next.wanted == WantedRole::Stopped || (is_newer && now.wanted == WantedRole::Primary)
}

/// Replaces a file at once and durably: readers see the old or the new one,
/// also after a power cut.
pub fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(directory)
}

/// Makes sure that a file has this content. One that has it already is not
/// written again: each write costs two syncs, and starts must be quick.
pub fn ensure_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::read(path) {
        Ok(present) if present == bytes => Ok(()),
        _ => write_durably(path, bytes, mode),
    }
}

/// Makes renames and removals in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Names the current boot of this machine: the kernel's boot and the start of
/// process 1, because a container that is powered off and on keeps its
/// kernel.
pub fn boot_identity(boot_id_file: &Path) -> io::Result<String> {
    let kernel = fs::read_to_string(boot_id_file)?;
    let init = fs::read_to_string("/proc/1/stat").ok();
    // Field 22, counted from behind the command's name, which may hold spaces.
    let started = init.as_deref().and_then(|stat| {
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(19)
    });
    Ok(format!("{}/{}", kernel.trim(), started.unwrap_or("-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.get(), Persisted::default());
        store
            .update(|state| {
                state.epoch = Epoch(7);
                state.wanted = WantedRole::Standby {
                    upstream: Some("site2-db".parse().unwrap()),
                };
            })
            .unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().get(), store.get());
    }

    #[test]
    fn changes_at_once_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        store
                            .update(|state| state.epoch = state.epoch.next())
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(store.get().epoch, Epoch(100));
    }

    #[test]
    fn a_damaged_memory_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state.json"), "{\"epoch\": 7").unwrap();
        assert!(matches!(
            Store::open(dir.path()),
            Err(StoreError::Damaged { .. })
        ));
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(store.update(|state| state.epoch = Epoch(1)).is_err());
        assert_eq!(store.get().epoch, Epoch(0));
    }

    #[test]
    fn boots_differ_by_kernel() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("boot_id");
        fs::write(&file, "a\n").unwrap();
        let first = boot_identity(&file).unwrap();
        assert_eq!(first, boot_identity(&file).unwrap());
        fs::write(&file, "b\n").unwrap();
        assert_ne!(first, boot_identity(&file).unwrap());
    }
}
