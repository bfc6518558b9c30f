//! The guard's part of automatic coordination.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::right::Terms;

/// Where the shared store is, and the terms of the right to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coordination {
    /// The members of the store, such as `https://site1-lb:2379`.
    pub endpoints: Vec<String>,
    /// Below which the keys of this deployment are.
    pub prefix: String,
    pub terms: TermsMs,
    /// What a lost standby does to commits that wait for it.
    #[serde(default)]
    pub on_standby_loss: OnStandbyLoss,
    /// A PostgreSQL that has ended may take so long to accept writes again
    /// before the right is given back.
    #[serde(default = "default_restart")]
    pub restart_within_ms: u64,
    /// In memory and gone with a boot: the deadline, for the dead-man.
    #[serde(default = "default_runtime")]
    pub runtime_dir: PathBuf,
}

/// [`Terms`] in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsMs {
    pub ttl_ms: u64,
    pub renew_every_ms: u64,
    pub rpc_timeout_ms: u64,
    pub kill_time_ms: u64,
    pub drift_margin_ms: u64,
}

/// What happens when a standby that confirms commits is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStandbyLoss {
    /// Commits go on without it; it is no candidate any more.
    #[default]
    Degrade,
    /// Commits wait until it is back.
    Block,
}

fn default_restart() -> u64 {
    700
}

/// Where it is when not stated.
pub(super) fn default_runtime() -> PathBuf {
    "/run/hafail-guard".into()
}

impl Coordination {
    #[must_use]
    pub fn terms(&self) -> Terms {
        let ms = Duration::from_millis;
        Terms {
            ttl: ms(self.terms.ttl_ms),
            renew_every: ms(self.terms.renew_every_ms),
            rpc_timeout: ms(self.terms.rpc_timeout_ms),
            kill_time: ms(self.terms.kill_time_ms),
            drift_margin: ms(self.terms.drift_margin_ms),
        }
    }

    /// How long PostgreSQL may take to come up again.
    #[must_use]
    pub fn restart_within(&self) -> Duration {
        Duration::from_millis(self.restart_within_ms)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.endpoints.is_empty() {
            problems.push("coordination.endpoints: there is none".to_owned());
        }
        if let Err(error) = self.terms().check() {
            problems.push(format!("coordination.terms: {error}"));
        }
        problems
    }
}
