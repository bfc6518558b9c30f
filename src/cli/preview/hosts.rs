//! The hosts of a preview: those that answer are looked at by the playbook
//! `deploy` in a dry run; of the others it is said why they were not.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use futures::future::join_all;

use super::{
    super::{
        CommandError, Context,
        playbooks::{self, Job},
        reach,
    },
    Wish,
};
use crate::{
    adapters::{
        secrets::Vault,
        ssh::{Deadlines, Ssh},
    },
    configure::{
        Options,
        outlook::{Outlook, Outlooks},
    },
    ids::HostName,
    inventory::{HostEntry, Inventory, SshWay},
    ports::{cloud::Cloud, remote::RemoteError},
    provision::{self, Changes, FoundHosts, desired::instance_key, diff::What},
    topology::{Host, Place, Role, Topology},
};

/// A host that takes longer is not waited for.
const CONNECT: Duration = Duration::from_secs(5);
/// Stands for an address that the cloud has not given yet.
const NOT_KNOWN: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// Looks at all hosts.
///
/// # Errors
/// The playbooks are not valid, or somebody pressed Ctrl-C.
pub(super) async fn look(
    context: &Context,
    topology: &Topology,
    wish: &Wish<'_>,
    changes: &Changes,
    cloud: &dyn Cloud,
) -> Result<Outlooks, CommandError> {
    let mut outlooks = Outlooks::default();
    for host in topology.hosts() {
        if let Some(why) = not_there(host, changes) {
            let outlook = Outlook::FromNothing { why };
            outlooks.hosts.insert(host.name.clone(), outlook);
        }
    }
    if outlooks.hosts.len() == topology.hosts().count() {
        return Ok(outlooks);
    }
    let found = provision::find_inventory(topology, cloud).await;
    let vault = context.vault_as_it_is(topology)?;
    for host in topology.hosts() {
        if let (None, Some(outlook)) = (
            outlooks.hosts.get(&host.name),
            out_of_reach(host, &found, &vault),
        ) {
            outlooks.hosts.insert(host.name.clone(), outlook);
        }
    }
    if outlooks.hosts.len() < topology.hosts().count() {
        let more = !changes.is_empty();
        dry_run(context, topology, wish, &vault, found, more, &mut outlooks).await?;
    }
    Ok(outlooks)
}

/// Why a host will be another machine than the one there is now, if any.
fn not_there(host: &Host, changes: &Changes) -> Option<String> {
    match &changes.entries.get(&instance_key(host))?.what {
        What::Create { .. } => Some("its instance does not exist yet".to_owned()),
        What::Replace { why, .. } => Some(format!("its instance is made anew ({why})")),
        What::Update { .. } | What::Delete { .. } | What::Blocked { .. } => None,
    }
}

/// Why there is no need to knock.
fn out_of_reach(host: &Host, found: &FoundHosts, vault: &Vault) -> Option<Outlook> {
    let unknown = |why: String, remedy: &str| {
        let remedy = remedy.to_owned();
        Some(Outlook::Unknown { why, remedy })
    };
    match found.states.get(&host.name).map(String::as_str) {
        None | Some("running") => {}
        Some("stopped" | "stopping") => {
            let why = "its instance is stopped".to_owned();
            return unknown(
                why,
                "hafail deploy starts it; until then nothing is seen of it",
            );
        }
        Some(state) => {
            let why = format!("its instance is {state}");
            return unknown(why, "plan again when it runs");
        }
    }
    if !found.inventory.hosts.contains_key(&host.name) {
        let why = found.missing.get(&host.name);
        let why = why.map_or("it was not found", String::as_str);
        return unknown(
            why.to_owned(),
            "see that its region answers, then plan again",
        );
    }
    if !vault.has_ssh_key() {
        let directory = vault.directory().display();
        let why = format!("there is no SSH key of this deployment in {directory}");
        let remedy = "plan on the machine that deployed it, or bring its secrets here and name their place by --home";
        return unknown(why, remedy);
    }
    None
}

/// Knocks at the hosts that are left, and looks at those that answer.
async fn dry_run(
    context: &Context,
    topology: &Topology,
    wish: &Wish<'_>,
    vault: &Vault,
    mut found: FoundHosts,
    more_would_change: bool,
    outlooks: &mut Outlooks,
) -> Result<(), CommandError> {
    let ssh = Ssh::new(&found.inventory, vault.ssh_key()?).with_deadlines(Deadlines {
        connect: CONNECT,
        ..Deadlines::default()
    });
    knock(topology, &ssh, outlooks).await;
    let assumed = assumed(topology, &found.inventory, outlooks);
    found
        .inventory
        .hosts
        .retain(|host, _| !outlooks.hosts.contains_key(host));
    if found.inventory.hosts.is_empty() {
        return Ok(());
    }
    outlooks.notes = notes(topology, &assumed, outlooks);
    let job = Job {
        playbook: "deploy",
        playbooks: wish.playbooks,
        agent_binary: wish.agent_binary,
        vars: BTreeMap::new(),
        options: Options {
            dry_run: true,
            more_would_change: more_would_change || !outlooks.hosts.is_empty(),
            sites: Vec::new(),
            hosts: found.inventory.hosts.keys().cloned().collect(),
        },
        assumed,
        quiet: true,
    };
    match playbooks::run_over(&ssh, context, topology, vault, &found, job).await {
        Ok(report) => outlooks.add(&report),
        // Mistakes are told as such; what cannot be looked up here hides
        // nothing of the rest.
        Err(error) if error.id != "vault" => return Err(error),
        Err(error) => unknown_all(&found.inventory, &error, outlooks),
    }
    Ok(())
}

/// Hosts that do not answer are unknown.
async fn knock(topology: &Topology, ssh: &Ssh, outlooks: &mut Outlooks) {
    let left = topology.hosts().map(|host| &host.name);
    let left = left.filter(|host| !outlooks.hosts.contains_key(*host));
    let asked = left.map(async |host| (host, reach::answers(ssh, host).await));
    let answers: Vec<(&HostName, Result<(), RemoteError>)> = join_all(asked).await;
    for (host, answer) in answers {
        if let Err(error) = answer {
            let outlook = Outlook::Unknown {
                why: error.to_string(),
                remedy: error.remedy(),
            };
            outlooks.hosts.insert(host.clone(), outlook);
        }
    }
}

fn unknown_all(inventory: &Inventory, error: &CommandError, outlooks: &mut Outlooks) {
    let causes = error.causes.iter().map(|cause| format!(": {cause}"));
    let why = format!("{}{}", error.message, causes.collect::<String>());
    for host in inventory.hosts.keys() {
        let outlook = Outlook::Unknown {
            why: why.clone(),
            remedy: error.hints.join("; "),
        };
        outlooks.hosts.insert(host.clone(), outlook);
    }
}

/// The hosts that are not looked at, for the templates of the others.
fn assumed(topology: &Topology, inventory: &Inventory, outlooks: &Outlooks) -> Inventory {
    let hosts = outlooks.hosts.iter().filter_map(|(name, outlook)| {
        let host = topology.host(name.as_str())?;
        let there = inventory.hosts.get(name);
        let entry = match (outlook, there) {
            (Outlook::Unknown { .. }, Some(entry)) => entry.clone(),
            _ => stand_in(topology, host),
        };
        Some((name.clone(), entry))
    });
    Inventory {
        hosts: hosts.collect(),
    }
}

/// A host of which nothing is known but what the topology says. It is never
/// connected to.
fn stand_in(topology: &Topology, host: &Host) -> HostEntry {
    let private_address = match &host.place {
        Place::Instance { address, .. } => address.unwrap_or(NOT_KNOWN),
        Place::Static {
            private_address, ..
        } => *private_address,
    };
    HostEntry {
        name: host.name.clone(),
        site: host.site.clone(),
        region: topology.sites[&host.site].region.clone(),
        instance_id: None,
        private_address,
        public_address: None,
        ssh: SshWay {
            user: topology.access.ssh_user.clone(),
            address: private_address.to_string(),
            port: 22,
            host_key: String::new(),
            jump: None,
        },
    }
}

/// What the dry run has to assume.
fn notes(topology: &Topology, assumed: &Inventory, outlooks: &Outlooks) -> Vec<String> {
    let mut notes = Vec::new();
    let list = |hosts: Vec<&HostName>| {
        let names: Vec<&str> = hosts.into_iter().map(HostName::as_str).collect();
        names.join(", ")
    };
    let unplaced = assumed.hosts.values();
    let unplaced: Vec<&HostName> = unplaced
        .filter(|entry| entry.private_address == NOT_KNOWN)
        .map(|entry| &entry.name)
        .collect();
    if !unplaced.is_empty() {
        notes.push(format!(
            "no address is known yet of {}: {NOT_KNOWN} stands for it in the differences",
            list(unplaced)
        ));
    }
    let unasked = topology.hosts_with(Role::Db).map(|host| &host.name);
    let unasked: Vec<&HostName> = unasked
        .filter(|host| matches!(outlooks.hosts.get(*host), Some(Outlook::Unknown { .. })))
        .collect();
    if !unasked.is_empty() {
        notes.push(format!(
            "{} could not be asked whether it is primary: unless another database says that it is, {} is taken for the primary site",
            list(unasked),
            topology.initial_primary
        ));
    }
    notes
}
