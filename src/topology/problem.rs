//! What is wrong with a topology file, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// The id of a problem whose place may hold a secret: never shown.
pub(super) const PLAIN_SECRET: &str = "plain-secret";

/// Where something stands in the file. Lines and columns count from 1,
/// columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    pub line: usize,
    pub column: usize,
    /// Characters to underline; 0 when only the start is known.
    pub length: usize,
}

/// Whether a problem stops the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// Stable id for programs, such as `unknown-key`.
    pub id: &'static str,
    pub at: Position,
    /// A sentence without its final dot.
    pub message: String,
    /// What to write instead, or what to run.
    pub hint: String,
}

/// All that is wrong with one file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is not a valid topology: {}", self.count())]
pub struct Problems {
    /// The file as the user named it.
    pub file: String,
    pub problems: Vec<Problem>,
    /// The text of the file, for excerpts.
    text: String,
}

impl Problems {
    /// Collects the problems of the file `file`, whose text is `source`.
    #[must_use]
    pub fn new(file: &str, source: &str, problems: Vec<Problem>) -> Self {
        let mut new = Self {
            file: file.to_owned(),
            problems: Vec::new(),
            text: source.to_owned(),
        };
        new.add(problems);
        new
    }

    /// Adds more, each at its place.
    pub(super) fn add(&mut self, more: Vec<Problem>) {
        let problems = &mut self.problems;
        problems.extend(more);
        problems
            .sort_by(|a, b| (a.at, a.severity, &a.message).cmp(&(b.at, b.severity, &b.message)));
        problems.dedup();
    }

    /// Whether one of them stops the file from being used.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.of(Severity::Error).next().is_some()
    }

    /// The problems of that severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |p| p.severity == severity)
    }

    /// Such as `2 errors, 1 warning`.
    #[must_use]
    pub fn count(&self) -> String {
        let count = |severity, word| match self.of(severity).count() {
            0 => None,
            1 => Some(format!("1 {word}")),
            n => Some(format!("{n} {word}s")),
        };
        let parts = [
            count(Severity::Error, "error"),
            count(Severity::Warning, "warning"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// All of them for people: place, sentence, excerpt, hint.
    #[must_use]
    pub fn render(&self) -> String {
        let source = self.without_secrets();
        let each = self.problems.iter().map(|problem| {
            Rendered {
                file: &self.file,
                source: &source,
                problem,
            }
            .to_string()
        });
        each.collect::<Vec<_>>().join("\n")
    }

    /// The lines of the file, with stars where secrets stand in it.
    fn without_secrets(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.text.lines().map(str::to_owned).collect();
        for problem in self.problems.iter().filter(|p| p.id == PLAIN_SECRET) {
            let at = problem.at;
            if let Some(line) = at.line.checked_sub(1).and_then(|n| lines.get_mut(n)) {
                let hidden = at.column - 1..at.column - 1 + at.length.max(1);
                let star = |(n, c)| if hidden.contains(&n) { '*' } else { c };
                *line = line.chars().enumerate().map(star).collect();
            }
        }
        lines
    }
}

struct Rendered<'a> {
    file: &'a str,
    source: &'a [String],
    problem: &'a Problem,
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            severity,
            at,
            message,
            hint,
            ..
        } = self.problem;
        let word = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Position {
            line,
            column,
            length,
        } = *at;
        writeln!(f, "{}:{line}:{column}: {word}: {message}", self.file)?;
        if let Some(text) = line.checked_sub(1).and_then(|n| self.source.get(n)) {
            let gutter = line.to_string().len();
            let before: String = text.chars().take(column - 1).map(blank).collect();
            let rest = text.chars().count().saturating_sub(column - 1);
            let carets = "^".repeat(length.min(rest).max(1));
            writeln!(f, " {line} | {text}")?;
            writeln!(f, " {:gutter$} | {before}{carets}", "")?;
        }
        writeln!(f, "  hint: {hint}")
    }
}

/// Keeps tabs, so that the caret stands below its character.
fn blank(character: char) -> char {
    if character == '\t' { '\t' } else { ' ' }
}
