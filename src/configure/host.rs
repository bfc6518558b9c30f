//! One play on one host: ask, do the first thing that differs, ask again.

mod handlers;
mod upload;

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    Events, Redactor,
    compile::{Compiled, LocalFiles},
    diff,
    report::{Before, Event, Outcome, StepEnded},
    script::{self, Line, Script, Verdict, Word},
    task::{Act, Task},
};
use crate::{
    ids::HostName,
    ports::remote::{Command, Remote, RemoteError},
};

/// Reads the script whole before it begins; nothing of it is in an argument.
/// One script at a time: what an interrupted run began goes on to its end.
const RUNNER: &str = r#"flock -o -E 75 -w 60 /run/hafail.lock bash -c 'script=$(cat); eval "$script"' hafail
status=$?
[ $status != 75 ] || echo "what an earlier run began here is still at work" >&2
exit $status"#;
/// Lines of a host's words that are shown.
const SHOWN_LINES: usize = 15;

/// What all hosts share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub remote: &'a dyn Remote,
    pub tell: Events<'a>,
    pub redactor: &'a Redactor,
    pub files: &'a LocalFiles,
    pub dry_run: bool,
    pub before: &'a Before,
}

/// A play on its way through a host.
pub(super) struct HostRun<'a> {
    context: Context<'a>,
    host: &'a HostName,
    play: &'a str,
    tasks: &'a [Task],
    handlers: &'a [Task],
    /// Names under which handlers are remembered on the host.
    keys: Vec<String>,
    /// Handlers that are to run.
    pending: BTreeSet<usize>,
    pulled: Vec<String>,
    /// The first task that is not done yet.
    next: usize,
    /// In a dry run: something before would or may have changed.
    unsettled: bool,
}

/// The host has ended the play early; it has been told.
struct Stopped;

/// What to do after an answer.
enum Then {
    /// Everything is done.
    End,
    /// Look at the rest.
    Look,
    /// Do this task.
    Act(usize),
}

impl<'a> HostRun<'a> {
    pub(super) fn new(
        context: Context<'a>,
        host: &'a HostName,
        play: &'a str,
        id: &str,
        compiled: &'a Compiled,
    ) -> Self {
        let handlers = compiled.handlers.iter();
        let key = |handler: &Task| {
            let name = crate::playbook::sha256(handler.name.as_bytes());
            format!("{id}-{}", &name[..16])
        };
        Self {
            context,
            host,
            play,
            tasks: &compiled.tasks,
            handlers: &compiled.handlers,
            keys: handlers.map(key).collect(),
            pending: BTreeSet::new(),
            pulled: Vec::new(),
            next: 0,
            unsettled: context.before.unsettled,
        }
    }

    /// Whether everything was done.
    pub(super) async fn run(mut self) -> bool {
        if self
            .tasks
            .iter()
            .all(|task| matches!(task.act, Act::Skip(_) | Act::Flush))
            && self.handlers.is_empty()
        {
            self.skip_all();
            return true;
        }
        self.all().await.is_ok()
    }

    fn skip_all(&self) {
        for task in self.tasks {
            if let Act::Skip(why) = &task.act {
                let why = why.clone();
                self.ended(task, Outcome::Skipped { why }, Duration::ZERO);
            }
        }
    }

    async fn all(&mut self) -> Result<(), Stopped> {
        let mut act = None;
        loop {
            let then = match act.take() {
                Some(index) => self.act(index).await?,
                None if self.next == self.tasks.len() => Then::End,
                None => self.ask(None).await?,
            };
            match then {
                Then::End => return self.end().await,
                Then::Look => {}
                Then::Act(index) => act = Some(index),
            }
        }
    }

    /// Dry runs name the handlers that would run; others have run them.
    async fn end(&mut self) -> Result<(), Stopped> {
        if self.context.dry_run {
            for index in std::mem::take(&mut self.pending) {
                let what = "would run".to_owned();
                let outcome = Outcome::Changed { what, diff: None };
                self.ended(&self.handlers[index], outcome, Duration::ZERO);
            }
        }
        Ok(())
    }

    async fn act(&mut self, index: usize) -> Result<Then, Stopped> {
        let task = &self.tasks[index];
        if !task.hidden {
            (self.context.tell)(&Event::StepStarted {
                host: self.host.clone(),
                step: task.name.clone(),
            });
        }
        self.next = index + 1;
        match &task.act {
            Act::Script(_) => self.ask(Some(index)).await,
            Act::Upload(upload) => {
                self.upload(task, upload).await?;
                Ok(Then::Look)
            }
            Act::Flush => {
                self.run_handlers().await?;
                Ok(Then::Look)
            }
            Act::None | Act::Skip(_) => {
                let why = "it has nothing to act with".to_owned();
                Err(self.failed(task, why, Duration::ZERO))
            }
        }
    }

    /// One question to the host: does `act`, if any, and looks at all tasks
    /// from the next on.
    async fn ask(&mut self, act: Option<usize>) -> Result<Then, Stopped> {
        let tasks = self.tasks;
        let notified = act.map(|index| tasks[index].notify.iter());
        let script = Script {
            act: act.map(|index| (index, &tasks[index])),
            checked: false,
            pend: notified
                .into_iter()
                .flatten()
                .map(|handler| self.keys[*handler].clone())
                .collect(),
            unpend: None,
            checks: tasks.iter().enumerate().skip(self.next).collect(),
            handlers: self.keys.clone(),
            pulled: self.pulled.clone(),
            dry: self.context.dry_run,
            after_changes: self.context.before.changed,
        };
        let started = Instant::now();
        let first = act.unwrap_or(self.next).min(tasks.len().saturating_sub(1));
        let lines = self.send(&script, &tasks[first]).await?;
        let took = started.elapsed();
        let mut last = None;
        for line in lines {
            match line {
                Line::Pulled(image) => self.pulled.push(image),
                Line::Pending(key) => {
                    self.pending
                        .extend(self.keys.iter().position(|known| *known == key));
                }
                Line::Verdict(verdict) => {
                    let (index, word) = (verdict.task, verdict.word);
                    self.take(
                        verdict,
                        if act == Some(index) {
                            took
                        } else {
                            Duration::ZERO
                        },
                    )?;
                    last = Some((index, word));
                }
            }
        }
        self.after(last, act, took)
    }

    /// What follows the last word of an answer.
    fn after(
        &mut self,
        last: Option<(usize, Word)>,
        act: Option<usize>,
        took: Duration,
    ) -> Result<Then, Stopped> {
        let end = self.tasks.len();
        match last {
            Some((index, Word::Todo)) if !self.context.dry_run => Ok(Then::Act(index)),
            Some((index, _)) if index + 1 == end => Ok(Then::End),
            Some((index, Word::Changed)) if act != Some(index) && !self.context.dry_run => {
                self.next = index + 1;
                Ok(Then::Look)
            }
            _ => {
                let silent = last.map_or(act.unwrap_or(self.next), |(index, _)| index + 1);
                let task = &self.tasks[silent.min(end - 1)];
                let why = "the host ended the script in the middle".to_owned();
                Err(self.failed(task, why, took))
            }
        }
    }

    /// Sends a script and answers its lines.
    async fn send(&self, script: &Script<'_>, task: &Task) -> Result<Vec<Line>, Stopped> {
        let mark = format!("@{}", uuid::Uuid::now_v7().simple());
        let started = Instant::now();
        let command = Command {
            script: RUNNER.to_owned(),
            stdin: script.text(&mark).into_bytes(),
            root: true,
            deadline: script.deadline(),
        };
        match self.context.remote.run(self.host, command).await {
            Ok(output) => {
                let lines = script::read(&mark, &output.stdout);
                if lines.is_empty() && output.status != 0 {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let why = format!("exit status {}\n{}", output.status, said.trim());
                    return Err(self.failed(task, why, started.elapsed()));
                }
                Ok(lines)
            }
            Err(error) => Err(self.unreachable(task, &error, started.elapsed())),
        }
    }

    fn take(&mut self, verdict: Verdict, took: Duration) -> Result<(), Stopped> {
        let task = &self.tasks[verdict.task];
        let why = self.shown(&verdict.why);
        if self.context.dry_run {
            self.take_dry(task, &verdict, why);
            return Ok(());
        }
        match verdict.word {
            Word::Ok => self.ended(
                task,
                Outcome::Ok {
                    output: task.show.then_some(why),
                },
                took,
            ),
            Word::Skipped | Word::Untold => self.ended(task, Outcome::Skipped { why }, took),
            Word::Failed => return Err(self.failed(task, why, took)),
            Word::Changed => {
                self.pending.extend(&task.notify);
                self.ended(
                    task,
                    Outcome::Changed {
                        what: why,
                        diff: None,
                    },
                    took,
                );
            }
            Word::Todo => {}
        }
        Ok(())
    }

    /// What a look says of a step in a dry run. Where something before it
    /// would have changed, what does not hold now may well hold then: that is
    /// neither a failure nor a change.
    fn take_dry(&mut self, task: &Task, verdict: &Verdict, why: String) {
        let open = self.unsettled && (task.waits || verdict.word == Word::Failed);
        let outcome = match verdict.word {
            Word::Todo | Word::Failed if open => Outcome::Untold {
                why: format!("can be told only after the steps before it; now: {why}"),
            },
            Word::Ok => Outcome::Ok {
                output: task.show.then_some(why),
            },
            Word::Skipped => Outcome::Skipped { why },
            Word::Untold => Outcome::Untold { why },
            Word::Failed => {
                self.failed(task, why, Duration::ZERO);
                return;
            }
            Word::Todo | Word::Changed => {
                self.pending.extend(&task.notify);
                let diff = task.wanted.as_ref().map(|wanted| {
                    let old = verdict.old.as_deref().unwrap_or_default();
                    diff::of(old, wanted, self.context.redactor)
                });
                let diff = diff.filter(|diff| !diff.is_empty());
                let what = match task.waits {
                    true => format!("would wait: {why}"),
                    false => why,
                };
                Outcome::Changed { what, diff }
            }
        };
        let settled = matches!(outcome, Outcome::Ok { .. } | Outcome::Skipped { .. });
        self.unsettled |= !settled && !task.hidden;
        self.ended(task, outcome, Duration::ZERO);
    }

    /// The last lines, without secrets.
    fn shown(&self, text: &str) -> String {
        let clean = self.context.redactor.clean(text.trim());
        let lines: Vec<&str> = clean.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    fn ended(&self, task: &Task, outcome: Outcome, took: Duration) {
        if task.hidden && !matches!(outcome, Outcome::Failed { .. }) {
            return;
        }
        (self.context.tell)(&Event::StepEnded(StepEnded {
            host: self.host.clone(),
            play: self.play.to_owned(),
            step: task.name.clone(),
            place: task.place.clone(),
            outcome,
            took,
        }));
    }

    fn failed(&self, task: &Task, why: String, took: Duration) -> Stopped {
        let remedy = if why.contains("No space left on device") {
            format!(
                "make room on {} (`df -h` there), then run it again",
                self.host
            )
        } else {
            task.remedy.clone()
        };
        let outcome = Outcome::Failed {
            why,
            remedy,
            unreachable: false,
            unusable: false,
        };
        self.ended(task, outcome, took);
        Stopped
    }

    fn unreachable(&self, task: &Task, error: &RemoteError, took: Duration) -> Stopped {
        let (why, remedy) = (error.to_string(), error.remedy());
        let why = self.context.redactor.clean(&why);
        let outcome = Outcome::Failed {
            why,
            remedy,
            unreachable: true,
            unusable: error.is_before_anything(),
        };
        // Also a hidden step is told when it failed.
        self.ended(task, outcome, took);
        Stopped
    }
}
