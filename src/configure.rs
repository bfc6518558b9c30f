//! Makes hosts what playbooks say: fills everything in first, then works on
//! all hosts of a play at once, each over its one connection. Every step looks
//! before it acts, so a run can be repeated and goes on where it ended.

pub mod agent;
mod built_in;
mod compile;
mod diff;
mod host;
mod library;
pub mod outlook;
mod prepare;
mod report;
mod script;
mod secrets;
mod task;

use std::collections::BTreeMap;

use futures::future::join_all;
use tokio::time::Instant;

pub use library::{Library, LibraryError, Loaded, Source};
pub use report::{Counts, Durations, Entry, Event, Failure, Outcome, Report, StepEnded, Untold};
pub use secrets::{PLACEHOLDER, Redactor, Secrets, Tls};

use crate::{
    ids::{HostName, SiteName},
    inventory::Inventory,
    playbook::ParseError,
    ports::remote::Remote,
    topology::Topology,
};
use compile::{Compiled, LocalFiles};
use host::HostRun;
use report::Before;

/// Everything that a run stands on.
pub struct Request<'a> {
    pub library: &'a Library,
    /// Name of a playbook in the library.
    pub playbook: &'a str,
    pub topology: &'a Topology,
    pub inventory: &'a Inventory,
    pub secrets: &'a Secrets,
    /// Values for `vars` in templates.
    pub vars: BTreeMap<String, serde_json::Value>,
    pub options: Options,
}

/// What a run is limited to.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Show what would change, and change nothing.
    pub dry_run: bool,
    /// In a dry run: more than what these hosts need would change. What does
    /// not hold yet may hold then.
    pub more_would_change: bool,
    /// Only the hosts of these sites; all when empty.
    pub sites: Vec<SiteName>,
    /// Only these hosts; all when empty.
    pub hosts: Vec<HostName>,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("{what} `{name}` is not in the topology")]
    Unknown {
        what: &'static str,
        name: String,
        known: Vec<String>,
    },
}

impl ConfigureError {
    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Library(error) => error.remedy(),
            Self::Unknown { name, known, .. } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                crate::playbook::nearest(name, &known)
            }
        }
    }
}

impl From<Vec<ParseError>> for ConfigureError {
    fn from(problems: Vec<ParseError>) -> Self {
        Self::Library(LibraryError::Invalid { problems })
    }
}

/// Plays with everything filled in, ready to run.
pub struct Prepared {
    plays: Vec<PreparedPlay>,
    files: LocalFiles,
    redactor: Redactor,
    dry_run: bool,
    more_would_change: bool,
}

struct PreparedPlay {
    name: String,
    /// Stable over runs, for what is remembered on hosts.
    id: String,
    serial: bool,
    hosts: Vec<(HostName, Compiled)>,
}

/// Fills in all plays for all hosts; connects to nothing.
///
/// # Errors
/// No such playbook, site or host, or all mistakes in the playbooks.
pub fn prepare(request: &Request<'_>) -> Result<Prepared, ConfigureError> {
    prepare::prepare(request)
}

/// Tells of events while they happen.
pub type Events<'a> = &'a (dyn Fn(&Event) + Send + Sync);

impl Prepared {
    /// Runs the plays one after another. A host that fails ends its play;
    /// when others have ended it too, the run stops.
    pub async fn run(&self, remote: &dyn Remote, events: Events<'_>) -> Report {
        let report = std::sync::Mutex::new(Report {
            dry_run: self.dry_run,
            ..Report::default()
        });
        let tell = |event: &Event| {
            if let Ok(mut report) = report.lock() {
                report.add(event);
            }
            events(event);
        };
        let mut plays = self.plays.iter();
        for play in plays.by_ref() {
            let mut before = Before::default();
            if self.dry_run
                && let Ok(report) = report.lock()
            {
                before = report.before();
                before.unsettled |= self.more_would_change;
            }
            if !self.run_play(play, remote, &tell, &before).await && !self.dry_run {
                break;
            }
        }
        let not_begun = plays.map(|play| play.name.clone()).collect();
        let mut report = report.into_inner().unwrap_or_else(|held| held.into_inner());
        report.not_begun = not_begun;
        report
    }

    /// Whether all hosts did all of it.
    async fn run_play(
        &self,
        play: &PreparedPlay,
        remote: &dyn Remote,
        tell: Events<'_>,
        before: &Before,
    ) -> bool {
        let started = Instant::now();
        let hosts = play.hosts.iter();
        let hosts = hosts.filter(|(host, _)| !before.lost.contains(host));
        tell(&Event::PlayStarted {
            play: play.name.clone(),
            hosts: hosts.clone().map(|(host, _)| host.clone()).collect(),
        });
        let runs = hosts.map(|(host, compiled)| {
            let context = host::Context {
                remote,
                tell,
                redactor: &self.redactor,
                files: &self.files,
                dry_run: self.dry_run,
                before,
            };
            HostRun::new(context, host, play.name.as_str(), &play.id, compiled).run()
        });
        let mut succeeded = true;
        if play.serial {
            for run in runs {
                succeeded &= run.await;
                if !succeeded && !self.dry_run {
                    break;
                }
            }
        } else {
            succeeded = join_all(runs).await.into_iter().all(|done| done);
        }
        let took = started.elapsed();
        let play = play.name.clone();
        tell(&Event::PlayEnded { play, took });
        succeeded
    }
}
