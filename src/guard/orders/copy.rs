//! `Clone` and `Reclone`: a copy of the upstream, always into a new
//! directory, complete before it gets its name.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use super::{Done, NotDone, Result, standby::want_standby};
use crate::{
    guard::{Guard, failpoint, store::sync_directory, tools},
    ids::{Epoch, HostName},
};

/// How long a fresh copy may take until it streams.
const STREAM: Duration = Duration::from_secs(30);

impl Guard {
    pub(super) async fn clone_from(
        self: &Arc<Self>,
        epoch: Epoch,
        upstream: HostName,
    ) -> Result<Done> {
        if self.data().is_some() {
            return self.follow(epoch, upstream).await;
        }
        self.require_not_primary()?;
        self.require_peer(&upstream)?;
        self.require_no_stranger()?;
        self.copy(epoch, &upstream).await?;
        Ok(Done::Changed(format!(
            "copied {upstream} and streams from it"
        )))
    }

    pub(super) async fn reclone(
        self: &Arc<Self>,
        epoch: Epoch,
        upstream: HostName,
    ) -> Result<Done> {
        self.require_not_primary()?;
        self.require_peer(&upstream)?;
        let before = self.data();
        self.copy(epoch, &upstream).await?;
        let kept = before.and_then(|old| Some(old.file_name()?.to_string_lossy().into_owned()));
        let kept = kept.map_or_else(String::new, |old| format!("; {old} is kept"));
        Ok(Done::Changed(format!(
            "copied {upstream} and streams from it{kept}"
        )))
    }

    async fn copy(self: &Arc<Self>, epoch: Epoch, upstream: &HostName) -> Result<()> {
        let target = upstream.clone();
        self.accept(epoch, move |state| want_standby(state, target))
            .await?;
        if let Some(old) = self.data() {
            self.stop_for_work(&old).await?;
        }
        let copy = self.prepare_copy().await?;
        let copied = tools::basebackup(&self.config, upstream, &copy).await;
        if let Err(error) = copied {
            fs::remove_dir_all(&copy).or_else(ignore_missing)?;
            return Err(error.into());
        }
        failpoint::pass("copied");
        self.put_in_place(&copy).await?;
        let data = self.require_data()?;
        self.be_standby(&data).await?;
        let streaming = self.wait_streaming(upstream, STREAM).await;
        streaming.map_err(|why| NotDone::Failed(format!("the copy does not stream: {why}")))
    }

    /// An empty place for a copy, without leftovers of broken ones.
    pub(super) async fn prepare_copy(&self) -> Result<std::path::PathBuf> {
        let root = self.config.version_dir();
        crate::guard::process::kill_tools(&self.config.bin_dir, &root).await?;
        let copy = root.join("copy");
        fs::remove_dir_all(&copy).or_else(ignore_missing)?;
        Ok(copy)
    }

    /// Gives a complete copy its name and makes it the data directory. The
    /// name is remembered first: a name without a directory is no data.
    pub(super) async fn put_in_place(self: &Arc<Self>, copy: &Path) -> Result<()> {
        let root = self.config.version_dir();
        let name = next_name(&root)?;
        let target = root.join(&name);
        let data = name.clone();
        self.remember(move |state| {
            state.data = Some(data);
            state.rewinding = None;
        })
        .await?;
        failpoint::pass("new name remembered");
        fs::rename(copy, &target)?;
        sync_directory(&root)?;
        failpoint::pass("new directory in place");
        point_main(&root, &name)?;
        Ok(())
    }

    /// Refuses to work beside a data directory that this guard does not know.
    pub(super) fn require_no_stranger(&self) -> Result<()> {
        let root = self.config.version_dir();
        let known = self.store.with(|state| state.data.clone());
        for name in data_names(&root)? {
            if Some(&name) != known.as_ref() {
                return super::refused(
                    "foreign-data-directory",
                    format!(
                        "{} is not this guard's: move it away",
                        root.join(name).display()
                    ),
                );
            }
        }
        Ok(())
    }
}

/// The data directories below `root`, current and kept ones.
pub(super) fn data_names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("data-") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn next_name(root: &Path) -> io::Result<String> {
    let numbers = data_names(root)?;
    let numbers = numbers
        .iter()
        .filter_map(|name| name.strip_prefix("data-")?.parse::<u32>().ok());
    Ok(format!("data-{}", numbers.max().unwrap_or(0) + 1))
}

/// Points the symbolic link `main` at the current data directory, for people
/// and their tools; the guard itself goes by its memory.
pub(super) fn point_main(root: &Path, name: &str) -> io::Result<()> {
    let new = root.join("main.new");
    fs::remove_file(&new).or_else(ignore_missing)?;
    std::os::unix::fs::symlink(name, &new)?;
    fs::rename(&new, root.join("main"))
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_never_takes_an_old_name() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(next_name(root.path()).unwrap(), "data-1");
        for name in ["data-2", "data-10", "copy", "main"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        assert_eq!(next_name(root.path()).unwrap(), "data-11");
    }

    #[test]
    fn main_points_at_the_current_directory() {
        let root = tempfile::tempdir().unwrap();
        for name in ["data-1", "data-2"] {
            point_main(root.path(), name).unwrap();
            let link = fs::read_link(root.path().join("main")).unwrap();
            assert_eq!(link, Path::new(name));
        }
    }
}
