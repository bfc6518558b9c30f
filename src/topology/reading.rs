//! The way from a file's text to its topology.

use std::path::Path;

use super::{Problems, Topology, check, lower, node, raw, read, ready};

/// What reading a file gave: the topology, unless a problem is fatal.
#[derive(Debug)]
pub struct Reading {
    pub topology: Option<Topology>,
    /// Errors and warnings, in the order of the file.
    pub problems: Problems,
    pub(super) outside: Vec<ready::Outside>,
}

impl Topology {
    /// Reads a topology from the text of `file`, with all that is wrong or
    /// doubtful. `file` is for messages and for relative paths.
    #[must_use]
    pub fn read(text: &str, file: &str) -> Reading {
        let mut reader = read::Reader::new(text);
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        let raw: Option<raw::Topology> = match node::parse(text) {
            Ok(node) => reader.read_document(&node),
            Err(problem) => {
                reader.problems.push(problem);
                None
            }
        };
        if let Some(raw) = &raw {
            check::check(raw, &mut reader);
        }
        let problems = Problems::new(file, text, reader.problems);
        let usable = raw.as_ref().filter(|_| !problems.is_fatal());
        Reading {
            topology: usable.and_then(|raw| lower::lower(raw, folder)),
            outside: raw
                .as_ref()
                .map_or(Vec::new(), |raw| ready::named(raw, folder)),
            problems,
        }
    }

    /// Reads a topology from the text of `file`.
    ///
    /// # Errors
    /// All that is wrong, at once; warnings do not fail.
    pub fn parse(text: &str, file: &str) -> Result<Self, Problems> {
        let reading = Self::read(text, file);
        reading.topology.ok_or(reading.problems)
    }
}
