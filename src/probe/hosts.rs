//! Asks every host, over SSH, how it is.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;

use crate::{
    ids::HostName,
    observation::Knowledge,
    ports::remote::{Command, Output, Remote},
    status::HostFacts,
    topology::{Host, Role, Topology},
};

/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Seconds since boot (the age of the first process, which is right in a
/// container too), the fullest file system, then one line for each
/// container.
const BASE: &str = "ps -o etimes= -p 1
df -P / /var/lib/hafail /var/lib/docker 2>/dev/null |
    awk 'NR > 1 { sub(\"%\", \"\", $5); if ($5 + 0 > most) most = $5 + 0 } END { print most + 0 }'";
const CONTAINERS: &str = "docker ps --all --format '{{.Names}}\\t{{.Status}}'";

/// What each host says; those of `missing` are absent or unknown, for that
/// reason.
pub async fn facts(
    topology: &Topology,
    remote: &dyn Remote,
    missing: &BTreeMap<HostName, Knowledge<HostFacts>>,
) -> BTreeMap<HostName, Knowledge<HostFacts>> {
    let asked = topology.hosts().map(|host| async move {
        let known = match missing.get(&host.name) {
            Some(known) => known.clone(),
            None => ask(remote, host).await,
        };
        (host.name.clone(), known)
    });
    join_all(asked).await.into_iter().collect()
}

async fn ask(remote: &dyn Remote, host: &Host) -> Knowledge<HostFacts> {
    let script = if host.is(Role::App) {
        format!("{BASE}\n{CONTAINERS}")
    } else {
        BASE.to_owned()
    };
    let command = Command {
        script,
        stdin: Vec::new(),
        root: host.is(Role::App),
        deadline: PATIENCE,
    };
    let start = Instant::now();
    match tokio::time::timeout(PATIENCE, remote.run(&host.name, command)).await {
        Ok(Ok(output)) => read(&host.name, &output, start.elapsed()),
        Ok(Err(error)) => Knowledge::unknown(error),
        Err(_) => Knowledge::unknown(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn read(host: &HostName, output: &Output, took: Duration) -> Knowledge<HostFacts> {
    let text = String::from_utf8_lossy(&output.stdout);
    match parse(&text) {
        Some(facts) => Knowledge::Known(HostFacts {
            answered_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ..facts
        }),
        None => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complaint = complaint.trim();
            Knowledge::unknown(format!(
                "{host} answered what is not understood: {complaint}"
            ))
        }
    }
}

fn parse(text: &str) -> Option<HostFacts> {
    let mut lines = text.lines();
    let uptime_s = lines.next()?.trim().parse().ok()?;
    let disk_percent = lines.next()?.trim().parse().ok()?;
    let containers = lines.filter_map(|line| line.split_once('\t'));
    Some(HostFacts {
        answered_ms: 0,
        uptime_s,
        disk_percent,
        containers: containers
            .map(|(name, state)| (name.to_owned(), state.to_owned()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let facts =
            parse("7300\n17\nvote-0\tUp 2 hours (healthy)\nworker-0\tExited (1)\n").unwrap();
        assert_eq!((facts.uptime_s, facts.disk_percent), (7300, 17));
        assert_eq!(facts.containers["worker-0"], "Exited (1)");
        assert_eq!(parse("sudo: a password is required\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_script_runs_on_any_linux() {
        #[expect(clippy::disallowed_methods, reason = "tests the script itself")]
        let output = std::process::Command::new("sh")
            .args(["-c", BASE])
            .output()
            .unwrap();
        let facts = parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
        assert!(facts.uptime_s > 0 && facts.disk_percent <= 100);
    }
}
