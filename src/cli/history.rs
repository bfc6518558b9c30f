//! `hafail history`.

use super::{CommandError, Context, Exit, operating};
use crate::{
    history::{HistoryError, journals},
    ports::store::Store,
    report::{Report, report},
};

/// Arguments of `hafail history`.
#[derive(clap::Args)]
pub struct Args {
    /// Show this run with all its steps; without it, all runs.
    run: Option<String>,
}

/// Shows the runs, newest last: those of this machine, or, where a store is
/// shared, of everybody.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let store: Box<dyn Store> = if topology.is_automatic() {
        let world = context.some_deployment(&topology).await?.world;
        operating::journals(context, &topology, &world).await?
    } else {
        Box::new(operating::store(context, &topology)?)
    };
    let mut reports = Vec::new();
    for (run, entries) in journals(store.as_ref()).await? {
        reports.push(report(&run, &entries).map_err(HistoryError::from)?);
    }
    match args.run {
        Some(run) => one(context, &reports, &run),
        None => {
            let lines: Vec<_> = reports.iter().map(line).collect();
            let text = if lines.is_empty() { "no run yet".to_owned() } else { lines.join("\n") };
            context.ui.data(&text, &reports);
            Ok(Exit::Success)
        }
    }
}

fn one(context: &Context, reports: &[Report], run: &str) -> Result<Exit, CommandError> {
    let found = reports.iter().find(|report| report.run.0 == run);
    let report = found.ok_or_else(|| {
        CommandError::new(Exit::Invalid, format!("there is no run {run}"))
            .id("no-such-run")
            .hint("hafail history")
    })?;
    let steps = report.steps.iter().map(|step| {
        let took = step.duration_ms.map_or_else(String::new, |ms| format!("{ms} ms"));
        format!("  {:>2} {:<8} {:>9}  {}: {}", step.number, step.state, took, step.what, step.result)
    });
    let text = format!("{report}\n{}", steps.collect::<Vec<_>>().join("\n"));
    context.ui.data(&text, report);
    Ok(Exit::Success)
}

fn line(report: &Report) -> String {
    let outage = report.write_outage_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let proof = report.proof.as_ref().map_or("-", |proof| proof.kind.word());
    format!(
        "{}  {:<10} {:<11} {} → {}  proof {proof}  write outage {outage}",
        report.run, report.kind, report.outcome, report.old_primary, report.new_primary
    )
}
