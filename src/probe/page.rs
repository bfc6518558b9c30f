//! Gathers what the status page stands on, all at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::timeout;

use super::{hosts, snapshot, store::automatic};
use crate::{
    ids::HostName,
    journal::{self, Phase},
    observation::Knowledge,
    ports::{
        PortError, World,
        quorum::MemberHealth,
        remote::Remote,
        store::{RunId, Store},
    },
    provision::FoundHosts,
    status::{HostFacts, Names, RunLine, View},
    topology::{Place, Topology},
};

/// How long the name servers may take together.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many runs are shown.
const RUNS: usize = 5;

/// Where to look.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    pub topology: &'a Topology,
    pub world: &'a World,
    pub remote: &'a dyn Remote,
    /// The hosts as found, and why others were not.
    pub found: &'a FoundHosts,
    /// The journal of runs; none: there is no journal here.
    pub store: Option<&'a dyn Store>,
}

/// Looks at everything.
pub async fn view(places: Places<'_>) -> View {
    let Places {
        topology,
        world,
        remote,
        found,
        store,
    } = places;
    let missing = missing(topology, found);
    let (snapshot, hosts, names, members, automatic, runs) = futures::join!(
        snapshot(topology, world),
        hosts::facts(topology, remote, &missing),
        names(topology, world),
        members(world),
        automatic(topology, world),
        runs(store),
    );
    let clusters = snapshot.clusters();
    let entries = world.inventory.hosts.values();
    let addresses = entries.filter_map(|entry| Some((entry.name.clone(), entry.public_address?)));
    View {
        snapshot,
        hosts,
        addresses: addresses.collect(),
        names,
        members,
        automatic,
        runs: match runs {
            Knowledge::Known(runs) => Knowledge::Known(lines(&runs, &clusters)),
            Knowledge::Absent => Knowledge::Absent,
            Knowledge::Unknown { since, why } => Knowledge::Unknown { since, why },
        },
    }
}

/// Runs of databases that were destroyed since have nothing left to resume.
fn lines(runs: &[(Option<String>, RunLine)], clusters: &BTreeSet<String>) -> Vec<RunLine> {
    let line = |(cluster, run): &(Option<String>, RunLine)| {
        let unfinished = run.unfinished && !journal::is_gone(cluster.as_ref(), clusters);
        RunLine {
            unfinished,
            ..run.clone()
        }
    };
    runs.iter().map(line).collect()
}

/// Hosts that were not found: surely not there, or in a region that did not
/// answer.
fn missing(topology: &Topology, found: &FoundHosts) -> BTreeMap<HostName, Knowledge<HostFacts>> {
    let missing = found.missing.iter().map(|(name, why)| {
        let host = topology.host(name.as_str());
        let region = host
            .and_then(|host| topology.sites.get(&host.site))
            .map(|site| &site.region);
        let answered = region.is_some_and(|region| !found.errors.contains_key(region));
        let instance = host.is_some_and(|host| matches!(host.place, Place::Instance { .. }));
        let exists = found.states.contains_key(name);
        let known = if answered && instance && !exists {
            Knowledge::Absent
        } else {
            Knowledge::unknown(why)
        };
        (name.clone(), known)
    });
    missing.collect()
}

async fn members(world: &World) -> BTreeMap<String, MemberHealth> {
    match &world.quorum {
        Some(store) => store.members().await,
        None => BTreeMap::new(),
    }
}

async fn names(topology: &Topology, world: &World) -> BTreeMap<String, Names> {
    let records = topology.dns.iter().flat_map(|dns| &dns.records);
    let asked = records.map(|record| async move {
        let name = record.name.as_str();
        let (authoritative, resolved) = futures::join!(
            timeout(PATIENCE, world.records.authoritative(name)),
            timeout(PATIENCE, world.records.resolved(name)),
        );
        let unseen = |why: String| BTreeMap::from([("all".to_owned(), Knowledge::unknown(why))]);
        let names = Names {
            authoritative: match authoritative {
                Ok(Ok(answers)) => answers,
                Ok(Err(PortError::Absent { .. })) => BTreeMap::new(),
                Ok(Err(error)) => unseen(error.to_string()),
                Err(_) => unseen(format!("no answer within {} s", PATIENCE.as_secs())),
            },
            resolved: resolved.unwrap_or_default(),
        };
        (record.name.clone(), names)
    });
    join_all(asked).await.into_iter().collect()
}

/// The last runs, newest first.
async fn runs(store: Option<&dyn Store>) -> Knowledge<Vec<(Option<String>, RunLine)>> {
    let Some(store) = store else {
        return Knowledge::Absent;
    };
    let ids = match store.list().await {
        Ok(ids) => ids,
        Err(error) => return Knowledge::unknown(error),
    };
    let newest = ids.iter().rev().take(RUNS);
    Knowledge::Known(join_all(newest.map(|id| run(store, id))).await)
}

async fn run(store: &dyn Store, id: &RunId) -> (Option<String>, RunLine) {
    let damaged = |why: String| {
        let line = RunLine {
            id: id.to_string(),
            started: "-".into(),
            what: "-".into(),
            outcome: why,
            unfinished: false,
        };
        (None, line)
    };
    let lines = match store.read(id).await {
        Ok(lines) => lines,
        Err(error) => return damaged(error.to_string()),
    };
    let replayed = journal::parse(id, &lines).and_then(|entries| journal::replay(id, &entries));
    let progress = match replayed {
        Ok(progress) => progress,
        Err(error) => return damaged(error.to_string()),
    };
    let (outcome, unfinished) = match &progress.phase {
        Phase::Doing => ("not finished", true),
        Phase::Undoing { .. } => ("going back", true),
        Phase::Stopped { outcome, .. } => (outcome.word(), !outcome.is_final()),
    };
    let line = RunLine {
        id: id.to_string(),
        started: progress.started.clone(),
        what: progress.plan.title(),
        outcome: outcome.to_owned(),
        unfinished,
    };
    (progress.plan.cluster.clone(), line)
}
