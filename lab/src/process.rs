//! Processes that outlive the command that started them: recorded by pid and
//! start time, so that a recycled pid is never taken for ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Failures of starting and stopping processes.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        program: String,
        source: std::io::Error,
    },
    /// A file of the state directory could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The process survived SIGKILL.
    #[error("process {0} does not end; it may hang in the kernel, see `ps -o pid,stat,wchan {0}`")]
    Undying(i32),
}

/// What to start and where its traces go.
pub struct Service<'a> {
    /// Program and arguments.
    pub command: &'a [String],
    /// Additional environment.
    pub env: &'a [(String, String)],
    /// Receives standard output and error, appended.
    pub log: PathBuf,
    /// Receives pid and start time.
    pub pidfile: PathBuf,
}

/// Starts the service in a session of its own. It survives the caller.
///
/// # Errors
/// When the program cannot be started or its files cannot be written.
pub fn start(service: &Service<'_>) -> Result<Process, ProcessError> {
    let write = |path: &Path, source| ProcessError::Write {
        path: path.to_owned(),
        source,
    };
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&service.log)
        .map_err(|source| write(&service.log, source))?;
    let errors = log
        .try_clone()
        .map_err(|source| write(&service.log, source))?;
    // `setsid` replaces itself by the program, so the pid stays the same.
    let child = Command::new("setsid")
        .args(service.command)
        .envs(service.env.iter().map(|(k, v)| (k.as_str(), v.as_str())))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|source| ProcessError::Start {
            program: service.command.join(" "),
            source,
        })?;
    let process = Process::of(child.id().cast_signed()).unwrap_or(Process {
        pid: child.id().cast_signed(),
        started: 0,
    });
    fs::write(
        &service.pidfile,
        format!("{} {}\n", process.pid, process.started),
    )
    .map_err(|source| write(&service.pidfile, source))?;
    Ok(process)
}

/// A process of a known start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks after boot.
    started: u64,
}

impl Process {
    /// The running process with this pid, if there is one.
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field may hold spaces and ends with the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, started) = (*fields.first()?, fields.get(19)?.parse().ok()?);
        (state != "Z").then_some(Self { pid, started })
    }

    /// The process that `pidfile` names, if it still runs.
    #[must_use]
    pub fn recorded(pidfile: &Path) -> Option<Self> {
        let text = fs::read_to_string(pidfile).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let recorded = Self {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        };
        recorded.alive().then_some(recorded)
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Asks it to end, and kills it after `grace`.
    ///
    /// # Errors
    /// When it survives even that.
    pub fn stop(&self, grace: Duration) -> Result<(), ProcessError> {
        for (signal, patience) in [
            (Signal::TERM, grace),
            (Signal::KILL, Duration::from_secs(10)),
        ] {
            if !self.alive() {
                return Ok(());
            }
            if let Some(pid) = Pid::from_raw(self.pid) {
                // It may have ended in between; the loop below decides.
                let _ = kill_process(pid, signal);
            }
            let deadline = Instant::now() + patience;
            while self.alive() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if self.alive() {
            return Err(ProcessError::Undying(self.pid));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_process_is_found_and_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let service = Service {
            command: &["sleep".into(), "60".into()],
            env: &[],
            log: dir.path().join("log"),
            pidfile: dir.path().join("pid"),
        };
        let process = start(&service).unwrap();
        assert_eq!(Process::recorded(&service.pidfile), Some(process));
        process.stop(Duration::from_secs(5)).unwrap();
        assert_eq!(Process::recorded(&service.pidfile), None);
    }

    #[test]
    fn a_recycled_pid_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let pidfile = dir.path().join("pid");
        fs::write(&pidfile, format!("{} 1\n", std::process::id())).unwrap();
        assert_eq!(Process::recorded(&pidfile), None);
    }
}
