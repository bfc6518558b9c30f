//! What `plan`, `deploy` and `destroy` share: look at the cloud, show changes,
//! make them.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{CommandError, Context, Exit};
use crate::{
    adapters::aws::{Aws, Clients},
    ports::cloud::{Cloud, CloudError, Fault},
    provision::{
        self, Applied, ApplyError, Changes, Event, Patience,
        desired::instance_key,
        resource::{Discovered, Key, Resources},
    },
    topology::{Place, Topology},
};

/// The cloud as it is beside the cloud as it should be.
pub(super) struct Provisioning {
    pub cloud: Aws,
    pub wanted: Resources,
    pub found: Discovered,
}

impl Provisioning {
    /// Asks the cloud. With `make_key` the SSH key is made when there is none
    /// yet; without, a plan says only that there will be one.
    pub async fn look(
        context: &Context,
        topology: &Topology,
        make_key: bool,
    ) -> Result<Self, CommandError> {
        let public_key = public_key(context, topology, make_key)?;
        let wanted = provision::desired(topology, public_key.as_deref());
        let clients = Clients::new(provision::regions(topology)).await;
        let cloud = Aws { clients };
        // Where nothing is to be provisioned no cloud is needed at all.
        let found = if wanted.entries.is_empty() {
            Discovered::default()
        } else {
            cloud.discover(&provision::scope(topology)).await?
        };
        Ok(Self {
            cloud,
            wanted,
            found,
        })
    }

    /// What has to change.
    pub fn changes(&self, replace: &BTreeSet<Key>) -> Changes {
        provision::diff(&self.wanted, &self.found, replace)
    }

    /// Makes the changes; progress goes to the user.
    pub async fn apply(
        &self,
        context: &Context,
        changes: &Changes,
    ) -> Result<Applied, CommandError> {
        let stop = context.interrupted();
        let progress = Progress::new(context);
        let observer = |event: Event| progress.show(context, &event);
        let result = provision::apply(
            &self.cloud,
            changes,
            &self.found,
            &Patience::default(),
            &observer,
            &stop,
        )
        .await;
        progress.end();
        Ok(result?)
    }
}

fn public_key(
    context: &Context,
    topology: &Topology,
    make: bool,
) -> Result<Option<String>, CommandError> {
    if topology.provision.is_none() {
        return Ok(None);
    }
    let vault = if make {
        context.vault(topology)?
    } else {
        context.vault_as_it_is(topology)?
    };
    if !vault.has_ssh_key() && !make {
        return Ok(None);
    }
    let key = vault.ssh_key()?;
    let text = key.public_key().to_openssh();
    let text = text.map_err(|error| CommandError::failed("cannot write the SSH key", &error))?;
    Ok(Some(text))
}

/// The instances of the named hosts.
///
/// # Errors
/// A name is no host of the topology, or no instance.
pub(super) fn instances_of(
    topology: &Topology,
    hosts: &[String],
) -> Result<BTreeSet<Key>, CommandError> {
    let key = |name: &String| match topology.host(name) {
        Some(host) if matches!(host.place, Place::Instance { .. }) => Ok(instance_key(host)),
        Some(_) => Err(CommandError::new(
            Exit::Invalid,
            format!("{name} is an existing machine, which hafail does not make"),
        )),
        None => {
            let names: Vec<&str> = topology.hosts().map(|host| host.name.as_str()).collect();
            let error = CommandError::new(Exit::Invalid, format!("there is no host {name}"));
            Err(error.hint(format!("the hosts are {}", names.join(", "))))
        }
    };
    hosts.iter().map(key).collect()
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    open: AtomicUsize,
}

impl Progress {
    fn new(context: &Context) -> Self {
        let bar = context.ui.interactive.then(|| {
            let bar = ProgressBar::no_length();
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}");
            bar.set_style(style.expect("the template is valid"));
            bar
        });
        Self {
            bar,
            open: AtomicUsize::new(0),
        }
    }

    fn show(&self, context: &Context, event: &Event) {
        match (event, &self.bar) {
            (Event::Started { key, verb }, bar) => {
                self.open.fetch_add(1, Ordering::Relaxed);
                if let Some(bar) = bar {
                    bar.set_message(format!("{verb} {key}"));
                }
            }
            (Event::Finished { done, total, .. }, Some(bar)) => {
                bar.set_length(*total as u64);
                bar.set_position(*done as u64);
            }
            (
                Event::Finished {
                    key,
                    verb,
                    milliseconds,
                    done,
                    total,
                },
                None,
            ) => {
                let line = format!("[{done}/{total}] {verb} {key} ({milliseconds} ms)");
                context.ui.status(&line);
            }
            (Event::Retried { key, verb, why }, _) => {
                tracing::info!("{verb} {key} is tried again: {why}");
            }
            (Event::Failed { key, verb, .. }, _) => {
                context.ui.warning(&format!("cannot {verb} {key}"));
            }
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl From<CloudError> for CommandError {
    fn from(error: CloudError) -> Self {
        let (exit, id) = exit_of(error.fault);
        Self::new(exit, error.to_string())
            .hint(error.remedy())
            .id(id)
    }
}

fn exit_of(fault: Fault) -> (Exit, &'static str) {
    match fault {
        Fault::Denied => (Exit::Access, "permission-missing"),
        Fault::Credentials => (Exit::Access, "credentials"),
        Fault::Unreachable => (Exit::Access, "cloud-unreachable"),
        Fault::Throttled => (Exit::Failed, "throttled"),
        Fault::Unclear => (Exit::Failed, "no-clear-answer"),
        Fault::NotYet => (Exit::Failed, "not-yet"),
        Fault::InUse => (Exit::Failed, "in-use"),
        Fault::Occupied => (Exit::Failed, "foreign-resources"),
        Fault::Quota => (Exit::Failed, "quota"),
        Fault::Refused => (Exit::Failed, "refused-by-cloud"),
    }
}

impl From<ApplyError> for CommandError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Blocked { ref remedy, .. } => Self::new(Exit::Refused, error.to_string())
                .hint(remedy)
                .id("needs-decision"),
            ApplyError::Interrupted { .. } => Self::new(Exit::Interrupted, error.to_string())
                .hint("run the same command again: it goes on from here and makes nothing twice")
                .id("interrupted"),
            ApplyError::Failed { ref errors, .. } => {
                let first = errors.values().next();
                let (exit, id) = first.map_or((Exit::Failed, ""), |first| exit_of(first.fault));
                let mut out = Self::new(exit, error.to_string()).id(id);
                let remedies: BTreeSet<String> = errors.values().map(CloudError::remedy).collect();
                out.hints.extend(remedies);
                out.details = serde_json::json!({
                    "failed": errors
                        .iter()
                        .map(|(key, error)| (key.to_string(), error.to_string()))
                        .collect::<std::collections::BTreeMap<_, _>>(),
                });
                out
            }
        }
    }
}
