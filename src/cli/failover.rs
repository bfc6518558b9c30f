//! `hafail failover`.

use super::{CommandError, Context, Exit, operating::{Desk, Shown}};
use crate::{
    decide::{Allowance, Intent},
    topology::Site,
};

/// Arguments of `hafail failover`.
#[derive(clap::Args)]
pub struct Args {
    /// Region (or site) that shall be active.
    #[arg(long, value_name = "REGION")]
    region: String,

    /// Leave the DNS records as they are.
    #[arg(long)]
    database_only: bool,

    /// Show the plan and do nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not ask before running the plan.
    #[arg(short, long)]
    yes: bool,

    /// Accept the loss of up to so many bytes of acknowledged log; `any`:
    /// whatever it is, known or not.
    #[arg(long, value_name = "BYTES", value_parser = allowance)]
    allow_data_loss: Option<Allowance>,

    /// Vouch that the old primary is fenced, and say how you know.
    #[arg(long, value_name = "WHY")]
    fenced_by_operator: Option<String>,
}

/// Switches over when the primary is healthy, fails over otherwise.
pub async fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let intent = Intent {
        region: args.region,
        database_only: args.database_only,
        allow_data_loss: args.allow_data_loss,
        fenced_by_operator: args.fenced_by_operator,
    };
    let topology = context.topology()?;
    // Known without a look: nobody should wait for it.
    if !topology.site_in(&intent.region).is_some_and(Site::serves) {
        return Err(crate::decide::no_such_region(&topology, &intent.region).into());
    }
    let desk = Desk::open(context, topology).await?;
    let ground = desk.look().await?;
    let plan = ground.failover(&desk.topology, &intent)?;
    match desk.show(&plan, args.dry_run, args.yes)? {
        Shown::Only => Ok(Exit::Success),
        Shown::Declined => Ok(Exit::Interrupted),
        Shown::Approved(digest) => desk.start(&ground, plan, &digest).await,
    }
}

fn allowance(text: &str) -> Result<Allowance, String> {
    if text == "any" {
        return Ok(Allowance::Any);
    }
    let bytes = text.parse().map_err(|_| "give a number of bytes, or `any`".to_owned());
    bytes.map(Allowance::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_number_or_any() {
        assert_eq!(allowance("any"), Ok(Allowance::Any));
        assert_eq!(allowance("1024"), Ok(Allowance::Bytes(1024)));
        assert!(allowance("1 MB").is_err());
    }
}
