//! What follows from what the watchers of several places published. A watcher
//! that says nothing is no witness of anything.

use std::collections::BTreeSet;

use crate::{
    ids::{HostName, SiteName},
    topology::Role,
};

use super::{Diagnosis, Finding, view::View};

/// Of three places.
const MAJORITY: usize = 2;

/// The places, a majority and all of them elsewhere, that reach no load
/// balancer of the site.
pub(super) fn agree_on_dark(view: &View<'_>, site: &SiteName) -> Option<Vec<HostName>> {
    let balancers = balancers(view, site);
    let spoken = view.store()?.unreached.iter();
    let agree = spoken.filter(|(place, unreached)| {
        is_elsewhere(view, place, site) && balancers.is_subset(unreached)
    });
    let agree: Vec<_> = agree.map(|(place, _)| place.clone()).collect();
    (!balancers.is_empty() && agree.len() >= MAJORITY).then_some(agree)
}

/// Two sites whose watchers do not reach each other, while one elsewhere
/// reaches both and all three reach the store: what is between them is cut,
/// and neither is lost.
pub(super) fn link_cut(view: &View<'_>) -> Option<Finding> {
    let sites: Vec<_> = view.topology().serving_sites().collect();
    let [one, other] = sites.as_slice() else {
        return None;
    };
    let (one, other) = (&one.name, &other.name);
    let (here, there) = (misses(view, one, other)?, misses(view, other, one)?);
    let witness = reaches_both(view, one, other)?;
    let evidence = vec![
        format!("{here} does not reach {other}, and {there} does not reach {one}"),
        format!("{witness} reaches both, and all three reach the store"),
    ];
    let subject = format!("{one} and {other}");
    Some(Finding::new(Diagnosis::LinkCut, subject, evidence))
}

/// The watcher in that site, where it says that it reaches no load balancer
/// of the other one, and reaches its own.
fn misses(view: &View<'_>, site: &SiteName, other: &SiteName) -> Option<HostName> {
    let (theirs, own) = (balancers(view, other), balancers(view, site));
    let mut spoken = view.store()?.unreached.iter();
    let found = spoken.find(|(place, unreached)| {
        !is_elsewhere(view, place, site)
            && !theirs.is_empty()
            && theirs.is_subset(unreached)
            && own.is_disjoint(unreached)
    });
    found.map(|(place, _)| place.clone())
}

fn reaches_both(view: &View<'_>, one: &SiteName, other: &SiteName) -> Option<HostName> {
    let mut all = balancers(view, one);
    all.extend(balancers(view, other));
    let mut spoken = view.store()?.unreached.iter();
    let found = spoken.find(|(place, unreached)| {
        is_elsewhere(view, place, one)
            && is_elsewhere(view, place, other)
            && all.is_disjoint(unreached)
    });
    found.map(|(place, _)| place.clone())
}

fn balancers(view: &View<'_>, site: &SiteName) -> BTreeSet<HostName> {
    let balancers = view.topology().hosts_with(Role::Lb);
    balancers
        .filter(|host| &host.site == site)
        .map(|host| host.name.clone())
        .collect()
}

fn is_elsewhere(view: &View<'_>, place: &HostName, site: &SiteName) -> bool {
    let host = view.topology().host(place.as_str());
    host.is_some_and(|host| &host.site != site)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        decide::{Past, Sight},
        inventory::Inventory,
        observation::{Knowledge, Snapshot, StoreSight},
        topology::Topology,
    };

    /// What each place says that it does not reach; a place that is left out
    /// says nothing.
    fn said(unreached: &[(&str, &[&str])]) -> Snapshot {
        let host = |name: &str| name.parse::<HostName>().unwrap();
        let each = unreached.iter().map(|(place, out)| {
            let out: BTreeSet<_> = out.iter().map(|name| host(name)).collect();
            (host(place), out)
        });
        let store = StoreSight {
            unreached: each.collect(),
            ..StoreSight::default()
        };
        Snapshot {
            taken: String::new(),
            guards: BTreeMap::new(),
            machines: BTreeMap::new(),
            proxies: BTreeMap::new(),
            queues: BTreeMap::new(),
            records: BTreeMap::new(),
            writes: BTreeMap::new(),
            doors: BTreeMap::new(),
            store: Knowledge::Known(store),
        }
    }

    fn look<T>(unreached: &[(&str, &[&str])], at: impl FnOnce(&View<'_>) -> T) -> T {
        let file = "topologies/automatic.yaml";
        let text = include_str!("../../topologies/automatic.yaml");
        let topology = Topology::parse(text, file).unwrap();
        let (inventory, past) = (Inventory::default(), Past::default());
        at(&View::new(&Sight {
            topology: &topology,
            inventory: &inventory,
            snapshot: &said(unreached),
            past: &past,
        }))
    }

    const ONE: &str = "site1-lb";
    const TWO: &str = "site2-lb";

    #[test]
    fn a_link_is_cut_where_both_ends_say_so_and_the_third_place_reaches_both() {
        let cut: &[(&str, &[&str])] = &[(ONE, &[TWO]), (TWO, &[ONE]), ("witness", &[])];
        let finding = look(cut, link_cut).unwrap();
        assert_eq!(finding.diagnosis, Diagnosis::LinkCut);
        assert_eq!(finding.subject, "site1 and site2");
        assert_eq!(
            finding.evidence,
            [
                "site1-lb does not reach site2, and site2-lb does not reach site1",
                "witness reaches both, and all three reach the store",
            ]
        );
    }

    #[test]
    fn silence_and_half_of_it_are_no_link_that_is_cut() {
        let cases: [&[(&str, &[&str])]; 7] = [
            &[],
            &[(ONE, &[]), (TWO, &[]), ("witness", &[])],
            // One end says nothing: it may be dead.
            &[(ONE, &[TWO]), ("witness", &[])],
            &[(ONE, &[TWO]), (TWO, &[ONE])],
            // One way only.
            &[(ONE, &[TWO]), (TWO, &[]), ("witness", &[])],
            // The third place misses one of them as well.
            &[(ONE, &[TWO]), (TWO, &[ONE]), ("witness", &[TWO])],
            // A watcher that reaches not even its own site.
            &[(ONE, &[ONE, TWO]), (TWO, &[ONE]), ("witness", &[])],
        ];
        for case in cases {
            assert_eq!(look(case, link_cut), None, "{case:?}");
        }
    }

    #[test]
    fn a_site_is_dark_by_two_places_elsewhere() {
        let site1: SiteName = "site1".parse().unwrap();
        let dark: &[(&str, &[&str])] = &[(TWO, &[ONE]), ("witness", &[ONE])];
        let agree = look(dark, |view| agree_on_dark(view, &site1)).unwrap();
        let agree: Vec<_> = agree.iter().map(HostName::as_str).collect();
        assert_eq!(agree, [TWO, "witness"]);
        let cases: [&[(&str, &[&str])]; 3] = [
            &[("witness", &[ONE])],
            // Its own watcher cannot know.
            &[(ONE, &[ONE]), ("witness", &[ONE])],
            &[(TWO, &[ONE]), ("witness", &[])],
        ];
        for case in cases {
            let agree = look(case, |view| agree_on_dark(view, &site1));
            assert_eq!(agree, None, "{case:?}");
        }
    }
}
