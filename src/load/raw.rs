//! The raw log of a load: one JSON line for each vote, so that the account can
//! be counted again.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::account::{Found, Sent};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Line {
    /// The first line.
    Run {
        run: String,
        /// Where it was sent to.
        target: String,
        /// Wall time as RFC 3339 text; the times of votes count from here.
        started: String,
        /// Gaps from here on are listed, in milliseconds.
        gap_threshold_ms: u64,
    },
    Vote {
        id: String,
        sent: Sent,
    },
    /// The last line, where votes were read back.
    Found(Found),
}

/// Writes the log.
pub struct RawLog {
    run: String,
    file: BufWriter<File>,
}

impl RawLog {
    /// Creates the file with its first line.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path, run: &str, first: &Line) -> io::Result<Self> {
        let mut log = Self {
            run: run.to_owned(),
            file: BufWriter::new(File::create(path)?),
        };
        log.write(first)?;
        Ok(log)
    }

    /// Adds a vote.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn vote(&mut self, sent: &Sent) -> io::Result<()> {
        let id = super::send::voter(&self.run, sent.n);
        self.write(&Line::Vote {
            id,
            sent: sent.clone(),
        })
    }

    /// Adds what was found, where anything was read back, and closes the log.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, found: Option<&Found>) -> io::Result<()> {
        if let Some(found) = found {
            self.write(&Line::Found(found.clone()))?;
        }
        self.file.flush()
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }
}

/// Reads a log.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let lines = BufReader::new(File::open(path)?).lines();
    lines
        .map(|line| serde_json::from_str(&line?).map_err(io::Error::from))
        .collect()
}
