//! `hafail logs`.

use std::time::Duration;

use futures::future::join_all;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::mpsc,
};

use super::{CommandError, Context, Exit, reach, ssh::unknown_host};
use crate::{
    adapters::ssh::Ssh,
    ids::HostName,
    topology::{Host, Role},
};

/// Arguments of `hafail logs`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these hosts.
    host: Vec<HostName>,

    /// Only this unit, or the containers whose names begin so.
    #[arg(long, value_name = "NAME", value_parser = service)]
    service: Option<String>,

    /// Go on with what is logged from now on.
    #[arg(short, long)]
    follow: bool,

    /// Only what is not older, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Duration>,

    /// Lines of each unit and container.
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: u32,
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time such as 90s, 10m or 2h".to_owned();
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

fn service(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if !text.is_empty() && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("write the name of a unit or a container".to_owned())
    }
}

/// One line of a host.
struct Line {
    host: HostName,
    text: String,
}

/// Gathers the logs of hosts, all at once.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let mut hosts: Vec<&Host> = Vec::new();
    for name in &args.host {
        let host = topology.host(name.as_str());
        hosts.push(host.ok_or_else(|| unknown_host(name, topology.hosts().map(|h| &h.name)))?);
    }
    if hosts.is_empty() {
        hosts.extend(topology.hosts());
    }
    let found = context.find_hosts(&topology).await;
    let names: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
    if !args.host.is_empty() {
        reach::missing(&found, &names)?;
    }
    let ssh = context.ssh(&context.vault(&topology)?, &found)?;
    let (sender, receiver) = mpsc::channel(1024);
    let reading = hosts.iter().map(|host| read(&ssh, host, &args, sender.clone()));
    let reading = join_all(reading);
    drop(sender);
    let showing = show(context, receiver, &args, &names);
    let (failures, ()) = tokio::select! {
        both = async { tokio::join!(reading, showing) } => both,
        _ = tokio::signal::ctrl_c() => return Ok(Exit::Success),
    };
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    if failures.is_empty() {
        return Ok(Exit::Success);
    }
    let mut error = CommandError::new(Exit::Access, "some hosts did not show their logs");
    error.causes = failures;
    Err(error.hint("see the state of the hosts: hafail status"))
}

/// Sends the lines of one host; answers why it could not.
async fn read(ssh: &Ssh, host: &Host, args: &Args, lines: mpsc::Sender<Line>) -> Option<String> {
    let stream = match ssh.shell(&host.name, &script(host, args)).await {
        Ok(stream) => stream,
        Err(error) => return Some(error.to_string()),
    };
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes).await {
            Ok(0) => return None,
            Ok(_) => {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                let host = host.name.clone();
                if lines.send(Line { host, text }).await.is_err() {
                    return None;
                }
            }
            Err(error) => return Some(format!("{}: {error}", host.name)),
        }
    }
}

/// Follows as lines come, or shows all in the order of their times.
async fn show(
    context: &Context,
    mut lines: mpsc::Receiver<Line>,
    args: &Args,
    names: &[HostName],
) {
    let width = names.iter().map(|name| name.as_str().len()).max().unwrap_or(0);
    let written = |line: &Line| format!("{:width$} {}", line.host, line.text);
    let mut all = Vec::new();
    while let Some(line) = lines.recv().await {
        if args.follow {
            let value = serde_json::json!({ "host": line.host, "line": line.text });
            context.ui.data(&written(&line), &value);
        } else {
            all.push(line);
        }
    }
    if !args.follow {
        in_order(&mut all);
        let value: Vec<_> = all
            .iter()
            .map(|line| serde_json::json!({ "host": line.host, "line": line.text }))
            .collect();
        let text: Vec<String> = all.iter().map(written).collect();
        context.ui.data(&text.join("\n"), &value);
    }
}

/// Sorts by the times in front; a line without one stays behind its
/// predecessor.
fn in_order(lines: &mut Vec<Line>) {
    let mut last = std::collections::BTreeMap::new();
    let mut timed: Vec<(String, Line)> = std::mem::take(lines)
        .into_iter()
        .map(|line| {
            let start: String = line.text.chars().take("2026-01-01T00:00:00".len()).collect();
            let has_time = start.starts_with("20") && start.contains('T');
            let time = last.entry(line.host.clone()).or_default();
            if has_time {
                *time = start;
            }
            (time.clone(), line)
        })
        .collect();
    timed.sort_by(|a, b| a.0.cmp(&b.0));
    lines.extend(timed.into_iter().map(|(_, line)| line));
}

/// Prints journal and containers; ends with its standard input.
fn script(host: &Host, args: &Args) -> String {
    let units: Vec<String> = match &args.service {
        Some(service) => vec![service.clone()],
        None => units(host).iter().map(|unit| (*unit).to_owned()).collect(),
    };
    let units: Vec<String> = units.iter().map(|unit| format!("-u {unit}")).collect();
    let containers = match &args.service {
        Some(service) => format!("| grep -E '^{}(-[0-9]+)?$'", service.replace('.', "\\.")),
        None => String::new(),
    };
    let seconds = args.since.map(|since| since.as_secs());
    let journal_since = seconds.map(|s| format!("--since=-{s}s")).unwrap_or_default();
    let docker_since = seconds.map(|s| format!("--since={s}s")).unwrap_or_default();
    let (journal_follow, docker_follow) = if args.follow { ("-f", "-f") } else { ("", "") };
    let lines = args.lines;
    format!(
        "trap '' PIPE\n\
         {watch}\n\
         journalctl -q --utc -o short-iso --no-hostname --no-pager -n {lines} {journal_since} {journal_follow} {units} < /dev/null &\n\
         if command -v docker > /dev/null; then\n\
         for c in $(docker ps -a --format '{{{{.Names}}}}' 2> /dev/null {containers}); do\n\
         docker logs --timestamps --tail {lines} {docker_since} {docker_follow} \"$c\" 2>&1 < /dev/null | sed -u \"s/ / $c: /\" &\n\
         done\n\
         fi\n\
         {wait}",
        watch = if args.follow { "(cat > /dev/null; kill 0) &\nwatch=$!" } else { "" },
        wait = "for job in $(jobs -p); do [ \"$job\" = \"${watch-}\" ] || wait \"$job\"; done",
        units = units.join(" "),
    )
}

/// Units that matter on a host.
fn units(host: &Host) -> Vec<&'static str> {
    let mut units = Vec::new();
    for role in &host.roles {
        units.extend(match role {
            Role::Lb => &["haproxy", "hafail-etcd"][..],
            Role::Queue => &["redis-server", "hafail-queue"],
            Role::Db => &["hafail-guard"],
            Role::App => &["docker"],
            Role::Witness => &["hafail-etcd"],
            Role::Bastion => &["ssh"],
        });
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_hosts_are_in_the_order_of_their_times() {
        let line = |host: &str, text: &str| Line {
            host: host.parse().unwrap(),
            text: text.to_owned(),
        };
        let mut lines = vec![
            line("a", "2026-11-20T14:00:02+0000 redis: late"),
            line("a", "  more of it"),
            line("b", "2026-11-20T14:00:01.5Z vote-1: early"),
            line("b", "2026-11-20T14:00:03.5Z vote-1: last"),
        ];
        in_order(&mut lines);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert!(texts[0].ends_with("early") && texts[1].ends_with("late"), "{texts:?}");
        assert!(texts[2].ends_with("of it") && texts[3].ends_with("last"), "{texts:?}");
    }
}
