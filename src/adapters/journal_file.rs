//! Runs and their journals in a directory of this machine: one file of JSON
//! lines for each run, and a lock that ends with its process.

#![expect(
    clippy::disallowed_methods,
    reason = "the journal of manual mode is made of files"
)]

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;

use crate::ports::store::{Holder, RunId, Store, StoreError};

/// A journal directory, such as `~/.local/share/hafail/two-regions/journal`,
/// with the lock beside it.
pub struct JournalDirectory {
    journals: PathBuf,
    lock: PathBuf,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Locked as long as it is open.
    lock: Option<File>,
    /// The journal that is written, kept open.
    journal: Option<(RunId, File)>,
}

impl JournalDirectory {
    /// The journals of a deployment; `directory` is made when it is missing.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let journals = directory.join("journal");
        fs::create_dir_all(&journals)
            .map_err(|error| failed(&format!("make {}", journals.display()), &error))?;
        Ok(Self {
            journals,
            lock: directory.join("lock"),
            held: Mutex::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no holder of this lock panics")
    }

    fn path(&self, run: &RunId) -> PathBuf {
        self.journals.join(format!("{run}.jsonl"))
    }

    /// Opens a run's journal for appending. What a crash left of a last line
    /// is cut off, so that the next line begins where it should.
    fn journal(&self, run: &RunId) -> io::Result<File> {
        let path = self.path(run);
        let fresh = !path.exists();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let whole = content
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        file.seek(io::SeekFrom::End(0))?;
        if fresh {
            // The name must survive a power cut as well as the content.
            File::open(&self.journals)?.sync_all()?;
        }
        Ok(file)
    }

    fn lock_file(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600);
        options.open(&self.lock)
    }
}

#[async_trait]
impl Store for JournalDirectory {
    async fn register(&self, holder: &Holder) -> Result<(), StoreError> {
        let what = format!("lock {}", self.lock.display());
        let mut file = self.lock_file().map_err(|error| failed(&what, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held_by(&mut file, &what)),
            Err(TryLockError::Error(error)) => return Err(failed(&what, &error)),
        }
        let text = serde_json::to_vec(holder).expect("a holder is plain data");
        file.set_len(0)
            .and_then(|()| file.write_all(&text))
            .and_then(|()| file.sync_data())
            .map_err(|error| failed(&what, &error))?;
        self.held().lock = Some(file);
        Ok(())
    }

    async fn append(&self, run: &RunId, lines: &[String]) -> Result<(), StoreError> {
        let fail = |error: io::Error| failed(&format!("write the journal of run {run}"), &error);
        let mut held = self.held();
        if held.journal.as_ref().is_none_or(|(open, _)| open != run) {
            held.journal = Some((run.clone(), self.journal(run).map_err(fail)?));
        }
        let (_, file) = held.journal.as_mut().expect("it was opened above");
        let mut text = lines.join("\n");
        text.push('\n');
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(fail)
    }

    async fn read(&self, run: &RunId) -> Result<Vec<String>, StoreError> {
        let text = match fs::read_to_string(self.path(run)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoSuchRun(run.clone()));
            }
            Err(error) => return Err(failed(&format!("read the journal of run {run}"), &error)),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().map(ToOwned::to_owned).collect())
    }

    async fn list(&self) -> Result<Vec<RunId>, StoreError> {
        let fail = |error: io::Error| failed(&format!("list {}", self.journals.display()), &error);
        let mut runs = Vec::new();
        for entry in fs::read_dir(&self.journals).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            if let Some(run) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) {
                runs.push(RunId(run.to_owned()));
            }
        }
        runs.sort();
        Ok(runs)
    }

    async fn release(&self, _run: &RunId) -> Result<(), StoreError> {
        let mut held = self.held();
        held.journal = None;
        // Closing the file gives the lock back.
        held.lock = None;
        Ok(())
    }
}

fn held_by(file: &mut File, what: &str) -> StoreError {
    let mut text = String::new();
    match file
        .read_to_string(&mut text)
        .map(|_| serde_json::from_str(&text))
    {
        Ok(Ok(holder)) => StoreError::Held(Box::new(holder)),
        Ok(Err(_)) => failed(
            what,
            &io::Error::other("another run holds it, and has not said its name yet"),
        ),
        Err(error) => failed(what, &error),
    }
}

fn failed(what: &str, error: &io::Error) -> StoreError {
    StoreError::Failed {
        what: what.to_owned(),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(run: &str) -> Holder {
        Holder {
            what: "failover".to_owned(),
            run: RunId(run.to_owned()),
            operator: "ann".to_owned(),
            machine: "desk".to_owned(),
            process: 7,
            since: "now".to_owned(),
        }
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        futures::executor::block_on(future)
    }

    #[test]
    fn a_second_run_is_refused_with_the_name_of_the_holder() {
        let home = tempfile::tempdir().unwrap();
        let one = JournalDirectory::open(home.path()).unwrap();
        let two = JournalDirectory::open(home.path()).unwrap();
        block(one.register(&holder("a"))).unwrap();
        let error = block(two.register(&holder("b"))).unwrap_err();
        assert!(
            matches!(&error, StoreError::Held(by) if by.run.0 == "a"),
            "{error}"
        );
        block(one.release(&RunId("a".to_owned()))).unwrap();
        block(two.register(&holder("b"))).unwrap();
    }

    #[test]
    fn a_lock_does_not_outlive_its_process() {
        let home = tempfile::tempdir().unwrap();
        let one = JournalDirectory::open(home.path()).unwrap();
        block(one.register(&holder("a"))).unwrap();
        drop(one);
        let two = JournalDirectory::open(home.path()).unwrap();
        block(two.register(&holder("b"))).unwrap();
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_written_over() {
        let home = tempfile::tempdir().unwrap();
        let run = RunId("a".to_owned());
        let store = JournalDirectory::open(home.path()).unwrap();
        block(store.append(&run, &["one".to_owned(), "two".to_owned()])).unwrap();
        let path = store.path(&run);
        drop(store);
        fs::write(&path, "one\ntwo\nthr").unwrap();
        let store = JournalDirectory::open(home.path()).unwrap();
        assert_eq!(block(store.read(&run)).unwrap(), ["one", "two"]);
        block(store.append(&run, &["three".to_owned()])).unwrap();
        assert_eq!(block(store.read(&run)).unwrap(), ["one", "two", "three"]);
        assert_eq!(block(store.list()).unwrap(), [run]);
        let missing = block(store.read(&RunId("b".to_owned())));
        assert!(matches!(missing, Err(StoreError::NoSuchRun(_))));
    }
}
