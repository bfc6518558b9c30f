//! Fills templates and asks expressions, strictly: what is not defined is an
//! error that names its place, and secrets are known only where they may be.

mod problem;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::{ParseError, Text, texts::Use};

/// Names that a scope defines besides the variables of loops.
pub const ROOTS: [&str; 24] = [
    "topology",
    "host",
    "hosts",
    "hosts_by_role",
    "site",
    "sites",
    "primary_site",
    "primary_host",
    "primary_queue",
    "primary_lb",
    "standby_hosts",
    "inventory",
    "watchers",
    "store",
    "is_primary_site",
    "containers",
    "lb",
    "queue",
    "database",
    "vars",
    "tls",
    "secrets",
    "item",
    "index",
];

/// What the templates of one step on one host know.
#[derive(Clone)]
pub struct Scope {
    pub facts: BTreeMap<String, Value>,
    /// Added where secrets may be used; replaces facts of the same name.
    pub secrets: BTreeMap<String, Value>,
}

impl Scope {
    /// The same with one more variable.
    #[must_use]
    pub fn with(&self, name: &str, value: Value) -> Self {
        let mut scope = self.clone();
        scope.facts.insert(name.to_owned(), value);
        scope
    }

    fn context(&self, secrets: bool) -> Value {
        let mut all = self.facts.clone();
        if secrets {
            all.extend(self.secrets.clone());
        }
        Value::from_pairs(all)
    }
}

/// Renders the strings of playbooks and the files in `templates/`.
pub struct Renderer {
    environment: Environment<'static>,
}

impl Renderer {
    /// With the template files by name.
    ///
    /// # Errors
    /// The template files that are not well-formed.
    pub fn new(files: &BTreeMap<String, String>) -> Result<Self, Vec<ParseError>> {
        let mut environment = Environment::new();
        environment.set_debug(true);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut syntax = environment.syntax().to_builder();
        syntax.keep_trailing_newline(true);
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.add_filter("sh", |text: &str| {
            format!("'{}'", text.replace('\'', r"'\''"))
        });
        environment.add_filter("sql", sql_literal);
        environment.add_filter("ident", |text: &str| {
            format!("\"{}\"", text.replace('"', "\"\""))
        });
        environment.add_filter("json", |value: Value| {
            serde_json::to_string(&value)
                .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
        });
        environment.add_filter("sha256", |text: &str| super::sha256(text.as_bytes()));
        environment.add_filter("render", render_again);
        let mut problems = Vec::new();
        for (name, source) in files {
            let added = environment.add_template_owned(name.clone(), source.clone());
            if let Err(error) = added {
                problems.push(problem::in_file(name, &error, &Value::UNDEFINED));
            }
        }
        if problems.is_empty() {
            Ok(Self { environment })
        } else {
            Err(problems)
        }
    }

    /// The text with everything filled in.
    ///
    /// # Errors
    /// A name that is not defined, or another mistake in the template.
    pub fn text(
        &self,
        file: &str,
        text: &Text,
        scope: &Scope,
        secrets: bool,
    ) -> Result<String, ParseError> {
        if !text.source.contains(['{', '}']) {
            return Ok(text.source.clone());
        }
        let context = scope.context(secrets);
        let rendered = self.environment.render_str(&text.source, context.clone());
        rendered.map_err(|error| problem::in_text(file, text, &error, &context))
    }

    /// A file of `templates/`, named by `name`.
    ///
    /// # Errors
    /// No such file, a name that is not defined, or another mistake.
    pub fn file(
        &self,
        file: &str,
        name: &Text,
        rendered_name: &str,
        scope: &Scope,
    ) -> Result<String, ParseError> {
        let context = scope.context(true);
        let template = self.environment.get_template(rendered_name).map_err(|_| {
            let known: Vec<&str> = self.environment.templates().map(|(name, _)| name).collect();
            problem::no_template(file, name, rendered_name, &known)
        })?;
        template
            .render(context.clone())
            .map_err(|error| problem::in_file(rendered_name, &error, &context))
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// A name that is not defined, or another mistake in the expression.
    pub fn value(
        &self,
        file: &str,
        text: &Text,
        scope: &Scope,
        secrets: bool,
    ) -> Result<Value, ParseError> {
        let context = scope.context(secrets);
        let value = self
            .environment
            .compile_expression(&text.source)
            .and_then(|expression| expression.eval(context.clone()));
        match value {
            Ok(value) if value.is_undefined() => {
                let error = Error::new(ErrorKind::UndefinedError, "undefined");
                Err(problem::in_text(file, text, &error, &context))
            }
            Ok(value) => Ok(value),
            Err(error) => Err(problem::in_text(file, text, &error, &context)),
        }
    }

    /// Looks at a text without filling it in: it must be well-formed, name
    /// known variables only, and secrets only where they may be.
    pub fn check(&self, file: &str, used: &Use<'_>, variables: &[&str]) -> Vec<ParseError> {
        let names = if used.expression {
            let compiled = self.environment.compile_expression(&used.text.source);
            compiled.map(|expression| expression.undeclared_variables(true))
        } else {
            let compiled = self.environment.template_from_str(&used.text.source);
            compiled.map(|template| template.undeclared_variables(true))
        };
        let names = match names {
            Ok(names) => names,
            Err(error) => {
                return vec![problem::in_text(file, used.text, &error, &Value::UNDEFINED)];
            }
        };
        let globals = self.environment.globals().map(|(name, _)| name.to_owned());
        let mut known: BTreeSet<String> = globals.collect();
        known.extend(ROOTS.iter().chain(variables).map(|name| (*name).to_owned()));
        let names: BTreeSet<String> = names.into_iter().collect();
        names
            .iter()
            .filter_map(|name| problem::with_name(file, used, name, &known))
            .collect()
    }
}

/// A literal of standard SQL.
fn sql_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Renders a string that is a template itself, with the variables at hand.
fn render_again(state: &State<'_, '_>, source: &str) -> Result<String, Error> {
    let names = state.known_variables();
    let known = names.iter().filter_map(|name| {
        let value = state.lookup(name)?;
        Some((name.to_string(), value))
    });
    let context = Value::from_pairs(known);
    state.env().render_str(source, context)
}

#[cfg(test)]
mod tests;
