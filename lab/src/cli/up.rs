//! `hafail-lab up`.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use rustix::fs::FlockOperation;

use crate::fabric::Fabric;
use crate::process::{self, Process, Service};
use crate::settings::{Block, Record, Settings, SettingsError};
use crate::ui::Progress;
use crate::{image, machines, moto, needs, registry};

/// How long the daemon may take until it answers.
const DAEMON_START: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Install missing Debian packages.
    #[arg(long)]
    install: bool,
    /// First three numbers of the lab's service addresses; another lab on the
    /// machine needs others.
    #[arg(long, default_value_t = Block::DEFAULT, env = "HAFAIL_LAB_ADDRESSES", value_name = "127.B.C")]
    pub(super) addresses: Block,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let progress = Progress::new();
    fs::create_dir_all(&settings.state)
        .with_context(|| format!("cannot create {}", settings.state.display()))?;
    let _lock = lock(settings)?;
    progress.step("checking programs");
    needs::ensure_programs(options.install).await?;
    needs::raise_limits();
    needs::ensure_docker(settings.file("dockerd.log")).await?;
    let image = image::ensure(&settings.cache, &progress).await?;
    let program = moto::ensure_installed(&settings.cache, &progress).await?;
    let record = record(settings, image)?;

    progress.step("starting the API");
    let empty = moto::ensure_running(settings, &program, record.moto_port).await?;
    if empty {
        // What belonged to an API that has forgotten everything belongs to nobody.
        stop_daemon(settings)?;
        machines::tear_down(&settings.name).await?;
    }
    progress.step("building the internet");
    Fabric::ensure_internet(settings).await?;
    registry::ensure_running(settings).await?;
    progress.step("starting the lab");
    ensure_daemon(settings).await?;
    let hint = match settings.name.as_str() {
        "default" => String::new(),
        name => format!(" --name {name}"),
    };
    progress.done(&format!(
        "lab `{}` is up at http://{}; eval \"$(hafail-lab env{hint})\"",
        settings.name,
        settings.api()
    ));
    Ok(())
}

/// Only one `up` or `down` at a time.
pub(super) fn lock(settings: &Settings) -> anyhow::Result<fs::File> {
    let path = settings.file("lock");
    let file =
        fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another `up` or `down` of lab `{}` is running; wait for it",
            settings.name
        );
    }
    Ok(file)
}

fn record(settings: &Settings, image: String) -> anyhow::Result<Record> {
    if let Some(known) = settings.record()? {
        if known.block != settings.block {
            return Err(SettingsError::OtherAddresses {
                name: known.name,
                at: known.block.to_string(),
            }
            .into());
        }
        let record = Record { image, ..known };
        settings.write_record(&record)?;
        return Ok(record);
    }
    let record = Record {
        name: settings.name.clone(),
        block: settings.block,
        moto_port: moto::free_port()?,
        image,
    };
    settings.write_record(&record)?;
    Ok(record)
}

/// Ends the daemon, if it runs.
pub(super) fn stop_daemon(settings: &Settings) -> anyhow::Result<()> {
    if let Some(daemon) = Process::recorded(&settings.file("daemon.pid")) {
        daemon.stop(Duration::from_secs(5))?;
    }
    Ok(())
}

async fn ensure_daemon(settings: &Settings) -> anyhow::Result<()> {
    let pidfile = settings.file("daemon.pid");
    let log = settings.file("daemon.log");
    let process = match Process::recorded(&pidfile) {
        Some(process) => process,
        None => {
            let command = command(settings)?;
            // The API is on this machine, whatever proxy leads elsewhere.
            let env = ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), "*".to_owned()));
            process::start(&Service {
                command: &command,
                env: &env,
                log: log.clone(),
                pidfile,
            })?
        }
    };
    let deadline = Instant::now() + DAEMON_START;
    while process.alive() && Instant::now() < deadline {
        if TcpStream::connect(settings.api()).is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("the lab did not start: {}", last_line(&log))
}

fn command(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let root = settings.state.parent().unwrap_or(Path::new("/"));
    Ok([
        program.to_string_lossy().into_owned(),
        "--name".to_owned(),
        settings.name.clone(),
        "--state".to_owned(),
        root.to_string_lossy().into_owned(),
        "daemon".to_owned(),
        "--addresses".to_owned(),
        settings.block.to_string(),
    ]
    .into())
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().last().unwrap_or("it said nothing");
    format!("{last} (log: {})", log.display())
}
