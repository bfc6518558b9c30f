//! Words for what is wrong with a template, with its place.

use std::collections::BTreeSet;

use minijinja::{Error, ErrorKind, Value};

use super::super::{ParseError, Position, Text, parse::nearest, texts::Use};
use crate::playbook::SECRETS;

/// An error in a string of a playbook.
pub(super) fn in_text(file: &str, text: &Text, error: &Error, context: &Value) -> ParseError {
    let line = error.line().map_or(0, |line| line.saturating_sub(1)) as u64;
    let position = Position {
        line: text.position.line + line,
        ..text.position
    };
    let source = error.template_source().unwrap_or(&text.source);
    explain(file, position, source, error, context)
}

/// An error in a template file.
pub(super) fn in_file(name: &str, error: &Error, context: &Value) -> ParseError {
    let source = error.template_source().unwrap_or_default();
    let start = error.range().map_or(0, |range| range.start);
    let before = source.get(..start).unwrap_or_default();
    let column = before.chars().rev().take_while(|c| *c != '\n').count() as u64 + 1;
    let position = Position {
        line: error.line().unwrap_or(1) as u64,
        column,
    };
    let file = format!("templates/{}", error.name().unwrap_or(name));
    explain(&file, position, source, error, context)
}

/// A template file that is not there.
pub(super) fn no_template(file: &str, at: &Text, name: &str, known: &[&str]) -> ParseError {
    ParseError {
        file: file.to_owned(),
        position: at.position,
        message: format!("there is no template `{name}`"),
        remedy: nearest(name, known),
    }
}

/// What is wrong with naming `name` (`root.attribute…`) in this text.
pub(super) fn with_name(
    file: &str,
    used: &Use<'_>,
    name: &str,
    known: &BTreeSet<String>,
) -> Option<ParseError> {
    let mut parts = name.split('.');
    let root = parts.next().unwrap_or_default();
    let attribute = parts.next();
    let (message, remedy) = if !known.contains(root) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        (format!("`{root}` is not defined"), nearest(root, &known))
    } else if !used.secrets && (root == "secrets" || name == "tls.key") {
        (
            format!("the secret `{name}` may not be used here"),
            "secrets go into `file`, `env`, `env_from`, `stdin`, `password` and `sql` only: \
             nothing else keeps them from view"
                .to_owned(),
        )
    } else if root == "secrets" {
        let wrong = attribute.filter(|attribute| !SECRETS.contains(attribute))?;
        (
            format!("there is no secret `{wrong}`"),
            nearest(wrong, &SECRETS),
        )
    } else {
        return None;
    };
    let source = &used.text.source;
    let before = &source[..source.find(name).unwrap_or(0)];
    let line = before.matches('\n').count() as u64;
    Some(ParseError {
        file: file.to_owned(),
        position: Position {
            line: used.text.position.line + line,
            ..used.text.position
        },
        message,
        remedy,
    })
}

fn explain(
    file: &str,
    position: Position,
    source: &str,
    error: &Error,
    context: &Value,
) -> ParseError {
    let (message, remedy) = match error.kind() {
        ErrorKind::UndefinedError => undefined(path_at(source, error.range()), context),
        _ => (
            reason(error),
            "see docs/playbooks.md for the facts and filters that templates know".to_owned(),
        ),
    };
    ParseError {
        file: file.to_owned(),
        position,
        message,
        remedy,
    }
}

fn reason(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    if detail.is_empty() {
        error.kind().to_string()
    } else {
        format!("{}: {detail}", error.kind())
    }
}

/// The path `a.b.c` that ends where the error is, or that a filter there was
/// given.
fn path_at(source: &str, range: Option<std::ops::Range<usize>>) -> &str {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let range = range.unwrap_or(0..source.len());
    let (before, there) = source.split_at(range.start.min(source.len()));
    let given = before.trim_end().strip_suffix('|').map(str::trim_end);
    let (before, length) = match given {
        Some(given) => (given, 0),
        None => (before, there.find(|c| !is_part(c)).unwrap_or(there.len())),
    };
    let start = before.rfind(|c| !is_part(c)).map_or(0, |at| {
        at + before[at..].chars().next().map_or(1, char::len_utf8)
    });
    &source[start..before.len() + length]
}

/// Which part of `a.b.c` is not there, and what is there instead.
fn undefined(path: &str, context: &Value) -> (String, String) {
    let parts: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
    let mut at = context.clone();
    for (index, part) in parts.iter().enumerate() {
        let next = at.get_attr(part).unwrap_or(Value::UNDEFINED);
        if !next.is_undefined() {
            at = next;
            continue;
        }
        if index == 0 && parts.len() > 1 {
            // Not a fact but a variable of a loop: what it holds is not
            // known here. Wrong names of facts were found by looking over.
            break;
        }
        let names: Vec<String> = at.try_iter().map_or_else(
            |_| Vec::new(),
            |names| names.map(|name| name.to_string()).collect(),
        );
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let of = match parts[..index].join(".") {
            outer if outer.is_empty() => outer,
            outer => format!(" in `{outer}`"),
        };
        let message = format!("`{part}` is not defined{of}");
        return (message, nearest(part, &names));
    }
    (
        format!("`{path}` is not defined"),
        "give it a value, or write `| default(…)`".to_owned(),
    )
}
