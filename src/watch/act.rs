//! Doing what was decided, through the same runner and journal as operators.

use std::{pin::pin, sync::Mutex};

use futures::future::{Either, select};

use super::{Notice, Watcher};
use crate::{
    coordination::{Cooldown, Healed},
    decide::{Act, Verdict},
    ids::{Epoch, HostName},
    journal::{Entry, Outcome, Progress, StepState},
    plan::Plan,
    ports::{
        quorum::QuorumError,
        store::{RunId, Store},
    },
    run::{Interrupt, Observer, Ran, RunError, Runner},
};

impl Watcher {
    pub(super) async fn act(&mut self, act: &Act, epoch: Epoch) {
        self.notices.tell(&Notice::Begins(act.clone()));
        let told = Told {
            watcher: self,
            needs_primary: Mutex::default(),
        };
        let acted = {
            let acting = pin!(self.run(act, epoch, &told));
            let (leading, lost) = (
                pin!(self.keep_leading()),
                pin!(self.primary_lost(act, &told)),
            );
            match select(acting, select(leading, lost)).await {
                Either::Left((done, _)) => Ok(done),
                Either::Right((Either::Left((why, _)), _)) => Ok(Err(why)),
                Either::Right((Either::Right((run, _)), _)) => Err(run),
            }
        };
        let is_void = acted.is_err();
        let done = match acted {
            Ok(done) => done,
            Err(run) => {
                // Whoever waits for the lock need not.
                let _ = self.journals.release(&run).await;
                self.memory.is_void(&run);
                Err(format!("run {run} needs the primary, which is gone"))
            }
        };
        // Whatever it wrote is read anew, and what it healed or moved is looked
        // at: by what was last seen of it, it would be done again and again.
        self.past = None;
        if matches!(act, Act::Run(plan) if plan.heals().is_some() || plan.moves_records()) {
            self.looks = 0;
        }
        let now = self.world.clock.now();
        match &done {
            Ok(ran) if ran.outcome == Outcome::Succeeded || is_given_up(act, ran) => {
                self.memory.succeeded(act);
            }
            _ if is_void => {}
            _ => self.memory.failed(act, now),
        }
        let notice = match done {
            Ok(ran) => Notice::Ended {
                act: act.clone(),
                outcome: ran.outcome,
                entries: ran.entries,
            },
            Err(why) => Notice::Failed {
                act: act.clone(),
                why,
            },
        };
        self.notices.tell(&notice);
    }

    async fn run(&self, act: &Act, epoch: Epoch, observer: &Told<'_>) -> Result<Ran, String> {
        let interrupt = Interrupt::default();
        let runner = Runner {
            world: &self.world,
            store: &self.journals,
            observer,
            interrupt: &interrupt,
            who: &self.settings.who,
        };
        let ran = match act {
            Act::Run(plan) => {
                let run = self.new_run(epoch);
                if let Some(host) = plan.heals() {
                    self.count(&run, host).await?;
                }
                self.start(&runner, run, plan, epoch).await
            }
            Act::Resume(run) => runner.resume(run, false).await,
            Act::Abandon(run) => runner.resume(run, true).await,
        };
        ran.map_err(|error| chain(&error))
    }

    /// Before the run: also one that a dead leader began counts.
    async fn count(&self, run: &RunId, host: &HostName) -> Result<(), String> {
        let healed = Healed {
            run: run.to_string(),
            host: host.clone(),
            since: self.world.clock.wall(),
        };
        let within = self.settings.policy.heal.within;
        let counted = self.shared.healed(&healed, within).await;
        counted.map_err(|error| chain(&error))
    }

    async fn start(
        &self,
        runner: &Runner<'_>,
        run: RunId,
        plan: &Plan,
        epoch: Epoch,
    ) -> Result<Ran, RunError> {
        if plan.commit().is_some() {
            // Before the promotion: a leader that dies behind it must not
            // leave the next one free to fail over again at once.
            let cooldown = Cooldown {
                run: run.to_string(),
                since: self.world.clock.wall(),
            };
            let told = self
                .shared
                .cool_down(&cooldown, self.settings.cooldown)
                .await;
            if let Err(error) = told {
                self.notices.tell(&Notice::Blind(error.to_string()));
            }
        }
        runner.start(run, plan.clone(), &plan.digest(), epoch).await
    }

    /// Sortable by time; one epoch has one run.
    fn new_run(&self, epoch: Epoch) -> RunId {
        let wall = self.world.clock.wall();
        let digits: String = wall.chars().filter(char::is_ascii_digit).take(14).collect();
        RunId(format!("{digits}-{}-{epoch}", self.settings.host))
    }

    /// Comes when the database that the run has promoted, or that was primary
    /// before it, holds the right no more: whatever is left to do waits for it
    /// in vain, while nobody serves.
    async fn primary_lost(&self, act: &Act, told: &Told<'_>) -> RunId {
        loop {
            self.world.clock.sleep(self.settings.period).await;
            if let Some(run) = told.needed()
                && !matches!(act, Act::Abandon(_))
                && let Ok(state) = self.shared.state().await
                && state.primary.is_none()
            {
                return run;
            }
        }
    }

    /// Renews the lead while a run takes its time; ends when it is lost.
    async fn keep_leading(&self) -> String {
        let Some(session) = &self.session else {
            return "this watcher does not lead".to_owned();
        };
        let clock = &self.world.clock;
        let mut renewed = clock.now();
        loop {
            clock.sleep(self.settings.terms.renew_every).await;
            let sent = clock.now();
            match self.shared.quorum.renew(session.lease).await {
                Ok(()) => renewed = sent,
                Err(QuorumError::NoSuchLease(_)) => return "the lead is lost".to_owned(),
                Err(error) if clock.now() > self.settings.terms.deadline(renewed) => {
                    return format!("the lead could not be kept: {error}");
                }
                Err(_) => {}
            }
        }
    }

    /// Says what is new since the last look. Where nothing is to be done about
    /// it, only what lasts: one late answer is no news.
    pub(super) async fn account(&mut self, verdict: &Verdict) {
        if !self.news.is_new(verdict) {
            return;
        }
        self.notices.tell(&Notice::Decided {
            findings: verdict.findings.clone(),
            reaction: verdict.reaction.clone(),
        });
        let (host, at) = (&self.settings.host, self.world.clock.wall());
        if let Err(error) = self.shared.decided(verdict, host, &at).await {
            self.notices.tell(&Notice::Blind(error.to_string()));
        }
    }
}

/// What an abandoned run comes to.
fn is_given_up(act: &Act, ran: &Ran) -> bool {
    matches!(act, Act::Abandon(_)) && ran.outcome.is_final()
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Passes every entry of a run on.
struct Told<'a> {
    watcher: &'a Watcher,
    /// The run, once its promotion is done or where it has none.
    needs_primary: Mutex<Option<RunId>>,
}

impl Told<'_> {
    fn needed(&self) -> Option<RunId> {
        let needs = self.needs_primary.lock().expect("nobody panics in here");
        needs.clone()
    }
}

impl Observer for Told<'_> {
    fn entry(&self, entry: &Entry, progress: &Progress) {
        self.watcher.notices.entry(entry, progress);
        let commit = progress.plan.commit();
        let committed =
            commit.is_none_or(|commit| progress.state(commit.number) == StepState::Done);
        if committed && progress.plan.needs_primary() {
            let mut needs = self.needs_primary.lock().expect("nobody panics in here");
            *needs = Some(progress.run.clone());
        }
    }
}
