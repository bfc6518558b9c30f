//! `hafail ssh`.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use russh::keys::{PrivateKey, ssh_key::LineEnding};
use tempfile::TempDir;

use super::{CommandError, Context, Exit, reach};
use crate::{
    ids::HostName,
    inventory::{HostEntry, Inventory},
};

/// Arguments of `hafail ssh`.
#[derive(clap::Args)]
pub struct Args {
    /// The host.
    host: HostName,

    /// A command to run there instead of a shell.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Hands the terminal to the system's `ssh`, which gets the key of the
/// deployment, the host keys of the inventory and the way through the bastion.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    if topology.host(args.host.as_str()).is_none() {
        return Err(unknown_host(&args.host, topology.hosts().map(|host| &host.name)));
    }
    let found = context.find_hosts(&topology).await;
    reach::missing(&found, std::slice::from_ref(&args.host))?;
    let key = context.vault(&topology)?.ssh_key()?;
    let failed = |error: std::io::Error| CommandError::failed("cannot prepare the call of ssh", &error);
    let directory = prepare(&found.inventory, &key).map_err(failed)?;
    let words = arguments(&found.inventory, &args.host, directory.path());
    // Ctrl-C is for what runs on the host.
    drop(tokio::spawn(async {
        while tokio::signal::ctrl_c().await.is_ok() {}
    }));
    let status = tokio::process::Command::new("ssh")
        .args(words)
        .args(&args.command)
        .status()
        .await
        .map_err(|error| {
            CommandError::failed("cannot start ssh", &error)
                .hint("install the OpenSSH client: apt-get install openssh-client")
        })?;
    match status.code() {
        Some(0) => Ok(Exit::Success),
        Some(255) => Err(CommandError::new(Exit::Access, format!("ssh to {} failed", args.host))
            .hint("ssh says above why; see `hafail plan` for the state of the host")),
        Some(code) => {
            let message = format!("the command on {} ended with status {code}", args.host);
            Err(CommandError::new(Exit::Failed, message))
        }
        None => Err(CommandError::new(Exit::Interrupted, "ssh was interrupted")),
    }
}

/// An error for a host that the topology does not have.
pub(super) fn unknown_host<'a>(
    host: &HostName,
    known: impl Iterator<Item = &'a HostName>,
) -> CommandError {
    let known: Vec<&str> = known.map(HostName::as_str).collect();
    CommandError::new(Exit::Invalid, format!("the host `{host}` is not in the topology"))
        .hint(crate::playbook::nearest(host.as_str(), &known))
}

/// Key and host keys in a directory of our own, which goes when ssh ends.
fn prepare(inventory: &Inventory, key: &PrivateKey) -> std::io::Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("hafail-ssh-").tempdir()?;
    let text = key.to_openssh(LineEnding::LF).map_err(std::io::Error::other)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(directory.path().join("key"))?;
    file.write_all(text.as_bytes())?;
    let lines = inventory.hosts.values();
    let lines = lines.map(|entry| format!("{} {}\n", entry.name, entry.ssh.host_key));
    fs::write(directory.path().join("known_hosts"), lines.collect::<String>())?;
    Ok(directory)
}

/// Options for one host and its name.
fn arguments(inventory: &Inventory, host: &HostName, directory: &Path) -> Vec<String> {
    let Some(entry) = inventory.hosts.get(host) else {
        return Vec::new();
    };
    let mut words = options(entry, directory);
    let jump = entry.ssh.jump.as_ref().and_then(|jump| inventory.hosts.get(jump));
    if let Some(jump) = jump {
        let mut way = vec!["ssh".to_owned()];
        way.extend(options(jump, directory));
        way.extend(["-W".to_owned(), "%h:%p".to_owned(), destination(jump)]);
        let way: Vec<String> = way.iter().map(|word| quoted(word)).collect();
        words.push("-o".to_owned());
        words.push(format!("ProxyCommand={}", way.join(" ")));
    }
    words.push(destination(entry));
    words
}

fn options(entry: &HostEntry, directory: &Path) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut words = vec![
        "-F".to_owned(),
        "none".to_owned(),
        "-i".to_owned(),
        file("key"),
        "-p".to_owned(),
        entry.ssh.port.to_string(),
    ];
    for option in [
        format!("UserKnownHostsFile={}", file("known_hosts")),
        format!("HostKeyAlias={}", entry.name),
        "GlobalKnownHostsFile=none".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "BatchMode=yes".to_owned(),
        "ConnectTimeout=10".to_owned(),
        "ServerAliveInterval=5".to_owned(),
        "LogLevel=ERROR".to_owned(),
    ] {
        words.extend(["-o".to_owned(), option]);
    }
    words
}

fn destination(entry: &HostEntry) -> String {
    format!("{}@{}", entry.ssh.user, entry.ssh.address)
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::SshWay;

    fn entry(name: &str, jump: Option<&str>) -> HostEntry {
        HostEntry {
            name: name.parse().unwrap(),
            site: "site1".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
            instance_id: None,
            private_address: "10.0.0.1".parse().unwrap(),
            public_address: None,
            ssh: SshWay {
                user: "admin".to_owned(),
                address: format!("{name}.example"),
                port: 22,
                host_key: "ssh-ed25519 AAAA".to_owned(),
                jump: jump.map(|jump| jump.parse().unwrap()),
            },
        }
    }

    #[test]
    fn a_private_host_is_reached_through_its_bastion_with_verified_keys() {
        let entries = [entry("db", Some("lb")), entry("lb", None)];
        let inventory = Inventory {
            hosts: entries.map(|entry| (entry.name.clone(), entry)).into(),
        };
        let words = arguments(&inventory, &"db".parse().unwrap(), Path::new("/tmp/x"));
        assert_eq!(words.last().unwrap(), "admin@db.example");
        let way = words.iter().find(|word| word.starts_with("ProxyCommand=")).unwrap();
        assert!(way.contains("'HostKeyAlias=lb'") && way.ends_with("'-W' '%h:%p' 'admin@lb.example'"), "{way}");
        for line in [&words.join(" "), way] {
            assert!(line.contains("StrictHostKeyChecking=yes") && line.contains("/tmp/x/known_hosts"), "{line}");
        }
        let alone = arguments(&inventory, &"lb".parse().unwrap(), Path::new("/tmp/x"));
        assert!(!alone.join(" ").contains("ProxyCommand"));
    }
}
