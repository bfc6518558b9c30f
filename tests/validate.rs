//! `hafail validate` on bad input: every kind has a file and the exact words
//! that users read. `UPDATE_GOLDEN=1` writes them anew; read the difference.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn hafail(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hafail"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("HAFAIL_TOPOLOGY")
        .env("NO_COLOR", "1")
        .output()
        .expect("the program was built for this test")
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

/// The path as given on the command line.
fn relative(path: &Path) -> &str {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .to_str()
        .unwrap()
}

#[test]
fn every_bad_topology_is_explained() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let files = files("tests/bad-topologies");
    assert!(files.len() >= 25, "only {} kinds", files.len());
    let mut different = Vec::new();
    for file in files {
        let output = hafail(&["validate", relative(&file)]);
        let text = format!(
            "{}exit {}\n",
            String::from_utf8(output.stderr).unwrap(),
            output.status.code().unwrap()
        );
        let golden = file.with_extension("out");
        if update {
            fs::write(&golden, &text).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != text {
            different.push(format!("--- {}\n{text}", golden.display()));
        }
        let warnings_only = !text.contains(": error: ");
        assert_eq!(
            output.status.code(),
            Some(if warnings_only { 0 } else { 3 }),
            "{text}"
        );
        assert!(text.contains("hint: "), "a remedy for everything: {text}");
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn programs_get_the_problems_as_data() {
    let file = "tests/bad-topologies/many-at-once.yaml";
    let output = hafail(&["validate", file, "--output", "json"]);
    assert_eq!(output.status.code(), Some(3));
    let error = &json(&output)["error"];
    assert_eq!(error["id"], "invalid-topology");
    assert_eq!(error["exit_code"], 3);
    let problems = error["details"]["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 5);
    for problem in problems {
        assert_eq!(problem["severity"], "error");
        assert!(problem["at"]["line"].as_u64().unwrap() > 0);
        assert!(!problem["hint"].as_str().unwrap().is_empty());
    }

    let output = hafail(&[
        "validate",
        "topologies/two-regions.yaml",
        "--output",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json(&output)["valid"], true);
    assert_eq!(json(&output)["problems"], serde_json::json!([]));
}

#[test]
fn secrets_need_not_be_at_hand_for_a_check() {
    let file = "tests/bad-topologies/missing-secret.yaml";
    let output = hafail(&["validate", file, "--without-secrets"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_missing_file_is_named_with_the_way_out() {
    let output = hafail(&["validate", "no-such-file.yaml"]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("cannot read the topology no-such-file.yaml"),
        "{text}"
    );
    assert!(text.contains("hafail init"), "{text}");
}

#[test]
fn init_writes_a_valid_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.yaml");
    let file = file.to_str().unwrap();
    let made = hafail(&[
        "init",
        "--yes",
        "--name",
        "shop",
        "--zone",
        "shop.example.org",
        file,
    ]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let valid = hafail(&["validate", file]);
    assert_eq!(valid.status.code(), Some(0), "{valid:?}");

    fs::write(file, "precious").unwrap();
    let again = hafail(&["init", "--yes", file]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
    let forced = hafail(&["init", "--yes", "--force", file]);
    assert_eq!(forced.status.code(), Some(0), "{forced:?}");

    let other = folder.path().join("other.yaml");
    let refused = hafail(&[
        "init",
        "--yes",
        "--name",
        "No Name",
        other.to_str().unwrap(),
    ]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(!other.exists(), "what is not valid is not written");
}

#[test]
fn shells_are_completed() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hafail(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("validate"), "{shell}: {script}");
    }
}
