//! The records of the zone: by Route 53, by its name servers, and as
//! resolvers answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_route53::types::{ChangeAction, ResourceRecordSet, RrType};
use futures::future::join_all;
use tokio::sync::OnceCell;

use super::{
    aws::{Clients, records},
    machines::port_error,
    resolver::{self, DnsError, Resolver},
};
use crate::{
    ids::Epoch,
    observation::{AddressRecord, Knowledge},
    ports::{
        PortError,
        records::{ChangeId, Records},
    },
    topology::Topology,
};

/// Time to live of the record that keeps the epoch.
const EPOCH_TTL: Duration = Duration::from_secs(60);

/// The zone of a deployment.
pub struct ZoneRecords {
    clients: Clients,
    resolver: Arc<Resolver>,
    /// Name of the zone; none: the topology has no DNS.
    zone: Option<String>,
    /// The names move without the control plane, and are seen without it.
    by_checks: bool,
    id: OnceCell<String>,
    servers: OnceCell<Vec<String>>,
}

impl ZoneRecords {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(clients: Clients, resolver: Arc<Resolver>, zone: Option<String>) -> Self {
        Self {
            clients,
            resolver,
            zone,
            by_checks: false,
            id: OnceCell::new(),
            servers: OnceCell::new(),
        }
    }

    /// Those of the topology.
    #[must_use]
    pub fn of(clients: Clients, resolver: Arc<Resolver>, topology: &Topology) -> Self {
        let zone = topology.dns.as_ref().map(|dns| dns.zone.clone());
        Self {
            by_checks: topology.follows_checks(),
            ..Self::new(clients, resolver, zone)
        }
    }

    fn zone(&self) -> Result<&str, PortError> {
        self.zone.as_deref().ok_or_else(|| PortError::Absent {
            what: "a DNS zone".into(),
        })
    }

    async fn id(&self) -> Result<&str, PortError> {
        let zone = self.zone()?;
        let find = || async {
            let found = records::zone_id(&self.clients.route53().quick, zone).await;
            found
                .map_err(|error| port_error(&error))?
                .ok_or_else(|| PortError::Absent {
                    what: format!("the zone {zone}"),
                })
        };
        self.id.get_or_try_init(find).await.map(String::as_str)
    }

    /// Names of the authoritative servers.
    async fn servers(&self) -> Result<&[String], PortError> {
        let find = || async {
            let zone = self.zone()?;
            if self.by_checks
                && let Ok(servers) = self.resolver.name_servers(zone).await
            {
                return Ok(servers);
            }
            // A zone that nobody delegates to is known to its owner only.
            let id = self.id().await?;
            let found = records::name_servers(&self.clients.route53().quick, id).await;
            found.map_err(|error| port_error(&error))
        };
        self.servers.get_or_try_init(find).await.map(Vec::as_slice)
    }

    fn epoch_name(&self) -> Result<String, PortError> {
        Ok(format!("_hafail.{}", self.zone()?))
    }

    /// The record that keeps the epoch, and the epoch in it.
    async fn epoch(&self) -> Result<Option<(ResourceRecordSet, Epoch)>, PortError> {
        let client = &self.clients.route53().quick;
        let name = self.epoch_name()?;
        let found = records::record_set(client, self.id().await?, &name, RrType::Txt).await;
        let Some(set) = found.map_err(|error| port_error(&error))? else {
            return Ok(None);
        };
        let values = set.resource_records().iter().map(|record| record.value());
        let epoch = values.filter_map(epoch_in).max();
        let epoch = epoch.ok_or_else(|| PortError::Failed {
            what: name.clone(),
            why: "it holds no epoch; remove the record by hand".into(),
        })?;
        Ok(Some((set, epoch)))
    }
}

/// The value of the record, such as `"hafail epoch=3"` with its quotes.
fn epoch_text(epoch: Epoch) -> String {
    format!("hafail epoch={epoch}")
}

fn epoch_in(value: &str) -> Option<Epoch> {
    let number = value.trim_matches('"').strip_prefix("hafail epoch=")?;
    number.parse().ok().map(Epoch)
}

fn address_record(name: &str, set: &ResourceRecordSet) -> AddressRecord {
    let values = set.resource_records().iter();
    AddressRecord {
        name: name.to_owned(),
        ttl: u64::try_from(set.ttl().unwrap_or(0)).unwrap_or(0),
        addresses: values
            .filter_map(|record| record.value().parse().ok())
            .collect(),
    }
}

/// What one server says of a name.
async fn asked(server: SocketAddr, name: &str, recursive: bool) -> Knowledge<AddressRecord> {
    match resolver::ask(server, name, recursive).await {
        Ok(answer) => Knowledge::Known(AddressRecord {
            name: name.to_owned(),
            ttl: answer.ttl.as_secs(),
            addresses: answer.addresses,
        }),
        Err(DnsError::NoAddress { .. }) => Knowledge::Absent,
        Err(DnsError::Refused { code, .. }) if code == "Non-Existent Domain" => Knowledge::Absent,
        Err(error) => Knowledge::unknown(error),
    }
}

#[async_trait]
impl Records for ZoneRecords {
    async fn current(&self, name: &str) -> Result<Option<AddressRecord>, PortError> {
        let client = &self.clients.route53().quick;
        let found = records::record_set(client, self.id().await?, name, RrType::A).await;
        let found = found.map_err(|error| port_error(&error))?;
        Ok(found.map(|set| address_record(name, &set)))
    }

    async fn point(&self, epoch: Epoch, wanted: &[AddressRecord]) -> Result<ChangeId, PortError> {
        let before = self.epoch().await?;
        if let Some((_, seen)) = &before
            && *seen > epoch
        {
            return Err(PortError::StaleEpoch {
                what: format!("the zone {}", self.zone()?),
                ours: epoch,
                seen: *seen,
            });
        }
        // Route 53 has no compare-and-swap; but a batch is refused whole when
        // what it deletes is not there as it was read, or what it creates is.
        let text = records::text_set(&self.epoch_name()?, EPOCH_TTL, &epoch_text(epoch));
        let mut changes = match before {
            Some((seen, _)) => vec![(ChangeAction::Delete, seen), (ChangeAction::Upsert, text)],
            None => vec![(ChangeAction::Create, text)],
        };
        for record in wanted {
            let addresses: Vec<_> = record.addresses.iter().copied().collect();
            let ttl = Duration::from_secs(record.ttl);
            let set = records::address_set(&record.name, ttl, &addresses);
            changes.push((ChangeAction::Upsert, set));
        }
        let client = &self.clients.route53().quick;
        let changed = records::change(client, self.id().await?, changes).await;
        changed.map(ChangeId).map_err(|error| port_error(&error))
    }

    async fn in_sync(&self, change: &ChangeId) -> Result<bool, PortError> {
        let client = &self.clients.route53().quick;
        let answer = records::in_sync(client, &change.0).await;
        answer.map_err(|error| port_error(&error))
    }

    async fn authoritative(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, Knowledge<AddressRecord>>, PortError> {
        let servers = self.servers().await?;
        let answers = servers.iter().map(|server| async move {
            let addresses = self.resolver.addresses(server).await;
            let answer = match addresses.map(|addresses: BTreeSet<_>| addresses.into_iter().next())
            {
                Ok(Some(address)) => asked((address, 53).into(), name, false).await,
                Ok(None) => Knowledge::unknown(format!("{server} has no address")),
                Err(error) => Knowledge::unknown(error),
            };
            (server.clone(), answer)
        });
        Ok(join_all(answers).await.into_iter().collect())
    }

    async fn resolved(&self, name: &str) -> BTreeMap<String, Knowledge<AddressRecord>> {
        let servers = self.resolver.servers().iter();
        let answers = servers
            .map(|&server| async move { (server.to_string(), asked(server, name, true).await) });
        join_all(answers).await.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_reads_as_it_is_written() {
        let quoted = format!("\"{}\"", epoch_text(Epoch(17)));
        assert_eq!(epoch_in(&quoted), Some(Epoch(17)));
        for other in ["", "\"hafail\"", "\"hafail epoch=x\"", "\"v=spf1 -all\""] {
            assert_eq!(epoch_in(other), None, "{other}");
        }
    }
}
