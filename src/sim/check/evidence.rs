//! Why watchers act: never because nothing is known. The checker keeps what
//! truly was, and what watchers said, and asks it whenever one begins a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    coordination::Said,
    ids::{HostName, SiteName},
    journal::RunStarted,
    step::Step,
};

use super::super::{Core, State, guard, watcher::OPERATOR};

/// What was so until then justifies a run that begins now: a watcher may sleep
/// between its look and its first record, and the store may be silent.
const WHILE_AGO: Duration = Duration::from_secs(60);
/// Of three places.
const MAJORITY: usize = 2;

/// When what justifies a run was last so; none: never.
#[derive(Default)]
pub(in crate::sim) struct Evidence {
    /// Nobody held the right to write.
    free: Option<Duration>,
    /// Two places elsewhere said that they reach no load balancer there.
    dark: BTreeMap<SiteName, Duration>,
    /// The same now.
    dark_now: BTreeSet<SiteName>,
}

impl Core {
    /// Some keys of the store have changed.
    pub(in crate::sim) fn heed_evidence(&mut self, keys: &[String]) {
        if !self.state.settings.watched {
            return;
        }
        let now = self.now();
        let right = guard::key("primary");
        if keys.contains(&right) && self.known().is_anew(&right) {
            // It is free before it is taken.
            self.state.ledger.evidence.free = Some(now);
        }
        let said = guard::key("said/");
        if keys.iter().any(|key| key.starts_with(&said)) {
            let dark = self.state.said_to_be_dark(&said);
            let evidence = &mut self.state.ledger.evidence;
            let before = std::mem::replace(&mut evidence.dark_now, dark);
            for site in before {
                evidence.dark.insert(site, now);
            }
        }
    }
}

impl State {
    fn said_to_be_dark(&self, prefix: &str) -> BTreeSet<SiteName> {
        let quorum = self.quorum.as_ref();
        let said = quorum.map(|quorum| quorum.below(prefix));
        let said: Vec<(SiteName, Said)> = (said.into_iter().flatten())
            .filter_map(|(place, text)| {
                let place: HostName = place.parse().ok()?;
                Some((self.site_of(&place), serde_json::from_str(text).ok()?))
            })
            .collect();
        let dark = self.sites.iter().filter(|place| {
            let misses = |(from, said): &&(SiteName, Said)| {
                from != &place.site && said.balancers.get(&place.lb) == Some(&false)
            };
            said.iter().filter(misses).count() >= MAJORITY
        });
        dark.map(|place| place.site.clone()).collect()
    }

    /// What a watcher begins follows from something that was so, not from
    /// what it did not see.
    pub(super) fn has_evidence(&mut self, started: &RunStarted, now: Duration) {
        if started.operator != OPERATOR {
            return;
        }
        if let Some(what) = self.lacks_evidence(started, now) {
            let run = &started.run;
            let what = format!("{run} of the watcher of {}: {what}", started.machine);
            self.ledger.violated("unknown_is_no_evidence", what);
        }
    }

    fn lacks_evidence(&self, started: &RunStarted, now: Duration) -> Option<String> {
        let plan = &started.plan;
        let lately = |at: Duration| now.saturating_sub(at) < WHILE_AGO;
        let evidence = &self.ledger.evidence;
        let is_free = self.holder().is_none();
        if plan.commit().is_some() && !is_free && !evidence.free.is_some_and(lately) {
            return Some("a failover while somebody holds the right to write".to_owned());
        }
        // Also the site to which they lead: a primary that is promoted again in
        // a site that was dark keeps them, or gets them back.
        let dark = self.sites.iter().any(|place| {
            let last = evidence.dark.get(&place.site).copied();
            evidence.dark_now.contains(&place.site) || last.is_some_and(lately)
        });
        if plan.moves_records() && !dark {
            return Some("the names move, and no two places miss a site".to_owned());
        }
        let rejoined = plan.steps.iter().find_map(|planned| match &planned.step {
            Step::Rejoin { host, upstream } => Some((host, upstream)),
            _ => None,
        });
        let (host, upstream) = rejoined?;
        let streams = self.streams(&self.databases[host], &self.databases[upstream]);
        let long = self.databases[host].streams_since;
        let long = long.is_some_and(|since| !lately(since));
        (streams && long).then(|| format!("{host} is rejoined, and has long followed {upstream}"))
    }
}
