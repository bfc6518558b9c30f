//! Handlers: steps that run once after those that notified them.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        report::{Event, Outcome},
        script::{Line, Script, Word},
        task::{Act, Task},
    },
    HostRun, Stopped,
};

impl HostRun<'_> {
    /// Runs the handlers that wait, in their order, also those that they
    /// notify themselves.
    pub(super) async fn run_handlers(&mut self) -> Result<(), Stopped> {
        let mut done = BTreeSet::new();
        while let Some(index) = self.pending.pop_first() {
            if done.insert(index) {
                self.run_handler(index).await?;
            }
        }
        Ok(())
    }

    async fn run_handler(&mut self, index: usize) -> Result<(), Stopped> {
        let handlers = self.handlers;
        let handler: &Task = &handlers[index];
        let skipped = matches!(handler.act, Act::Skip(_));
        if !skipped {
            (self.context.tell)(&Event::StepStarted {
                host: self.host.clone(),
                step: handler.name.clone(),
            });
        }
        let script = Script {
            act: Some((index, handler)),
            checked: true,
            pend: handler
                .notify
                .iter()
                .map(|next| self.keys[*next].clone())
                .collect(),
            unpend: Some(self.keys[index].clone()),
            checks: Vec::new(),
            handlers: Vec::new(),
            pulled: self.pulled.clone(),
            dry: false,
            after_changes: false,
        };
        let started = Instant::now();
        let lines = self.send(&script, handler).await?;
        let verdict = lines.into_iter().find_map(|line| match line {
            Line::Verdict(verdict) => Some(verdict),
            _ => None,
        });
        let took = started.elapsed();
        let Some(verdict) = verdict else {
            let why = "the host ended the script in the middle".to_owned();
            return Err(self.failed(handler, why, took));
        };
        let why = self.shown(&verdict.why);
        let outcome = match verdict.word {
            Word::Failed | Word::Todo => return Err(self.failed(handler, why, took)),
            Word::Ok => Outcome::Ok {
                output: handler.show.then_some(why),
            },
            Word::Skipped | Word::Untold => Outcome::Skipped { why },
            Word::Changed => {
                self.pending.extend(&handler.notify);
                Outcome::Changed {
                    what: why,
                    diff: None,
                }
            }
        };
        self.ended(
            handler,
            outcome,
            if skipped { Duration::ZERO } else { took },
        );
        Ok(())
    }
}
