//! What is not as it should be, with the next command. The first finding is
//! the one to act on.

use serde::Serialize;

use super::{automatic, databases, places, store, view::View};
use crate::{
    observation::{Knowledge, WriteAnswer},
    ports::store::Holder,
    topology::{Role, Topology},
};

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// All is well.
    Good,
    /// Could not be seen; says nothing about the thing itself.
    Unseen,
    /// Works, with less protection or capacity than wanted.
    Degraded,
    /// Users notice, or data is at risk.
    Critical,
}

/// Something that follows from what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable id for programs, such as `standby-not-streaming`.
    pub id: &'static str,
    pub severity: Severity,
    /// One sentence with its evidence.
    pub text: String,
    /// What to run next; none: nothing, or it ends by itself.
    pub next: Option<String>,
}

impl Finding {
    pub(super) fn new(id: &'static str, severity: Severity, text: impl Into<String>) -> Self {
        Self {
            id,
            severity,
            text: text.into(),
            next: None,
        }
    }

    pub(super) fn next(mut self, command: impl Into<String>) -> Self {
        self.next = Some(command.into());
        self
    }
}

/// All that follows, the gravest first; when nothing is wrong, the one finding
/// that says so.
#[must_use]
pub fn findings(topology: &Topology, view: &View) -> Vec<Finding> {
    if nothing_exists(view) {
        let text = "no host of this topology exists";
        return vec![Finding::new("not-deployed", Severity::Critical, text).next("hafail deploy")];
    }
    let mut all = Vec::new();
    all.extend(runs(view));
    all.extend(automatic::findings(topology, view));
    all.extend(databases::databases(topology, view));
    all.extend(writes(topology, view));
    let dark = places::dark_sites(topology, view).into_iter();
    // The diagnosis names the primary's site by itself.
    let diagnosed = all.iter().any(|finding| finding.id == places::SITE_DARK);
    all.extend(dark.filter(|finding| !diagnosed || finding.id != places::SITE_DARK));
    all.extend(places::balancers(topology, view));
    all.extend(places::doors(topology, view));
    all.extend(places::queues(topology, view));
    all.extend(places::names(topology, view));
    all.extend(places::hosts(topology, view));
    all.extend(store::findings(view));
    // Stable: equal severities stay in the order of the checks above.
    all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    if all.is_empty() {
        all.push(healthy(topology, view));
    }
    all
}

fn nothing_exists(view: &View) -> bool {
    !view.hosts.is_empty() && view.hosts.values().all(|facts| *facts == Knowledge::Absent)
}

fn runs(view: &View) -> Vec<Finding> {
    let runs = view.runs.known().map(Vec::as_slice).unwrap_or_default();
    let unfinished = runs.iter().filter(|run| run.unfinished);
    let mut found: Vec<Finding> = unfinished
        .map(|run| {
            if let Some(holder) = worked_on(view, &run.id) {
                let text = format!("{holder} works on run {} ({})", run.id, run.what);
                return Finding::new("run-under-way", Severity::Degraded, text);
            }
            let text = format!("run {} ({}) is {}", run.id, run.what, run.outcome);
            Finding::new("run-unfinished", Severity::Critical, text).next("hafail resume")
        })
        .collect();
    if let Knowledge::Unknown { why, .. } = &view.runs {
        let text = format!("the journal cannot be read: {why}");
        found.push(Finding::new("journal-unseen", Severity::Unseen, text));
    }
    found
}

/// Who holds the lock for that run, by the shared store.
fn worked_on<'a>(view: &'a View, run: &str) -> Option<&'a Holder> {
    let lock = view.automatic.known()?.lock.as_ref();
    lock.filter(|holder| holder.run.0 == run)
}

/// What a write through each site's load balancer says. Without any primary
/// that is the finding already.
fn writes(topology: &Topology, view: &View) -> Vec<Finding> {
    if view.primary().is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (site, answer) in &view.snapshot.writes {
        let Some(site) = topology.sites.get(site) else {
            continue;
        };
        if let Knowledge::Known(WriteAnswer::NotAcknowledged { why }) = answer {
            let text = format!(
                "a write through the load balancer of {} was not acknowledged: {why}",
                site.name
            );
            found.push(Finding::new("write-failed", Severity::Critical, text).next("hafail logs"));
        }
    }
    found
}

fn healthy(topology: &Topology, view: &View) -> Finding {
    let mut text = "all is as it should be".to_owned();
    if let (Some(site), Some(primary)) = (view.active_site(topology), view.primary()) {
        let region = topology
            .sites
            .get(site)
            .map_or("", |site| site.region.as_str());
        text = format!("{site} ({region}) is active, {} is primary", primary.host);
        for host in topology.hosts_with(Role::Db) {
            let row = primary.postgres.standbys.get(host.name.as_str());
            if let Some(row) = row {
                text.push_str(&format!(
                    ", {} {} ({})",
                    host.name, row.state, row.sync_state
                ));
            }
        }
    }
    Finding::new("healthy", Severity::Good, text)
}
