//! `hafail destroy`.

use serde::Serialize;

use super::{CommandError, Context, Exit, lock::Lock, provisioning::Provisioning};
use crate::{
    ports::cloud::Cloud,
    provision::{
        self, Applied, Changes,
        render::{self, Counts},
    },
    topology::Topology,
};

/// Arguments of `hafail destroy`.
#[derive(clap::Args)]
pub struct Args {
    /// Do not ask for the name of the deployment.
    #[arg(short, long)]
    yes: bool,

    /// Show what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The result for programs.
#[derive(Serialize)]
struct Document {
    topology: String,
    planned: Counts,
    applied: Applied,
}

/// Removes everything that `deploy` made in the cloud, and nothing else.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    if args.dry_run {
        let look = Provisioning::look(context, &topology, false).await?;
        let changes = provision::removal(&look.wanted, &look.found);
        let document = render::document(&topology.name, &changes, &look.found);
        context.ui.data(&render::text(&changes), &document);
        return Ok(Exit::Success);
    }
    let (changes, applied) = remove(context, &topology, args.yes).await?;
    context.ui.data(
        &summary(context, &topology, &changes),
        &Document {
            topology: topology.name.clone(),
            planned: render::counts(&changes),
            applied,
        },
    );
    Ok(Exit::Success)
}

/// Shows what there is, asks, and removes it. The lock is held from when the
/// cloud is looked at; a question does not hold it, but what it was about must
/// still be so afterwards.
async fn remove(
    context: &Context,
    topology: &Topology,
    yes: bool,
) -> Result<(Changes, Applied), CommandError> {
    let mut lock = lock(context, topology).await?;
    let mut look = Provisioning::look(context, topology, false).await?;
    let changes = provision::removal(&look.wanted, &look.found);
    if changes.is_empty() {
        return Ok((changes, Applied::default()));
    }
    context.ui.status(&render::text(&changes));
    if let Some(run) = lock.unfinished().await? {
        context.ui.warning(&format!(
            "run {run} has not ended; after this there is nothing left to resume"
        ));
    }
    if !yes {
        drop(lock);
        confirm(context, topology)?;
        lock = self::lock(context, topology).await?;
        look = Provisioning::look(context, topology, false).await?;
        if provision::removal(&look.wanted, &look.found) != changes {
            let message = "what would be removed is not what was shown any more; nothing was removed";
            return Err(CommandError::new(Exit::Refused, message)
                .id("plan-outdated")
                .hint("run it again and read the new list"));
        }
    }
    let unfinished = lock.unfinished().await?;
    lock.store_goes();
    let applied = look.apply(context, &changes).await?;
    nothing_left(topology, &look).await?;
    if let Some(run) = unfinished {
        lock.bury(&run).await?;
    }
    Ok((changes, applied))
}

async fn lock(context: &Context, topology: &Topology) -> Result<Lock, CommandError> {
    Lock::take(context, topology, "destroy").await
}

fn confirm(context: &Context, topology: &Topology) -> Result<(), CommandError> {
    let name = &topology.name;
    if !context.ui.interactive {
        let message = format!("removing {name} needs a confirmation, and there is no terminal");
        return Err(CommandError::new(Exit::Usage, message)
            .id("not-confirmed")
            .hint("read the list above, then: hafail destroy --yes"));
    }
    let question = format!("All data of {name} will be lost. Type its name to go on:");
    match inquire::Text::new(&question).prompt() {
        Ok(answer) if answer.trim() == name => Ok(()),
        Ok(_) | Err(_) => Err(CommandError::new(
            Exit::Interrupted,
            "not confirmed; nothing was removed",
        )
        .id("not-confirmed")),
    }
}

/// What another run made meanwhile would be left over.
async fn nothing_left(topology: &Topology, look: &Provisioning) -> Result<(), CommandError> {
    let found = look.cloud.discover(&provision::scope(topology)).await?;
    let left = provision::removal(&look.wanted, &found);
    if left.is_empty() {
        return Ok(());
    }
    let message = format!("something is left, made while this ran:\n{}", render::text(&left));
    Err(CommandError::new(Exit::Failed, message)
        .id("left-over")
        .hint("hafail destroy again"))
}

fn summary(context: &Context, topology: &Topology, changes: &Changes) -> String {
    let name = &topology.name;
    if changes.is_empty() {
        return format!("{name}: nothing to remove");
    }
    let removed = render::counts(changes).delete;
    let secrets = context.home.join(name);
    format!(
        "{name}: {removed} resources removed\nsecrets and journals are still in {}",
        secrets.display()
    )
}
