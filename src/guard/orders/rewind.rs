//! `Rewind`: brings a diverged cluster back behind another, keeping what only
//! it had.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Done, NotDone, Result,
    standby::{GLANCE, want_standby},
};
use crate::{
    guard::{
        Guard,
        control::ClusterState,
        failpoint,
        server::{self, Mode},
        tools::{self, Divergence},
    },
    ids::{Epoch, HostName, Lsn, Timeline},
};

const STREAM: Duration = Duration::from_secs(30);

impl Guard {
    pub(super) async fn rewind(self: &Arc<Self>, epoch: Epoch, upstream: HostName) -> Result<Done> {
        self.require_not_primary()?;
        self.require_peer(&upstream)?;
        let Some(data) = self.data() else {
            return super::refused("no-cluster", "there is no data directory: order clone");
        };
        if self.follows_already(&upstream).await {
            return Ok(Done::Unchanged(format!("streams from {upstream}")));
        }
        let target = upstream.clone();
        self.accept(epoch, move |state| want_standby(state, target))
            .await?;
        self.stop_for_work(&data).await?;
        let what = match self.store.with(|state| state.rewinding.clone()) {
            Some(boot) if self.is_rewound(&boot, &data).await? => {
                self.end_rewind(&data).await?;
                "rewound".to_owned()
            }
            Some(_) => self.bring_back(&upstream, &data).await?,
            None => {
                self.settle(&data).await?;
                failpoint::pass("settled");
                self.bring_back(&upstream, &data).await?
            }
        };
        self.be_standby(&data).await?;
        match self.wait_streaming(&upstream, STREAM).await {
            Ok(()) => Ok(Done::Changed(format!("{what}; streams from {upstream}"))),
            Err(why) => Err(NotDone::Failed(format!(
                "{what}, and does not stream: {why}"
            ))),
        }
    }

    async fn follows_already(&self, upstream: &HostName) -> bool {
        let wanted = self.settings().upstream.as_ref() == Some(upstream);
        let whole = self.store.with(|state| state.rewinding.is_none());
        let running = matches!(self.find(), Ok(Some(_)));
        wanted && whole && running && self.wait_streaming(upstream, GLANCE).await.is_ok()
    }

    async fn bring_back(self: &Arc<Self>, upstream: &HostName, data: &Path) -> Result<String> {
        // The upstream's control file tells its timeline only since its first
        // checkpoint there.
        tools::psql(&self.config, upstream, "CHECKPOINT").await?;
        let divergence = tools::divergence(&self.config, upstream, data).await?;
        if divergence == Divergence::None && self.store.with(|state| state.rewinding.is_none()) {
            return Ok("had not diverged".to_owned());
        }
        let kept = match divergence {
            Divergence::At(lsn, timeline) => Some(self.keep_diverged(data, lsn, timeline).await?),
            Divergence::None | Divergence::Somewhere => None,
        };
        failpoint::pass("diverged log kept");
        let boot = self.boot.clone();
        self.remember(move |state| state.rewinding = Some(boot))
            .await?;
        failpoint::pass("rewind begins");
        tools::rewind(&self.config, upstream, data).await?;
        failpoint::pass("rewound");
        self.end_rewind(data).await?;
        Ok(match (divergence, kept) {
            (Divergence::At(lsn, timeline), Some(kept)) => format!(
                "rewound to {lsn} on timeline {timeline}, its own log kept in {}",
                kept.display()
            ),
            _ => "rewound".to_owned(),
        })
    }

    /// Whether a rewind that an earlier guard began was finished: pg_rewind
    /// writes the control file last, and of a cluster that had been settled.
    /// What was not synced before a boot proves nothing.
    async fn is_rewound(&self, boot: &str, data: &Path) -> Result<bool> {
        let control = tools::control(&self.config, data).await?;
        Ok(boot == self.boot
            && control.state == ClusterState::InArchiveRecovery
            && data.join("backup_label").exists())
    }

    /// The settings are the upstream's now, and are written anew before the
    /// start; the directory must not come up as a primary.
    async fn end_rewind(self: &Arc<Self>, data: &Path) -> Result<()> {
        server::signal_files(data, Mode::Standby)?;
        self.remember(|state| state.rewinding = None).await?;
        failpoint::pass("rewind ends");
        Ok(())
    }

    /// Keeps the log that only this cluster has, and a readable list of it.
    async fn keep_diverged(&self, data: &Path, from: Lsn, timeline: Timeline) -> Result<PathBuf> {
        let root = self.config.version_dir();
        let at = from.to_string().replace('/', "-");
        let kept = root.join(format!("diverged-{timeline}-{at}"));
        fs::create_dir_all(&kept)?;
        tools::waldump(
            &self.config,
            data,
            from,
            timeline,
            &kept.join("records.txt"),
        )
        .await?;
        let first = segment_name(from, timeline);
        for entry in fs::read_dir(data.join("pg_wal"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() == first.len() && name[..8] == first[..8] && name >= first {
                fs::copy(entry.path(), kept.join(name))?;
            }
        }
        Ok(kept)
    }
}

/// The file that holds a position, for segments of 16 MiB.
fn segment_name(lsn: Lsn, timeline: Timeline) -> String {
    let (high, low) = (lsn.0 >> 32, (lsn.0 & 0xFFFF_FFFF) >> 24);
    format!("{:08X}{high:08X}{low:08X}", timeline.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_as_postgresql_does() {
        let lsn = "16/B374D848".parse().unwrap();
        assert_eq!(segment_name(lsn, Timeline(2)), "0000000200000016000000B3");
    }
}
