//! What the machine must have, and how to get it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::command::{CommandError, run};
use crate::process::{self, ProcessError, Service};

/// Something is missing.
#[derive(Debug, thiserror::Error)]
pub enum NeedsError {
    /// Networks and packet filters need it.
    #[error("the lab needs root; run it with sudo")]
    Root,
    /// Programs are missing.
    #[error(
        "missing: {missing}; install with: apt-get install -y {packages} (or: hafail-lab up --install)"
    )]
    Packages { missing: String, packages: String },
    /// apt-get failed.
    #[error("cannot install packages: {0}")]
    Install(CommandError),
    /// Docker does not answer and could not be started.
    #[error("the Docker Engine does not answer: {why}; start it with `systemctl start docker`, or `dockerd` by hand, and see {}", log.display())]
    Docker { why: String, log: PathBuf },
    /// dockerd could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Program and Debian package.
const PROGRAMS: [(&str, &str); 11] = [
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("tar", "tar"),
    ("python3", "python3"),
];

/// How long dockerd may take to answer after its start.
const DOCKER_START: Duration = Duration::from_secs(60);

/// Every instance runs systemd, which takes several; the kernel's 128 are
/// shared by all instances of all labs, and whoever gets none does not boot.
const INOTIFY_INSTANCES: u32 = 4096;
const INOTIFY_LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";

/// Raises the machine's limits that instances would run into. They stay until
/// it boots.
pub fn raise_limits() {
    let limit = std::fs::read_to_string(INOTIFY_LIMIT).unwrap_or_default();
    if limit
        .trim()
        .parse()
        .is_ok_and(|limit: u32| limit < INOTIFY_INSTANCES)
    {
        // Where it must not be written, a small lab still fits.
        let _ = std::fs::write(INOTIFY_LIMIT, INOTIFY_INSTANCES.to_string());
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .any(|dir| dir.join(program).is_file())
}

/// Checks that everything is there; with `install` gets what is missing.
///
/// # Errors
/// With one line that says what is missing and how to get it.
pub async fn ensure_programs(install: bool) -> Result<(), NeedsError> {
    if !rustix::process::geteuid().is_root() {
        return Err(NeedsError::Root);
    }
    let missing: Vec<(&str, &str)> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| !on_path(program))
        .collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let python = on_path("python3");
    if python
        && run("python3", &["-c", "import ensurepip, venv"])
            .await
            .is_err()
    {
        packages.push("python3-venv");
    }
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    if !install {
        let names: Vec<&str> = if missing.is_empty() {
            packages.clone()
        } else {
            missing.iter().map(|(program, _)| *program).collect()
        };
        return Err(NeedsError::Packages {
            missing: names.join(", "),
            packages: packages.join(" "),
        });
    }
    run("apt-get", &["-q", "update"])
        .await
        .map_err(NeedsError::Install)?;
    let mut args = vec!["-q", "-y", "--no-install-recommends", "install"];
    args.extend(packages);
    run("apt-get", &args).await.map_err(NeedsError::Install)?;
    Ok(())
}

async fn docker_answers() -> Result<(), CommandError> {
    run("docker", &["version", "--format", "{{.Server.Version}}"])
        .await
        .map(drop)
}

/// Checks that Docker answers. Where no init system runs services, starts
/// `dockerd`; it stays after the lab is down, as a service would.
///
/// # Errors
/// When Docker does not answer in the end.
pub async fn ensure_docker(log: PathBuf) -> Result<(), NeedsError> {
    let Err(first) = docker_answers().await else {
        return Ok(());
    };
    if std::path::Path::new("/run/systemd/system").exists() {
        let started = run("systemctl", &["start", "docker"]).await;
        started.map_err(|e| NeedsError::Docker {
            why: e.to_string(),
            log: log.clone(),
        })?;
    } else {
        process::start(&Service {
            command: &["dockerd".to_owned()],
            env: &[],
            log: log.clone(),
            pidfile: log.with_extension("pid"),
        })?;
    }
    let deadline = Instant::now() + DOCKER_START;
    while Instant::now() < deadline {
        if docker_answers().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(NeedsError::Docker {
        why: first.to_string(),
        log,
    })
}
