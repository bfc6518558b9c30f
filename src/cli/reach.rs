//! The hosts of a deployment and the way to them.

use std::time::Duration;

use crate::{
    adapters::{
        aws::{Aws, Clients},
        secrets::Vault,
        ssh::Ssh,
    },
    ids::HostName,
    ports::remote::{Command, Remote, RemoteError},
    provision::{FoundHosts, find_inventory},
    topology::Topology,
};

use super::{CommandError, Context, Exit};

impl Context {
    /// Finds all hosts; credentials are used only where hosts are instances.
    pub(super) async fn find_hosts(&self, topology: &Topology) -> FoundHosts {
        let regions = topology.sites.values().map(|site| site.region.clone());
        let clients = Clients::new(regions).await;
        find_inventory(topology, &Aws { clients }).await
    }

    /// The way to the hosts that were found.
    ///
    /// # Errors
    /// The key cannot be read.
    pub(super) fn ssh(&self, vault: &Vault, found: &FoundHosts) -> Result<Ssh, CommandError> {
        Ok(Ssh::new(&found.inventory, vault.ssh_key()?))
    }
}

/// Whether a host runs a command now, without being root.
///
/// # Errors
/// Why not.
pub(super) async fn answers(remote: &dyn Remote, host: &HostName) -> Result<(), RemoteError> {
    let nothing = Command {
        script: "true".to_owned(),
        stdin: Vec::new(),
        root: false,
        deadline: Duration::from_secs(10),
    };
    remote.run(host, nothing).await.map(drop)
}

/// What to say when hosts that are needed were not found.
pub(super) fn missing(found: &FoundHosts, needed: &[HostName]) -> Result<(), CommandError> {
    let missing: Vec<&HostName> = needed
        .iter()
        .filter(|host| !found.inventory.hosts.contains_key(*host))
        .collect();
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let message = match missing.len() {
        1 => format!("{first} cannot be reached"),
        many => format!("{many} hosts cannot be reached"),
    };
    let mut error = CommandError::new(Exit::Access, message).id("hosts-missing");
    for host in &missing {
        let why = found
            .missing
            .get(*host)
            .map_or("it was not found", String::as_str);
        error.causes.push(format!("{host}: {why}"));
    }
    for fault in found.errors.values() {
        error = error.hint(fault.remedy());
    }
    if found.errors.is_empty() {
        error = error.hint("see what is missing: hafail plan; make it: hafail deploy");
    }
    Err(error)
}

impl From<RemoteError> for CommandError {
    fn from(error: RemoteError) -> Self {
        Self::new(Exit::Access, error.to_string())
            .id("remote")
            .hint(error.remedy())
    }
}
