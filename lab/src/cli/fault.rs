//! `hafail-lab fault`.

use anyhow::bail;
use clap::Subcommand;

use super::host::container;
use super::status::report;
use crate::fabric::{cut, mend};
use crate::machines::{freeze, give_disk, thaw};
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
    /// Let an instance stand still, like a paused virtual machine. Ends by itself.
    Freeze {
        /// Id or tag `Name`.
        host: String,
        /// How long: 30s, 5m.
        #[arg(long = "for", value_parser = seconds, value_name = "TIME")]
        time: u32,
    },
    /// Let an instance go on before its time.
    Thaw { host: String },
    /// Put a directory of an instance on a small disk of its own, which can be
    /// filled, or frozen by `fsfreeze`. It is gone when the instance stops.
    GiveDisk {
        /// Id or tag `Name`.
        host: String,
        directory: String,
        /// In MiB.
        #[arg(long, default_value_t = 512, value_name = "MIB")]
        size: u32,
    },
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
    match fault {
        Fault::CutRegion { region, time } => {
            for vpc in networks(settings, region).await? {
                cut(settings, &vpc, *time).await?;
                ui::data(&format!("{vpc} is cut for {time} s\n"))?;
            }
        }
        Fault::MendRegion { region } => {
            for vpc in networks(settings, region).await? {
                mend(settings, &vpc).await?;
                ui::data(&format!("{vpc} is whole\n"))?;
            }
        }
        Fault::Freeze { host, time } => {
            freeze(&container(settings, host).await?, *time).await?;
            ui::data(&format!("{host} stands still for {time} s\n"))?;
        }
        Fault::Thaw { host } => {
            thaw(&container(settings, host).await?).await?;
            ui::data(&format!("{host} goes on\n"))?;
        }
        Fault::GiveDisk {
            host,
            directory,
            size,
        } => {
            let container = container(settings, host).await?;
            let holder = settings.file(&format!("{container}.disk"));
            give_disk(&container, directory, *size, &holder.to_string_lossy()).await?;
            ui::data(&format!("{directory} of {host} is a disk of {size} MiB\n"))?;
        }
    }
    Ok(())
}

/// The networks of a region.
async fn networks(settings: &Settings, region: &str) -> anyhow::Result<Vec<String>> {
    let networks = report(settings).await?.networks;
    let here = networks.iter().filter(|n| n.region == region);
    let here: Vec<_> = here.map(|n| n.vpc.clone()).collect();
    if here.is_empty() {
        let known: Vec<&str> = networks.iter().map(|n| n.region.as_str()).collect();
        bail!(
            "no network is in {region}; networks are in: {}",
            known.join(", ")
        );
    }
    Ok(here)
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
