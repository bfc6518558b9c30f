//! Whether the kernel still has every link that was made: some have been seen
//! to vanish though nothing here had removed them.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::Fabric;
use super::namespace;
use super::plan::{GATEWAY_LINK, OWN, link_of};

impl Fabric {
    /// Whether the routers have all links of what was built, and those of these
    /// instances, given with their VPCs.
    pub async fn is_whole<'a>(
        &'a self,
        plugged: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> bool {
        for (vpc, links) in self.links(plugged) {
            let there = namespace::links(&self.router(vpc)).await;
            if !there.is_ok_and(|there| links.is_subset(&there)) {
                return false;
            }
        }
        true
    }

    /// The links that each VPC's router has to have.
    fn links<'a>(
        &'a self,
        plugged: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> BTreeMap<&'a str, BTreeSet<String>> {
        let mut links = BTreeMap::<&str, BTreeSet<String>>::new();
        for (id, vpc) in &self.built.vpcs {
            let own = links.entry(id).or_default();
            own.insert(OWN.to_owned());
            own.extend(vpc.internet.then(|| GATEWAY_LINK.to_owned()));
        }
        for (id, (one, other)) in &self.built.peerings {
            for vpc in [one, other] {
                links.entry(vpc).or_default().insert(link_of('p', id));
            }
        }
        for (vpc, instance) in plugged {
            let link = link_of('i', instance);
            links.entry(vpc).or_default().insert(link);
        }
        links
    }
}
