//! Whether PostgreSQL still serves, proved from outside of it: by a new
//! connection, a commit, and a write to its disk.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Guard,
    reserve::is_full,
    sql::{Session, SqlError},
};
use crate::order::PostgresState;

/// Writes to the log and waits for the disk, touching no table.
const COMMIT: &str = "SELECT pg_logical_emit_message(true, 'hafail', '')";
/// More than a block of any file system: it needs room that is not there yet.
static ROOM: [u8; 64 * 1024] = [0; 64 * 1024];

/// Why PostgreSQL does not serve.
#[derive(Clone, Debug)]
enum Unwell {
    /// It answers nobody, or its disk fails: anybody else does better.
    Dead(String),
    /// It still answers what needs no room: better than nobody.
    NoRoom(String),
}

impl Guard {
    /// Looks again and again: a stopped postmaster leaves old connections
    /// working. On a primary, a commit proves that the disk takes writes.
    pub(super) async fn probe_forever(self: Arc<Self>) {
        let period = Duration::from_millis(self.config.timing.probe_every_ms);
        loop {
            tokio::time::sleep(period).await;
            if !matches!(self.find(), Ok(Some(_))) {
                continue;
            }
            match self.unwell().await {
                None => self.found(None),
                Some(Unwell::NoRoom(why)) if !self.has_successor() => {
                    tracing::error!(why, "stays primary: nobody else has every commit");
                }
                Some(Unwell::Dead(why) | Unwell::NoRoom(why)) => {
                    self.found(Some(why.clone()));
                    self.step_down(&why).await;
                }
            }
        }
    }

    fn found(&self, unwell: Option<String>) {
        if unwell.is_some() || self.view.borrow().hung {
            let generation = self.generation.load(Ordering::Acquire);
            self.publish_if(generation, |view| view.probed(unwell));
            self.look.notify_one();
        }
    }

    /// Why PostgreSQL does not serve, as far as can be told from outside.
    async fn unwell(&self) -> Option<Unwell> {
        let limit = self.config.timing.hung_after();
        let primary = self.view.borrow().postgres.state == PostgresState::Primary;
        let answers = async {
            let session = Session::open(&self.config, "postgres", limit).await?;
            session.run(if primary { COMMIT } else { "SELECT 1" }).await
        };
        match tokio::time::timeout(limit, answers).await {
            Err(_) | Ok(Err(SqlError::Deadline(_))) => {
                let why = "a new connection got no answer in time";
                return Some(Unwell::Dead(why.to_owned()));
            }
            Ok(Err(SqlError::Query(error))) if primary => {
                if let Some(unwell) = of_the_disk(&error) {
                    return Some(unwell);
                }
            }
            // Starting, stopping, or out of connections: others see to that.
            Ok(Err(_) | Ok(())) => {}
        }
        if primary {
            self.no_room(limit).await
        } else {
            None
        }
    }

    /// Tables need room long before the log does, which keeps some in reserve.
    async fn no_room(&self, limit: Duration) -> Option<Unwell> {
        let file = self.config.version_dir().join("room");
        let writing = tokio::task::spawn_blocking(move || write_and_remove(&file));
        match tokio::time::timeout(limit, writing).await {
            Err(_) => Some(Unwell::Dead("its disk answers nothing".to_owned())),
            Ok(Ok(Err(error))) if is_full(&error) => Some(Unwell::NoRoom(error.to_string())),
            Ok(Ok(Err(error))) => {
                tracing::error!(%error, "cannot write beside the database");
                None
            }
            Ok(Ok(Ok(())) | Err(_)) => None,
        }
    }

    /// Whether another host could take over without loss.
    fn has_successor(&self) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| lease.has_members())
    }
}

fn write_and_remove(file: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let written = options.open(file).and_then(|mut open| {
        open.write_all(&ROOM)?;
        open.sync_data()
    });
    let removed = std::fs::remove_file(file);
    written.and(removed)
}

/// Insufficient resources but for connections, or an error of the system.
fn of_the_disk(error: &tokio_postgres::Error) -> Option<Unwell> {
    use tokio_postgres::error::SqlState;
    let code = error.code()?;
    let why = || format!("a commit failed: {error}");
    if code == &SqlState::DISK_FULL {
        return Some(Unwell::NoRoom(why()));
    }
    let failed = code == &SqlState::IO_ERROR || code.code().starts_with("58");
    failed.then(|| Unwell::Dead(why()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_leaves_nothing_and_a_full_disk_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("room");
        write_and_remove(&file).unwrap();
        assert!(!file.exists());
        // Always full.
        let full = Path::new("/dev/full");
        let mut options = OpenOptions::new();
        let error = options
            .write(true)
            .open(full)
            .and_then(|mut file| file.write_all(&ROOM));
        assert!(is_full(&error.unwrap_err()));
    }
}
