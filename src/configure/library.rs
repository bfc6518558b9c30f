//! Playbooks and templates by name: from a directory, or those that the
//! program was built with.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::playbook::{self, Action, Item, ParseError, Play, Position, Step, Text};

/// Where playbooks come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory with playbooks and `templates/`.
    Directory(PathBuf),
    /// The ones inside the program.
    BuiltIn,
}

/// Texts of playbooks and templates.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// By name without `.yaml`: file for messages, and text.
    books: BTreeMap<String, (String, String)>,
    pub templates: BTreeMap<String, String>,
}

/// A play on its way to hosts, with the conditions of the includes around it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub file: String,
    pub play: Play,
    /// Conditions with their files.
    pub conditions: Vec<(String, Text)>,
}

impl Loaded {
    /// Whether it only looks: waits, asserts, and scripts that say that they
    /// never change anything.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        let looks = |step: &Step| match &step.action {
            Action::Wait(_) | Action::Assert(_) => true,
            Action::Run(run) => run.changed_when.as_ref().is_some_and(|when| when.never),
            Action::Packages(_)
            | Action::File(_)
            | Action::Directory(_)
            | Action::Absent(_)
            | Action::Upload(_)
            | Action::Service(_)
            | Action::Container(_)
            | Action::ContainersAbsent(_)
            | Action::Sql(_)
            | Action::Hosts(_)
            | Action::Flush => false,
        };
        self.play.steps.iter().all(looks)
    }
}

/// Why there are no plays.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("there is no playbook `{name}`")]
    NoSuchPlaybook { name: String, known: Vec<String> },
    #[error("{}", list(problems))]
    Invalid { problems: Vec<ParseError> },
}

impl LibraryError {
    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Read { .. } => "give the directory by --playbooks".to_owned(),
            Self::NoSuchPlaybook { name, known } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                playbook::nearest(name, &known)
            }
            Self::Invalid { problems } => match problems.as_slice() {
                [only] => only.remedy.clone(),
                _ => "mend the places above; docs/playbooks.md shows every step".to_owned(),
            },
        }
    }
}

fn list(problems: &[ParseError]) -> String {
    let many = problems.len() > 1;
    let lines = problems.iter().map(|problem| {
        if many {
            format!("{problem} ({})", problem.remedy)
        } else {
            problem.to_string()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Library {
    /// Reads all playbooks and templates.
    ///
    /// # Errors
    /// A directory or file that cannot be read.
    pub fn open(source: &Source) -> Result<Self, LibraryError> {
        let mut library = Self::default();
        match source {
            Source::BuiltIn => {
                for (path, text) in super::built_in::FILES {
                    library.add(path, format!("playbooks/{path}"), (*text).to_owned());
                }
            }
            Source::Directory(directory) => {
                library.add_directory(directory, "")?;
                let templates = directory.join("templates");
                if templates.is_dir() {
                    library.add_directory(&templates, "templates/")?;
                }
            }
        }
        Ok(library)
    }

    /// Adds a playbook from a file outside; answers its name.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn add_file(&mut self, path: &Path) -> Result<String, LibraryError> {
        let text = read(path)?;
        let name = path.file_stem().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let file = path.display().to_string();
        self.books.insert(name.clone(), (file, text));
        Ok(name)
    }

    fn add_directory(&mut self, directory: &Path, prefix: &str) -> Result<(), LibraryError> {
        let failed = |source| LibraryError::Read {
            path: directory.to_owned(),
            source,
        };
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{prefix}{name}");
            if path.is_file() && (name.ends_with(".yaml") || !prefix.is_empty()) {
                let text = read(&path)?;
                self.add(&name, path.display().to_string(), text);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &str, file: String, text: String) {
        if let Some(name) = path.strip_prefix("templates/") {
            self.templates.insert(name.to_owned(), text);
        } else if let Some(name) = path.strip_suffix(".yaml") {
            self.books.insert(name.to_owned(), (file, text));
        }
    }

    /// Names and descriptions of all playbooks.
    #[must_use]
    pub fn list(&self) -> Vec<(String, String)> {
        let books = self.books.iter();
        let described = books.map(|(name, (file, text))| {
            let parsed = playbook::parse(file, text);
            (
                name.clone(),
                parsed.map_or_else(|_| String::new(), |book| book.description),
            )
        });
        described.collect()
    }

    /// The plays of a playbook with those of all that it includes.
    ///
    /// # Errors
    /// No such playbook, or everything that is wrong with it.
    pub fn load(&self, name: &str) -> Result<Vec<Loaded>, LibraryError> {
        let mut plays = Vec::new();
        let mut problems = Vec::new();
        if !self.books.contains_key(name) {
            return Err(LibraryError::NoSuchPlaybook {
                name: name.to_owned(),
                known: self.books.keys().cloned().collect(),
            });
        }
        self.gather(&mut vec![name.to_owned()], &[], &mut plays, &mut problems);
        if problems.is_empty() {
            Ok(plays)
        } else {
            Err(LibraryError::Invalid { problems })
        }
    }

    /// Adds the plays of the last playbook of `path`.
    fn gather(
        &self,
        path: &mut Vec<String>,
        conditions: &[(String, Text)],
        plays: &mut Vec<Loaded>,
        problems: &mut Vec<ParseError>,
    ) {
        let Some((file, text)) = path.last().and_then(|name| self.books.get(name)) else {
            return;
        };
        let book = match playbook::parse(file, text) {
            Ok(book) => book,
            Err(found) => return problems.extend(found),
        };
        for item in book.plays {
            match item {
                Item::Play(play) => plays.push(Loaded {
                    file: file.clone(),
                    play: *play,
                    conditions: conditions.to_vec(),
                }),
                Item::Include { playbook, when } => {
                    if let Some(problem) = self.include_problem(file, &playbook, path) {
                        problems.push(problem);
                        continue;
                    }
                    let mut conditions = conditions.to_vec();
                    conditions.extend(when.map(|when| (file.clone(), when)));
                    path.push(playbook.source);
                    self.gather(path, &conditions, plays, problems);
                    path.pop();
                }
            }
        }
    }

    fn include_problem(&self, file: &str, included: &Text, path: &[String]) -> Option<ParseError> {
        let problem = |position: Position, message: String, remedy: String| ParseError {
            file: file.to_owned(),
            position,
            message,
            remedy,
        };
        let name = included.source.as_str();
        if path.iter().any(|outer| outer == name) {
            let message = format!("`{name}` includes itself: {} → {name}", path.join(" → "));
            return Some(problem(
                included.position,
                message,
                "remove one include".to_owned(),
            ));
        }
        if !self.books.contains_key(name) {
            let known: Vec<&str> = self.books.keys().map(String::as_str).collect();
            let message = format!("there is no playbook `{name}`");
            let remedy = playbook::nearest(name, &known);
            return Some(problem(included.position, message, remedy));
        }
        None
    }
}

fn read(path: &Path) -> Result<String, LibraryError> {
    std::fs::read_to_string(path).map_err(|source| LibraryError::Read {
        path: path.to_owned(),
        source,
    })
}
