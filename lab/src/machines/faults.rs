//! What happens to machines and is no call of an API: one that stands still,
//! and a disk that can be filled or that hangs.

use std::process::Stdio;

use crate::command::{CommandError, run};

/// Stops everything on a machine in the middle of what it does, as a virtual
/// machine that is paused or migrated, for `seconds`. Its clocks go on. It
/// goes on by itself, whatever becomes of the lab.
///
/// # Errors
/// When Docker cannot.
pub async fn freeze(container: &str, seconds: u32) -> Result<(), CommandError> {
    // Armed before it stands still. An earlier timer may wake it early: then
    // it was asked for twice.
    let script = format!("sleep {seconds}; docker unpause {container}");
    let armed = tokio::process::Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    armed.map_err(|source| CommandError::Start {
        command: "setsid sh".to_owned(),
        source,
    })?;
    run("docker", &["pause", container]).await.map(drop)
}

/// Lets it go on before its time.
///
/// # Errors
/// When Docker cannot, as with a machine that does not stand still.
pub async fn thaw(container: &str) -> Result<(), CommandError> {
    run("docker", &["unpause", container]).await.map(drop)
}

/// Puts a directory of a machine on a disk of its own of so many MiB, with
/// what is in it. The disk is gone when the machine stops or is rebooted, and
/// what the directory held before is there again. `holder`: the file behind
/// the disk, which vanishes at once and keeps its room until then.
///
/// # Errors
/// Which command failed; what was begun is undone by the machine's end.
pub async fn give_disk(
    container: &str,
    directory: &str,
    mebibytes: u32,
    holder: &str,
) -> Result<(), CommandError> {
    let size = format!("{mebibytes}M");
    run("truncate", &["--size", &size, holder]).await?;
    run("mkfs.ext4", &["-q", "-F", "-m", "0", holder]).await?;
    let device = run("losetup", &["--find", "--show", holder]).await?;
    let device = device.trim();
    let given = mount(container, directory, device).await;
    // The kernel lets go of it once nothing is mounted from it.
    run("losetup", &["--detach", device]).await?;
    run("rm", &["--force", holder]).await?;
    given
}

/// A machine may use no block device: whoever enters it from outside may.
async fn mount(container: &str, directory: &str, device: &str) -> Result<(), CommandError> {
    let inspect = ["inspect", "--format", "{{.State.Pid}}", container];
    let pid = run("docker", &inspect).await?;
    let number = device.trim_start_matches("/dev/loop");
    let script = format!(
        "set -eu\n\
         [ -e {device} ] || mknod {device} b 7 {number}\n\
         new=$(mktemp -d)\n\
         mount {device} \"$new\"\n\
         rmdir \"$new/lost+found\"\n\
         cp -a '{directory}/.' \"$new/\"\n\
         mount --move \"$new\" '{directory}'\n\
         rmdir \"$new\"\n"
    );
    let enter = ["--target", pid.trim(), "--mount", "sh", "-c", &script];
    run("nsenter", &enter).await.map(drop)
}
