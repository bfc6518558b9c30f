//! The story on a lab that is up, and what users would try around it. Run by
//! `scripts/test`, which brings the lab up: needs `hafail` and `hafail-lab` on
//! PATH.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The variables that `hafail-lab env` prints.
fn lab() -> Vec<(String, String)> {
    let output = Command::new("hafail-lab")
        .arg("env")
        .output()
        .expect("hafail-lab is on PATH");
    assert!(output.status.success(), "no lab is up: run scripts/test");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn home() -> PathBuf {
    std::env::var_os("HAFAIL_HOME")
        .expect("scripts/test sets HAFAIL_HOME")
        .into()
}

fn hafail(arguments: &[&str]) -> Output {
    Command::new("hafail")
        .args(arguments)
        .args(["--output", "json"])
        .current_dir(root())
        .envs(lab())
        .output()
        .expect("hafail is on PATH")
}

/// Prints what is needed to understand a failure.
fn explain() {
    for arguments in [vec!["status"], vec!["history"], vec!["run", "check-logs"]] {
        let output = Command::new("hafail")
            .args(&arguments)
            .current_dir(root())
            .envs(lab())
            .output();
        if let Ok(output) = output {
            eprintln!(
                "$ hafail {}\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout)
            );
        }
    }
}

/// Runs `check` and explains a failure before it is passed on.
fn explained(check: impl FnOnce() + std::panic::UnwindSafe) {
    if let Err(panic) = std::panic::catch_unwind(check) {
        explain();
        std::panic::resume_unwind(panic);
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "not JSON ({error}): {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// A refusal: exit code, id, evidence and the next command.
fn refused(arguments: &[&str], exit: i32, id: &str) {
    let output = hafail(arguments);
    assert_eq!(
        output.status.code(),
        Some(exit),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let error = &json(&output)["error"];
    assert_eq!(error["id"], id, "{arguments:?}");
    assert!(
        !error["hints"].as_array().unwrap().is_empty(),
        "{arguments:?} says what to do next"
    );
}

#[test]
#[ignore = "needs a lab: scripts/test"]
fn the_story() {
    let report = root().join("target/story.json");
    let status = Command::new(root().join("scripts/story"))
        .args(["--keep", "--json"])
        .arg(&report)
        .status()
        .unwrap();
    assert!(status.success(), "scripts/story failed; see above");
    explained(|| {
        story_is_as_promised(&report);
        refusals_name_reason_and_next_command();
        nothing_is_left_to_change();
        playbooks_run_alone();
        secrets_stay_secret();
    });
    destroy_leaves_nothing();
}

fn story_is_as_promised(report: &Path) {
    let story: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(story["load"]["accepted"], 1000);
    assert_eq!(story["load"]["persisted"], 1000);
    for part in ["load", "switchover_load", "failover_load"] {
        assert_eq!(story[part]["lost"], 0, "{part}");
        assert_eq!(story[part]["phantom"], 0, "{part}");
    }
    assert_eq!(story["switchover"]["kind"], "switchover");
    assert_eq!(story["failover"]["kind"], "failover");
    assert_eq!(story["failover"]["proof"]["kind"], "instance-stopped");
    assert_eq!(story["failover"]["lost_bytes"], 0);
    assert_eq!(story["rejoin"]["outcome"], "succeeded");
}

fn refusals_name_reason_and_next_command() {
    refused(
        &["failover", "--region", "mars-north-1", "--yes"],
        4,
        "no-such-region",
    );
    refused(
        &["failover", "--region", "eu-west-1", "--yes"],
        4,
        "already-active",
    );
    let nobody = hafail(&["failover", "--region", "us-east-1"]);
    assert_eq!(nobody.status.code(), Some(2), "nobody approved the plan");
    let shown = hafail(&["failover", "--region", "us-east-1", "--dry-run"]);
    assert!(shown.status.success());
    assert!(json(&shown)["plan"].is_object(), "a dry run shows the plan");
    refused(
        &["failover", "--region", "eu-west-1", "--yes"],
        4,
        "already-active",
    );
}

fn nothing_is_left_to_change() {
    let plan = hafail(&["plan", "--detailed-exitcode"]);
    assert!(
        plan.status.success(),
        "failing over is no drift: {}",
        String::from_utf8_lossy(&plan.stderr)
    );
}

fn playbooks_run_alone() {
    for playbook in ["test-connectivity", "smoke-test", "deploy-haproxy"] {
        let output = hafail(&["run", playbook]);
        assert!(
            output.status.success(),
            "{playbook}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            json(&output)["changed"].as_array().map(Vec::len),
            Some(0),
            "{playbook}"
        );
    }
}

/// No secret of this deployment is in a journal, in what commands print, or in
/// the arguments of a process on any host (all hosts' processes are seen here).
fn secrets_stay_secret() {
    let secrets: Vec<String> = fs::read_dir(home().join("two-regions/secrets"))
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| text.len() >= 16 && !text.contains('\n') && !text.starts_with("ssh-"))
        .collect();
    assert!(secrets.len() >= 6, "the generated secrets were found");
    let mut seen = String::new();
    for arguments in [
        vec!["plan"],
        vec!["status"],
        vec!["history"],
        vec!["run", "deploy", "--dry-run"],
    ] {
        let output = hafail(&arguments);
        seen.push_str(&String::from_utf8_lossy(&output.stdout));
        seen.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    for entry in fs::read_dir(home().join("two-regions/journal")).unwrap() {
        seen.push_str(&fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
    }
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        seen.push_str(&fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default());
    }
    for secret in secrets {
        assert!(!seen.contains(&secret), "a secret was seen");
    }
}

fn destroy_leaves_nothing() {
    let output = hafail(&["destroy", "--yes"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let again = hafail(&["destroy", "--yes"]);
    assert!(again.status.success(), "a second destroy finds nothing");
    let variables = lab();
    let python = variables
        .iter()
        .find(|(name, _)| name == "HAFAIL_LAB_PYTHON")
        .unwrap();
    let empty = Command::new(&python.1)
        .arg(root().join("scripts/lib/region.py"))
        .args(["empty", "eu-west-1", "us-east-1"])
        .envs(lab())
        .status()
        .unwrap();
    assert!(empty.success(), "the account is empty");
}
