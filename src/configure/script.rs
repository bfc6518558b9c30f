//! The scripts that go to hosts, and what comes back.

use std::{fmt::Write, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::task::{Act, Looks, Task, quoted};

const LIBRARY: &str = include_str!("shell/lib.sh");

/// What is sent to a host: optionally one task to do, then tasks to look at.
pub struct Script<'a> {
    pub act: Option<(usize, &'a Task)>,
    /// `act` looks first whether there is anything to do.
    pub checked: bool,
    /// Handlers that the host remembers before `act` begins.
    pub pend: Vec<String>,
    /// Forgets this handler when `act` is done.
    pub unpend: Option<String>,
    pub checks: Vec<(usize, &'a Task)>,
    /// Handlers that could wait from an earlier run.
    pub handlers: Vec<String>,
    /// Images that were fetched already in this run.
    pub pulled: Vec<String>,
    pub dry: bool,
    /// In a dry run, earlier plays would have changed something.
    pub after_changes: bool,
}

/// One line of the answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Verdict(Verdict),
    /// An image was fetched.
    Pulled(String),
    /// A handler waits from an earlier run.
    Pending(String),
}

/// What became of one task.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub task: usize,
    pub word: Word,
    pub why: String,
    /// In a dry run, the file as it is.
    pub old: Option<String>,
}

/// What a task turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Ok,
    Todo,
    Skipped,
    /// A dry run cannot tell.
    Untold,
    Changed,
    Failed,
}

impl Script<'_> {
    /// The text, with `mark` in front of every line of the answer.
    #[must_use]
    pub fn text(&self, mark: &str) -> String {
        let mut text = format!(
            "MARK={mark}\nDRY={}\nPULLED={}\nHANDLERS={}\n",
            if self.dry { "1" } else { "''" },
            quoted(&self.pulled.join(" ")),
            quoted(&self.handlers.join(" ")),
        );
        text.push_str(LIBRARY);
        if self.after_changes {
            text.push_str("SOMETHING_TO_DO=1\n");
        }
        if let Some((number, task)) = self.act {
            self.write_act(&mut text, number, task);
        }
        let mut looks = Looks::default();
        for (number, task) in &self.checks {
            looks.add(&task.looks);
            let _ = writeln!(text, "check_{number}() {{\n{}\n}}", task.check);
        }
        write_looks(&mut text, &looks);
        write_call(&mut text, "say_pending", self.handlers.iter());
        for (number, _) in &self.checks {
            let _ = writeln!(text, "check {number}");
        }
        text.push_str("exit 0\n");
        text
    }

    fn write_act(&self, text: &mut String, number: usize, task: &Task) {
        let body = match (&task.act, self.checked) {
            (Act::Script(body), false) => body.clone(),
            (Act::Script(body), true) => format!(
                "check_{number}\nlocal code=$?\n[ $code = $TODO ] || return $code\nWHY=''\n{body}"
            ),
            _ => format!("check_{number}"),
        };
        if self.checked {
            let _ = writeln!(text, "check_{number}() {{\n{}\n}}", task.check);
            write_looks(text, &task.looks);
        }
        let _ = writeln!(text, "act_{number}() {{\n{body}\n}}");
        if !self.pend.is_empty() {
            let keys: Vec<String> = self.pend.iter().map(|key| quoted(key)).collect();
            let _ = writeln!(text, "pend {} || exit 1", keys.join(" "));
        }
        let _ = writeln!(text, "act {number}");
        if let Some(key) = &self.unpend {
            let _ = writeln!(text, "unpend {}", quoted(key));
        }
    }

    /// Time that the whole may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let checks = self.checks.iter().map(|(_, task)| task.check_time);
        let act = self.act.map(|(_, task)| task.act_time);
        Duration::from_secs(30) + checks.chain(act).sum::<Duration>()
    }
}

fn write_looks(text: &mut String, looks: &Looks) {
    write_call(text, "look_packages", looks.packages.iter());
    write_call(text, "look_files", looks.files.iter());
    write_call(text, "look_units", looks.units.iter());
    write_call(text, "look_boxes", looks.boxes.iter());
}

fn write_call<'a>(text: &mut String, function: &str, names: impl Iterator<Item = &'a String>) {
    let names: Vec<String> = names.map(|name| quoted(name)).collect();
    if !names.is_empty() {
        let _ = writeln!(text, "{function} {}", names.join(" "));
    }
}

/// The lines of the answer that carry the mark.
#[must_use]
pub fn read(mark: &str, stdout: &[u8]) -> Vec<Line> {
    let text = String::from_utf8_lossy(stdout);
    text.lines()
        .filter_map(|line| read_line(mark, line))
        .collect()
}

fn read_line(mark: &str, line: &str) -> Option<Line> {
    let mut words = line.strip_prefix(mark)?.split_whitespace();
    let (first, second) = (words.next()?, words.next()?);
    match first {
        "pulled" => return Some(Line::Pulled(second.to_owned())),
        "pending" => return Some(Line::Pending(second.to_owned())),
        _ => {}
    }
    let word = match second {
        "ok" => Word::Ok,
        "todo" => Word::Todo,
        "skipped" => Word::Skipped,
        "untold" => Word::Untold,
        "changed" => Word::Changed,
        "failed" => Word::Failed,
        _ => return None,
    };
    Some(Line::Verdict(Verdict {
        task: first.parse().ok()?,
        word,
        why: words.next().and_then(decoded).unwrap_or_default(),
        old: words.next().and_then(decoded),
    }))
}

fn decoded(word: &str) -> Option<String> {
    if word == "-" {
        return None;
    }
    let bytes = BASE64_STANDARD.decode(word).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
