//! `hafail rebuild`: what a deploy does, for one host, by a watcher.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    CommandError, Context, Exit,
    deploy::{BOOT, booted},
    playbooks::{self, Job},
};
use crate::{
    adapters::{
        aws::Aws,
        secrets::Vault,
        ssh::Ssh,
        watch_config::{WatchConfig, read},
        world::{WorldError, clients, watched},
    },
    configure::Options,
    coordination::Shared,
    ids::HostName,
    inventory::Inventory,
    ports::{World, cloud::Cloud as _},
    provision::{
        self, Patience,
        desired::{address_key, instance_key},
    },
    topology::{Place, Topology},
};

/// How often it is seen whether the run still holds the lock.
const HELD: Duration = Duration::from_secs(2);

/// Arguments of `hafail rebuild`.
#[derive(clap::Args)]
pub struct Args {
    host: HostName,

    #[arg(long, value_enum)]
    part: What,

    /// The run that holds the lock meanwhile.
    #[arg(long)]
    run: String,

    /// The watcher's configuration, written at deploy.
    #[arg(long, default_value = "/etc/hafail/watch/watch.json", value_name = "FILE")]
    config: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Machine,
    Services,
}

/// Makes or configures the host, as long as the run holds the lock.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let config = WatchConfig::load(&args.config).map_err(WorldError::from)?;
    let mut topology = context.topology_of(&config.topology)?;
    let Some(vault) = &config.vault else {
        let message = "this watcher has nothing to make machines with";
        return Err(CommandError::new(Exit::Invalid, message)
            .hint("state `watch.heal: { mode: replace }`, then hafail run deploy-watch"));
    };
    keep_address(&mut topology, &args.host, &config.inventory)?;
    let text = read(vault).map_err(WorldError::from)?;
    let directory = tempfile::tempdir_in(place());
    let directory =
        directory.map_err(|error| CommandError::failed("cannot unpack the secrets", &error))?;
    let vault = Vault::carried(&text, &directory.path().join("secrets"), &topology)?;
    let world = watched(&topology, &config).await?;
    let work = async {
        match args.part {
            What::Machine => machine(&topology, &vault, &args.host).await,
            What::Services => services(context, &topology, &vault, &config, &args.host).await,
        }
    };
    tokio::select! {
        biased;
        () = lost(&world, &topology, &args.run) => {
            let message = format!("run {} does not hold the lock any more", args.run);
            Err(CommandError::new(Exit::Locked, message).id("lock-lost"))
        }
        done = work => done.map(|()| Exit::Success),
    }
}

/// In memory, where the unit of the watcher has a place for it.
fn place() -> PathBuf {
    std::env::var_os("RUNTIME_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// Comes when the store says that the run does not hold the lock.
async fn lost(world: &World, topology: &Topology, run: &str) {
    let Some(quorum) = &world.quorum else { return };
    let shared = Shared::new(quorum.clone(), &topology.name);
    loop {
        // While the store is silent, the runner judges.
        if let Ok(state) = shared.state().await
            && state.lock.is_none_or(|lock| lock.value.run.0 != run)
        {
            return;
        }
        tokio::time::sleep(HELD).await;
    }
}

/// All others know the host by its address: the new machine gets the same.
fn keep_address(
    topology: &mut Topology,
    name: &HostName,
    inventory: &Inventory,
) -> Result<(), CommandError> {
    let hosts = topology.sites.values_mut().flat_map(|site| site.hosts.values_mut());
    let place = hosts.filter(|host| &host.name == name).map(|host| &mut host.place).next();
    match (place, inventory.hosts.get(name)) {
        (Some(Place::Instance { address, .. }), Some(entry)) => {
            *address = Some(entry.private_address);
            Ok(())
        }
        _ => Err(CommandError::new(
            Exit::Invalid,
            format!("{name} is no instance that this watcher knows"),
        )),
    }
}

async fn machine(topology: &Topology, vault: &Vault, name: &HostName) -> Result<(), CommandError> {
    let host = topology.host(name.as_str()).expect("it was found before");
    let key = vault.ssh_key()?.public_key().to_openssh();
    let key = key.map_err(|error| CommandError::failed("cannot write the SSH key", &error))?;
    let cloud = Aws {
        clients: clients(topology).await,
    };
    let wanted = provision::desired(topology, Some(&key));
    let found = cloud.discover(&provision::scope(topology)).await?;
    let mut changes = provision::diff(&wanted, &found, &std::collections::BTreeSet::new());
    // Whatever else differs is for a deploy.
    let ours = [instance_key(host), address_key(host)];
    changes.entries.retain(|key, _| ours.contains(key));
    let observer = |event: provision::Event| tracing::info!(?event, "makes a machine");
    let stop = CancellationToken::new();
    provision::apply(&cloud, &changes, &found, &Patience::default(), &observer, &stop).await?;
    Ok(())
}

async fn services(
    context: &Context,
    topology: &Topology,
    vault: &Vault,
    config: &WatchConfig,
    name: &HostName,
) -> Result<(), CommandError> {
    let cloud = Aws {
        clients: clients(topology).await,
    };
    let mut found = provision::find_inventory(topology, &cloud).await;
    // From inside, bastions are reached by their private address.
    for entry in found.inventory.hosts.values_mut() {
        if entry.ssh.jump.is_none() {
            entry.ssh.address = entry.private_address.to_string();
        }
    }
    let ssh = Ssh::new(&found.inventory, vault.ssh_key()?);
    booted(&ssh, name, BOOT).await?;
    let file = config.topology.display().to_string();
    let job = Job {
        playbook: "deploy",
        playbooks: None,
        agent_binary: None,
        vars: BTreeMap::from([("topology_file".to_owned(), file.into())]),
        options: Options {
            hosts: vec![name.clone()],
            ..Options::default()
        },
        // Those that are away now are back later, where they were.
        assumed: config.inventory.clone(),
        quiet: false,
    };
    let report = playbooks::run_over(&ssh, context, topology, vault, &found, job).await?;
    playbooks::outcome(&report).map(drop)
}
