//! `hafail why`.

use super::{CommandError, Context, Exit, operating};
use crate::{
    coordination::Decision,
    decide::{Act, Reaction},
};

/// Arguments of `hafail why`.
#[derive(clap::Args)]
pub struct Args {
    /// How many decisions, newest first.
    #[arg(long, default_value_t = 3, value_name = "N")]
    last: usize,
}

/// Says what the watchers decided last, with the evidence.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let shared = operating::shared(context, &topology).await?;
    let mut decisions = shared.decisions().await?;
    decisions.reverse();
    decisions.truncate(args.last);
    let told: Vec<_> = decisions.iter().map(tell).collect();
    let text = if told.is_empty() {
        "no watcher has decided anything yet".to_owned()
    } else {
        told.join("\n\n")
    };
    context.ui.data(&text, &decisions);
    Ok(Exit::Success)
}

fn tell(decision: &Decision) -> String {
    let mut lines = vec![format!("{}  watcher on {}", decision.at, decision.by)];
    let seen = decision.findings.iter().cloned();
    let seen = seen.flat_map(crate::decide::Finding::sentences);
    lines.extend(seen.map(|sentence| format!("  saw      {sentence}")));
    let rules = crate::decide::Finding::rules(&decision.findings);
    lines.extend(rules.map(|rule| format!("  rule     {rule}")));
    match &decision.reaction {
        Reaction::Rest => lines.push("  decided  nothing to do".to_owned()),
        Reaction::Wait { why } => lines.push(format!("  decided  to wait: {why}")),
        Reaction::Act(act) => lines.extend(acts("decided  to", act)),
        Reaction::Withheld { act, why } => {
            lines.extend(acts("would   ", act));
            lines.push(format!("  did not  {why}"));
        }
        Reaction::Blocked(refusal) => {
            lines.push(format!(
                "  blocked  ({}) {}",
                refusal.reason.id(),
                refusal.message
            ));
            let evidence = refusal.evidence.iter();
            lines.extend(evidence.map(|evidence| format!("           {evidence}")));
            let next = refusal.next.iter();
            lines.extend(next.map(|next| format!("  unblock  {next}")));
        }
    }
    lines.join("\n")
}

fn acts(verb: &str, act: &Act) -> Vec<String> {
    let mut lines = vec![format!("  {verb} {}", act.sentence())];
    if let Act::Run(plan) = act {
        lines.extend(plan.because.iter().map(|because| format!("  because  {because}")));
    }
    lines
}
