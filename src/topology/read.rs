//! From the tree of a document to raw records: types, required and unknown
//! keys. Whatever can be read is read; all that cannot is reported.

use super::{
    node::{Key, Node, Value},
    problem::{Position, Problem, Severity},
};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub at: Position,
    pub value: T,
}

/// A key that must be there. Still none where it is missing or wrong, which
/// was reported then.
pub(super) struct Required<T>(pub Option<At<T>>);

/// A mapping with names of the user as keys, in the order of the file, and
/// whether all of it could be read.
pub(super) struct Entries<T>(pub Vec<(Key, At<T>)>, pub bool);

/// A list, and whether all of it could be read.
pub(super) struct List<T>(pub Vec<At<T>>, pub bool);

impl<T> Required<T> {
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|at| &at.value)
    }
}

/// Collects problems while a document is read, and knows where it is.
pub(super) struct Reader<'a> {
    pub problems: Vec<Problem>,
    source: &'a str,
    path: Vec<String>,
    /// Paths whose values were wrong, and reported.
    wrong: Vec<String>,
}

/// Something that can be read from a node.
pub(super) trait Read: Sized {
    /// What belongs there, such as `a port, such as 5432`.
    const EXPECTED: &'static str;

    /// Reads it; none after reporting why not.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// The value of a known key of a record.
pub(super) trait Field: Sized {
    /// `about` describes the key, for whoever left it out.
    fn take(fields: &Fields<'_>, name: &str, about: &str, reader: &mut Reader<'_>) -> Self;
}

/// The entries of a record whose keys are all known.
pub(super) struct Fields<'n> {
    at: Position,
    entries: Vec<(&'n str, &'n Node)>,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a str) -> Self {
        Self {
            problems: Vec::new(),
            source,
            path: Vec::new(),
            wrong: Vec::new(),
        }
    }

    /// Reads the whole document.
    pub fn read_document<T: Read>(&mut self, node: &Node) -> Option<T> {
        if let Value::Null = node.value {
            let at = Position {
                line: 1,
                column: 1,
                length: 0,
            };
            let hint = "hafail init FILE writes one to begin with";
            self.error("empty", at, "there is nothing in this file", hint);
            return None;
        }
        T::read(node, self)
    }

    /// Reports something that stops the file from being used.
    pub fn error(
        &mut self,
        id: &'static str,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report(Severity::Error, id, at, message.into(), hint.into());
    }

    /// Reports something that is allowed and probably not meant.
    pub fn warning(
        &mut self,
        id: &'static str,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report(Severity::Warning, id, at, message.into(), hint.into());
    }

    fn report(
        &mut self,
        severity: Severity,
        id: &'static str,
        at: Position,
        message: String,
        hint: String,
    ) {
        self.problems.push(Problem {
            severity,
            id,
            at,
            message,
            hint,
        });
    }

    /// Reads `node` as the value of the key or index `step`.
    pub fn read_at<T: Read>(&mut self, step: &str, node: &Node) -> Option<At<T>> {
        self.path.push(step.to_owned());
        let value = T::read(node, self);
        if value.is_none() {
            self.wrong.push(self.path.join("."));
        }
        self.path.pop();
        value.map(|value| At { at: node.at, value })
    }

    /// Whether the value at that path was there and wrong: what follows from
    /// its absence is no problem of its own.
    pub fn was_wrong(&self, path: &[&str]) -> bool {
        let path = path.join(".");
        self.wrong.contains(&path)
    }

    /// Where the reader is, such as `` `database.port` ``.
    pub fn here(&self) -> String {
        if self.path.is_empty() {
            "the topology".to_owned()
        } else {
            format!("`{}`", self.path.join("."))
        }
    }

    /// Reports that the value is not of the expected kind.
    pub fn wrong_type<T: Read>(&mut self, node: &Node) {
        let hint = match &node.value {
            Value::Integer(_) | Value::Real(_) | Value::Bool(_) if T::EXPECTED.contains("text") => {
                format!("put it in quotes: \"{}\"", self.written(node))
            }
            Value::Text(text) if T::EXPECTED.contains(" number") && text.parse::<u32>().is_ok() => {
                format!("take it out of the quotes: {text}")
            }
            _ => format!("write {}", expected::<T>()),
        };
        let wanted = expected::<T>();
        let wanted = match wanted.starts_with("a mapping") {
            true => "a mapping",
            false => &wanted,
        };
        let message = format!("{} is {}, not {wanted}", self.here(), node.value.kind());
        self.error("wrong-type", node.at, message, hint);
    }

    /// Reports that the value has the right kind and cannot be accepted.
    pub fn invalid<T: Read>(&mut self, node: &Node, why: &str) {
        let message = format!("{} is not valid: {why}", self.here());
        self.error(
            "invalid-value",
            node.at,
            message,
            format!("write {}", expected::<T>()),
        );
    }

    /// A scalar as it stands in the file.
    pub fn written(&self, node: &Node) -> String {
        let line = self.source.lines().nth(node.at.line - 1).unwrap_or("");
        let text = line.chars().skip(node.at.column - 1);
        let text: String = text.take(node.at.length).collect();
        match &node.value {
            Value::Text(text) => text.clone(),
            // An alias has its value elsewhere.
            Value::Bool(value) if text.starts_with('*') => value.to_string(),
            Value::Integer(value) if text.starts_with('*') => value.to_string(),
            Value::Real(value) if text.starts_with('*') => value.to_string(),
            _ => text.trim_end().to_owned(),
        }
    }

    /// The entries of a mapping, duplicates reported and left out.
    pub fn entries<'n>(&mut self, node: &'n Node) -> Option<Vec<(&'n Key, &'n Node)>> {
        let entries = match &node.value {
            Value::Mapping(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return None,
        };
        let mut seen: Vec<(&Key, &Node)> = Vec::new();
        for (key, value) in entries {
            if let Some((first, _)) = seen.iter().find(|(first, _)| first.text == key.text) {
                let message = format!("`{}` is given twice in {}", key.text, self.here());
                let hint = format!(
                    "the first stands on line {}: remove one of them",
                    first.at.line
                );
                self.error("duplicate-key", key.at, message, hint);
            } else {
                seen.push((key, value));
            }
        }
        Some(seen)
    }

    /// The entries of a record with these keys; unknown ones are reported.
    pub fn fields<'n, T: Read>(&mut self, node: &'n Node, known: &[&str]) -> Option<Fields<'n>> {
        let Some(entries) = self.entries(node) else {
            self.wrong_type::<T>(node);
            return None;
        };
        let mut fields = Vec::new();
        for (key, value) in entries {
            if known.iter().any(|name| field_name(name) == key.text) {
                fields.push((key.text.as_str(), value));
            } else {
                self.unknown_key(key, known);
            }
        }
        Some(Fields {
            at: node.at,
            entries: fields,
        })
    }

    fn unknown_key(&mut self, key: &Key, known: &[&str]) {
        let known: Vec<_> = known.iter().map(|name| field_name(name)).collect();
        let message = format!("{} has no key `{}`", self.here(), key.text);
        let hint = match closest(&key.text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("remove it; the keys here are {}", list(&known)),
        };
        self.error("unknown-key", key.at, message, hint);
    }
}

/// What belongs there, for a sentence.
pub(super) fn expected<T: Read>() -> String {
    T::EXPECTED.trim_end_matches(", ").replace("r#", "")
}

/// A comment's words without line breaks and final dot.
fn sentence(comment: &str) -> String {
    let words: Vec<_> = comment.split_whitespace().collect();
    let text = words.join(" ");
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

/// A field's name as it stands in files.
pub(super) fn field_name(identifier: &str) -> &str {
    identifier.strip_prefix("r#").unwrap_or(identifier)
}

/// The known word that was probably meant.
pub(super) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let likeness = |name: &str| {
        strsim::jaro_winkler(
            &word.to_lowercase().replace('-', "_"),
            &name.replace('-', "_"),
        )
    };
    let scored = known.into_iter().map(|name| (likeness(name), name));
    let mut scored: Vec<_> = scored.collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best = scored.first()?;
    if scored.get(1).is_some_and(|second| second.0 >= best.0) {
        return None;
    }
    (best.0 > 0.8).then_some(best.1)
}

/// Words for a sentence: `a`, `b` and `c`.
pub(super) fn list<T: AsRef<str>>(words: &[T]) -> String {
    let quoted: Vec<_> = words.iter().map(|w| format!("`{}`", w.as_ref())).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        let found = self.entries.iter().find(|(key, _)| *key == name);
        found.map(|(_, node)| *node)
    }
}

impl<T: Read> Field for Required<T> {
    fn take(fields: &Fields<'_>, name: &str, about: &str, reader: &mut Reader<'_>) -> Self {
        let Some(node) = fields.get(name) else {
            let message = format!("{} lacks `{name}`", reader.here());
            let hint = format!("add `{name}:` ({})", sentence(about));
            reader.error(
                "missing-key",
                Position {
                    length: 1,
                    ..fields.at
                },
                message,
                hint,
            );
            return Self(None);
        };
        Self(reader.read_at(name, node))
    }
}

impl<T: Read> Field for Option<At<T>> {
    fn take(fields: &Fields<'_>, name: &str, _: &str, reader: &mut Reader<'_>) -> Self {
        let node = fields.get(name)?;
        match node.value {
            Value::Null => None,
            _ => reader.read_at(name, node),
        }
    }
}

/// Declares a record of the file once: its keys, its reader and its schema.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $field_doc:literal])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(in crate::topology) struct $name {
            $($(#[doc = $field_doc])* pub $field: $kind,)*
        }

        impl Read for $name {
            const EXPECTED: &'static str = concat!("a mapping of ", $(stringify!($field), ", ",)*);

            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let fields = reader.fields::<Self>(node, &[$(stringify!($field)),*])?;
                $(let $field = <$kind as Field>::take(&fields, field_name(stringify!($field)), concat!($($field_doc),*), reader);)*
                Some(Self { $($field),* })
            }
        }
    };
}
pub(super) use record;
