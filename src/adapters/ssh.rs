//! Hosts over SSH: one connection for each, through its bastion where the
//! inventory says so, kept and shared by all commands and streams.

mod exec;
mod link;
mod prompt;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use russh::{Channel, client::Msg, keys::PrivateKey};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use crate::{
    ids::HostName,
    inventory::{HostEntry, Inventory},
    ports::remote::{Command, Endpoint, Output, Remote, RemoteError, Stream},
};
use link::{Link, Purpose};

/// Commands at once for each host. OpenSSH allows 10 sessions on a
/// connection (`MaxSessions`); forwarded streams do not count.
const COMMANDS_AT_ONCE: usize = 8;

/// Between two attempts to get one of them.
const SESSION_ENDS: Duration = Duration::from_millis(20);

/// Limits of time.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For TCP and the key exchange.
    pub connect: Duration,
    /// For the user's key.
    pub authenticate: Duration,
    /// For opening a command or a stream on a connection.
    pub open: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            authenticate: Duration::from_secs(10),
            open: Duration::from_secs(5),
        }
    }
}

/// Reaches the hosts of an inventory.
pub struct Ssh {
    key: Arc<PrivateKey>,
    deadlines: Deadlines,
    hosts: BTreeMap<HostName, Slot>,
}

/// A host and the connection to it, once there is one.
struct Slot {
    entry: HostEntry,
    link: Mutex<Option<Arc<Link>>>,
    commands: Semaphore,
}

impl Ssh {
    /// Hosts that are connected to when they are first used, with that key.
    #[must_use]
    pub fn new(inventory: &Inventory, key: PrivateKey) -> Self {
        let slot = |entry: &HostEntry| Slot {
            entry: entry.clone(),
            link: Mutex::new(None),
            commands: Semaphore::new(COMMANDS_AT_ONCE),
        };
        let hosts = inventory.hosts.iter();
        Self {
            key: Arc::new(key),
            deadlines: Deadlines::default(),
            hosts: hosts
                .map(|(name, entry)| (name.clone(), slot(entry)))
                .collect(),
        }
    }

    /// The same with other limits of time.
    #[must_use]
    pub fn with_deadlines(self, deadlines: Deadlines) -> Self {
        Self { deadlines, ..self }
    }

    fn slot(&self, host: &HostName) -> Result<&Slot, RemoteError> {
        let found = self.hosts.get(host);
        found.ok_or_else(|| RemoteError::NoSuchHost { host: host.clone() })
    }

    /// Starts a script as root and answers its standard output, and its
    /// standard input to write to.
    ///
    /// # Errors
    /// The host cannot be used.
    pub async fn shell(
        &self,
        host: &HostName,
        script: &str,
    ) -> Result<Box<dyn Stream>, RemoteError> {
        let entry = &self.slot(host)?.entry;
        let (channel, link) = self.open(host, &Purpose::Command).await?;
        let channel = exec::start(entry, channel, script).await?;
        Ok(Box::new(link::Kept::new(channel.into_stream(), link)))
    }

    /// The connection to a host, made if there is none that lives.
    async fn link(&self, host: &HostName) -> Result<Arc<Link>, RemoteError> {
        let slot = self.slot(host)?;
        let mut kept = slot.link.lock().await;
        if let Some(link) = kept.as_ref().filter(|link| link.lives()) {
            return Ok(Arc::clone(link));
        }
        let jump = match &slot.entry.ssh.jump {
            Some(jump) => Some((jump.clone(), Box::pin(self.link(jump)).await?)),
            None => None,
        };
        let link = link::connect(&slot.entry, &self.key, self.deadlines, jump).await?;
        let link = Arc::new(link);
        *kept = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Drops a connection that turned out to be dead, unless another caller
    /// has replaced it already.
    async fn forget(&self, host: &HostName, dead: &Arc<Link>) {
        if let Some(slot) = self.hosts.get(host) {
            let mut kept = slot.link.lock().await;
            if kept.as_ref().is_some_and(|link| Arc::ptr_eq(link, dead)) {
                *kept = None;
            }
        }
    }

    /// Opens something on the connection. A connection that broke unnoticed
    /// is replaced once: nothing has been sent to the host yet.
    async fn open(
        &self,
        host: &HostName,
        purpose: &Purpose,
    ) -> Result<(Channel<Msg>, Arc<Link>), RemoteError> {
        let mut second = false;
        let until = Instant::now() + self.deadlines.open;
        loop {
            let link = self.link(host).await?;
            let within = self.deadlines.open;
            let why = match tokio::time::timeout(within, link.open(purpose)).await {
                Ok(Ok(opened)) => return Ok((opened, link)),
                // The host has not noticed the end of the command before.
                Ok(Err(russh::Error::ChannelOpenFailure(_)))
                    if matches!(purpose, Purpose::Command) && Instant::now() < until =>
                {
                    tokio::time::sleep(SESSION_ENDS).await;
                    continue;
                }
                Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                    return Err(RemoteError::Connect {
                        host: host.clone(),
                        address: self.slot(host)?.entry.ssh.address.clone(),
                        why: link::refusal(&why),
                    });
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {within:?}"),
            };
            self.forget(host, &link).await;
            if second {
                let host = host.clone();
                return Err(RemoteError::Broken { host, why });
            }
            second = true;
        }
    }
}

#[async_trait]
impl Remote for Ssh {
    async fn run(&self, host: &HostName, command: Command) -> Result<Output, RemoteError> {
        let slot = self.slot(host)?;
        let permit = slot.commands.acquire().await;
        let _permit = permit.expect("the semaphore is never closed");
        let (channel, link) = self.open(host, &Purpose::Command).await?;
        let within = command.deadline;
        let ended = exec::run(&slot.entry, channel, &command);
        match tokio::time::timeout(within, ended).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => {
                if matches!(error, RemoteError::Broken { .. }) {
                    self.forget(host, &link).await;
                }
                Err(error)
            }
            Err(_) => Err(RemoteError::Deadline {
                host: host.clone(),
                within,
                what: "running a command".to_owned(),
            }),
        }
    }

    async fn dial(
        &self,
        host: &HostName,
        endpoint: Endpoint,
    ) -> Result<Box<dyn Stream>, RemoteError> {
        let purpose = Purpose::Stream(endpoint);
        let opened = self.open(host, &purpose).await;
        let (channel, link) = opened.map_err(|error| at_endpoint(error, &purpose))?;
        Ok(Box::new(link::Kept::new(channel.into_stream(), link)))
    }
}

/// Says what on the host could not be reached, instead of the host.
fn at_endpoint(error: RemoteError, purpose: &Purpose) -> RemoteError {
    match (error, purpose) {
        (RemoteError::Connect { host, why, .. }, Purpose::Stream(endpoint)) => {
            let address = match endpoint {
                Endpoint::Tcp(port) => format!("its port {port}"),
                Endpoint::Unix(path) => format!("its socket {path}"),
            };
            RemoteError::Connect { host, address, why }
        }
        (other, _) => other,
    }
}
