//! The way to hosts.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::future::join_all;
use hafail::{
    adapters::ssh::{Deadlines, Ssh},
    inventory::{HostEntry, Inventory},
    ports::remote::{Command, Endpoint, Output, Remote, RemoteError},
};
use russh::keys::{Algorithm, PrivateKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bench::Bench;

fn command(script: &str) -> Command {
    Command {
        script: script.to_owned(),
        stdin: Vec::new(),
        root: false,
        deadline: Duration::from_secs(20),
    }
}

fn new_key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a new key")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The inventory with one host changed.
fn changed(bench: &Bench<'_>, change: impl FnOnce(&mut HostEntry)) -> (Inventory, HostEntry) {
    let mut inventory = bench.hosts.inventory.clone();
    let entry = inventory.hosts.values_mut().next_back().expect("a host");
    change(entry);
    let entry = entry.clone();
    (inventory, entry)
}

pub async fn all_hosts_are_reached_quickly(bench: &Bench<'_>) {
    let ssh = bench.hosts.ssh();
    let names = bench.names();
    let started = Instant::now();
    let answers = join_all(names.iter().map(|host| ssh.run(host, command("hostname")))).await;
    let first = started.elapsed();
    let names_said: BTreeSet<String> = answers.into_iter().map(|a| text(&a.unwrap())).collect();
    assert_eq!(names_said.len(), names.len(), "each is another host");
    let started = Instant::now();
    join_all(names.iter().map(|host| ssh.run(host, command("true")))).await;
    println!(
        "  connecting to {}: {first:.0?}, again: {:.0?}",
        names.len(),
        started.elapsed()
    );
    assert!(first < Duration::from_secs(5), "{first:?}");
}

pub async fn a_private_host_is_reached_through_its_bastion(bench: &Bench<'_>) {
    let (entry, jump) = bench.hosts.jumped().expect("a host behind a bastion");
    let from = bench
        .ssh
        .run(&entry.name, command("echo $SSH_CONNECTION"))
        .await;
    let from = text(&from.unwrap());
    let expected = jump.private_address.to_string();
    assert!(from.starts_with(&expected), "{from} is not from {expected}");
}

pub async fn a_wrong_host_key_is_refused(bench: &Bench<'_>) {
    let other = new_key().public_key().to_openssh().expect("a key");
    let (inventory, entry) = changed(bench, |entry| entry.ssh.host_key = other);
    let ssh = Ssh::new(&inventory, bench.hosts.key.clone());
    match ssh.run(&entry.name, command("true")).await {
        Err(error @ RemoteError::HostKey { .. }) => {
            assert!(error.to_string().contains("SHA256:"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_refused_key_says_so(bench: &Bench<'_>) {
    let ssh = Ssh::new(&bench.hosts.inventory, new_key());
    let (_, entry) = changed(bench, |_| {});
    match ssh.run(&entry.name, command("true")).await {
        Err(error @ RemoteError::Refused { .. }) => {
            assert!(error.remedy().contains("authorized_keys"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_user_who_may_not_be_root_is_named(bench: &Bench<'_>) {
    let (inventory, entry) = changed(bench, |entry| entry.ssh.user = "hafail-test".to_owned());
    let from = &bench.hosts.inventory.hosts[&entry.name].ssh.user;
    let make = format!(
        "id hafail-test > /dev/null 2>&1 || useradd -m -s /bin/sh hafail-test; \
         install -d -m 700 -o hafail-test ~hafail-test/.ssh && \
         install -m 600 -o hafail-test ~{from}/.ssh/authorized_keys ~hafail-test/.ssh/"
    );
    bench.on(&entry.name, &make).await;
    let ssh = Ssh::new(&inventory, bench.hosts.key.clone());
    let user = ssh.run(&entry.name, command("id -un")).await.unwrap();
    assert_eq!(text(&user), "hafail-test");
    let root = Command {
        root: true,
        ..command("id -un")
    };
    let refused = ssh.run(&entry.name, root).await;
    drop(ssh);
    // Its session ends a moment after its connection.
    let gone = "until userdel -r hafail-test 2> /dev/null || ! id hafail-test > /dev/null 2>&1; do sleep 0.1; done";
    bench.on(&entry.name, gone).await;
    match refused {
        Err(error @ RemoteError::Root { .. }) => {
            assert!(error.remedy().contains("sudoers"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_closed_port_says_so(bench: &Bench<'_>) {
    let (inventory, entry) = changed(bench, |entry| entry.ssh.port = 3);
    let ssh = Ssh::new(&inventory, bench.hosts.key.clone());
    match ssh.run(&entry.name, command("true")).await {
        Err(error @ RemoteError::Connect { .. }) => {
            let said = error.to_string().to_lowercase();
            assert!(said.contains(":3") && said.contains("refused"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_command_that_takes_too_long_is_given_up(bench: &Bench<'_>) {
    let host = &bench.names()[0];
    let started = Instant::now();
    let slow = Command {
        deadline: Duration::from_millis(300),
        ..command("sleep 20")
    };
    let answer = bench.ssh.run(host, slow).await;
    assert!(
        matches!(answer, Err(RemoteError::Deadline { .. })),
        "{answer:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(3));
    let after = bench.ssh.run(host, command("echo still here")).await;
    assert_eq!(text(&after.unwrap()), "still here");
}

pub async fn many_commands_share_one_connection(bench: &Bench<'_>) {
    let (_, entry) = changed(bench, |_| {});
    let script = "sleep 0.1; echo $SSH_CONNECTION";
    let all = (0..30).map(|_| bench.ssh.run(&entry.name, command(script)));
    let answers = join_all(all).await;
    let from: BTreeSet<String> = answers.into_iter().map(|a| text(&a.unwrap())).collect();
    assert_eq!(from.len(), 1, "{from:?}");
}

pub async fn a_broken_connection_is_made_anew(bench: &Bench<'_>) {
    let (_, entry) = changed(bench, |_| {});
    let host = &entry.name;
    let first = bench.ssh.run(host, command("echo $SSH_CONNECTION")).await;
    // The whole line of sshd processes of this connection ends.
    let kill = "p=$$; while [ \"$(ps -o comm= -p $p)\" != sshd ]; do p=$(ps -o ppid= -p $p | tr -d ' '); done; kill -9 $p; sleep 20";
    let broken = bench.ssh.run(host, command(kill)).await;
    assert!(
        matches!(broken, Err(RemoteError::Broken { .. })),
        "{broken:?}"
    );
    let second = bench.ssh.run(host, command("echo $SSH_CONNECTION")).await;
    assert_ne!(text(&first.unwrap()), text(&second.unwrap()));
}

pub async fn streams_reach_ports_and_sockets_of_the_host(bench: &Bench<'_>) {
    let (_, entry) = changed(bench, |_| {});
    let host = &entry.name;
    let mut stream = bench.ssh.dial(host, Endpoint::Tcp(22)).await.unwrap();
    let mut banner = [0; 7];
    stream.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0");

    let socket = Endpoint::Unix("/run/dbus/system_bus_socket".to_owned());
    let mut stream = bench.ssh.dial(host, socket).await.unwrap();
    stream.write_all(b"\0AUTH\r\n").await.unwrap();
    let mut word = [0; 8];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"REJECTED");

    match bench.ssh.dial(host, Endpoint::Tcp(3)).await.err() {
        Some(RemoteError::Connect { address, .. }) => assert_eq!(address, "its port 3"),
        other => panic!("{other:?}"),
    }
}

pub async fn a_command_that_reads_nothing_and_one_that_reads_all_both_end(bench: &Bench<'_>) {
    let (_, entry) = changed(bench, |_| {});
    let mut many = vec![b'x'; 8 << 20];
    many.push(b'\n');
    let ssh = Ssh::new(&bench.hosts.inventory, bench.hosts.key.clone())
        .with_deadlines(Deadlines::default());
    for (script, answer) in [
        ("exit 7", ""),
        ("exec < /dev/null; echo no", "no"),
        ("wc -c", "8388609"),
    ] {
        let command = Command {
            stdin: many.clone(),
            ..command(script)
        };
        let started = Instant::now();
        let output = ssh.run(&entry.name, command).await.unwrap();
        assert_eq!(text(&output), answer, "{script}");
        println!("  8 MiB to `{script}`: {:.0?}", started.elapsed());
    }
}
