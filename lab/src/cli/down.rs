//! `hafail-lab down`.

use std::fs;
use std::time::Duration;

use anyhow::bail;

use super::up;
use crate::process::Process;
use crate::settings::Settings;
use crate::ui::Progress;
use crate::{fabric, machines};

/// How long a process may take to end in order.
const GRACE: Duration = Duration::from_secs(5);

/// Removes everything; goes on after a failure and reports all of them.
pub(super) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let progress = Progress::new();
    let there = settings.state.exists();
    let lock = there.then(|| up::lock(settings)).transpose()?;
    let mut problems: Vec<String> = Vec::new();
    progress.step("stopping the lab");
    for service in ["daemon", "registry", "moto"] {
        if let Some(process) = Process::recorded(&settings.file(&format!("{service}.pid"))) {
            problems.extend(process.stop(GRACE).err().map(|e| e.to_string()));
        }
    }
    progress.step("removing instances");
    problems.extend(
        machines::tear_down(&settings.name)
            .await
            .err()
            .map(|e| e.to_string()),
    );
    progress.step("removing networks");
    problems.extend(
        fabric::tear_down(settings)
            .await
            .err()
            .map(|e| e.to_string()),
    );
    if !problems.is_empty() {
        bail!(
            "not everything is gone: {}; run `hafail-lab down` again",
            problems.join("; ")
        );
    }
    if there {
        fs::remove_dir_all(&settings.state)?;
    }
    drop(lock);
    progress.done(&format!("lab `{}` is gone", settings.name));
    Ok(())
}
