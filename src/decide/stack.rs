//! Services of the stack that answer nobody.

use std::collections::BTreeMap;

use crate::observation::{SERVICE_BACKEND, is_down};

use super::{Diagnosis, Finding, view::View};

/// Services for which a load balancer has no server up. It knows the replicas
/// of all sites, so its users get an error.
pub(super) fn services_down(view: &View<'_>) -> Vec<Finding> {
    let mut down: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (host, seen) in &view.snapshot().proxies {
        let backends = seen.known().into_iter().flatten();
        for (backend, servers) in backends.filter(|(_, servers)| is_down(servers)) {
            if let Some(service) = backend.strip_prefix(SERVICE_BACKEND) {
                let count = servers.len();
                let evidence = format!("{host} has 0 of {count} servers up for {service}");
                down.entry(service).or_default().push(evidence);
            }
        }
    }
    let down = down.into_iter();
    down.map(|(service, evidence)| Finding::new(Diagnosis::ServiceDown, service, evidence))
        .collect()
}
