//! Programs: run, watched, interrupted, and always bounded in time.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;

/// No command of these stories takes longer, on the slowest machine.
const LONGEST: Duration = Duration::from_secs(900);

/// What a program left behind.
pub struct Ended {
    pub what: String,
    /// None: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// Ends the test where the exit code is another one.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// The error of the document, which must have this id and a next command.
    #[track_caller]
    pub fn error(&self, id: &str) -> Value {
        let error = self.json()["error"].clone();
        assert_eq!(error["id"], id, "{self}");
        assert!(
            !error["hints"].as_array().unwrap().is_empty(),
            "says what to do next: {self}"
        );
        error
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(text), "does not say `{text}`: {self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what,
            code,
            stdout,
            stderr,
        } = self;
        write!(f, "{what} ended with {code:?}\n{stdout}\n{stderr}")
    }
}

/// A program that runs.
pub struct Started {
    what: String,
    child: Child,
    deadline: Instant,
    lines: Receiver<String>,
    /// Lines of standard error that were read.
    seen: String,
    stdout: JoinHandle<String>,
}

impl Started {
    pub fn new(what: String, mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if told.send(line).is_err() {
                    break;
                }
            }
        });
        let stdout = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (deadline, seen) = (Instant::now() + LONGEST, String::new());
        Self {
            what,
            child,
            deadline,
            lines,
            seen,
            stdout,
        }
    }

    /// Waits until it has told a line that pleases.
    #[track_caller]
    pub fn until(&mut self, pleases: impl Fn(&str) -> bool) {
        loop {
            match self.next() {
                Ok(line) if pleases(&line) => return,
                Ok(_) => {}
                Err(_) => panic!("{} did not say it:\n{}", self.what, self.seen),
            }
        }
    }

    /// The next line, if it is told by then.
    pub fn next_by(&mut self, then: Instant) -> Result<String, RecvTimeoutError> {
        let left = then.saturating_duration_since(Instant::now());
        let line = self.lines.recv_timeout(left)?;
        self.seen.push_str(&line);
        self.seen.push('\n');
        Ok(line)
    }

    fn next(&mut self) -> Result<String, RecvTimeoutError> {
        self.next_by(self.deadline)
    }

    /// All that it told on standard error.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal("-INT");
    }

    /// It stands still until [`Self::go_on`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success(), "{} had ended already", self.what);
    }

    /// Whether standard output is closed: it prints last.
    pub fn has_ended(&self) -> bool {
        self.stdout.is_finished()
    }

    #[track_caller]
    pub fn end(mut self) -> Ended {
        let late = loop {
            match self.next() {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => break true,
            }
        };
        if late {
            let _ = self.child.kill();
        }
        let status = self.child.wait().unwrap();
        assert!(!late, "{} did not end in time:\n{}", self.what, self.seen);
        Ended {
            code: status.code(),
            stdout: self.stdout.join().unwrap(),
            stderr: self.seen,
            what: self.what,
        }
    }
}
