//! What the commands that operate share: the desk with the world, the journal
//! and the terminal.

use std::sync::Arc;

use super::{CommandError, Context, Exit, Output};
use crate::{
    adapters::journal_file::JournalDirectory,
    coordination::{Shared, SharedJournals},
    decide::Refusal,
    ground::Ground,
    history::HistoryError,
    journal::{Entry, Event, Outcome, Progress},
    plan::Plan,
    ports::{
        World,
        clock::Clock,
        quorum::QuorumError,
        store::{Holder, RunId, Store, StoreError},
    },
    report::report,
    run::{Interrupt, Observer, Ran, RunError, Runner, Who},
    topology::Topology,
};

/// Where an operator works.
pub(super) struct Desk<'a> {
    context: &'a Context,
    pub topology: Topology,
    pub store: Box<dyn Store>,
    world: World,
}

/// What became of a plan that was shown.
pub(super) enum Shown {
    /// It was a dry run.
    Only,
    /// The operator said no.
    Declined,
    /// The plan of this digest may run.
    Approved(String),
}

/// The journals of a deployment on this machine.
pub(super) fn store(
    context: &Context,
    topology: &Topology,
) -> Result<JournalDirectory, CommandError> {
    Ok(JournalDirectory::open(&context.home.join(&topology.name))?)
}

/// The journals of a deployment, and the lock of its runs: in the shared store
/// where there is one, else on this machine.
///
/// # Errors
/// The shared store does not answer.
pub(super) async fn journals(
    context: &Context,
    topology: &Topology,
    world: &World,
) -> Result<Box<dyn Store>, CommandError> {
    let Some(journals) = shared_journals(topology, world) else {
        return Ok(Box::new(store(context, topology)?));
    };
    journals.shared().state().await?;
    Ok(Box::new(journals))
}

/// The journals in the shared store, where there is one; asks nobody.
pub(super) fn shared_journals(topology: &Topology, world: &World) -> Option<SharedJournals> {
    let quorum = world.quorum.as_ref()?;
    let shared = Shared::new(Arc::clone(quorum), &topology.name);
    let clock = Arc::clone(&world.clock);
    Some(SharedJournals::new(shared, topology.lease, clock))
}

/// The shared store of a deployment.
///
/// # Errors
/// Nothing is automatic in this topology, or the store does not answer.
pub(super) async fn shared(context: &Context, topology: &Topology) -> Result<Shared, CommandError> {
    if !topology.is_automatic() {
        return Err(
            CommandError::new(Exit::Invalid, "nothing is automatic in this topology")
                .id("not-automatic")
                .hint("state `coordination: etcd` and three places, then hafail deploy"),
        );
    }
    let world = context.some_deployment(topology).await?.world;
    let quorum = world.quorum.expect("an automatic topology has a store");
    let shared = Shared::new(quorum, &topology.name);
    shared.state().await?;
    Ok(shared)
}

impl From<QuorumError> for CommandError {
    fn from(error: QuorumError) -> Self {
        Self::new(Exit::Access, "the shared store does not answer")
            .id("store-lost")
            .because(&error)
            .hint("see which members run: hafail status")
            .hint("give a lost member its place again: hafail run deploy-etcd --host HOST")
    }
}

impl<'a> Desk<'a> {
    pub async fn open(context: &'a Context, topology: Topology) -> Result<Self, CommandError> {
        let world = context.some_deployment(&topology).await?.world;
        let store = journals(context, &topology, &world).await?;
        Ok(Self {
            context,
            topology,
            store,
            world,
        })
    }

    pub fn clock(&self) -> &dyn Clock {
        self.world.clock.as_ref()
    }

    /// Looks at everything.
    pub async fn look(&self) -> Result<Ground, CommandError> {
        Ok(Ground::look(&self.topology, &self.world, self.store.as_ref()).await?)
    }

    /// Shows a plan and asks, where somebody can answer.
    pub fn show(&self, plan: &Plan, dry_run: bool, yes: bool) -> Result<Shown, CommandError> {
        let ui = &self.context.ui;
        let digest = plan.digest();
        if dry_run {
            let document = serde_json::json!({ "digest": digest, "plan": plan });
            ui.data(&plan.to_string(), &document);
            return Ok(Shown::Only);
        }
        ui.status(&plan.to_string());
        if yes {
            return Ok(Shown::Approved(digest));
        }
        if !ui.interactive {
            return Err(
                CommandError::new(Exit::Usage, "nobody is here to approve the plan")
                    .id("not-approved")
                    .hint("read the plan above, then give --yes"),
            );
        }
        let approved = inquire::Confirm::new("Run this plan?")
            .with_default(false)
            .prompt();
        Ok(match approved {
            Ok(true) => Shown::Approved(digest),
            _ => Shown::Declined,
        })
    }

    /// Runs a plan that was approved.
    pub async fn start(
        &self,
        ground: &Ground,
        plan: Plan,
        shown: &str,
    ) -> Result<Exit, CommandError> {
        let run = self.new_run();
        let epoch = ground.next_epoch();
        self.watched(&run, async |runner| {
            runner.start(run.clone(), plan, shown, epoch).await
        })
        .await
    }

    /// Goes on with a run.
    pub async fn resume(&self, run: &RunId, abandon: bool) -> Result<Exit, CommandError> {
        self.watched(run, async |runner| runner.resume(run, abandon).await)
            .await
    }

    /// Lets a runner work while Ctrl-C is heard, and reports.
    async fn watched(
        &self,
        run: &RunId,
        work: impl AsyncFnOnce(Runner<'_>) -> Result<Ran, RunError>,
    ) -> Result<Exit, CommandError> {
        let (interrupt, who) = (Arc::new(Interrupt::default()), who());
        let observer = Terminal(self.context);
        let heard = tokio::spawn(hear(Arc::clone(&interrupt)));
        let runner = Runner {
            world: &self.world,
            store: self.store.as_ref(),
            observer: &observer,
            interrupt: &interrupt,
            who: &who,
        };
        let result = work(runner).await;
        heard.abort();
        self.report(run, &result?)
    }

    fn report(&self, run: &RunId, ran: &Ran) -> Result<Exit, CommandError> {
        let report = report(run, &ran.entries).map_err(HistoryError::from)?;
        self.context.ui.data(&report.to_string(), &report);
        if self.context.ui.output == Output::Text {
            hint(self.context, ran.outcome);
        }
        Ok(match ran.outcome {
            Outcome::Succeeded => Exit::Success,
            Outcome::Unwound | Outcome::Abandoned | Outcome::Superseded => Exit::Failed,
            Outcome::Stuck => Exit::Stuck,
            Outcome::Interrupted => Exit::Interrupted,
        })
    }

    /// Sortable by time, and unlike any other machine's.
    fn new_run(&self) -> RunId {
        let wall = self.world.clock.wall();
        let digits: String = wall.chars().filter(char::is_ascii_digit).take(14).collect();
        let random = uuid::Uuid::now_v7().simple().to_string();
        RunId(format!("{digits}-{}", &random[random.len() - 6..]))
    }
}

async fn hear(interrupt: Arc<Interrupt>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        interrupt.set();
    }
}

fn hint(context: &Context, outcome: Outcome) {
    let line = match outcome {
        Outcome::Succeeded => return,
        Outcome::Unwound => "nothing was changed for good; mend what failed, then again",
        Outcome::Stuck | Outcome::Interrupted => {
            "go on: hafail resume (or give it up: hafail resume --abandon)"
        }
        Outcome::Abandoned | Outcome::Superseded => "see where things stand: hafail status",
    };
    context.ui.status(&format!("hint: {line}"));
}

pub(super) fn who() -> Who {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Who {
        operator: variable("SUDO_USER")
            .or_else(|| variable("USER"))
            .unwrap_or_else(|| "unknown".to_owned()),
        machine,
        process: std::process::id(),
    }
}

/// One line for each event.
struct Terminal<'a>(&'a Context);

impl Observer for Terminal<'_> {
    fn entry(&self, entry: &Entry, progress: &Progress) {
        let name = |step: &usize| {
            let planned = progress.plan.step(*step);
            planned.map_or_else(String::new, |planned| planned.step.to_string())
        };
        let line = match &entry.event {
            Event::StepDone {
                step,
                what,
                milliseconds,
                ..
            } => {
                format!("  ✓ {step:>2}  {what} ({milliseconds} ms)")
            }
            Event::StepFailed { step, why, .. } => format!("  ✗ {step:>2}  {}: {why}", name(step)),
            Event::UndoBegun { why } => format!("  going back: {why}"),
            Event::UndoDone { step, what } => format!("  ↶ {step:>2}  {what}"),
            Event::UndoFailed { step, why } => format!("  ✗ {step:>2}  cannot be undone: {why}"),
            Event::Resumed { .. } => format!("going on with run {}", progress.run),
            Event::RunStarted(_) => format!("run {} (epoch {})", progress.run, progress.epoch),
            Event::StepStarted { .. }
            | Event::UndoStarted { .. }
            | Event::ProofRecorded(_)
            | Event::WritesSeen(_)
            | Event::Stopped { .. } => return,
        };
        self.0.ui.status(&line);
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        let exit = match refusal.reason {
            crate::decide::Reason::RunInProgress => Exit::Locked,
            _ => Exit::Refused,
        };
        let message = format!("refused ({}): {}", refusal.reason.id(), refusal.message);
        let mut error = Self::new(exit, message).id(refusal.reason.id());
        error.details = serde_json::json!({ "evidence": refusal.evidence });
        error.causes.extend(refusal.evidence);
        error.hints.extend(refusal.next);
        error
    }
}

/// What to do after a holder that left a journal.
fn resume(holder: &Holder) -> &'static str {
    match holder.has_journal() {
        true => "; if it was broken off: hafail resume",
        false => "",
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Held(holder) => Self::new(Exit::Locked, error.to_string())
                .id("run-in-progress")
                .hint(format!(
                    "wait until it has ended, then run this again{}",
                    resume(holder)
                ))
                .hint(format!(
                    "if nobody needs it any more, end it by Ctrl-C or: kill {} (on {}); the lock ends with its process",
                    holder.process, holder.machine
                )),
            StoreError::NoSuchRun(_) => Self::new(Exit::Invalid, error.to_string())
                .id("no-such-run")
                .hint("hafail history"),
            StoreError::Failed { .. } => Self::new(Exit::Failed, "the journal cannot be used")
                .because(&error)
                .id("journal")
                .hint("see that the directory of --home is yours and has room"),
        }
    }
}

impl From<HistoryError> for CommandError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Store(error) => error.into(),
            error => Self::failed("the journal cannot be understood", &error)
                .id("journal")
                .hint("another version of hafail may have written it; use that one"),
        }
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Store(error) => error.into(),
            RunError::Ended { .. } => {
                Self::new(Exit::Failed, error.to_string()).hint("hafail history")
            }
            error => Self::failed("the run stopped", &error).hint("hafail resume"),
        }
    }
}
