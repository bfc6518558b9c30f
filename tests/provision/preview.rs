//! `hafail plan` as a program: resources and hosts, and nothing left behind.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::world::World;

/// Runs the program against the account of a world.
fn hafail(world: &World, home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hafail"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("HAFAIL_TOPOLOGY")
        .env("NO_COLOR", "1")
        .env("HAFAIL_HOME", home)
        .env(
            "AWS_ENDPOINT_URL",
            format!("http://{}", world.proxy.address),
        )
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn plan(world: &World, home: &Path) -> Value {
    let args = ["plan", "--output", "json", "--detailed-exitcode"];
    let output = hafail(world, home, &args);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn host<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let hosts = plan["host_changes"]["hosts"].as_array().unwrap();
    hosts.iter().find(|host| host["host"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_of_resources_and_hosts() {
    let world = World::new().await;
    let home = tempfile::tempdir().unwrap();
    let resources = world.wanted.entries.len();
    let first = plan(&world, home.path());
    assert_eq!(first["counts"]["create"], resources);
    assert_eq!(first["host_changes"]["counts"]["from_nothing"], 8);
    assert_eq!(host(&first, "site1-db")["outlook"], "from-nothing");
    assert_eq!(world.proxy.changes(), 0);
    let left = std::fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 0, "a plan writes nothing, no secret either");

    let args = ["deploy", "--yes", "--provision-only"];
    let made = hafail(&world, home.path(), &args);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let args = ["plan", "--resources-only", "--detailed-exitcode"];
    let settled = hafail(&world, home.path(), &args);
    assert_eq!(settled.status.code(), Some(0), "{settled:?}");
    let text = String::from_utf8(settled.stdout).unwrap();
    assert_eq!(
        text,
        format!("0 changes; {resources} resources as wanted\n")
    );

    // Of these instances nobody answers: no evidence of no change.
    let id = world.id("site1/instance/site1-db").await;
    let stop = world.ec2("site1").stop_instances().instance_ids(id);
    stop.send().await.unwrap();
    let dark = plan(&world, home.path());
    assert_eq!(dark["host_changes"]["counts"]["unknown"], 8);
    assert_eq!(dark["counts"]["update"], 1);
    let stopped = &host(&dark, "site1-db")["why"];
    assert_eq!(stopped, "its instance is stopped");
    let silent = host(&dark, "site2-app");
    assert_eq!(silent["outlook"], "unknown");
    assert!(!silent["why"].as_str().unwrap().is_empty());

    let elsewhere = tempfile::tempdir().unwrap();
    let keyless = plan(&world, elsewhere.path());
    let why = host(&keyless, "site2-app")["why"].as_str().unwrap();
    assert!(why.contains("no SSH key"), "{why}");

    let args = ["deploy", "--dry-run"];
    let shown = hafail(&world, home.path(), &args);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    for says in [
        "power: stopped → running",
        "? site1-db  unknown: its instance is stopped",
        "hosts: 8 unknown",
    ] {
        assert!(text.contains(says), "{says}:\n{text}");
    }
}
