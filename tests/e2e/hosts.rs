//! Hosts that cannot be used, and steps that fail on hosts.

use std::{fs, process::Command};

use super::lab::{Ended, Hafail, Started, chapter, on_host, variant};

const NAME: &str = "two-regions";

/// No way to a host, another host key, a key that is refused: named, with the
/// way; the others are done, and the next run completes.
pub fn cannot_be_used() {
    sshd_is_down();
    another_host_key();
    another_user_key();
    let _chapter = chapter("all hosts are as before");
    Hafail::new().deploys_nothing();
}

/// A deploy does not make commits wait for a standby that does not stream:
/// they would wait until it is back.
pub fn no_commit_waits_for_a_standby_that_is_away() {
    let _chapter = chapter("a standby that is away");
    let hafail = Hafail::new();
    let order = |host, what| {
        let order = format!("hafail guard order --config /etc/hafail/guard.json {what}");
        on_host(NAME, host, &order);
    };
    order("site1-db", "synchronous --nobody");
    order("site2-db", "demote");
    hafail
        .fails(
            &["run", "deploy-database", "--host", "site1-db"],
            1,
            "step-failed",
        )
        .says("hafail rejoin site2-db");
    let load = hafail.run(&["load", "--votes", "20", "--concurrency", "4"]);
    assert_eq!(load.with(0).json()["persisted"], 20);
    hafail.run(&["rejoin", "site2-db", "--yes"]).with(0);
    hafail.healthy();
}

/// The host that failed, and no other, has done nothing.
#[track_caller]
fn only_this_one_failed(ended: &Ended, host: &str) {
    let error = ended.error("remote");
    let report = &error["details"];
    assert_eq!(report["failed"][0]["host"], host, "{ended}");
    assert_eq!(report["failed"].as_array().unwrap().len(), 1, "{ended}");
    for (name, counts) in report["hosts"].as_object().unwrap() {
        let done = counts["ok"].as_u64().unwrap() + counts["changed"].as_u64().unwrap();
        assert_eq!(done == 0, name == host, "{name}: {ended}");
    }
}

fn sshd_is_down() {
    let _chapter = chapter("a host that cannot be reached");
    on_host(
        NAME,
        "site2-app",
        "systemctl stop ssh.socket ssh.service || systemctl stop ssh",
    );
    let deployed = Hafail::new().run(&["deploy", "--yes"]);
    on_host(NAME, "site2-app", "systemctl start ssh");
    let deployed = deployed.with(6);
    only_this_one_failed(&deployed, "site2-app");
    deployed
        .says("cannot connect to site2-app at 10.20.1.")
        .says("through site2-lb");
}

fn another_host_key() {
    let _chapter = chapter("a host with another host key");
    let replace = "cd /etc/ssh && mv ssh_host_ed25519_key kept && mv ssh_host_ed25519_key.pub kept.pub \
        && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && systemctl restart ssh \
        && ssh-keygen -lf ssh_host_ed25519_key | cut -d' ' -f2";
    let fingerprint = on_host(NAME, "site1-queue", replace);
    let deployed = Hafail::new().run(&["deploy", "--yes"]);
    let tested = Hafail::new().run(&["run", "prepare"]);
    let restore = "cd /etc/ssh && mv kept ssh_host_ed25519_key && mv kept.pub ssh_host_ed25519_key.pub \
        && systemctl restart ssh";
    on_host(NAME, "site1-queue", restore);
    for ended in [deployed, tested] {
        let ended = ended.with(6);
        only_this_one_failed(&ended, "site1-queue");
        ended
            .says(fingerprint.trim())
            .says("somebody may be in between");
    }
}

fn another_user_key() {
    let _chapter = chapter("a key that hosts refuse");
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key);
    Started::new("ssh-keygen".to_owned(), command).end().with(0);
    let line = format!("access:\n  ssh_key: {}\n", key.display());
    let file = directory.path().join("other-key.yaml");
    let file = variant("two-regions.yaml", &[("access:\n", &line)], &file);
    let ended = Hafail::topology(file).fails(&["run", "test-connectivity"], 6, "remote");
    ended
        .says("refused the SSH key of user admin")
        .says("authorized_keys");
    let report = ended.json()["error"]["details"].clone();
    for counts in report["hosts"].as_object().unwrap().values() {
        assert_eq!(counts["ok"], 0, "nobody did anything: {ended}");
    }
}

/// A full disk, and a step that fails: named by host, step and reason; once it
/// is mended the next run completes.
pub fn fail_in_the_middle() {
    full_disk();
    failing_step();
}

fn full_disk() {
    let _chapter = chapter("a full disk");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("other-hold.yaml");
    let changed = Hafail::topology(variant(
        "two-regions.yaml",
        &[("hold: 10s ", "hold: 11s ")],
        &file,
    ));
    let configuration = "sha256sum /etc/haproxy/haproxy.cfg; curl -sf -o /dev/null -w '%{http_code}' \
        http://127.0.0.1:8404/metrics";
    let before = on_host(NAME, "site1-lb", configuration);
    let fill = "cp -a /etc/haproxy /run/kept && mount -t tmpfs -o size=64k tmpfs /etc/haproxy \
        && cp -a /run/kept/. /etc/haproxy/ && dd if=/dev/zero of=/etc/haproxy/full bs=1k 2>/dev/null || true; \
        df --output=avail /etc/haproxy | tail -1";
    assert_eq!(
        on_host(NAME, "site1-lb", fill).trim(),
        "0",
        "the disk is full"
    );
    let deployed = changed.run(&["deploy", "--yes"]);
    let meanwhile = on_host(NAME, "site1-lb", configuration);
    on_host(NAME, "site1-lb", "umount /etc/haproxy && rm -r /run/kept");
    let deployed = deployed.with(1);
    let error = deployed.error("step-failed");
    let failed = &error["details"]["failed"][0];
    assert_eq!(failed["host"], "site1-lb", "{deployed}");
    assert_eq!(failed["step"], "configuration", "{deployed}");
    deployed
        .says("No space left on device")
        .says("make room on site1-lb");
    assert_eq!(
        meanwhile, before,
        "the old configuration is whole and in use"
    );
    assert!(changed.deploys() > 0, "the next run completes");
    let back = Hafail::new().run(&["run", "deploy-haproxy"]).with(0).json();
    assert!(!back["changed"].as_array().unwrap().is_empty(), "{back}");
}

fn failing_step() {
    let _chapter = chapter("a step that fails in the middle");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("three-steps.yaml");
    let playbook = |middle: &str| {
        format!(
            "name: three-steps
description: Two files with something between
plays:
- name: three steps
  roles: [app]
  steps:
  - name: first
    file: {{ dest: /root/e2e-first, content: first }}
  - name: middle
    run: {{ script: \"{middle}\", creates: /root/e2e-middle }}
  - name: last
    file: {{ dest: /root/e2e-last, content: last }}
"
        )
    };
    fs::write(&file, playbook("echo the middle broke >&2; exit 3")).unwrap();
    let arguments = ["run", file.to_str().unwrap(), "--host", "site1-app"];
    let ended = Hafail::new().fails(&arguments, 1, "step-failed");
    let report = ended.json()["error"]["details"].clone();
    assert_eq!(report["failed"][0]["step"], "middle");
    assert_eq!(report["changed"][0]["step"], "first");
    ended.says("the middle broke").says("three-steps.yaml:");
    on_host(
        NAME,
        "site1-app",
        "test -e /root/e2e-first && test ! -e /root/e2e-last",
    );
    fs::write(&file, playbook("touch /root/e2e-middle")).unwrap();
    let ended = Hafail::new().run(&arguments).with(0);
    let steps: Vec<_> = ended.json()["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["step"].clone())
        .collect();
    assert_eq!(steps, ["middle", "last"], "it went on where it ended");
    on_host(
        NAME,
        "site1-app",
        "rm /root/e2e-first /root/e2e-middle /root/e2e-last",
    );
}
