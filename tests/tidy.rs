//! What the compiler does not hold: sizes, layers, purity, and that the
//! product knows nothing of the lab.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules of the product by layer, the lowest first. Imports go downward or
/// stay within a layer.
const LAYERS: [(&str, &[&str]); 6] = [
    (
        "words",
        &[
            "ids",
            "topology",
            "inventory",
            "observation",
            "order",
            "step",
            "playbook",
            "right",
        ],
    ),
    ("ports", &["ports"]),
    ("judgement", &["decide", "plan", "lint"]),
    ("record", &["journal", "report", "history", "coordination"]),
    (
        "doing",
        &[
            "run",
            "probe",
            "ground",
            "provision",
            "configure",
            "load",
            "status",
            "adapters",
            "watch",
            "sim",
        ],
    ),
    ("faces", &["guard", "cli"]),
];

/// Imports upward that are meant: file, module, reason.
const EXCEPTIONS: [(&str, &str, &str); 1] = [(
    "src/ports/cloud.rs",
    "provision",
    "the words of this port are provision's resources",
)];

/// Layers, and further modules, without I/O, clock and randomness.
const PURE: [&str; 3] = ["words", "judgement", "report"];

/// What would break purity, and what to do instead.
const IMPURE: [(&str, &str); 10] = [
    ("tokio", "words and judgement do not wait"),
    ("async fn", "words and judgement do not wait"),
    ("std::fs", "take the text as an argument"),
    ("std::env", "take the value as an argument"),
    ("std::process", "plan the step, and let `run` do it"),
    ("aws_", "use the project's own words"),
    ("Instant::now", "take the time as an argument"),
    ("SystemTime", "take the time as an argument"),
    ("Timestamp::now", "take the time as an argument"),
    ("rand::", "take what is random as an argument"),
];

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;

/// Functions that are one table, with a row for each case, and longer only
/// because of that.
const TABLES: [(&str, &str); 4] = [
    ("src/adapters/aws/fault.rs", "of_code"),
    ("src/guard/metrics.rs", "metrics"),
    ("src/provision/compare.rs", "specs"),
    ("src/step/words.rs", "fmt"),
];

/// A source file.
struct Source {
    /// From the root of the repository.
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The lines before the file's own tests.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| *line != "#[cfg(test)]")
    }

    /// The module of the product that it belongs to.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (name != "lib" && name != "main").then_some(name)
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    assert!(files.len() > 10, "the sources are not where they were");
    let source = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
    };
    files.into_iter().map(source).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn everywhere() -> Vec<Source> {
    sources(&["src", "lab/src", "voting/src"])
}

/// Fails with all that was found.
fn nothing(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn files_are_short() {
    let long = everywhere().into_iter().filter(|source| !source.is_test());
    let long = long.filter_map(|source| {
        let lines = source.code().count();
        let path = source.path;
        (lines > FILE_LINES)
            .then(|| format!("{path}: {lines} lines, more than {FILE_LINES}: split it"))
    });
    nothing(long.collect());
}

/// Functions of formatted code: name, line, number of lines.
fn functions<'a>(code: impl Iterator<Item = &'a str>) -> Vec<(&'a str, usize, usize)> {
    let mut open: Vec<(&str, usize, usize)> = Vec::new();
    let mut closed = Vec::new();
    for (number, line) in code.enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words = line.trim_start();
        let begins = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
        ];
        let begins = begins.iter().any(|word| words.starts_with(word))
            || (words.starts_with("pub(") && words.contains(" fn "));
        if begins && !words.ends_with(';') && !words.ends_with('}') {
            let name = words.split("fn ").nth(1).unwrap_or("");
            let end = name.find(['(', '<']).unwrap_or(name.len());
            open.push((&name[..end], number, indent));
        }
        if let Some((name, start, at)) = open.last().copied()
            && indent == at
            && (words == "}" || (words.ends_with(';') && number > start && !words.starts_with(')')))
        {
            open.pop();
            closed.push((name, start + 1, number - start + 1));
        }
    }
    closed
}

#[test]
fn functions_are_measured() {
    let code = "fn short() {}\npub(super) fn long(\n    a: u8,\n) -> u8 {\n    a\n}\nimpl A {\n    fn inner(&self) {\n        1;\n    }\n}\n";
    assert_eq!(functions(code.lines()), [("long", 2, 5), ("inner", 8, 3)]);
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in everywhere().iter().filter(|source| !source.is_test()) {
        for (name, start, lines) in functions(source.code()) {
            let table = TABLES.contains(&(source.path.as_str(), name));
            if lines > FUNCTION_LINES && !table {
                let path = &source.path;
                long.push(format!(
                    "{path}:{start}: {lines} lines, more than {FUNCTION_LINES}"
                ));
            }
        }
    }
    nothing(long);
}

fn layer(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// Modules named by `crate::…` in a text, also in `use crate::{a, b::c}`.
fn imported(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut begins = true;
            for character in group.chars() {
                if depth == 0 && begins && (character.is_alphanumeric() || character == '_') {
                    word.push(character);
                    continue;
                }
                if !word.is_empty() {
                    modules.push(std::mem::take(&mut word));
                    begins = false;
                }
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => begins = true,
                    _ => {}
                }
            }
            modules.extend((!word.is_empty()).then_some(word));
        } else {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            modules.push(rest[..end].to_owned());
        }
    }
    modules
}

#[test]
fn imports_are_found() {
    let code = "use crate::ids::Lsn;\nuse crate::{\n    a::{b, c},\n    d,\n    e::F,\n};\nlet x = crate::g::h();";
    assert_eq!(imported(code), ["ids", "a", "d", "e", "g"]);
}

#[test]
fn imports_go_downward() {
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let Some(module) = source.module() else {
            continue;
        };
        let Some(own) = layer(module) else {
            wrong.push(format!(
                "{}: `{module}` is in no layer: add it to LAYERS",
                source.path
            ));
            continue;
        };
        let code: Vec<&str> = source.code().filter(|line| !is_comment(line)).collect();
        for import in imported(&code.join("\n")) {
            let excepted = EXCEPTIONS
                .iter()
                .any(|(file, module, _)| *file == source.path && *module == import);
            if let Some(other) = layer(&import)
                && other > own
                && !excepted
            {
                wrong.push(format!(
                    "{}: {} ({module}) imports {} ({import}), which is above it",
                    source.path, LAYERS[own].0, LAYERS[other].0
                ));
            }
        }
    }
    nothing(wrong);
}

#[test]
fn words_and_judgement_are_pure() {
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let Some(module) = source.module() else {
            continue;
        };
        let own = layer(module).map_or("", |own| LAYERS[own].0);
        if !PURE.contains(&own) && !PURE.contains(&module) || source.is_test() {
            continue;
        }
        for (number, line) in source.code().enumerate() {
            let impure = IMPURE
                .iter()
                .find(|(word, _)| !is_comment(line) && line.contains(word));
            if let Some((word, instead)) = impure {
                wrong.push(format!(
                    "{}:{}: `{word}`: {instead}",
                    source.path,
                    number + 1
                ));
            }
        }
    }
    nothing(wrong);
}

#[test]
fn the_product_knows_nothing_of_the_lab() {
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        for (number, line) in source.text.lines().enumerate() {
            let lower = line.to_lowercase();
            let mut words = lower.split(|c: char| !c.is_ascii_alphanumeric());
            if words.any(|word| word == "lab" || word == "moto") {
                wrong.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    nothing(wrong);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = sources(&["src"]).into_iter().filter(|source| {
        !source.is_test() && source.module().is_some() && !source.text.starts_with("//! ")
    });
    nothing(
        silent
            .map(|source| format!("{}: begins with no //! comment", source.path))
            .collect(),
    );
}

#[test]
fn every_bad_topology_has_its_explanation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-topologies");
    let mut alone = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        for extension in ["yaml", "out"] {
            let other = path.with_extension(extension);
            if !other.exists() {
                alone.push(format!("{} is missing", other.display()));
            }
        }
    }
    nothing(alone);
}
