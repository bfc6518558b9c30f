//! The right to write under the lease of the shared store: taking it, keeping
//! it, losing it, giving it back. Nothing of it waits for the guard's hands:
//! an order that takes long must not outlive the right.

mod dead_man;
mod held;
mod keep;
mod promises;
mod resident;
mod synchronous;
mod take;

pub use dead_man::{DeadManError, run as run_dead_man};
pub use held::{Held, Remembered};
pub use take::TakeError;

pub(super) use crate::adapters::clock::boottime;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use dead_man::DeadMan;
use tokio::sync::watch;

use super::{
    GuardError,
    config::{Coordination, GuardConfig},
};
use crate::{
    adapters::{
        etcd::{Etcd, Tls},
        guard_client::GuardClient,
    },
    coordination::Shared,
    order::LeaseStatus,
    ports::quorum::Quorum,
    right::{Moment, Terms},
};

/// Everything that a guard needs for automatic coordination.
pub struct Lease {
    pub shared: Shared,
    pub terms: Terms,
    peers: GuardClient,
    dead_man: DeadMan,
    held: watch::Sender<Option<Held>>,
    /// Held while the right is taken, and while a promise is given.
    turn: tokio::sync::Mutex<()>,
    /// When this guard began; what was promised in an earlier boot counts
    /// from here.
    began: Moment,
    set: Mutex<synchronous::Set>,
}

impl Lease {
    /// The lease of a guard whose configuration asks for one.
    ///
    /// # Errors
    /// Certificates or the runtime directory cannot be used.
    pub fn new(config: &GuardConfig) -> Result<Option<Self>, GuardError> {
        let Some(coordination) = &config.coordination else {
            let path = config.runtime_dir();
            dead_man::dismiss(&path).map_err(|source| GuardError::Directory { path, source })?;
            return Ok(None);
        };
        resident::stay_in_memory();
        let files = &config.tls;
        let peers = GuardClient::new(&read(&files.ca)?, &read(&files.cert)?, &read(&files.key)?)?;
        let quorum = connect(config, coordination)?;
        let directory = &coordination.runtime_dir;
        let dead_man =
            DeadMan::prepare(config, directory).map_err(|source| GuardError::Directory {
                path: directory.clone(),
                source,
            })?;
        Ok(Some(Self {
            shared: Shared::with_prefix(quorum, &coordination.prefix),
            terms: coordination.terms(),
            peers,
            dead_man,
            held: watch::Sender::new(None),
            turn: tokio::sync::Mutex::default(),
            began: boottime(),
            set: Mutex::default(),
        }))
    }

    /// The right that is held now: none past its deadline.
    pub fn held(&self) -> Option<Held> {
        let held = self.held.borrow().clone();
        held.filter(|held| held.holding.holds(boottime()))
    }

    /// Puts the deadline away, unless a right has been taken meanwhile.
    fn disarm(&self) {
        self.held.send_if_modified(|held| {
            if held.is_none() {
                self.dead_man.disarm();
            }
            false
        });
    }

    /// Whether the right of that epoch is held now.
    pub fn covers(&self, epoch: crate::ids::Epoch) -> bool {
        self.held().is_some_and(|held| held.right.epoch == epoch)
    }

    /// What the status says of it.
    pub fn status(&self) -> Option<LeaseStatus> {
        let held = self.held()?;
        let left = held.holding.until.saturating_sub(boottime());
        Some(LeaseStatus {
            epoch: held.right.epoch,
            left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            by_promises: held.holding.by_promises,
            members: self.set().stored.clone(),
        })
    }

    /// Whether another host has every acknowledged commit.
    pub fn has_members(&self) -> bool {
        !self.set().stored.is_empty()
    }

    fn set(&self) -> std::sync::MutexGuard<'_, synchronous::Set> {
        self.set.lock().expect("no holder of this lock panics")
    }
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// The way to the shared store, by this host's certificate.
fn connect(
    config: &GuardConfig,
    coordination: &Coordination,
) -> Result<Arc<dyn Quorum>, GuardError> {
    let files = &config.tls;
    let tls = Tls {
        ca: read(&files.ca)?,
        certificate: read(&files.cert)?,
        key: read(&files.key)?,
    };
    let deadline = coordination.terms().rpc_timeout;
    let etcd = Etcd::new(&coordination.endpoints, &tls, deadline);
    Ok(Arc::new(etcd?))
}

fn read(path: &Path) -> Result<String, GuardError> {
    std::fs::read_to_string(path).map_err(|source| GuardError::Directory {
        path: path.to_owned(),
        source,
    })
}
