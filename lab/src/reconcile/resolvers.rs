//! The resolver of every VPC: the lab's DNS server at the VPC's second address.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::dns::{self, Zones};
use crate::fabric::{Fabric, Plan, in_namespace};

/// Resolvers that run, by VPC. Dropping one ends it.
pub(super) struct Resolvers {
    zones: watch::Receiver<Zones>,
    running: BTreeMap<String, DropGuard>,
}

impl Resolvers {
    pub(super) fn new(zones: watch::Receiver<Zones>) -> Self {
        Self {
            zones,
            running: BTreeMap::new(),
        }
    }

    /// Ends those whose VPC goes; a namespace lives as long as a socket in it.
    pub(super) fn before(&mut self, plan: &Plan) {
        self.running.retain(|vpc, _| plan.vpcs.contains_key(vpc));
    }

    /// Starts those that are missing.
    pub(super) fn after(&mut self, plan: &Plan, fabric: &Fabric) -> std::io::Result<()> {
        for (vpc, wanted) in &plan.vpcs {
            let Some(address) = wanted.resolver else {
                continue;
            };
            if self.running.contains_key(vpc) {
                continue;
            }
            let token = CancellationToken::new();
            let (ended, zones) = (token.clone(), self.zones.clone());
            let address = SocketAddr::from((address, 53));
            in_namespace(&fabric.router(vpc), move || async move {
                tokio::select! {
                    result = dns::serve(vec![address], zones) => result,
                    () = ended.cancelled() => Ok(()),
                }
            })?;
            self.running.insert(vpc.clone(), token.drop_guard());
        }
        Ok(())
    }
}
