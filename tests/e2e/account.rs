//! The account as a second pair of eyes sees it: by boto3, not by hafail.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use super::lab::{Ended, Started, root, variable, variables};

const SCRIPT: &str = "tests/e2e/account.py";

fn script(arguments: &[&str]) -> Value {
    run(arguments).with(0).json()
}

fn run(arguments: &[&str]) -> Ended {
    let mut command = Command::new(variable("HAFAIL_LAB_PYTHON"));
    command
        .arg(root().join(SCRIPT))
        .args(arguments)
        .envs(variables());
    Started::new(format!("{SCRIPT} {}", arguments.join(" ")), command).end()
}

/// How many things of each kind carry the tag of a deployment, by region.
pub fn count(deployment: &str) -> BTreeMap<String, u64> {
    serde_json::from_value(script(&["count", deployment])).unwrap()
}

/// Cuts the power of a host.
pub fn power_off(deployment: &str, host: &str) {
    script(&["off", deployment, host]);
}

pub fn power_on(deployment: &str, host: &str) {
    script(&["on", deployment, host]);
}

/// Ends a host with its disk, for good.
pub fn terminate(deployment: &str, host: &str) {
    script(&["end", deployment, host]);
}

/// A hosted zone, as a user of hafail would have one already.
pub struct Zone(&'static str);

impl Zone {
    pub fn make(name: &'static str) -> Self {
        script(&["make-zone", name]);
        Self(name)
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        run(&["remove-zone", self.0]);
    }
}

/// The types of a zone's record sets.
pub fn records(zone: &str) -> Vec<String> {
    serde_json::from_value(script(&["records", zone])).unwrap()
}

/// Fails where anything that costs money is left.
pub fn is_empty() {
    let mut command = Command::new(variable("HAFAIL_LAB_PYTHON"));
    command
        .arg(root().join("scripts/lib/region.py"))
        .args(["empty", "eu-west-1", "us-east-1", "eu-central-1"])
        .envs(variables());
    Started::new("the account is empty".to_owned(), command)
        .end()
        .with(0);
}

/// A call to the lab's own part of the API.
pub fn lab_api(method: &str, path: &str, body: &str) -> String {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "10",
            "--request",
            method,
        ])
        .args(["--header", "content-type: application/json"])
        .arg(format!("{}/_lab/{path}", variable("AWS_ENDPOINT_URL")));
    if !body.is_empty() {
        command.args(["--data", body]);
    }
    Started::new(format!("{method} {path}"), command)
        .end()
        .with(0)
        .stdout
}

/// Faults of the API, taken away at the end.
pub struct Faults;

impl Faults {
    /// All calls fail so; only those to a region, where one is named.
    pub fn all(code: &str, region: Option<&str>) -> Self {
        let fault = serde_json::json!({
            "action": "*", "code": code, "times": 100_000, "region": region,
        });
        lab_api("POST", "faults", &fault.to_string());
        Self
    }

    /// All calls of these actions fail so.
    pub fn of(actions: &[&str], code: &str) -> Self {
        for action in actions {
            let fault = serde_json::json!({ "action": action, "code": code, "times": 100_000 });
            lab_api("POST", "faults", &fault.to_string());
        }
        Self
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        lab_api("DELETE", "faults", "");
    }
}
