//! The shipped topologies are valid, and the schema agrees with the parser.

use std::{fs, path::Path};

use hafail::topology::{Topology, schema};
use serde_json::Value;

const SHIPPED: [&str; 4] = ["two-regions", "automatic", "three-tier", "static-hosts"];

fn text_of(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn shipped() -> impl Iterator<Item = (String, String)> {
    SHIPPED.into_iter().map(|name| {
        let path = format!("topologies/{name}.yaml");
        let text = text_of(&path);
        (path, text)
    })
}

#[test]
fn shipped_topologies_are_valid() {
    for (path, text) in shipped() {
        let reading = Topology::read(&text, &path);
        let problems = reading.problems;
        assert!(reading.topology.is_some(), "{}", problems.render());
        let unexpected = problems.problems.iter().filter(|p| p.id != "placeholder");
        assert_eq!(unexpected.count(), 0, "{}", problems.render());
        let first = text.lines().next();
        assert_eq!(
            first,
            Some("# yaml-language-server: $schema=schema.json"),
            "{path}"
        );
    }
}

#[test]
fn shipped_schema_is_current() {
    assert_eq!(
        text_of("topologies/schema.json"),
        schema(),
        "run: hafail schema >topologies/schema.json"
    );
}

#[test]
fn the_schema_accepts_what_the_parser_accepts() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    for (path, text) in shipped() {
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        let mut wrong = Vec::new();
        check(&schema, &schema, &document, "", &mut wrong);
        assert!(wrong.is_empty(), "{path}: {wrong:#?}");
    }
}

#[test]
fn the_schema_refuses_errors_of_shape() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let kinds = [
        "unknown-key",
        "wrong-type",
        "missing-keys",
        "allowed-values",
        "durations-and-sizes",
    ];
    for kind in kinds {
        let text = text_of(&format!("tests/bad-topologies/{kind}.yaml"));
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        let mut wrong = Vec::new();
        check(&schema, &schema, &document, "", &mut wrong);
        assert!(!wrong.is_empty(), "{kind} passes");
    }
}

/// Checks a value by the keywords that the schema uses; an unknown keyword is
/// an error, so that none is overlooked.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    for (keyword, wanted) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => true,
            "$ref" => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(pointer).unwrap(), value, at, wrong);
                true
            }
            "type" => match wanted {
                Value::Array(kinds) => kinds.iter().any(|kind| is(value, kind)),
                kind => is(value, kind),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_u64().is_none_or(|n| n >= wanted.as_u64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|n| n <= wanted.as_u64().unwrap()),
            "pattern" => {
                let pattern = regex_lite::Regex::new(wanted.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "anyOf" => passing(root, wanted, value) >= 1,
            "oneOf" => passing(root, wanted, value) == 1,
            "required" => value.as_object().is_none_or(|object| {
                let mut keys = wanted.as_array().unwrap().iter();
                keys.all(|key| object.contains_key(key.as_str().unwrap()))
            }),
            "properties" | "additionalProperties" => {
                properties(root, schema, value, at, wrong);
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(root, wanted, item, at, wrong);
                }
                true
            }
            other => panic!("the test does not know the keyword {other}"),
        };
        if !holds {
            wrong.push(format!("{at}: {value} against {keyword} {wanted}"));
        }
    }
}

fn passing(root: &Value, schemas: &Value, value: &Value) -> usize {
    let passes = |schema: &&Value| {
        let mut wrong = Vec::new();
        check(root, schema, value, "", &mut wrong);
        wrong.is_empty()
    };
    schemas.as_array().unwrap().iter().filter(passes).count()
}

fn properties(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    for (key, item) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => wrong.push(format!("{at}: unknown key")),
            (Value::Null, Value::Null) => {}
            (Value::Null, other) => check(root, other, item, &at, wrong),
            (known, _) => check(root, known, item, &at, wrong),
        }
    }
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the test does not know the type {other}"),
    }
}
