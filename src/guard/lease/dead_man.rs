//! The dead-man: a small process beside the guard that kills PostgreSQL when
//! the deadline passes, whatever became of the guard. The deadline is in a
//! file in memory, which no hung disk holds up.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::Duration,
};

use rustix::{
    process::Signal,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use super::{boottime, resident};
use crate::{
    guard::{
        config::GuardConfig,
        process::{self, Process},
    },
    right::Moment,
};

/// Between two looks at the deadline while it is far or there is none.
const GLANCE: Duration = Duration::from_millis(250);
/// A dead-man that has not beaten for so long is replaced.
const SILENT: Duration = Duration::from_secs(2);
/// How long a new one may take to its first beat.
const FIRST_BEAT: Duration = Duration::from_secs(5);

/// Why the dead-man could not work.
#[derive(Debug, thiserror::Error)]
pub enum DeadManError {
    #[error("the guard's configuration asks for no coordination")]
    NotNeeded,
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot set a timer")]
    Timer(#[source] rustix::io::Errno),
}

/// Two numbers in a file of memory, each with its complement, so that a torn
/// read is seen: the deadline at 0, the beat at 16.
struct Cells(File);

const DEADLINE: u64 = 0;
const BEAT: u64 = 16;

impl Cells {
    fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("deadline");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Ok(Self(options.open(path)?))
    }

    fn put(&self, cell: u64, moment: Moment) -> io::Result<()> {
        let nanos = u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&nanos.to_ne_bytes());
        bytes[8..].copy_from_slice(&(!nanos).to_ne_bytes());
        self.0.write_all_at(&bytes, cell)
    }

    /// Zero where nothing was put yet.
    fn get(&self, cell: u64) -> io::Result<Moment> {
        for _ in 0..1_000 {
            let mut bytes = [0; 16];
            match self.0.read_exact_at(&mut bytes, cell) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Duration::ZERO);
                }
                Err(error) => return Err(error),
            }
            let (value, complement) = bytes.split_at(8);
            let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight"));
            match (number(value), number(complement)) {
                (0, 0) => return Ok(Duration::ZERO),
                (value, complement) if value == !complement => {
                    return Ok(Duration::from_nanos(value));
                }
                _ => {}
            }
        }
        Err(io::Error::other("the deadline cannot be read whole"))
    }
}

/// The guard's side.
pub struct DeadMan {
    cells: Cells,
    config: PathBuf,
    running: Mutex<Option<Process>>,
    pid_file: PathBuf,
}

impl DeadMan {
    /// Makes the files; starts nothing.
    pub fn prepare(config: &GuardConfig, directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self {
            cells: Cells::open(directory)?,
            config: config.path.clone(),
            running: Mutex::default(),
            pid_file: directory.join("dead-man.pid"),
        })
    }

    /// From now on PostgreSQL is killed at that moment.
    pub fn arm(&self, until: Moment) -> io::Result<()> {
        self.cells.put(DEADLINE, until)
    }

    /// PostgreSQL is dead or a standby: nobody is killed.
    pub fn disarm(&self) {
        if let Err(error) = self.cells.put(DEADLINE, Duration::ZERO) {
            tracing::error!(%error, "cannot put the deadline away");
        }
    }

    /// What the dead-man goes by; none: nobody is to be killed.
    pub fn deadline(&self) -> io::Result<Option<Moment>> {
        let deadline = self.cells.get(DEADLINE)?;
        Ok((!deadline.is_zero()).then_some(deadline))
    }

    fn has_beaten(&self, since: Moment) -> bool {
        self.cells.get(BEAT).is_ok_and(|beat| beat >= since)
    }

    /// Whether it lives, as far as its beat tells.
    pub fn is_well(&self) -> bool {
        let process = self.running().clone();
        process.is_some() && self.has_beaten(boottime().saturating_sub(SILENT))
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.running.lock().expect("no holder of this lock panics")
    }

    /// Starts a new dead-man, waits for its first beat, and ends the one
    /// before: there is always one.
    pub async fn renew(&self) -> io::Result<()> {
        let before = fs::read_to_string(&self.pid_file).ok();
        let before = before.and_then(|pid| pid.trim().parse().ok());
        let began = boottime();
        let program = std::env::current_exe()?;
        // In a session of its own, so that it outlives the guard.
        let mut child = tokio::process::Command::new("setsid")
            .arg(program)
            .args(["guard", "dead-man", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.ok_or_else(|| io::Error::other("the dead-man ended at once"))?;
        let process = Process::open(pid)?;
        tokio::spawn(async move {
            // Reaps it; that it is gone is seen by its beat.
            let _ = child.wait().await;
        });
        let limit = tokio::time::Instant::now() + FIRST_BEAT;
        // One that it replaces beats as well: it counts once it has said so.
        while fs::read_to_string(&self.pid_file).ok() != Some(pid.to_string())
            || !self.has_beaten(began)
        {
            if tokio::time::Instant::now() > limit {
                return Err(io::Error::other("the dead-man does not come up"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Some(before) = before
            && before != pid
            && is_dead_man(before)
            && let Some(before) = Process::open(before)?
        {
            before.signal(Signal::KILL)?;
        }
        *self.running() = process;
        Ok(())
    }
}

/// Ends the dead-man that a guard under a store has left here: nobody moves
/// its deadline any more.
pub fn dismiss(directory: &Path) -> io::Result<()> {
    let path = directory.join("dead-man.pid");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(());
    };
    if let Ok(pid) = text.trim().parse()
        && is_dead_man(pid)
        && let Some(process) = Process::open(pid)?
    {
        process.signal(Signal::KILL)?;
    }
    Cells::open(directory)?.put(DEADLINE, Duration::ZERO)?;
    fs::remove_file(&path)
}

fn is_dead_man(pid: i32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = command.split(|byte| *byte == 0).collect();
    words.get(1..3) == Some(&[b"guard".as_slice(), b"dead-man".as_slice()])
}

/// The dead-man's own life: waits for the deadline, for ever.
///
/// # Errors
/// Its files or timer cannot be used.
pub fn run(config: &GuardConfig) -> Result<(), DeadManError> {
    let coordination = config.coordination.as_ref();
    let directory = &coordination.ok_or(DeadManError::NotNeeded)?.runtime_dir;
    let file = |source| DeadManError::File {
        path: directory.clone(),
        source,
    };
    resident::stay_in_memory();
    let cells = Cells::open(directory).map_err(file)?;
    let killer = Killer::new(config)?;
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::empty())
        .map_err(DeadManError::Timer)?;
    cells.put(BEAT, boottime()).map_err(file)?;
    fs::write(
        directory.join("dead-man.pid"),
        std::process::id().to_string(),
    )
    .map_err(file)?;
    loop {
        let now = boottime();
        cells.put(BEAT, now).map_err(file)?;
        let deadline = cells.get(DEADLINE).map_err(file)?;
        if !deadline.is_zero() && now >= deadline {
            killer.kill();
        }
        let next = if deadline > now {
            deadline.min(now + GLANCE)
        } else {
            now + GLANCE
        };
        wait_until(&timer, next).map_err(DeadManError::Timer)?;
    }
}

fn wait_until(timer: &impl std::os::fd::AsFd, moment: Moment) -> rustix::io::Result<()> {
    let at = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec {
            tv_sec: i64::try_from(moment.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: moment.subsec_nanos().into(),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &at)?;
    let mut expirations = [0; 8];
    match rustix::io::read(timer, &mut expirations) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Ends PostgreSQL without a look at any disk.
struct Killer {
    root: PathBuf,
    postgres: PathBuf,
}

impl Killer {
    /// # Errors
    /// There is no such program: what is to be killed cannot be known.
    fn new(config: &GuardConfig) -> Result<Self, DeadManError> {
        let path = config.program("postgres");
        let postgres = fs::canonicalize(&path);
        let killer = Self {
            root: config.version_dir(),
            postgres: postgres.map_err(|source| DeadManError::File { path, source })?,
        };
        // What a kill takes is in memory once it was gone through; no server
        // works below a file.
        let _ = killer.kill_once_below(Path::new("/dev/null"));
        Ok(killer)
    }

    fn kill_once_below(&self, root: &Path) -> io::Result<usize> {
        process::kill_once_below(root, &self.postgres)
    }

    /// Kills until nothing is left: a postmaster may fork while its children
    /// are killed.
    fn kill(&self) {
        loop {
            match self.kill_once_below(&self.root) {
                Ok(0) => return,
                Ok(killed) => tracing::error!(killed, "the deadline has passed: killed PostgreSQL"),
                Err(error) => tracing::error!(%error, "cannot kill PostgreSQL"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
