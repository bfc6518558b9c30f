//! The deployment of a topology, for commands that go to it.

use std::collections::BTreeSet;

use super::{CommandError, Context, Exit};
use crate::{
    adapters::world::{Deployment, WorldError, open},
    ports::cloud::CloudError,
    topology::Topology,
};

impl Context {
    /// Finds the hosts of the topology and prepares the ways to them. Hosts
    /// and regions that do not answer are left out, with the reason.
    ///
    /// # Errors
    /// Secrets or certificates of this machine cannot be used.
    pub async fn deployment(&self, topology: &Topology) -> Result<Deployment, CommandError> {
        let vault = self.vault(topology)?;
        Ok(open(topology, &vault).await?)
    }

    /// As [`Context::deployment`], where at least one host must have been
    /// found.
    ///
    /// # Errors
    /// As there, and when there is no host.
    pub async fn some_deployment(&self, topology: &Topology) -> Result<Deployment, CommandError> {
        let deployment = self.deployment(topology).await?;
        if !deployment.found.inventory.hosts.is_empty() {
            return Ok(deployment);
        }
        let text = format!("no host of {} was found", topology.name);
        let mut error = CommandError::new(Exit::Access, text).id("no-hosts");
        let errors = &deployment.found.errors;
        for fault in errors.values() {
            error = error.because(fault);
        }
        let remedies: BTreeSet<String> = errors.values().map(CloudError::remedy).collect();
        if remedies.is_empty() {
            error = error.hint("see what is there: hafail status; make it: hafail deploy");
        }
        // Whoever cannot ask does not know that there is none.
        error.hints.extend(remedies);
        Err(error)
    }
}

impl From<WorldError> for CommandError {
    fn from(error: WorldError) -> Self {
        match error {
            WorldError::Vault(error) => error.into(),
            WorldError::Authority(error) => Self::new(Exit::Access, "no certificates")
                .because(&error)
                .hint(error.hint()),
            WorldError::Guards(error) => Self::new(Exit::Access, "no way to the guards")
                .because(&error)
                .hint(error.remedy()),
            WorldError::Tls(error) => Self::new(Exit::Access, "no way to the database")
                .because(&error)
                .hint("look into the secrets directory of the deployment"),
            WorldError::Store(error) => Self::new(Exit::Access, "no way to the shared store")
                .because(&error)
                .hint(error.remedy()),
            WorldError::Files(error) => Self::failed("the watcher cannot begin", &error)
                .hint("run `hafail run deploy-watch` to write its files anew"),
            WorldError::Resolver(error) => Self::new(Exit::Access, "names cannot be resolved")
                .because(&error)
                .hint("set HAFAIL_RESOLVERS to the address:port of a DNS server"),
        }
    }
}

/// Reads a length of time such as `500ms`, `30s` or `2m`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("`{text}` is not a length of time such as 500ms, 30s or 2m"))?;
    std::time::Duration::try_from(parsed).map_err(|_| format!("`{text}` is negative"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lengths_of_time_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "5", "x", "-3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
