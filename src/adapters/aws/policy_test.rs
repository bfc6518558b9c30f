//! The IAM policy that the documentation ships permits every call that is
//! made, and nothing beyond.

use std::{collections::BTreeSet, fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources of the adapter, this file left out.
fn sources() -> String {
    let mut text = fs::read_to_string(root().join("src/adapters/aws.rs")).unwrap();
    for entry in fs::read_dir(root().join("src/adapters/aws")).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("policy_test.rs") && !path.ends_with("calls.rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

fn named(text: &str) -> BTreeSet<String> {
    let literals = text.split('"').skip(1).step_by(2);
    let calls = literals.filter(|literal| {
        let name = literal
            .strip_prefix("ec2:")
            .or(literal.strip_prefix("route53:"))
            .or(literal.strip_prefix("sns:"));
        name.is_some_and(|name| !name.is_empty())
    });
    calls.map(str::to_owned).collect()
}

fn permitted() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/iam-policy.json")).unwrap();
    let policy: serde_json::Value = serde_json::from_str(&text).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements
        .iter()
        .flat_map(|it| it["Action"].as_array().unwrap());
    actions.map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// `create_vpc` as `CreateVpc`.
fn camel(operation: &str) -> String {
    let words = operation.split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect()
}

/// The operations asked of SDK clients, as they are written.
fn operations(text: &str) -> BTreeSet<String> {
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut found = BTreeSet::new();
    for client in ["read.", "write.", "quick.", "client."] {
        for (at, _) in dense.match_indices(client) {
            let rest = &dense[at + client.len()..];
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_' && c != '5');
            let (name, rest) = rest.split_at(end.unwrap_or(0));
            if name.contains('_') && rest.starts_with("()") {
                found.insert(camel(name));
            }
        }
    }
    found
}

#[test]
fn the_policy_permits_what_is_called_and_no_more() {
    assert_eq!(named(&sources()), permitted());
}

#[test]
fn every_operation_is_called_by_its_name() {
    let text = sources();
    let named: BTreeSet<String> = (named(&text).iter())
        .map(|call| call.split(':').nth(1).unwrap().to_owned())
        .collect();
    let operations = operations(&text);
    assert!(operations.len() > 30, "{operations:?}");
    let unnamed: Vec<_> = operations.difference(&named).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
    assert!(
        !text.contains(".send()\n            .await"),
        "calls go through call! and pages!"
    );
}
