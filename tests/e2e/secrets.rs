//! No secret where it does not belong.

use std::fs;

use super::lab::{Hafail, home};

/// No secret of this deployment is in a journal, in what commands print, or in
/// the arguments of a process on any host, also while a deploy runs (all hosts'
/// processes are seen here).
pub fn stay_secret() {
    let secrets: Vec<String> = fs::read_dir(home().join("two-regions/secrets"))
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| text.len() >= 16 && !text.contains('\n') && !text.starts_with("ssh-"))
        .collect();
    assert!(secrets.len() >= 6, "the generated secrets were found");
    let mut seen = String::new();
    let commands: [&[&str]; 6] = [
        &["plan"],
        &["status", "-vv"],
        &["history"],
        &["run", "deploy", "--dry-run"],
        &["failover", "--region", "us-east-1", "--dry-run"],
        &["deploy", "--yes", "-vv"],
    ];
    for arguments in commands {
        let started = Hafail::new().start(arguments);
        while !started.has_ended() {
            seen.push_str(&arguments_of_all_processes());
        }
        let ended = started.end();
        seen.push_str(&ended.stdout);
        seen.push_str(&ended.stderr);
    }
    let journals = fs::read_dir(home().join("two-regions/journal")).unwrap();
    let journals: Vec<String> = journals
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!journals.is_empty(), "there are journals");
    seen.push_str(&journals.concat());
    seen.push_str(&fs::read_to_string(home().join("two-regions/lock")).unwrap());
    assert!(seen.contains("postgres"), "processes of hosts were seen");
    for secret in secrets {
        assert!(!seen.contains(&secret), "a secret was seen");
    }
}

fn arguments_of_all_processes() -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let arguments =
        processes.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    arguments.collect()
}
