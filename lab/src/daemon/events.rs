//! Learns from Docker which containers have ended.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tracing::warn;

use crate::reconcile::Handle;
use crate::settings::LABEL;

/// Docker is asked again this long after its events ended.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "Attributes")]
    attributes: std::collections::BTreeMap<String, String>,
}

/// Reports every end of a container of the lab to the worker, for ever.
pub(super) fn follow(lab: &str, handle: Handle) {
    let filter = format!("label={LABEL}={lab}");
    tokio::spawn(async move {
        loop {
            if let Err(error) = watch(&filter, &handle).await {
                warn!("cannot watch containers: {error}");
            }
            tokio::time::sleep(AGAIN).await;
        }
    });
}

async fn watch(filter: &str, handle: &Handle) -> std::io::Result<()> {
    // `docker events` must not outlive a daemon that was killed.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "docker"])
        .args([
            "events",
            "--filter",
            "event=die",
            "--filter",
            filter,
            "--format",
            "{{json .}}",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| std::io::Error::other("no output"))?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some((instance, status)) = parse(&line) {
            handle.exited(instance, status);
        }
    }
    Ok(())
}

fn parse(line: &str) -> Option<(String, i32)> {
    let event: Event = serde_json::from_str(line).ok()?;
    let attributes = event.actor.attributes;
    let status = attributes.get("exitCode")?.parse().ok()?;
    Some((attributes.get("hafail-lab.instance")?.clone(), status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_container_is_read() {
        let line = r#"{"status":"die","Actor":{"ID":"x","Attributes":{"exitCode":"129","hafail-lab.instance":"i-1"}}}"#;
        assert_eq!(parse(line), Some(("i-1".into(), 129)));
        assert_eq!(parse("{}"), None);
    }
}
