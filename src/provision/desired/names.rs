//! The zone, its records and the health checks that choose their answers.

use sha2::{Digest as _, Sha256};

use super::{Wanted, site_addresses};
use crate::{
    ids::SiteName,
    provision::resource::{AddressRecord, HealthCheck, Key, Rank, Spec},
    topology::{ACTIVE_PATH, CHECK_INTERVAL, Cutover, Dns, Record, RecordTarget},
};

impl Wanted<'_> {
    pub(super) fn dns(&mut self, dns: &Dns) {
        let zone = Key::new("zone");
        let spec = Spec::Zone {
            name: dns.zone.clone(),
            managed: dns.manage_zone,
        };
        self.add(zone.clone(), None, spec, &[]);
        if dns.cutover == Cutover::HealthCheck {
            self.health_checks(dns);
        }
        for record in &dns.records {
            let spec = Spec::Record(match dns.follows_checks(record) {
                true => self.ranked(&zone, record),
                false => self.record(&zone, record),
            });
            self.add(Key::new(format!("record/{}", record.name)), None, spec, &[]);
        }
    }

    /// One for each site; every name shares them.
    fn health_checks(&mut self, dns: &Dns) {
        for site in self.topology.ranked_sites() {
            let Some(address) = site_addresses(site).into_iter().next() else {
                continue;
            };
            let spec = Spec::HealthCheck(HealthCheck {
                address,
                port: self.topology.load_balancer.statistics_port,
                path: ACTIVE_PATH.to_owned(),
                interval: CHECK_INTERVAL,
                threshold: dns.failure_threshold,
                in_force: true,
            });
            self.add(check_key(&site.name), None, spec, &[]);
        }
    }

    fn ranked(&self, zone: &Key, record: &Record) -> AddressRecord {
        let sites = self.topology.ranked_sites().into_iter();
        let ranks: Vec<_> = sites
            .map(|site| Rank {
                id: set_id(&record.name, &site.name),
                addresses: site_addresses(site),
                check: check_key(&site.name),
            })
            .collect();
        let all = ranks.iter().flat_map(|rank| rank.addresses.clone());
        AddressRecord {
            zone: zone.clone(),
            name: record.name.clone(),
            ttl: record.ttl,
            addresses: all.collect(),
            alternatives: Vec::new(),
            ranks,
        }
    }

    fn record(&self, zone: &Key, record: &Record) -> AddressRecord {
        let sites = &self.topology.sites;
        let of = |name| sites.get(name).map(site_addresses).unwrap_or_default();
        let (addresses, alternatives) = match &record.target {
            RecordTarget::Site(site) => (of(site), Vec::new()),
            RecordTarget::Active => {
                let all = self.topology.serving_sites().map(site_addresses);
                (of(&self.topology.initial_primary), all.collect())
            }
        };
        AddressRecord {
            zone: zone.clone(),
            name: record.name.clone(),
            ttl: record.ttl,
            addresses,
            alternatives,
            ranks: Vec::new(),
        }
    }
}

/// The logical name of a site's health check.
#[must_use]
pub fn check_key(site: &SiteName) -> Key {
    Key::new(format!("health-check/{site}"))
}

/// Names a record set: unlike in the whole zone, and short enough for any
/// name.
fn set_id(name: &str, site: &SiteName) -> String {
    let sum = Sha256::digest(name);
    let name: String = sum
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{site}-{name}")
}
