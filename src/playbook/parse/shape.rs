//! Words for YAML of the wrong shape, and near names for wrong ones.

use super::{ParseError, Position};

/// "did you mean …" when a known name is near, else all known names.
#[must_use]
pub fn nearest(text: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(text, name), *name))
        .filter(|(distance, _)| *distance <= 1 + text.len() / 3)
        .min();
    match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "none is defined here".to_owned(),
        None => format!("known are: {}", known.join(", ")),
    }
}

/// The parser ends its messages with the place, which we say in front.
fn without_place(message: &str) -> &str {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    &message[..end]
}

pub(super) fn shape_error(file: &str, error: &serde_saphyr::Error) -> ParseError {
    use serde_saphyr::Error;
    let position = error
        .location()
        .map_or_else(Position::default, |location| Position {
            line: location.line(),
            column: location.column(),
        });
    let (message, remedy) = match error.without_snippet() {
        Error::SerdeUnknownField {
            field, expected, ..
        } => (
            format!("there is no key `{field}` here"),
            nearest(field, expected),
        ),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => (
            format!("`{variant}` is not possible here"),
            nearest(variant, expected),
        ),
        Error::SerdeMissingField { field, .. } => (
            format!("the key `{field}` is missing"),
            format!("add `{field}: …`"),
        ),
        other => (
            without_place(&other.to_string()).to_owned(),
            "see docs/playbooks.md for the shape of every step".to_owned(),
        ),
    };
    ParseError {
        file: file.to_owned(),
        position,
        message,
        remedy,
    }
}
