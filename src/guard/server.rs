//! Starting and stopping the local PostgreSQL.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::process::Command;

use super::{
    Guard,
    config::GuardConfig,
    process::{self, PidFile, Process},
    settings::{self, Settings},
    store::{ensure_durably, sync_directory},
};

/// As what PostgreSQL is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Primary,
    Standby,
}

/// Why PostgreSQL could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot {what}: {source}")]
    Io {
        what: &'static str,
        source: io::Error,
    },
    #[error("PostgreSQL did not start: {why}")]
    Start { why: String },
    #[error("PostgreSQL did not end after SIGKILL; its disk may hang")]
    Immortal,
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |source| ServerError::Io { what, source }
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stopped {
    Fast,
    /// Children were told to quit at once; the next start recovers.
    Immediate,
    Killed,
}

/// How long an immediate shutdown may take before SIGKILL.
const IMMEDIATE: Duration = Duration::from_secs(2);
/// How long a killed process may take to vanish.
const KILL: Duration = Duration::from_secs(10);

impl Guard {
    /// The running postmaster, if any.
    pub(super) fn find(&self) -> Result<Option<Process>, ServerError> {
        match self.data() {
            Some(data) => self.find_in(&data),
            None => Ok(None),
        }
    }

    /// The running postmaster of a data directory, if any.
    pub(super) fn find_in(&self, data: &Path) -> Result<Option<Process>, ServerError> {
        let found = self.finder.find(data, &self.config.program("postgres"));
        found.map_err(io_error("look for the running PostgreSQL"))
    }
}

/// Starts PostgreSQL in a session of its own, so that it outlives the guard.
/// Returns as soon as the process is there; `wait_ready` waits for it.
pub async fn start(
    config: &GuardConfig,
    data: &Path,
    mode: Mode,
    settings: &Settings,
    os_user: &str,
) -> Result<Process, ServerError> {
    let left = process::kill_leftovers(data, &config.program("postgres")).await;
    let left = left.map_err(io_error("kill what is left of PostgreSQL"))?;
    if left > 0 {
        tracing::warn!(left, "killed processes that outlived their postmaster");
    }
    let socket = format!(".s.PGSQL.{}.lock", config.port);
    for lock in [data.join("postmaster.pid"), config.socket_dir.join(socket)] {
        process::remove_stale_lock(&lock, &config.program("postgres"))
            .map_err(io_error("remove a stale lock of PostgreSQL"))?;
    }
    settings::install(config, data, settings, os_user)
        .map_err(io_error("write PostgreSQL's settings"))?;
    signal_files(data, mode).map_err(io_error("set the role of the data directory"))?;
    fs::create_dir_all(settings::log_dir(config)).map_err(io_error("make the log directory"))?;
    let process = spawn(config, data)?;
    tracing::info!(pid = process.pid, ?mode, "started PostgreSQL");
    Ok(process)
}

/// `standby.signal` decides how the data directory comes up.
pub fn signal_files(data: &Path, mode: Mode) -> io::Result<()> {
    let standby = data.join("standby.signal");
    let mut removed = false;
    for unwanted in ["recovery.signal", "promote"] {
        removed |= remove(&data.join(unwanted))?;
    }
    match mode {
        Mode::Standby => ensure_durably(&standby, b"", 0o600)?,
        Mode::Primary => removed |= remove(&standby)?,
    }
    if removed {
        sync_directory(data)
    } else {
        Ok(())
    }
}

/// Removes a file; whether there was one.
fn remove(file: &Path) -> io::Result<bool> {
    match fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn startup_log(config: &GuardConfig) -> PathBuf {
    config.state_dir.join("startup.log")
}

fn spawn(config: &GuardConfig, data: &Path) -> Result<Process, ServerError> {
    let log = fs::File::create(startup_log(config)).map_err(io_error("open the startup log"))?;
    let errors = log.try_clone().map_err(io_error("open the startup log"))?;
    // setsid replaces itself, so the child is the postmaster.
    let mut command = Command::new("setsid");
    command
        .arg(config.program("postgres"))
        .arg("-D")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("PG") {
            command.env_remove(key);
        }
    }
    // The postmaster keeps the guard's shelter from the OOM killer, its
    // children, which hold the queries, do not.
    command
        .env("PG_OOM_ADJUST_FILE", "/proc/self/oom_score_adj")
        .env("PG_OOM_ADJUST_VALUE", "0");
    let mut child = command.spawn().map_err(io_error("run postgres"))?;
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .unwrap_or(0);
    let process = Process::open(pid).map_err(io_error("hold on to postgres"))?;
    tokio::spawn(async move {
        // Reaps it; its end is noticed by the descriptor.
        let _ = child.wait().await;
    });
    process.ok_or_else(|| ServerError::Start {
        why: "it ended at once".to_owned(),
    })
}

/// Waits until PostgreSQL accepts connections. `Ok(false)`: it still recovers
/// after `limit`.
pub async fn wait_ready(
    config: &GuardConfig,
    data: &Path,
    process: &Process,
    limit: Duration,
) -> Result<bool, ServerError> {
    let begin = Instant::now();
    loop {
        let file = PidFile::read(data).filter(|file| file.pid == process.pid);
        if file.is_some_and(|file| file.status == "ready" || file.status == "standby") {
            return Ok(true);
        }
        if process.ended_within(Duration::from_millis(3)).await {
            return Err(ServerError::Start {
                why: last_errors(config),
            });
        }
        if begin.elapsed() > limit {
            return Ok(false);
        }
    }
}

/// The newest errors of PostgreSQL's logs, for people.
pub fn last_errors(config: &GuardConfig) -> String {
    let newest = fs::read_dir(settings::log_dir(config))
        .ok()
        .and_then(|files| {
            let files = files.filter_map(|file| {
                let file = file.ok()?;
                Some((file.metadata().ok()?.modified().ok()?, file.path()))
            });
            files.max().map(|(_, path)| path)
        });
    let mut found = Vec::new();
    for path in [Some(startup_log(config)), newest].into_iter().flatten() {
        let bytes = fs::read(&path).unwrap_or_default();
        let tail = bytes.len().saturating_sub(16 * 1024);
        let text = String::from_utf8_lossy(&bytes[tail..]).into_owned();
        let errors = text.lines().filter(|line| {
            ["FATAL:", "PANIC:", "ERROR:", "error:"]
                .iter()
                .any(|mark| line.contains(mark))
        });
        let errors: Vec<_> = errors.map(str::to_owned).collect();
        found.extend_from_slice(&errors[errors.len().saturating_sub(2)..]);
    }
    if found.is_empty() {
        return format!("see the logs in {}", settings::log_dir(config).display());
    }
    found.join(" | ")
}

/// Stops PostgreSQL: a fast shutdown, which sends all log to the standbys;
/// past `limit` an immediate one; then SIGKILL. Returns when nothing of it is
/// left.
pub async fn stop(
    config: &GuardConfig,
    data: &Path,
    process: &Process,
    limit: Duration,
) -> Result<Stopped, ServerError> {
    let signal = |signal| {
        process
            .signal(signal)
            .map_err(io_error("signal PostgreSQL"))
    };
    signal(Signal::INT)?;
    let how = if process.ended_within(limit).await {
        Stopped::Fast
    } else {
        signal(Signal::QUIT)?;
        if process.ended_within(IMMEDIATE).await {
            Stopped::Immediate
        } else {
            signal(Signal::KILL)?;
            Stopped::Killed
        }
    };
    let gone = async {
        process.ended().await;
        if how > Stopped::Fast {
            process::kill_leftovers(data, &config.program("postgres")).await?;
        }
        Ok::<_, io::Error>(())
    };
    match tokio::time::timeout(KILL, gone).await {
        Ok(result) => result.map_err(io_error("kill what is left of PostgreSQL"))?,
        Err(_) => return Err(ServerError::Immortal),
    }
    Ok(how)
}

/// Kills PostgreSQL so that no session commits one more row.
pub async fn kill(config: &GuardConfig, data: &Path, process: &Process) -> Result<(), ServerError> {
    process
        .signal(Signal::KILL)
        .map_err(io_error("kill PostgreSQL"))?;
    process.ended().await;
    let left = process::kill_leftovers(data, &config.program("postgres")).await;
    left.map(drop)
        .map_err(io_error("kill what is left of PostgreSQL"))
}

/// Makes the running PostgreSQL read its settings again.
pub fn reload(process: &Process) -> Result<(), ServerError> {
    process
        .signal(Signal::HUP)
        .map_err(io_error("signal PostgreSQL"))
}

/// Tells a standby to leave recovery.
pub fn trigger_promotion(data: &Path, process: &Process) -> Result<(), ServerError> {
    fs::write(data.join("promote"), b"").map_err(io_error("write the promotion file"))?;
    process
        .signal(Signal::USR1)
        .map_err(io_error("signal PostgreSQL"))
}
