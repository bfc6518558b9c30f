//! The API itself: a moto server in an environment of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::command::{CommandError, run};
use crate::process::{self, Process, ProcessError, Service};
use crate::settings::Settings;
use crate::ui::Progress;

/// Version that the lab was written against.
const VERSION: &str = "5.2.5";
/// How long the server may take until it answers.
const START: Duration = Duration::from_secs(30);

/// The images that the API offers.
const IMAGES: &str = include_str!("../image/amis.json");

/// moto could not be had or started.
#[derive(Debug, thiserror::Error)]
pub enum MotoError {
    /// The environment could not be made.
    #[error("cannot install moto {VERSION}: {0}; is PyPI reachable from here?")]
    Install(CommandError),
    /// Files could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    /// No port is free.
    #[error("no TCP port is free on 127.0.0.1: {0}")]
    Port(std::io::Error),
    /// The server could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The server ended or stays silent.
    #[error("moto does not answer on port {port}; its log is {}", log.display())]
    Silent { port: u16, log: PathBuf },
}

/// Makes the environment unless it is there. Returns the server's program.
///
/// # Errors
/// When Python or PyPI fails.
pub async fn ensure_installed(cache: &Path, progress: &Progress) -> Result<PathBuf, MotoError> {
    let home = cache.join(format!("moto-{VERSION}"));
    let program = home.join("bin/moto_server");
    let complete = home.join("complete");
    if complete.exists() && program.exists() {
        return Ok(program);
    }
    progress.step("installing moto (once, about half a minute)");
    let write = |path: &Path, source| MotoError::Write {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(cache).map_err(|e| write(cache, e))?;
    // Labs of other names share the cache.
    let lock = fs::File::create(cache.join("moto.lock")).map_err(|e| write(cache, e))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| write(cache, e.into()))?;
    if complete.exists() {
        return Ok(program);
    }
    let path = home.to_string_lossy();
    run("python3", &["-m", "venv", "--clear", &path])
        .await
        .map_err(MotoError::Install)?;
    let pip = home.join("bin/pip");
    let package = format!("moto[server,ec2,route53]=={VERSION}");
    let args = [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &package,
    ];
    run(&pip.to_string_lossy(), &args)
        .await
        .map_err(MotoError::Install)?;
    fs::write(&complete, VERSION).map_err(|e| write(&complete, e))?;
    Ok(program)
}

/// The interpreter beside the installed moto, which has boto3: for scripts that
/// act on the cloud from outside.
#[must_use]
pub fn python(cache: &Path) -> PathBuf {
    cache.join(format!("moto-{VERSION}/bin/python3"))
}

/// A port on 127.0.0.1 that is free now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, MotoError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(MotoError::Port)?;
    Ok(listener.local_addr().map_err(MotoError::Port)?.port())
}

/// Where the server of a lab answers.
#[must_use]
pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Starts the server unless it runs; it keeps the API's state as long as it
/// lives. Returns true when it is new, and so empty.
///
/// # Errors
/// When it cannot be started or does not answer in time.
pub async fn ensure_running(
    settings: &Settings,
    program: &Path,
    port: u16,
) -> Result<bool, MotoError> {
    let pidfile = settings.file("moto.pid");
    if Process::recorded(&pidfile).is_some() {
        return Ok(false);
    }
    let images = settings.file("amis.json");
    fs::write(&images, IMAGES).map_err(|source| MotoError::Write {
        path: images.clone(),
        source,
    })?;
    let log = settings.file("moto.log");
    let port_text = port.to_string();
    let command = [
        program.to_string_lossy().into_owned(),
        "-H".into(),
        "127.0.0.1".into(),
        "-p".into(),
        port_text,
    ];
    let env = [(
        "MOTO_AMIS_PATH".to_owned(),
        images.to_string_lossy().into_owned(),
    )];
    let process = process::start(&Service {
        command: &command,
        env: &env,
        log: log.clone(),
        pidfile,
    })?;
    let deadline = Instant::now() + START;
    while process.alive() && Instant::now() < deadline {
        if tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_ok()
        {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(MotoError::Silent { port, log })
}
