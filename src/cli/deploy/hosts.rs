//! The second half of a deploy: hosts that have just been made come up, then
//! are configured.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

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
    provision::{Applied, FoundHosts},
    topology::Topology,
};

/// How long a new instance may take until it answers by SSH.
pub(in crate::cli) const BOOT: Duration = Duration::from_secs(300);
/// How long hosts of an earlier run may take: one may be booting still.
const SETTLED: Duration = Duration::from_secs(30);

/// Waits for all hosts and runs the playbook `deploy`. Those that do not come
/// are named, and the others done as far as they go without them.
pub(super) async fn configure(
    context: &Context,
    args: &Args,
    topology: &Topology,
    vault: &Vault,
    found: &FoundHosts,
    applied: &Applied,
) -> Result<Report, CommandError> {
    let ssh = context.ssh(vault, found)?;
    let made = applied.created + applied.updated > 0;
    let patience = if made { BOOT } else { SETTLED };
    let hosts = found.inventory.hosts.keys();
    let waits = hosts.map(|host| booted(&ssh, host, patience));
    let stop = context.interrupted();
    tokio::select! {
        biased;
        () = stop.cancelled() => {
            return Err(CommandError::new(
                super::Exit::Interrupted,
                "interrupted before the hosts were up; the resources are made",
            )
            .id("interrupted")
            .hint("run it again: what is done is found done, the rest follows"));
        }
        answers = join_all(waits) => {
            for error in answers.into_iter().filter_map(Result::err) {
                context.ui.warning(&format!("{error}; the other hosts go on"));
            }
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
pub(in crate::cli) async fn booted(
    ssh: &dyn Remote,
    host: &HostName,
    patience: Duration,
) -> Result<(), RemoteError> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(100);
    loop {
        let Err(error) = reach::answers(ssh, host).await else {
            return Ok(());
        };
        let hopeless = matches!(
            error,
            RemoteError::HostKey { .. } | RemoteError::NoSuchHost { .. }
        );
        if hopeless || Instant::now() + pause >= end {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
