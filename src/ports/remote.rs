//! Commands, files and streams on hosts.

use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ids::HostName;

/// A byte stream to something on a host.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A command for a host's shell.
#[derive(Clone)]
pub struct Command {
    /// Run by `sh -c`; never contains secrets: those go by `stdin`.
    pub script: String,
    pub stdin: Vec<u8>,
    /// Run as root.
    pub root: bool,
    pub deadline: Duration,
}

/// What a command answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + signal when killed.
    pub status: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Where a stream on a host leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Port on the host's own loopback address.
    Tcp(u16),
    /// A socket file.
    Unix(String),
}

/// Hosts, reached with the keys and jumps of the inventory. One connection
/// each, kept and shared.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Runs a command and waits for its end. A non-zero status is no error.
    async fn run(&self, host: &HostName, command: Command) -> Result<Output, RemoteError>;

    /// Opens a stream to something that listens on the host.
    async fn dial(
        &self,
        host: &HostName,
        endpoint: Endpoint,
    ) -> Result<Box<dyn Stream>, RemoteError>;
}

/// Why a host could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("{host} is not in the inventory")]
    NoSuchHost { host: HostName },
    #[error("cannot connect to {host} at {address}: {why}")]
    Connect {
        host: HostName,
        address: String,
        why: String,
    },
    /// The host presented another key than the inventory says.
    #[error("{host} at {address} presented the host key {presented}, not the expected one")]
    HostKey {
        host: HostName,
        address: String,
        /// SHA256 fingerprint.
        presented: String,
    },
    #[error("{host} refused the SSH key of user {user}")]
    Refused { host: HostName, user: String },
    /// `sudo` did not let the user become root.
    #[error("user {user} may not become root on {host}: {why}")]
    Root {
        host: HostName,
        user: String,
        why: String,
    },
    #[error("the connection to {host} broke: {why}")]
    Broken { host: HostName, why: String },
    #[error("{host} did not answer within {within:?} ({what})")]
    Deadline {
        host: HostName,
        within: Duration,
        what: String,
    },
}

impl RemoteError {
    /// Whether the host did nothing: there was no way to it, or it or we
    /// refused.
    #[must_use]
    pub fn is_before_anything(&self) -> bool {
        match self {
            Self::NoSuchHost { .. }
            | Self::Connect { .. }
            | Self::HostKey { .. }
            | Self::Refused { .. }
            | Self::Root { .. } => true,
            Self::Broken { .. } | Self::Deadline { .. } => false,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NoSuchHost { .. } => {
                "name a host of the topology; `hafail plan` lists them".to_owned()
            }
            Self::Connect { host, .. } => format!(
                "see whether {host} runs and its SSH port is open from here (`hafail status`), then run the command again"
            ),
            Self::HostKey { host, .. } => format!(
                "if {host} was rebuilt outside hafail, state its new host key; otherwise somebody may be in between: do not go on"
            ),
            Self::Refused { host, user } => format!(
                "put the deployment's public key into ~{user}/.ssh/authorized_keys of {host}, or give the right key as `access.ssh_key`"
            ),
            Self::Root { host, user, .. } => {
                format!("allow it in /etc/sudoers.d of {host}: `{user} ALL=(ALL) NOPASSWD:ALL`")
            }
            Self::Broken { host, .. } => {
                format!("run the command again; what {host} had done is found done")
            }
            Self::Deadline { host, .. } => {
                format!("see whether {host} is overloaded or cut off, then run the command again")
            }
        }
    }
}
