//! The directory of the vault: 0700, its files 0600, written whole or not at
//! all.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::FlockOperation;

use crate::{adapters::pki::PkiError, topology::SecretName};

/// Why the vault could not be used. No message contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("cannot make the directory {} for secrets", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("others than the owner can use {} (mode {mode:04o})", path.display())]
    Permissions { path: PathBuf, mode: u32 },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the file {} of the secret {} cannot be read", path.display(), name.as_str())]
    SecretFile {
        name: SecretName,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the environment variable {variable} of the secret {} is not set", name.as_str())]
    SecretVariable { name: SecretName, variable: String },
    #[error("the secret {} is empty or contains control characters", name.as_str())]
    Unusable { name: SecretName },
    #[error("{} is not an OpenSSH private key: {why}", path.display())]
    NoSshKey { path: PathBuf, why: String },
    #[error("the SSH key {} is protected by a passphrase", path.display())]
    Passphrase { path: PathBuf },
    #[error("cannot make {what}: {why}")]
    Make { what: &'static str, why: String },
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl VaultError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Directory { .. } => {
                "choose a directory that you can write to, by --home or HAFAIL_HOME".to_owned()
            }
            Self::Permissions { path, .. } => {
                let mode = if path.is_dir() { "700" } else { "600" };
                format!("run: chmod {mode} {}", path.display())
            }
            Self::Read { path, .. } => format!("check that {} exists and is yours", path.display()),
            Self::Write { path, .. } => {
                format!(
                    "check space and permissions: df -h {0}; ls -ld {0}",
                    parent(path).display()
                )
            }
            Self::SecretFile { name, path, .. } => format!(
                "write the secret to {}, or leave `secrets.{}` out to have it generated",
                path.display(),
                name.key()
            ),
            Self::SecretVariable { name, variable } => format!(
                "export {variable}, or leave `secrets.{}` out to have it generated",
                name.key()
            ),
            Self::Unusable { name } => format!(
                "one line of text belongs there; leave `secrets.{}` out to have it generated",
                name.key()
            ),
            Self::NoSshKey { .. } => {
                "name another key by `access.ssh_key`; ssh-keygen -t ed25519 makes one".to_owned()
            }
            Self::Passphrase { path } => format!(
                "use a key of its own for this deployment: leave `access.ssh_key` out, or take the passphrase off a copy by ssh-keygen -p -f {}",
                path.display()
            ),
            Self::Make { .. } => "run the command again".to_owned(),
            Self::Pki(error) => error.hint(),
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// A directory of small private files.
pub(super) struct Store {
    directory: PathBuf,
    /// What was made in memory alone, by file name, where nothing is kept.
    unkept: Option<Mutex<BTreeMap<String, String>>>,
}

impl Store {
    pub fn open(directory: PathBuf) -> Result<Self, VaultError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        made.map_err(|source| VaultError::Directory {
            path: directory.clone(),
            source,
        })?;
        refuse_public(&directory)?;
        if let Some(tree) = directory
            .ancestors()
            .find(|path| path.join(".git").exists())
        {
            tracing::warn!(
                "secrets are kept in {}, inside the git work tree {}: keep them out of it by --home",
                directory.display(),
                tree.display()
            );
        }
        Ok(Self {
            directory,
            unkept: None,
        })
    }

    /// The same directory, which may be missing, for reading only: what is
    /// made lasts as long as this and is never written.
    pub fn look(directory: PathBuf) -> Result<Self, VaultError> {
        if directory.exists() {
            refuse_public(&directory)?;
        }
        Ok(Self {
            directory,
            unkept: Some(Mutex::default()),
        })
    }

    fn unkept(&self) -> Option<MutexGuard<'_, BTreeMap<String, String>>> {
        let made = self.unkept.as_ref()?;
        Some(made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The content of a file, if it exists and is private.
    pub fn get(&self, name: &str) -> Result<Option<String>, VaultError> {
        if let Some(text) = self.unkept().and_then(|made| made.get(name).cloned()) {
            return Ok(Some(text));
        }
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => refuse_public(&path).map(|()| Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VaultError::Read { path, source }),
        }
    }

    /// The content of a file; made, if it does not exist. Of several that
    /// make it at once, one wins, and all get what it made.
    pub fn get_or_make(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<String, VaultError>,
    ) -> Result<String, VaultError> {
        if let Some(text) = self.get(name)? {
            return Ok(text);
        }
        let text = make()?;
        if let Some(mut made) = self.unkept() {
            return Ok(made.entry(name.to_owned()).or_insert(text).clone());
        }
        let path = self.path(name);
        match self.temporary(&text)?.persist_noclobber(&path) {
            Ok(_) => self.settle().map(|()| text),
            Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => {
                let first = self.get(name)?;
                first.ok_or(VaultError::Read {
                    path,
                    source: lost.error,
                })
            }
            Err(failed) => Err(VaultError::Write {
                path,
                source: failed.error,
            }),
        }
    }

    /// Replaces a file as a whole.
    pub fn replace(&self, name: &str, text: &str) -> Result<(), VaultError> {
        if let Some(mut made) = self.unkept() {
            made.insert(name.to_owned(), text.to_owned());
            return Ok(());
        }
        let path = self.path(name);
        let persisted = self.temporary(text)?.persist(&path);
        persisted.map_err(|failed| VaultError::Write {
            path,
            source: failed.error,
        })?;
        self.settle()
    }

    /// Runs `work` while no other process does so.
    pub fn exclusively<T>(
        &self,
        work: impl FnOnce() -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        if self.unkept.is_some() {
            return work();
        }
        let path = self.directory.clone();
        let failed = |source: io::Error| VaultError::Read { path, source };
        let directory = fs::File::open(&self.directory).map_err(failed.clone())?;
        // Given back when the file is closed.
        rustix::fs::flock(&directory, FlockOperation::LockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        work()
    }

    /// A new file of mode 0600 with that content, on disk.
    fn temporary(&self, text: &str) -> Result<tempfile::NamedTempFile, VaultError> {
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix(".new-")
                .tempfile_in(&self.directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        write().map_err(|source| VaultError::Write {
            path: self.directory.join("new file"),
            source,
        })
    }

    /// Makes the new name of a file survive a power cut.
    fn settle(&self) -> Result<(), VaultError> {
        let synced = fs::File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| VaultError::Write {
            path: self.directory.clone(),
            source,
        })
    }
}

fn refuse_public(path: &Path) -> Result<(), VaultError> {
    let metadata = fs::metadata(path).map_err(|source| VaultError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(VaultError::Permissions {
        path: path.to_owned(),
        mode,
    })
}

/// Reads a file that the user named.
pub(super) fn read_foreign(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// An environment variable that is set and not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Puts the home directory in the place of `~/`.
pub(super) fn expand(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}
