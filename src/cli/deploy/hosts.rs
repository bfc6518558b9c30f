//! The second half of a deploy: hosts that have just been made come up, then
//! are configured.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures::future::join_all;

use super::super::{
    CommandError, Context,
    playbooks::{self, Job},
    reach,
};
use super::Args;
use crate::{
    adapters::secrets::Vault,
    configure::{Options, Report},
    ids::HostName,
    inventory::Inventory,
    ports::remote::{Remote, RemoteError},
    provision::FoundHosts,
    topology::Topology,
};

/// How long a new instance may take until it answers by SSH.
const BOOT: Duration = Duration::from_secs(300);

/// Waits for all hosts and runs the playbook `deploy`.
pub(super) async fn configure(
    context: &Context,
    args: &Args,
    topology: &Topology,
    vault: &Vault,
    found: &FoundHosts,
) -> Result<Report, CommandError> {
    let ssh = context.ssh(vault, found)?;
    let waits = found.inventory.hosts.keys().map(|host| booted(&ssh, host));
    tokio::select! {
        answers = join_all(waits) => {
            answers.into_iter().collect::<Result<(), RemoteError>>()?;
        }
        _ = tokio::signal::ctrl_c() => {
            return Err(CommandError::new(
                super::Exit::Interrupted,
                "interrupted while the hosts came up; the resources are made",
            )
            .id("interrupted")
            .hint("run it again: what is done is found done, the rest follows"));
        }
    }
    let job = Job {
        playbook: "deploy",
        playbooks: args.playbooks.as_deref(),
        agent_binary: args.agent_binary.as_deref(),
        vars: std::collections::BTreeMap::new(),
        options: Options::default(),
        assumed: Inventory::default(),
        quiet: false,
    };
    playbooks::run_over(&ssh, context, topology, vault, found, job).await
}

/// Waits until a host runs a command. What a boot mends by itself is retried;
/// a wrong host key is not.
async fn booted(ssh: &dyn Remote, host: &HostName) -> Result<(), RemoteError> {
    let probe = || reach::answers(ssh, host);
    let patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_total_delay(Some(BOOT))
        .without_max_times();
    probe
        .retry(patience)
        .when(|error| {
            !matches!(
                error,
                RemoteError::HostKey { .. } | RemoteError::NoSuchHost { .. }
            )
        })
        .await
}
