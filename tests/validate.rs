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
