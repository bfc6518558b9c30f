//! Fills strings in and keeps what went wrong, so that all of it is told.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use flate2::{Compression, write::GzEncoder};
use minijinja::Value;

use super::{Compiled, Inputs};
use crate::playbook::{ForEach, ParseError, Scope, Step, Text, sha256};

/// Files of the operator's machine that go to hosts, read once.
#[derive(Default)]
pub struct LocalFiles {
    sums: Mutex<BTreeMap<PathBuf, Result<String, String>>>,
    packed: tokio::sync::Mutex<BTreeMap<PathBuf, Arc<Vec<u8>>>>,
}

impl LocalFiles {
    /// The file, compressed; the first caller does it, others wait.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn packed(&self, path: &Path) -> Result<Arc<Vec<u8>>, String> {
        let mut packed = self.packed.lock().await;
        if let Some(bytes) = packed.get(path) {
            return Ok(Arc::clone(bytes));
        }
        let from = path.to_owned();
        let bytes = tokio::task::spawn_blocking(move || pack(&from)).await;
        let bytes = bytes.map_err(|error| error.to_string())?;
        let bytes = Arc::new(bytes.map_err(|error| error.to_string())?);
        packed.insert(path.to_owned(), Arc::clone(&bytes));
        Ok(bytes)
    }

    /// SHA-256 of a file.
    fn sum(&self, path: &Path) -> Result<String, String> {
        let mut sums = self.sums.lock().map_err(|error| error.to_string())?;
        let sum = sums.entry(path.to_owned()).or_insert_with(|| {
            let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
            Ok(sha256(&bytes))
        });
        sum.clone()
    }
}

fn pack(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut file, &mut encoder)?;
    encoder.finish()
}

/// Fills in the steps of one play for one host.
pub struct Fill<'a> {
    inputs: &'a Inputs<'a>,
    scope: Scope,
    problems: Vec<ParseError>,
}

impl<'a> Fill<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>) -> Self {
        Self {
            scope: inputs.scope.clone(),
            inputs,
            problems: Vec::new(),
        }
    }

    pub(super) fn finish(self, compiled: Compiled) -> Result<Compiled, Vec<ParseError>> {
        if self.problems.is_empty() {
            Ok(compiled)
        } else {
            Err(self.problems)
        }
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn enter(&mut self, scope: Scope) {
        self.scope = scope;
    }

    pub(super) fn file(&self) -> &'a str {
        self.inputs.file
    }

    /// Keeps a mistake.
    pub(super) fn wrong(&mut self, at: &Text, message: String, remedy: &str) {
        self.problems.push(ParseError {
            file: self.inputs.file.to_owned(),
            position: at.position,
            message,
            remedy: remedy.to_owned(),
        });
    }

    fn kept<T: Default>(&mut self, result: Result<T, ParseError>) -> T {
        result.unwrap_or_else(|problem| {
            self.problems.push(problem);
            T::default()
        })
    }

    /// A string without secrets.
    pub(super) fn text(&mut self, text: &Text) -> String {
        self.filled(text, false)
    }

    /// A string that may use secrets.
    pub(super) fn secret(&mut self, text: &Text) -> String {
        self.filled(text, true)
    }

    fn filled(&mut self, text: &Text, secrets: bool) -> String {
        let inputs = self.inputs;
        let filled = inputs
            .renderer
            .text(inputs.file, text, &self.scope, secrets);
        let filled = self.kept(filled);
        if filled.contains('\0') {
            self.wrong(text, "the text has a NUL character".to_owned(), "remove it");
        }
        filled
    }

    pub(super) fn optional(&mut self, text: Option<&Text>) -> Option<String> {
        text.map(|text| self.text(text))
    }

    pub(super) fn text_or(&mut self, text: Option<&Text>, default: &str) -> String {
        self.optional(text).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn texts(&mut self, texts: &[Text]) -> Vec<String> {
        texts.iter().map(|text| self.text(text)).collect()
    }

    /// A file of `templates/`.
    pub(super) fn template(&mut self, name: &Text) -> String {
        let rendered = self.text(name);
        let inputs = self.inputs;
        let filled = inputs
            .renderer
            .file(inputs.file, name, &rendered, &self.scope);
        self.kept(filled)
    }

    /// SHA-256 of a file of the operator's machine.
    pub(super) fn sum(&mut self, at: &Text, path: &Path) -> String {
        self.inputs.files.sum(path).unwrap_or_else(|why| {
            let message = format!("cannot read {}: {why}", path.display());
            self.wrong(at, message, "give the path of an existing file");
            String::new()
        })
    }

    /// Whether a condition holds.
    pub(super) fn holds(&mut self, condition: &Text) -> bool {
        self.value(condition, false).is_true()
    }

    pub(super) fn value(&mut self, expression: &Text, secrets: bool) -> Value {
        let inputs = self.inputs;
        let value = inputs
            .renderer
            .value(inputs.file, expression, &self.scope, secrets);
        self.kept(value)
    }

    /// The elements that a loop goes through.
    pub(super) fn elements(&mut self, each: &ForEach) -> Vec<Value> {
        let value = self.value(&each.list, false);
        self.list(&each.list, &value)
    }

    /// The strings that an expression gives as a list.
    pub(super) fn strings(&mut self, expression: Option<&Text>) -> Vec<String> {
        let Some(expression) = expression else {
            return Vec::new();
        };
        let value = self.value(expression, false);
        let list = self.list(expression, &value);
        list.iter().map(ToString::to_string).collect()
    }

    fn list(&mut self, at: &Text, value: &Value) -> Vec<Value> {
        if value.is_undefined() {
            return Vec::new();
        }
        match value.try_iter() {
            Ok(elements) => elements.collect(),
            Err(_) => {
                let message = format!("`{}` is a {}, not a list", at.source, value.kind());
                self.wrong(at, message, "give a list");
                Vec::new()
            }
        }
    }

    /// The handlers that a step notifies, by their place among `names`.
    pub(super) fn notified(&mut self, step: &Step, names: &[String]) -> Vec<usize> {
        let mut found = Vec::new();
        for text in &step.notify {
            let name = self.text(text);
            match names.iter().position(|known| *known == name) {
                Some(index) => found.push(index),
                None => {
                    let message = format!("the play has no handler `{name}`");
                    self.wrong(text, message, "add it under `handlers`");
                }
            }
        }
        found
    }
}
