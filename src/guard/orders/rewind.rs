//! `Rewind`: brings a diverged cluster back behind another, keeping what only
//! it had.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Done, NotDone, Result, standby::want_standby};
use crate::{
    guard::{
        Guard, failpoint,
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
        if !self.store.with(|state| state.rewinding) {
            self.settle(&data).await?;
            failpoint::pass("settled");
        }
        let what = self.bring_back(&upstream, &data).await?;
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
        let whole = !self.store.with(|state| state.rewinding);
        let running = matches!(self.find(), Ok(Some(_)));
        wanted && whole && running && self.wait_streaming(upstream, Duration::ZERO).await.is_ok()
    }

    async fn bring_back(self: &Arc<Self>, upstream: &HostName, data: &Path) -> Result<String> {
        // The upstream's control file tells its timeline only since its first
        // checkpoint there.
        tools::psql(&self.config, upstream, "CHECKPOINT").await?;
        let divergence = tools::divergence(&self.config, upstream, data).await?;
        if divergence == Divergence::None && !self.store.with(|state| state.rewinding) {
            return Ok("had not diverged".to_owned());
        }
        let kept = match divergence {
            Divergence::At(lsn, timeline) => Some(self.keep_diverged(data, lsn, timeline).await?),
            Divergence::None | Divergence::Somewhere => None,
        };
        failpoint::pass("diverged log kept");
        self.remember(|state| state.rewinding = true).await?;
        failpoint::pass("rewind begins");
        tools::rewind(&self.config, upstream, data).await?;
        failpoint::pass("rewound");
        // Its settings are the upstream's now; they are written anew before
        // the start, and the directory must not come up as a primary.
        crate::guard::server::signal_files(data, crate::guard::server::Mode::Standby)?;
        self.remember(|state| state.rewinding = false).await?;
        failpoint::pass("rewind ends");
        Ok(match (divergence, kept) {
            (Divergence::At(lsn, timeline), Some(kept)) => format!(
                "rewound to {lsn} on timeline {timeline}, its own log kept in {}",
                kept.display()
            ),
            _ => "rewound".to_owned(),
        })
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
