//! What watchers write: what they see, who leads, what was decided, pause and
//! cooldown.

use std::time::Duration;

use super::{
    Cooldown, Decision, Healed, Leader, Pause, Said, Shared,
    keys::{COOLDOWN, DECISIONS, HEALED, LEADER, PAUSE, SAID, text},
};
use crate::{
    decide::Verdict,
    ids::HostName,
    ports::quorum::{Change, LeaseId, QuorumError},
};

/// So many decisions are kept.
const KEPT: usize = 50;

impl Shared {
    /// Says what a watcher sees, as long as its lease lives.
    ///
    /// # Errors
    /// The store does not answer, or the lease has ended.
    pub async fn say(
        &self,
        host: &HostName,
        said: &Said,
        lease: LeaseId,
    ) -> Result<(), QuorumError> {
        let then = [self.put(&format!("{SAID}{host}"), text(said), Some(lease))];
        self.commit(&[], &then).await.map(drop)
    }

    /// Takes the lead of the watchers, where nobody has it.
    ///
    /// # Errors
    /// The store does not answer; the next look tells who leads.
    pub async fn take_lead(&self, leader: &Leader, lease: LeaseId) -> Result<bool, QuorumError> {
        let when = [self.as_read(LEADER, None)];
        let then = [self.put(LEADER, text(leader), Some(lease))];
        Ok(self.commit(&when, &then).await?.is_some())
    }

    /// Keeps the last decision for people.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn decided(
        &self,
        verdict: &Verdict,
        host: &HostName,
        at: &str,
    ) -> Result<(), QuorumError> {
        let decision = Decision {
            at: at.to_owned(),
            by: host.clone(),
            findings: verdict.findings.clone(),
            reaction: verdict.reaction.clone(),
        };
        let known = self.below(DECISIONS).await?;
        // Sorts by the order in which they were made.
        let name = format!("{DECISIONS}{:016}", known.revision.0);
        let mut then = vec![self.put(&name, text(&decision), None)];
        let old = known.values.len().saturating_sub(KEPT);
        let old = known.values.into_keys().take(old);
        then.extend(old.map(|key| Change::Delete { key }));
        self.commit(&[], &then).await.map(drop)
    }

    /// The last decisions, oldest first. One that another version wrote is
    /// left out.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn decisions(&self) -> Result<Vec<Decision>, QuorumError> {
        let found = self.below(DECISIONS).await?;
        let texts = found.values.into_values();
        let decisions = texts.filter_map(|value| serde_json::from_str(&value.text).ok());
        Ok(decisions.collect())
    }

    /// From now on the next automatic failover needs an acknowledgement, for
    /// so long.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn cool_down(&self, cooldown: &Cooldown, time: Duration) -> Result<(), QuorumError> {
        self.for_a_while(COOLDOWN, text(cooldown), time).await
    }

    /// From now on this healing counts, for so long.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn healed(&self, healed: &Healed, time: Duration) -> Result<(), QuorumError> {
        let key = format!("{HEALED}{}", healed.run);
        self.for_a_while(&key, text(healed), time).await
    }

    /// A person has looked: the next failover may be automatic again. Whether
    /// there was something to acknowledge.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn acknowledge(&self) -> Result<Option<Cooldown>, QuorumError> {
        let found = self.state().await?.cooldown;
        self.remove(COOLDOWN).await?;
        Ok(found.map(|key| key.value))
    }

    /// Nothing is done automatically for so long.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn pause(&self, pause: &Pause, time: Duration) -> Result<(), QuorumError> {
        self.for_a_while(PAUSE, text(pause), time).await
    }

    /// Ends a pause before its time. Which one, if there was one.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn end_pause(&self) -> Result<Option<Pause>, QuorumError> {
        let found = self.state().await?.pause;
        self.remove(PAUSE).await?;
        Ok(found.map(|key| key.value))
    }

    /// Writes a key that the store's own clock ends.
    async fn for_a_while(
        &self,
        key: &str,
        text: String,
        time: Duration,
    ) -> Result<(), QuorumError> {
        let lease = self.quorum.lease(time).await?;
        let then = [self.put(key, text, Some(lease))];
        self.commit(&[], &then).await.map(drop)
    }

    async fn remove(&self, key: &str) -> Result<(), QuorumError> {
        let key = self.key(key);
        self.commit(&[], &[Change::Delete { key }]).await.map(drop)
    }
}
