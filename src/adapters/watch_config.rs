//! The configuration of a watcher: one JSON file, written at deploy.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{ids::HostName, inventory::Inventory};

/// Everything that a watcher must know. Secrets are named by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// The host on which it runs.
    pub host: HostName,
    /// The topology as the operator wrote it.
    pub topology: PathBuf,
    /// The hosts as provisioning found them.
    pub inventory: Inventory,
    /// The members of the shared store, such as `https://site1-lb:2379`.
    pub endpoints: Vec<String>,
    /// Behind which every load balancer has its runtime API.
    pub admin_port: u16,
    pub tls: Files,
    /// Holds the password of the application's database user.
    pub database_password: PathBuf,
    /// Holds the password of the queues.
    pub queue_password: PathBuf,
    /// Holds what machines need that are made anew, where watchers do that.
    #[serde(default)]
    pub vault: Option<PathBuf>,
}

/// Certificate files, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum WatchConfigError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a watcher's configuration")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
}

impl WatchConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not there, or not one.
    pub fn load(path: &Path) -> Result<Self, WatchConfigError> {
        serde_json::from_str(&read(path)?).map_err(|source| WatchConfigError::Parse {
            path: path.to_owned(),
            source,
        })
    }
}

/// The text of a file.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<String, WatchConfigError> {
    fs::read_to_string(path).map_err(|source| WatchConfigError::Read {
        path: path.to_owned(),
        source,
    })
}
