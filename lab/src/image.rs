//! The host image: what instances are made of. Built once from a recipe, named
//! by the recipe's hash.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::command::run;
use crate::ui::Progress;

/// The image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Files of the recipe could not be laid out.
    #[error("cannot prepare the build of the host image in {dir}: {source}")]
    Prepare { dir: String, source: std::io::Error },
    /// The recipe failed.
    #[error("the host image could not be built ({status}): {said}; is {mirror} reachable?")]
    Build {
        status: std::process::ExitStatus,
        said: String,
        mirror: String,
    },
}

/// The recipe: files by name, the script first.
const RECIPE: [(&str, &str); 7] = [
    ("build.sh", include_str!("../image/build.sh")),
    ("daemon.json", include_str!("../image/daemon.json")),
    ("lab-cgroups", include_str!("../image/lab-cgroups")),
    (
        "lab-cgroups.service",
        include_str!("../image/lab-cgroups.service"),
    ),
    ("lab-init", include_str!("../image/lab-init")),
    (
        "lab-init.service",
        include_str!("../image/lab-init.service"),
    ),
    (
        "lab-user-data.service",
        include_str!("../image/lab-user-data.service"),
    ),
];

/// Name of the image of this recipe.
#[must_use]
pub fn tag() -> String {
    let mut hash = Sha256::new();
    for (name, text) in RECIPE {
        hash.update(name);
        hash.update([0]);
        hash.update(text);
        hash.update([0]);
    }
    let digest = hash.finalize();
    let short: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    format!("hafail-lab-host:{short}")
}

/// Builds the image unless it is there. Returns its name.
///
/// # Errors
/// When the build fails; what was half built is removed.
pub async fn ensure(cache: &Path, progress: &Progress) -> Result<String, ImageError> {
    let tag = tag();
    if run("docker", &["image", "inspect", "--format", "{{.Id}}", &tag])
        .await
        .is_ok()
    {
        return Ok(tag);
    }
    progress.step("building the host image (once, 2 to 3 minutes)");
    let prepare = |source| ImageError::Prepare {
        dir: cache.display().to_string(),
        source,
    };
    fs::create_dir_all(cache).map_err(prepare)?;
    // Labs of other names share the cache.
    let lock = fs::File::create(cache.join("image.lock")).map_err(prepare)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| prepare(e.into()))?;
    if is_there(&tag).await {
        return Ok(tag);
    }
    remove_unfinished(cache).await;
    let work = tempfile::Builder::new()
        .prefix("image-")
        .tempdir_in(cache)
        .map_err(prepare)?;
    for (name, text) in RECIPE {
        fs::write(work.path().join(name), text).map_err(prepare)?;
    }
    build(work.path(), &tag, progress).await?;
    Ok(tag)
}

async fn is_there(tag: &str) -> bool {
    run("docker", &["image", "inspect", "--format", "{{.Id}}", tag])
        .await
        .is_ok()
}

/// Removes what an interrupted build left.
async fn remove_unfinished(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if !entry.file_name().to_string_lossy().starts_with("image-") {
            continue;
        }
        let proc = entry.path().join("root/proc");
        // Usually it is not mounted any more.
        let _ = run("umount", &[&proc.to_string_lossy()]).await;
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

async fn build(work: &Path, tag: &str, progress: &Progress) -> Result<(), ImageError> {
    let mirror = mirror();
    let prepare = |source| ImageError::Prepare {
        dir: work.display().to_string(),
        source,
    };
    let mut child = Command::new("sh")
        .arg(work.join("build.sh"))
        .args([work, Path::new(&mirror), work, Path::new(tag)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(prepare)?;
    let stderr = child.stderr.take().expect("stderr is piped");
    let said = tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        let mut last = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            last.push(line);
        }
        last
    });
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(step) = line.strip_prefix("step: ") {
            progress.step(&format!("building the host image: {step}"));
        }
    }
    let status = child.wait().await.map_err(prepare)?;
    let said = said.await.unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    Err(ImageError::Build {
        status,
        said: said.join(" | "),
        mirror,
    })
}

/// The Debian mirror that this machine uses, where it is a Debian.
fn mirror() -> String {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        texts.extend(entries.filter_map(|e| fs::read_to_string(e.ok()?.path()).ok()));
    }
    texts
        .iter()
        .find_map(|text| mirror_in(text))
        .or_else(usual_mirror)
        .unwrap_or_default()
}

/// The mirror that debootstrap itself takes, for machines that are no Debian.
fn usual_mirror() -> Option<String> {
    usual_mirror_in(&fs::read_to_string("/usr/sbin/debootstrap").ok()?)
}

fn usual_mirror_in(debootstrap: &str) -> Option<String> {
    let mut lines = debootstrap.lines();
    let url = lines.find_map(|line| line.strip_prefix("DEF_MIRROR="))?;
    Some(url.trim_matches('"').to_owned())
}

fn mirror_in(sources: &str) -> Option<String> {
    let word = |word: &&str| {
        let url = word.trim_end_matches('/');
        url.starts_with("http") && url.ends_with("/debian")
    };
    let lines = sources
        .lines()
        .map(str::trim)
        .filter(|l| !l.starts_with('#'));
    let mut lines = lines.filter(|l| l.starts_with("deb ") || l.starts_with("URIs:"));
    let found = lines.find_map(|line| line.split_whitespace().find(word))?;
    Some(found.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_both_forms_of_sources() {
        let old = "# deb http://no/debian x main\ndeb [signed-by=/k] http://mirror.test/debian/ bookworm main";
        assert_eq!(mirror_in(old).unwrap(), "http://mirror.test/debian");
        let new = "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm";
        assert_eq!(mirror_in(new).unwrap(), "http://mirror.test/debian");
        assert_eq!(mirror_in("deb http://archive.test/ubuntu noble main"), None);
        let script = "DOWNLOADER=wget\nDEF_MIRROR=\"http://mirror.test/debian\"\n";
        assert_eq!(
            usual_mirror_in(script).unwrap(),
            "http://mirror.test/debian"
        );
    }

    #[test]
    fn every_file_that_the_recipe_installs_is_part_of_it() {
        let script = RECIPE[0].1;
        for (name, _) in &RECIPE[1..] {
            assert!(script.contains(&format!("/{name}\"")), "{name}");
        }
    }
}
