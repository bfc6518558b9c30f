//! The story of `scripts/story`, and the first things that a user tries after.

use std::{fs, process::Command};

use serde_json::Value;

use super::{
    account,
    lab::{Hafail, root},
};

/// Tells it and leaves the system up.
pub fn is_told() {
    let report = root().join("target/story.json");
    let status = Command::new(root().join("scripts/story"))
        .args(["--keep", "--json"])
        .arg(&report)
        .status()
        .unwrap();
    assert!(status.success(), "scripts/story failed; see above");
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

pub fn refusals_name_reason_and_next_command() {
    let hafail = Hafail::new();
    let nowhere = ["failover", "--region", "mars-north-1", "--yes"];
    hafail
        .fails(&nowhere, 4, "no-such-region")
        .says("us-east-1");
    let here = ["failover", "--region", "eu-west-1", "--yes"];
    let error = hafail.fails(&here, 4, "already-active").json();
    let evidence = error["error"]["details"]["evidence"].as_array().unwrap();
    assert!(
        evidence[0].as_str().unwrap().contains("site1-db"),
        "{error}"
    );
    let there = ["failover", "--region", "us-east-1"];
    hafail.fails(&there, 2, "not-approved");
    let shown = hafail
        .run(&["failover", "--region", "us-east-1", "--dry-run"])
        .with(0);
    assert!(shown.json()["plan"].is_object(), "a dry run shows the plan");
    hafail.fails(&here, 4, "already-active");
}

pub fn nothing_is_left_to_change() {
    // Failing over is no drift.
    Hafail::new().run(&["plan", "--detailed-exitcode"]).with(0);
}

pub fn playbooks_run_alone() {
    for playbook in ["test-connectivity", "smoke-test", "deploy-haproxy"] {
        let ended = Hafail::new().run(&["run", playbook]).with(0);
        let changed = ended.json()["changed"].as_array().map(Vec::len);
        assert_eq!(changed, Some(0), "{playbook}");
    }
}

pub fn destroy_leaves_nothing() {
    let hafail = Hafail::new();
    hafail.run(&["destroy", "--yes"]).with(0);
    // A second one finds nothing.
    hafail.run(&["destroy", "--yes"]).with(0);
    account::is_empty();
}
