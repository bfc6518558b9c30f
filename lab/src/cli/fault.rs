//! `hafail-lab fault`.

use anyhow::bail;
use clap::Subcommand;

use super::status::report;
use crate::fabric::{cut, mend};
use crate::settings::Settings;
use crate::ui;

#[derive(Debug, Subcommand)]
pub(super) enum Fault {
    /// Cut a region from the operator, the internet and other regions. Ends by itself.
    CutRegion {
        region: String,
        /// How long: 30s, 5m.
        #[arg(long = "for", value_parser = seconds, value_name = "TIME")]
        time: u32,
    },
    /// End the cut of a region before its time.
    MendRegion { region: String },
}

fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let time = number
        .parse()
        .ok()
        .and_then(|n: u32| n.checked_mul(unit))
        .filter(|t| *t > 0);
    time.ok_or_else(|| format!("`{text}` is no time; give seconds or minutes, like 30s or 5m"))
}

pub(super) async fn run(settings: &Settings, fault: &Fault) -> anyhow::Result<()> {
    let (Fault::CutRegion { region, .. } | Fault::MendRegion { region }) = fault;
    let networks = report(settings).await?.networks;
    let here: Vec<_> = networks.iter().filter(|n| n.region == *region).collect();
    if here.is_empty() {
        let known: Vec<&str> = networks.iter().map(|n| n.region.as_str()).collect();
        bail!(
            "no network is in {region}; networks are in: {}",
            known.join(", ")
        );
    }
    for network in here {
        match fault {
            Fault::CutRegion { time, .. } => {
                cut(settings, &network.vpc, *time).await?;
                ui::data(&format!("{} is cut for {time} s\n", network.vpc))?;
            }
            Fault::MendRegion { .. } => {
                mend(settings, &network.vpc).await?;
                ui::data(&format!("{} is whole\n", network.vpc))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(
            (seconds("30s"), seconds("5m"), seconds("7")),
            (Ok(30), Ok(300), Ok(7))
        );
        for bad in ["0s", "-1s", "soon", "99999999999m"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
