//! `hafail deploy`.

mod hosts;
mod losses;

pub(super) use hosts::{BOOT, booted};

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::Serialize;

use super::{
    CommandError, Context, Exit,
    lock::Lock,
    playbooks,
    preview::{Preview, Wish},
    provisioning::{Provisioning, instances_of},
};
use crate::{
    configure::Report,
    inventory::Inventory,
    provision::{
        self, Applied, FoundHosts,
        render::{self, Counts},
        resource::Key,
    },
    topology::Topology,
};

/// Arguments of `hafail deploy`.
#[derive(clap::Args)]
pub struct Args {
    /// Do not ask before the changes are made.
    #[arg(short, long)]
    yes: bool,

    /// Show what would change, resources and hosts, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Make the resources in the cloud, and leave the hosts as they are.
    #[arg(long)]
    provision_only: bool,

    /// Remove this host's instance with its disk and make it anew; repeatable.
    #[arg(long, value_name = "HOST")]
    replace: Vec<String>,

    /// Directory of playbooks [default: `playbooks` here or beside the
    /// topology, else those of the program].
    #[arg(long, value_name = "DIR")]
    playbooks: Option<PathBuf>,

    /// The hafail program that database hosts get [default: this one].
    #[arg(long, value_name = "FILE")]
    agent_binary: Option<PathBuf>,
}

/// The result for programs.
#[derive(Serialize)]
struct Document {
    topology: String,
    planned: Counts,
    applied: Applied,
    hosts: Inventory,
    /// Absent with `--provision-only`.
    configured: Option<Report>,
    /// Resources and steps on hosts that were changed.
    changes: usize,
}

/// Makes resources and hosts as the topology says: plan, show, confirm,
/// apply, then find the hosts and configure them.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.ready_topology()?;
    let replace = instances_of(&topology, &args.replace)?;
    if args.dry_run {
        let wish = Wish {
            replace: &replace,
            resources_only: args.provision_only,
            playbooks: args.playbooks.as_deref(),
            agent_binary: args.agent_binary.as_deref(),
        };
        Preview::look(context, &topology, &wish).await?.show(context);
        return Ok(Exit::Success);
    }
    let Provisioned {
        look,
        planned,
        applied,
        lock: _held,
    } = provision_all(context, &args, &topology, &replace).await?;
    let found = find_hosts(&topology, &look).await?;
    let configured = if args.provision_only {
        None
    } else {
        let vault = context.vault(&topology)?;
        Some(hosts::configure(context, &args, &topology, &vault, &found, &applied).await?)
    };
    if let Some(report) = configured.as_ref().filter(|report| !report.succeeded()) {
        playbooks::show(context, report);
        return playbooks::outcome(report);
    }
    let steps = configured.as_ref().map_or(0, |report| report.changed.len());
    let text = summary(&applied, steps, &found.inventory);
    let document = Document {
        topology: topology.name.clone(),
        planned,
        changes: applied.created + applied.updated + applied.deleted + steps,
        applied,
        hosts: found.inventory,
        configured,
    };
    context.ui.data(&text, &document);
    Ok(Exit::Success)
}

/// The first half of a deploy, done.
struct Provisioned {
    look: Provisioning,
    planned: Counts,
    applied: Applied,
    lock: Lock,
}

/// Shows the changes, asks, and makes them. The lock is held from when the
/// cloud is looked at; a question does not hold it, but what it was about
/// must still be so afterwards.
async fn provision_all(
    context: &Context,
    args: &Args,
    topology: &Topology,
    replace: &BTreeSet<Key>,
) -> Result<Provisioned, CommandError> {
    let mut lock = lock(context, topology).await?;
    let mut look = Provisioning::look(context, topology, true).await?;
    let changes = look.changes(replace);
    context.ui.status(&render::text(&changes));
    if changes.is_empty() {
        return Ok(Provisioned {
            look,
            planned: render::counts(&changes),
            applied: Applied::default(),
            lock,
        });
    }
    if let Some((key, why, remedy)) = changes.blocked().next() {
        let message = format!("{key} needs a decision: {why}");
        let refused = CommandError::new(Exit::Refused, message).hint(remedy);
        return Err(refused.id("needs-decision"));
    }
    losses::refuse(context, topology, &changes).await?;
    if !args.yes {
        drop(lock);
        confirm(context)?;
        lock = self::lock(context, topology).await?;
        look = Provisioning::look(context, topology, true).await?;
        if look.changes(replace) != changes {
            let message = "what would change is not what was shown any more; nothing was changed";
            return Err(CommandError::new(Exit::Refused, message)
                .id("plan-outdated")
                .hint("run it again and read the new plan"));
        }
        losses::refuse(context, topology, &changes).await?;
    }
    let applied = look.apply(context, &changes).await?;
    Ok(Provisioned {
        look,
        planned: render::counts(&changes),
        applied,
        lock,
    })
}

/// The lock, where no run waits to be resumed.
async fn lock(context: &Context, topology: &Topology) -> Result<Lock, CommandError> {
    let lock = Lock::take(context, topology, "deploy").await?;
    lock.refuse_unfinished("a deploy").await?;
    Ok(lock)
}

fn confirm(context: &Context) -> Result<(), CommandError> {
    if !context.ui.interactive {
        let message = "these changes need a confirmation, and there is no terminal to ask on";
        return Err(CommandError::new(Exit::Usage, message)
            .id("not-confirmed")
            .hint("read the plan above, then: hafail deploy --yes"));
    }
    match inquire::Confirm::new("Make these changes?").with_default(false).prompt() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(CommandError::new(
            Exit::Interrupted,
            "not confirmed; nothing was changed",
        )
        .id("not-confirmed")),
    }
}

/// All hosts, which must be there by now.
async fn find_hosts(topology: &Topology, look: &Provisioning) -> Result<FoundHosts, CommandError> {
    let found: FoundHosts = provision::find_inventory(topology, &look.cloud).await;
    if !found.errors.is_empty() {
        let mut errors = found.errors.into_values();
        return Err(errors.next().expect("not empty").into());
    }
    if found.missing.is_empty() {
        return Ok(found);
    }
    let lines = found.missing.iter().map(|(host, why)| format!("{host}: {why}"));
    let message = format!("hosts cannot be used:\n{}", lines.collect::<Vec<_>>().join("\n"));
    let missing: BTreeMap<String, String> = (found.missing.iter())
        .map(|(host, why)| (host.to_string(), why.clone()))
        .collect();
    let mut error = CommandError::new(Exit::Failed, message)
        .id("hosts-missing")
        .hint("hafail plan shows what is not as it should be");
    error.details = serde_json::json!({ "missing": missing });
    Err(error)
}

fn summary(applied: &Applied, steps: usize, hosts: &Inventory) -> String {
    let Applied {
        created,
        updated,
        deleted,
    } = applied;
    let mut text = if created + updated + deleted + steps == 0 {
        "0 changes\n\n".to_owned()
    } else {
        format!(
            "{created} created, {updated} changed, {deleted} removed, {steps} steps changed hosts\n\n"
        )
    };
    for host in hosts.hosts.values() {
        let public = host.public_address.map(|it| format!("  {it}"));
        let public = public.unwrap_or_default();
        let line = format!("{:<16} {:<12} {:<15}", host.name, host.region, host.private_address);
        text.push_str(&format!("{}{public}\n", line));
    }
    text
}
