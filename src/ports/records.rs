//! The DNS records that follow the active site.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::PortError;
use crate::{
    ids::Epoch,
    observation::{AddressRecord, Knowledge},
};

/// Names a change, to ask whether it is in force everywhere.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ChangeId(pub String);

/// Asks and tells the zone.
#[async_trait]
pub trait Records: Send + Sync {
    /// The record as the control plane has it; none: no such record.
    async fn current(&self, name: &str) -> Result<Option<AddressRecord>, PortError>;

    /// Upserts the records, all or none of them.
    ///
    /// The zone remembers the epoch of its newest change (a TXT record
    /// `_hafail.<zone>`, replaced in the same batch, so that two changes at
    /// once cannot both pass).
    ///
    /// # Errors
    /// `StaleEpoch` when the zone has seen a newer epoch; then nothing changed.
    async fn point(&self, epoch: Epoch, records: &[AddressRecord]) -> Result<ChangeId, PortError>;

    /// Whether the change is in force on all authoritative servers (INSYNC).
    async fn in_sync(&self, change: &ChangeId) -> Result<bool, PortError>;

    /// What each authoritative server of the zone answers, by server.
    async fn authoritative(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, Knowledge<AddressRecord>>, PortError>;

    /// What each configured resolver answers, by resolver; the time to live
    /// is what is left of it there.
    async fn resolved(&self, name: &str) -> BTreeMap<String, Knowledge<AddressRecord>>;
}
