//! Playbooks as commands run them: where they come from, what they know, how
//! their progress is shown.

mod progress;
mod summary;
mod watchers;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CommandError, Context, Exit, reach};
use crate::{
    adapters::{secrets::Vault, ssh::Ssh},
    configure::{
        self, ConfigureError, Library, Loaded, Options, Report, Request, Secrets, Source, Tls,
        agent::{Agent, AgentError},
    },
    ids::{HostName, SiteName},
    inventory::Inventory,
    order::{GuardStatus, PostgresState},
    ports::remote::{Endpoint, Remote},
    provision::FoundHosts,
    topology::{Role, SecretName, Topology},
};
use progress::Progress;
pub(super) use summary::show;

/// A guard that does not answer in this time is not there.
const GUARD_ANSWERS: Duration = Duration::from_secs(3);

/// A playbook to run.
pub(super) struct Job<'a> {
    /// A name or a file.
    pub playbook: &'a str,
    /// Directory of playbooks, when one was named.
    pub playbooks: Option<&'a Path>,
    /// Program for the database hosts; this one when none.
    pub agent_binary: Option<&'a Path>,
    pub vars: BTreeMap<String, Value>,
    pub options: Options,
    /// Hosts that are not worked on, as templates of the others shall know
    /// them where they were not found.
    pub assumed: Inventory,
    /// Show progress on a terminal only: what is found is told at the end.
    pub quiet: bool,
}

/// Whether a playbook changes nothing, however often it is run.
///
/// # Errors
/// There is no such playbook, or it is not valid.
pub(super) fn only_looks(context: &Context, job: &Job<'_>) -> Result<bool, CommandError> {
    let (library, name) = library(context, job.playbooks, job.playbook)?;
    let plays = library.load(&name).map_err(ConfigureError::from)?;
    Ok(plays.iter().all(Loaded::only_looks))
}

/// Runs a playbook and shows its progress.
///
/// # Errors
/// It did not begin: mistakes in the playbook, hosts that are not there.
/// What failed on hosts is in the report.
pub(super) async fn run(
    context: &Context,
    topology: &Topology,
    vault: &Vault,
    found: &FoundHosts,
    job: Job<'_>,
) -> Result<Report, CommandError> {
    // A wrong name is told before hosts that are missing.
    library(context, job.playbooks, job.playbook)?;
    reach::missing(found, &asked_for(topology, &job.options))?;
    let ssh = context.ssh(vault, found)?;
    run_over(&ssh, context, topology, vault, found, job).await
}

/// The same over connections that exist.
///
/// # Errors
/// The same.
pub(super) async fn run_over(
    ssh: &Ssh,
    context: &Context,
    topology: &Topology,
    vault: &Vault,
    found: &FoundHosts,
    job: Job<'_>,
) -> Result<Report, CommandError> {
    let stop = context.interrupted();
    let (library, name) = library(context, job.playbooks, job.playbook)?;
    let dry_run = job.options.dry_run;
    let mut vars = job.vars;
    if !vars.contains_key("primary_site") {
        let asked = found.inventory.hosts.keys();
        let site = primary_site(context, topology, ssh, asked.collect()).await;
        vars.insert("primary_site".to_owned(), site.to_string().into());
    }
    // Only then do hosts without data know that no other has any.
    let all = job.options.hosts.is_empty() && job.options.sites.is_empty();
    vars.insert("all_hosts".to_owned(), all.into());
    describe_agent(job.agent_binary, &mut vars)?;
    watchers::describe(context, &mut vars);
    let mut inventory = job.assumed;
    inventory.hosts.extend(found.inventory.hosts.clone());
    let secrets = secrets(topology, vault, &inventory)?;
    let prepared = configure::prepare(&Request {
        library: &library,
        playbook: &name,
        topology,
        inventory: &inventory,
        secrets: &secrets,
        vars,
        options: job.options,
    })?;
    let progress = Progress::new(&context.ui, job.quiet, dry_run);
    let tell = |event: &configure::Event| progress.tell(event);
    let running = prepared.run(ssh, &tell);
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(interrupted(&progress)),
        report = running => {
            progress.finish();
            Ok(report)
        }
    }
}

fn interrupted(progress: &Progress<'_>) -> CommandError {
    progress.finish();
    let message = format!("interrupted {}", progress.reached());
    let mut error = CommandError::new(Exit::Interrupted, message).id("interrupted");
    for (host, step) in progress.in_flight() {
        error.causes.push(format!(
            "{host} was at `{step}`, which may or may not be done"
        ));
    }
    error.hint("run it again: what is done is found done, the rest follows")
}

/// The exit of a finished run, or the error that names what failed.
pub(super) fn outcome(report: &Report) -> Result<Exit, CommandError> {
    let Some(first) = report.failed.first() else {
        return Ok(Exit::Success);
    };
    let unreachable = report.failed.iter().all(|failure| failure.unusable);
    let (exit, id) = if unreachable {
        (Exit::Access, "remote")
    } else {
        (Exit::Failed, "step-failed")
    };
    let message = match report.failed.len() {
        1 if unreachable => format!(
            "{} cannot be used; it was to do `{}`",
            first.host, first.step
        ),
        many if unreachable => {
            let hosts: BTreeSet<&str> = (report.failed.iter())
                .map(|failure| failure.host.as_str())
                .collect();
            let hosts: Vec<&str> = hosts.into_iter().collect();
            format!("{many} hosts cannot be used: {}", hosts.join(", "))
        }
        1 => format!(
            "{} failed at `{}` ({})",
            first.host, first.step, first.place
        ),
        many => format!(
            "{many} steps failed, the first on {} at `{}` ({})",
            first.host, first.step, first.place
        ),
    };
    let mut error = CommandError::new(exit, message).id(id);
    let told = if unreachable { report.failed.len() } else { 1 };
    for failure in report.failed.iter().take(told) {
        let why = failure.why.replace('\n', "\n    ");
        // Hosts behind the same bastion fail for the same reason.
        if !error.causes.contains(&why) {
            error.causes.push(why);
        }
        if !failure.remedy.is_empty() && !error.hints.contains(&failure.remedy) {
            error.hints.push(failure.remedy.clone());
        }
    }
    let error = error.hint("then run it again: what is done is found done, the rest follows");
    Err(CommandError {
        details: serde_json::to_value(report).unwrap_or_default(),
        ..error
    })
}

/// Lists all playbooks.
pub(super) fn list(context: &Context, directory: Option<&Path>) -> Result<Exit, CommandError> {
    let library = Library::open(&source(context, directory)).map_err(ConfigureError::from)?;
    let list: BTreeMap<String, String> = library.list().into_iter().collect();
    let width = list.keys().map(String::len).max().unwrap_or(0);
    let lines = list
        .iter()
        .map(|(name, about)| format!("{name:width$}  {about}\n"));
    context.ui.data(&lines.collect::<String>(), &list);
    Ok(Exit::Success)
}

/// The library, and the name in it.
fn library(
    context: &Context,
    directory: Option<&Path>,
    playbook: &str,
) -> Result<(Library, String), CommandError> {
    let open = |source: &Source| Library::open(source).map_err(ConfigureError::from);
    if !playbook.ends_with(".yaml") && !playbook.contains('/') {
        let library = open(&source(context, directory))?;
        return Ok((library, playbook.to_owned()));
    }
    let path = PathBuf::from(playbook);
    let beside = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let beside = beside.unwrap_or_else(|| Path::new("."));
    let mut library = open(&Source::Directory(directory.unwrap_or(beside).to_owned()))?;
    let name = library.add_file(&path).map_err(ConfigureError::from)?;
    Ok((library, name))
}

/// `playbooks` here or beside the topology, else those of the program.
fn source(context: &Context, directory: Option<&Path>) -> Source {
    if let Some(directory) = directory {
        return Source::Directory(directory.to_owned());
    }
    let beside = context.topology.parent().and_then(Path::parent);
    let candidates = [Some(Path::new("")), beside];
    let candidates = candidates.into_iter().flatten();
    let found = candidates
        .map(|base| base.join("playbooks"))
        .find(|path| path.is_dir());
    found.map_or(Source::BuiltIn, Source::Directory)
}

fn asked_for(topology: &Topology, options: &Options) -> Vec<HostName> {
    let hosts = topology.hosts().filter(|host| {
        (options.hosts.is_empty() || options.hosts.contains(&host.name))
            && (options.sites.is_empty() || options.sites.contains(&host.site))
    });
    hosts.map(|host| host.name.clone()).collect()
}

/// The site whose database accepts writes, as the guards say; the initial one
/// before there is any.
async fn primary_site(
    context: &Context,
    topology: &Topology,
    ssh: &Ssh,
    reachable: BTreeSet<&HostName>,
) -> SiteName {
    let port = topology.database.guard_port;
    let databases = topology.hosts_with(Role::Db);
    let databases = databases.filter(|host| reachable.contains(&host.name));
    let asked = databases.map(async |host| {
        let status = tokio::time::timeout(GUARD_ANSWERS, guard_status(ssh, &host.name, port));
        (host.site.clone(), status.await.ok().flatten())
    });
    let answers = futures::future::join_all(asked).await;
    let is_primary = |status: &GuardStatus| status.postgres.state == PostgresState::Primary;
    let known = answers
        .iter()
        .filter(|(_, status)| status.is_some())
        .count();
    let primary = answers
        .iter()
        .find(|(_, status)| status.as_ref().is_some_and(is_primary));
    match primary {
        Some((site, _)) => site.clone(),
        None => {
            if known > 0
                && answers
                    .iter()
                    .any(|(_, status)| status.as_ref().is_some_and(is_made))
            {
                context.ui.warning(&format!(
                    "no guard says that its database is primary; taking {} (say otherwise by --var primary_site=SITE)",
                    topology.initial_primary
                ));
            }
            topology.initial_primary.clone()
        }
    }
}

fn is_made(status: &GuardStatus) -> bool {
    status.postgres.state != PostgresState::Uninitialised
}

/// `GET /status` of the guard on a host.
async fn guard_status(ssh: &Ssh, host: &HostName, port: u16) -> Option<GuardStatus> {
    let mut stream = ssh.dial(host, Endpoint::Tcp(port)).await.ok()?;
    let request = format!("GET /status HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

fn describe_agent(
    binary: Option<&Path>,
    vars: &mut BTreeMap<String, Value>,
) -> Result<(), CommandError> {
    let own = std::env::current_exe();
    let path = match (binary, own) {
        (Some(path), _) => path.to_owned(),
        (None, Ok(own)) => own,
        (None, Err(error)) => return Err(CommandError::failed("cannot find this program", &error)),
    };
    let agent = Agent::of(&path).map_err(|error: AgentError| {
        CommandError::new(Exit::Usage, error.to_string())
            .hint("name a hafail program for the hosts by --agent-binary FILE")
    })?;
    let known = [
        ("agent_binary", agent.binary.display().to_string()),
        ("agent_machine", agent.machine),
        ("agent_libc", agent.libc),
    ];
    for (name, value) in known {
        vars.entry(name.to_owned()).or_insert_with(|| value.into());
    }
    Ok(())
}

/// All that playbooks may use of the vault.
fn secrets(
    topology: &Topology,
    vault: &Vault,
    inventory: &Inventory,
) -> Result<Secrets, CommandError> {
    let mut secrets = Secrets::default();
    for name in SecretName::ALL {
        let key = name.as_str().replace('-', "_");
        secrets.values.insert(key, vault.secret(name)?);
    }
    watchers::access(topology, &mut secrets)?;
    for host in topology.hosts() {
        let entry = inventory.hosts.get(&host.name);
        let private = entry.map(|entry| entry.private_address.into());
        let public = entry.and_then(|entry| entry.public_address).map(Into::into);
        let addresses: Vec<std::net::IpAddr> = private.into_iter().chain(public).collect();
        if entry.is_none() {
            continue;
        }
        let issued = match topology.asks_the_store(host) {
            true => vault.asking_certificate(host.name.as_str(), &addresses)?,
            false => vault.certificate(host.name.as_str(), &[], &addresses)?,
        };
        let tls = Tls {
            ca: issued.ca_pem.clone(),
            cert: issued.cert_pem.clone(),
            key: issued.key_pem.clone().into(),
        };
        secrets.tls.insert(host.name.clone(), tls);
    }
    if topology.replaces_machines() {
        let carried = vault.to_carry(topology)?;
        secrets.values.insert("carried_vault".to_owned(), carried);
    }
    Ok(secrets)
}

impl From<ConfigureError> for CommandError {
    fn from(error: ConfigureError) -> Self {
        let failed = Self::new(Exit::Invalid, error.to_string()).id("invalid-playbook");
        let failed = match std::error::Error::source(&error) {
            Some(source) => failed.because(source),
            None => failed,
        };
        failed.hint(error.remedy())
    }
}
