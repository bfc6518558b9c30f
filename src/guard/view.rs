//! What the guard last saw of PostgreSQL, and what follows for the role
//! questions.

use std::time::Instant;

use super::{control::Control, sql::Observed};
use crate::{
    ids::Lsn,
    order::{Postgres, PostgresState},
};

/// What was last seen.
#[derive(Clone, Debug)]
pub struct View {
    pub postgres: Postgres,
    /// Standby: bytes of log that the primary had and are not replayed here.
    pub lag: Option<u64>,
    /// A new connection got no answer within its deadline.
    pub hung: bool,
    /// The last message of the primary, and when this guard first saw it.
    message: Option<(String, Instant)>,
    /// When PostgreSQL last answered.
    pub seen_at: Option<Instant>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            postgres: empty(PostgresState::Uninitialised),
            lag: None,
            hung: false,
            message: None,
            seen_at: None,
        }
    }
}

/// Nothing is known but the state.
fn empty(state: PostgresState) -> Postgres {
    Postgres {
        state,
        system_identifier: None,
        timeline: None,
        written: None,
        received: None,
        replayed: None,
        shutdown_checkpoint: None,
        streaming_from: None,
        last_message_ms: None,
        standbys: std::collections::BTreeMap::new(),
        slots: std::collections::BTreeMap::new(),
        synchronous_standby_names: None,
        problem: None,
    }
}

impl View {
    /// There is no data directory.
    pub fn uninitialised(&mut self) {
        self.postgres = empty(PostgresState::Uninitialised);
        self.lag = None;
    }

    /// The process is gone; the control file is not read yet.
    pub fn ended(&mut self) {
        let before = self.postgres.system_identifier.take();
        self.postgres = empty(PostgresState::Stopped);
        self.postgres.system_identifier = before;
        self.lag = None;
        self.hung = false;
    }

    /// The process is gone, and this is what the control file says.
    pub fn stopped(&mut self, control: Result<&Control, String>) {
        self.ended();
        match control {
            Ok(control) => {
                self.postgres.system_identifier = Some(control.system_identifier.clone());
                self.postgres.timeline = Some(control.timeline);
                self.postgres.shutdown_checkpoint = control.shutdown_checkpoint();
                self.postgres.problem = match control.state {
                    super::control::ClusterState::ShutDown
                    | super::control::ClusterState::ShutDownInRecovery => None,
                    ref state => Some(format!("not shut down cleanly: {state}")),
                };
            }
            Err(why) => self.postgres.problem = Some(why),
        }
    }

    /// It runs and does not accept connections.
    pub fn passing(&mut self, state: PostgresState, why: String) {
        let before = self.postgres.system_identifier.take();
        self.postgres = empty(state);
        self.postgres.system_identifier = before;
        self.postgres.problem = Some(why);
        self.lag = None;
    }

    /// It runs, and the guard could not see how it is.
    pub fn blind(&mut self, why: String) {
        self.postgres.problem = Some(why);
    }

    /// It answered.
    pub fn seen(&mut self, observed: Observed, now: Instant) {
        self.seen_at = Some(now);
        let receiver = observed.receiver.as_ref();
        // Where its primary ends before the standby itself, they have diverged,
        // and what streams for a moment is only their common past.
        let streaming = receiver.filter(|receiver| {
            receiver.status == "streaming" && receiver.latest_end >= observed.received
        });
        let last_message_ms = receiver.and_then(|receiver| {
            let at = receiver.message_at.as_ref()?;
            // PostgreSQL tells wall time. Only a message never seen before is
            // dated by it, later ones by when they appeared here.
            let first = match &self.message {
                Some((known, since)) if known == at => *since,
                Some(_) => now,
                None => {
                    let age = receiver
                        .message_age_ms
                        .unwrap_or(0.0)
                        .clamp(0.0, 86_400_000.0);
                    let age = std::time::Duration::from_secs_f64(age / 1000.0);
                    now.checked_sub(age).unwrap_or(now)
                }
            };
            self.message = Some((at.clone(), first));
            u64::try_from(now.saturating_duration_since(first).as_millis()).ok()
        });
        self.lag = match (observed.replayed, streaming) {
            (Some(replayed), Some(streaming)) => {
                let known = observed.received.max(streaming.latest_end);
                Some(known.unwrap_or(Lsn(0)).bytes_since(replayed))
            }
            _ => None,
        };
        let streaming_from = streaming.map(|s| s.host.clone().unwrap_or_default());
        self.postgres = Postgres {
            state: match (self.hung, observed.in_recovery) {
                (true, _) => PostgresState::Hung,
                (false, true) => PostgresState::Standby,
                (false, false) => PostgresState::Primary,
            },
            system_identifier: Some(observed.system_identifier),
            timeline: observed.timeline,
            written: observed.written,
            received: observed.received,
            replayed: observed.replayed,
            shutdown_checkpoint: None,
            streaming_from,
            last_message_ms,
            standbys: observed.standbys.unwrap_or_default(),
            slots: observed.slots.unwrap_or_default(),
            synchronous_standby_names: Some(observed.synchronous_standby_names),
            problem: None,
        };
    }

    /// A new connection was served, or why not.
    pub fn probed(&mut self, unwell: Option<String>) {
        self.hung = unwell.is_some();
        if self.hung {
            self.postgres.state = PostgresState::Hung;
            self.postgres.problem = unwell;
        }
    }

    /// Whether this is a standby that streams, with at most so much lag. A
    /// standby that does not stream can't know its lag: it is none.
    #[must_use]
    pub fn is_replica(&self, maximum_lag: Option<u64>) -> bool {
        let streams = self.postgres.state == PostgresState::Standby
            && self.postgres.streaming_from.is_some()
            && self
                .postgres
                .last_message_ms
                .is_some_and(|age| age <= SILENCE_MS);
        streams
            && self
                .lag
                .is_some_and(|lag| maximum_lag.is_none_or(|maximum| lag <= maximum))
    }

    /// Whether PostgreSQL runs and answers.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(
            self.postgres.state,
            PostgresState::Primary | PostgresState::Standby
        )
    }
}

/// A primary that is idle is heard at least every 2.5 s (half of
/// `wal_receiver_timeout`); beyond this its standby knows nothing of it.
const SILENCE_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn observed(message_at: &str, status: &str) -> Observed {
        serde_json::from_value(serde_json::json!({
            "in_recovery": true, "system_identifier": "7", "timeline": 2, "written": null,
            "received": "0/300", "replayed": "0/200",
            "receiver": {"status": status, "host": "site1-db", "latest_end": "0/400",
                "message_at": message_at, "message_age_ms": 20.0},
            "standbys": null, "slots": null, "synchronous_standby_names": "",
        }))
        .unwrap()
    }

    #[test]
    fn lag_counts_what_the_primary_has() {
        let mut view = View::default();
        view.seen(observed("t1", "streaming"), Instant::now());
        assert_eq!(view.lag, Some(0x200));
        assert!(view.is_replica(None));
        assert!(view.is_replica(Some(0x200)));
        assert!(!view.is_replica(Some(0x1FF)));
    }

    #[test]
    fn a_standby_that_does_not_stream_is_no_replica() {
        let mut view = View::default();
        view.seen(observed("t1", "waiting"), Instant::now());
        assert!(view.runs());
        assert!(!view.is_replica(None));
    }

    #[test]
    fn a_diverged_standby_does_not_stream() {
        let mut view = View::default();
        let mut diverged = observed("t1", "streaming");
        diverged.received = Some(Lsn(0x401));
        view.seen(diverged, Instant::now());
        assert_eq!(view.postgres.streaming_from, None);
        assert!(!view.is_replica(None));
    }

    #[test]
    fn the_age_of_a_message_is_counted_here_not_by_the_wall_clock() {
        let mut view = View::default();
        let start = Instant::now();
        view.seen(observed("t1", "streaming"), start);
        assert_eq!(view.postgres.last_message_ms, Some(20));
        view.seen(observed("t1", "streaming"), start + Duration::from_secs(11));
        assert_eq!(view.postgres.last_message_ms, Some(11_020));
        assert!(!view.is_replica(None));
        view.seen(observed("t2", "streaming"), start + Duration::from_secs(12));
        assert_eq!(view.postgres.last_message_ms, Some(0));
        assert!(view.is_replica(None));
    }

    #[test]
    fn hung_is_neither_primary_nor_standby() {
        let mut view = View::default();
        view.probed(Some("no answer".to_owned()));
        view.seen(observed("t1", "streaming"), Instant::now());
        assert_eq!(view.postgres.state, PostgresState::Hung);
        assert!(!view.runs() && !view.is_replica(None));
    }
}
