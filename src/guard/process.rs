//! Processes of PostgreSQL: found by what they are, held by descriptors that
//! can't come to mean another process.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::io::{Interest, unix::AsyncFd};

/// A process, by a descriptor of it.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    descriptor: Arc<AsyncFd<OwnedFd>>,
}

impl Process {
    /// Takes hold of a process; none when there is no such one.
    pub fn open(pid: i32) -> io::Result<Option<Self>> {
        let Some(raw) = Pid::from_raw(pid) else {
            return Ok(None);
        };
        match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => Ok(Some(Self {
                pid,
                descriptor: Arc::new(watched(descriptor)?),
            })),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a signal; to a process that has ended it is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.descriptor.get_ref().as_fd(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        // The descriptor becomes readable at the end and stays so. An error
        // here would mean that the descriptor is broken, which it can't be.
        let _ = self.descriptor.readable().await;
    }

    /// Whether it has ended, as the kernel says now.
    pub fn has_ended(&self) -> bool {
        let mut descriptor = [PollFd::new(self.descriptor.get_ref(), PollFlags::IN)];
        let now = Timespec::default();
        // One that cannot be asked counts as ended: it is looked for anew.
        poll(&mut descriptor, Some(&now)) != Ok(0)
    }

    /// Waits for its end, at most so long; says whether it ended.
    pub async fn ended_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended()).await.is_ok()
    }
}

#[expect(
    deprecated,
    reason = "its replacement is unsafe; the warning is about types that may change their \
              descriptor, which an OwnedFd never does"
)]
fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// `postmaster.pid` of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidFile {
    pub pid: i32,
    /// `starting`, `ready`, `standby` or `stopping`; empty early on.
    pub status: String,
}

impl PidFile {
    /// Reads it, where there is one.
    #[must_use]
    pub fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let status = lines.nth(6).unwrap_or_default().trim().to_owned();
        Some(Self { pid, status })
    }
}

/// Finds running postmasters. The one last found is kept by its descriptor:
/// what it is, is looked at once and stays true until it ends.
#[derive(Debug, Default)]
pub struct Finder {
    found: Mutex<Option<(PathBuf, Process)>>,
}

impl Finder {
    /// The running postmaster of a data directory. A process counts only when
    /// it is this PostgreSQL's program and works in this directory, so a stale
    /// file never names a stranger; the start time in the file is wall time and
    /// proves nothing.
    pub fn find(&self, data: &Path, postgres: &Path) -> io::Result<Option<Process>> {
        let Some(file) = PidFile::read(data) else {
            return Ok(None);
        };
        let mut found = self.found.lock().expect("no holder of this lock panics");
        if let Some((of, process)) = found.as_ref()
            && of == data
            && process.pid == file.pid
            && !process.has_ended()
        {
            return Ok(Some(process.clone()));
        }
        let process = Process::open(file.pid)?;
        // Looked at after the descriptor was taken, so both mean the same process.
        let process = process.filter(|_| is_postgres_of(file.pid, data, postgres));
        *found = process.clone().map(|process| (data.to_owned(), process));
        Ok(process)
    }
}

fn is_postgres_of(pid: i32, data: &Path, postgres: &Path) -> bool {
    let same = |link: Option<PathBuf>, path: &Path| {
        link.is_some_and(|link| fs::canonicalize(path).is_ok_and(|real| real == link))
    };
    same(program(pid), postgres) && same(fs::read_link(format!("/proc/{pid}/cwd")).ok(), data)
}

/// The program of a process, also where an upgrade has replaced the file.
fn program(pid: i32) -> Option<PathBuf> {
    let link = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = link.to_string_lossy();
    Some(text.strip_suffix(" (deleted)").unwrap_or(&text).into())
}

/// Removes a lock file of PostgreSQL whose holder is dead. PostgreSQL itself
/// asks only whether a process of that number exists, which after a boot may
/// be anybody, and a zombie at any time.
pub fn remove_stale_lock(lock: &Path, postgres: &Path) -> io::Result<()> {
    let text = match fs::read_to_string(lock) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let holder = text.lines().next().and_then(|pid| pid.trim().parse().ok());
    let alive = holder.and_then(program).is_some_and(|program| {
        fs::canonicalize(postgres).is_ok_and(|postgres| postgres == program)
    });
    if alive { Ok(()) } else { fs::remove_file(lock) }
}

/// Kills what is left of a server whose postmaster is gone, and waits until
/// all of it is: a backend that lives on holds the shared memory, and could
/// still write.
pub async fn kill_leftovers(data: &Path, postgres: &Path) -> io::Result<usize> {
    kill_all(|pid| is_postgres_of(pid, data, postgres)).await
}

/// Kills the tools of an earlier guard that still work below `root`.
pub async fn kill_tools(bin_dir: &Path, root: &Path) -> io::Result<usize> {
    const TOOLS: &[&str] = &["initdb", "pg_basebackup", "pg_rewind", "postgres"];
    let bin_dir = fs::canonicalize(bin_dir)?;
    let root = root.to_string_lossy().into_owned();
    kill_all(|pid| {
        let Some(program) = program(pid) else {
            return false;
        };
        let is_tool =
            program.parent() == Some(&bin_dir) && TOOLS.iter().any(|tool| program.ends_with(tool));
        // A single-user server counts, a postmaster or its children do not.
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let single = !program.ends_with("postgres")
            || command.contains("--single")
            || command.contains("--boot");
        is_tool && single && command.contains(&root)
    })
    .await
}

/// Kills every server of this program, by its real path, that works below a
/// directory now; how many.
pub fn kill_once_below(root: &Path, postgres: &Path) -> io::Result<usize> {
    let is_ours = |pid: i32| {
        program(pid).is_some_and(|program| program == postgres)
            && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(root))
    };
    let mut killed = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| is_ours(*pid)) else {
            continue;
        };
        let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(process) = process
            && is_ours(pid)
        {
            let _ = pidfd_send_signal(&process, Signal::KILL);
            killed += 1;
        }
    }
    Ok(killed)
}

/// Kills every server below a directory, again and again, for a postmaster
/// may fork meanwhile. Whether nothing was left within the limit.
pub fn kill_below(root: &Path, postgres: &Path, limit: Duration) -> io::Result<bool> {
    let begin = std::time::Instant::now();
    let postgres = fs::canonicalize(postgres)?;
    while kill_once_below(root, &postgres)? > 0 {
        if begin.elapsed() > limit {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

async fn kill_all(wanted: impl Fn(i32) -> bool) -> io::Result<usize> {
    let mut killed = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if !wanted(pid) {
            continue;
        }
        if let Some(process) = Process::open(pid)?
            && wanted(pid)
        {
            process.signal(Signal::KILL)?;
            killed.push(process);
        }
    }
    for process in &killed {
        process.ended().await;
    }
    Ok(killed.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_names_process_and_status() {
        let text = "42\n/data\n1763640000\n5432\n/run\n*\n  5433\nready   \n";
        let file = PidFile::parse(text).unwrap();
        assert_eq!((file.pid, file.status.as_str()), (42, "ready"));
        assert_eq!(PidFile::parse("42\n/data\n").unwrap().status, "");
        assert_eq!(PidFile::parse(""), None);
    }

    #[tokio::test]
    async fn a_stale_pid_file_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id();
        fs::write(dir.path().join("postmaster.pid"), format!("{own}\n")).unwrap();
        let found =
            Finder::default().find(dir.path(), Path::new("/usr/lib/postgresql/15/bin/postgres"));
        assert!(found.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_postmaster_is_found_until_it_ends_and_the_next_one_anew() {
        let dir = tempfile::tempdir().unwrap();
        let data = fs::canonicalize(dir.path()).unwrap();
        let program = fs::canonicalize("/bin/sleep").unwrap();
        let finder = Finder::default();
        for _ in 0..2 {
            let mut child = tokio::process::Command::new(&program)
                .arg("60")
                .current_dir(&data)
                .spawn()
                .unwrap();
            let pid = i32::try_from(child.id().unwrap()).unwrap();
            fs::write(data.join("postmaster.pid"), format!("{pid}\n")).unwrap();
            for _ in 0..2 {
                let found = finder.find(&data, &program).unwrap().unwrap();
                assert_eq!(found.pid, pid);
            }
            // Of that number and another directory, it is not ours.
            let other = tempfile::tempdir().unwrap();
            fs::copy(
                data.join("postmaster.pid"),
                other.path().join("postmaster.pid"),
            )
            .unwrap();
            assert!(finder.find(other.path(), &program).unwrap().is_none());
            let process = finder.find(&data, &program).unwrap().unwrap();
            process.signal(Signal::KILL).unwrap();
            process.ended().await;
            // A zombie still, and already nobody.
            assert!(finder.find(&data, &program).unwrap().is_none());
            child.wait().await.unwrap();
        }
    }

    #[test]
    fn a_lock_of_a_dead_process_goes_and_one_of_a_living_stays() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        let own = fs::read_link("/proc/self/exe").unwrap();
        remove_stale_lock(&lock, &own).unwrap();
        fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
        remove_stale_lock(&lock, &own).unwrap();
        assert!(lock.exists());
        remove_stale_lock(&lock, Path::new("/bin/sh")).unwrap();
        assert!(!lock.exists());
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_seen() {
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let process = Process::open(pid).unwrap().unwrap();
        assert!(!process.ended_within(Duration::from_millis(1)).await);
        process.signal(Signal::KILL).unwrap();
        assert!(process.ended_within(Duration::from_secs(10)).await);
        child.wait().await.unwrap();
        assert!(Process::open(pid).unwrap().is_none());
    }
}
