//! Figures for Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Guard;
use crate::{
    ids::Lsn,
    order::{OrderAnswer, PostgresState},
};

/// What the guard counts itself.
#[derive(Default)]
pub struct Counters {
    starts: AtomicU64,
    ends: AtomicU64,
    orders: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    last_look: Mutex<Option<Instant>>,
    recent_crashes: Mutex<Vec<Instant>>,
    stepped_down: AtomicU64,
}

/// A guard that has not looked for so long does not work any more.
const LIVE: Duration = Duration::from_secs(15);

/// So many crashes of a primary within a minute are too many.
const OFTEN: usize = 3;
const OFTEN_WITHIN: Duration = Duration::from_secs(60);

impl Counters {
    pub fn started(&self) {
        self.starts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn ended(&self) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }

    /// A primary has ended by itself. Whether it does so too often: starting it
    /// again here leads to nothing.
    pub fn crashed(&self) -> bool {
        let mut recent = self
            .recent_crashes
            .lock()
            .expect("no holder of this lock panics");
        recent.retain(|crash| crash.elapsed() < OFTEN_WITHIN);
        recent.push(Instant::now());
        recent.len() >= OFTEN
    }

    pub fn stepped_down(&self) {
        self.stepped_down.fetch_add(1, Ordering::Relaxed);
    }

    pub fn looked(&self) {
        *self
            .last_look
            .lock()
            .expect("no holder of this lock panics") = Some(Instant::now());
    }

    /// Whether the guard still looks at its PostgreSQL.
    pub fn is_alive(&self) -> bool {
        let last = *self
            .last_look
            .lock()
            .expect("no holder of this lock panics");
        last.is_some_and(|last| last.elapsed() < LIVE)
    }

    pub fn ordered(&self, name: &'static str, answer: &OrderAnswer) {
        let outcome = match answer {
            OrderAnswer::Done { changed: true, .. } => "changed",
            OrderAnswer::Done { changed: false, .. } => "unchanged",
            OrderAnswer::Refused { .. } => "refused",
            OrderAnswer::Failed { .. } => "failed",
        };
        let mut orders = self.orders.lock().expect("no holder of this lock panics");
        *orders.entry((name, outcome)).or_default() += 1;
    }
}

/// Lines in the text format of Prometheus.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP hafail_{name} {help}\n# TYPE hafail_{name} {kind}"
        );
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Into<Option<u64>>) {
        if let Some(value) = value.into() {
            self.family(name, "gauge", help);
            let _ = writeln!(self.0, "hafail_{name} {value}");
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: &AtomicU64) {
        self.family(name, "counter", help);
        let _ = writeln!(self.0, "hafail_{name} {}", value.load(Ordering::Relaxed));
    }
}

impl Guard {
    /// The answer of `/metrics`.
    pub(super) fn metrics(&self) -> String {
        let view = self.view.borrow().clone();
        let postgres = &view.postgres;
        let mut text = Text(String::new());
        let yes = |yes: bool| Some(u64::from(yes));
        let bytes = |lsn: Option<Lsn>| lsn.map(|lsn| lsn.0);
        let state = postgres.state;
        text.gauge(
            "postgres_running",
            "PostgreSQL runs and answers.",
            yes(view.runs()),
        );
        text.gauge(
            "primary",
            "PostgreSQL accepts writes and may.",
            yes(self.is_primary()),
        );
        text.gauge(
            "standby",
            "PostgreSQL is a standby.",
            yes(state == PostgresState::Standby),
        );
        text.gauge(
            "hung",
            "PostgreSQL does not answer.",
            yes(state == PostgresState::Hung),
        );
        text.gauge(
            "streaming",
            "The standby streams.",
            yes(postgres.streaming_from.is_some()),
        );
        text.gauge("epoch", "Newest accepted epoch.", self.status().epoch.0);
        text.gauge(
            "timeline",
            "Timeline.",
            postgres.timeline.map(|t| u64::from(t.0)),
        );
        text.gauge(
            "wal_written_bytes",
            "Write position.",
            bytes(postgres.written),
        );
        text.gauge(
            "wal_received_bytes",
            "Received position.",
            bytes(postgres.received),
        );
        text.gauge(
            "wal_replayed_bytes",
            "Replayed position.",
            bytes(postgres.replayed),
        );
        text.gauge(
            "replica_lag_bytes",
            "Log of the primary not replayed here.",
            view.lag,
        );
        text.gauge(
            "last_message_milliseconds",
            "Age of the primary's last message.",
            postgres.last_message_ms,
        );
        self.downstream_metrics(&view, &mut text);
        text.counter(
            "postgres_starts_total",
            "Starts by the guard.",
            &self.counters.starts,
        );
        text.counter(
            "postgres_ends_total",
            "Ends that the guard saw.",
            &self.counters.ends,
        );
        self.order_metrics(&mut text);
        text.0
    }

    fn downstream_metrics(&self, view: &super::view::View, text: &mut Text) {
        let written = view.postgres.written;
        if !view.postgres.standbys.is_empty() {
            text.family(
                "standby_lag_bytes",
                "gauge",
                "Log not flushed by a standby.",
            );
        }
        for (name, standby) in &view.postgres.standbys {
            if let (Some(written), Some(flushed)) = (written, standby.flushed) {
                let lag = written.bytes_since(flushed);
                let _ = writeln!(
                    text.0,
                    "hafail_standby_lag_bytes{{standby=\"{name}\"}} {lag}"
                );
            }
        }
        if !view.postgres.slots.is_empty() {
            text.family("slot_active", "gauge", "Somebody reads from the slot.");
        }
        for (name, slot) in &view.postgres.slots {
            let active = u64::from(slot.active);
            let _ = writeln!(text.0, "hafail_slot_active{{slot=\"{name}\"}} {active}");
        }
    }

    fn order_metrics(&self, text: &mut Text) {
        text.family("orders_total", "counter", "Orders by outcome.");
        let orders = self
            .counters
            .orders
            .lock()
            .expect("no holder of this lock panics");
        for ((order, outcome), count) in orders.iter() {
            let _ = writeln!(
                text.0,
                "hafail_orders_total{{order=\"{order}\",outcome=\"{outcome}\"}} {count}"
            );
        }
    }
}
