//! The account of a load: pure counting, so that it can be repeated from the
//! raw log.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What the sender of one vote (or commit) knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// HTTP 200, or an acknowledged commit: it must never be lost.
    Accepted,
    /// A clear no, or it surely never left: it must never appear.
    Refused { why: String },
    /// No answer: it may have happened or not.
    Unknown { why: String },
}

impl Answer {
    /// What is known after one more attempt with the same voter id: an
    /// acceptance is never taken back, a doubt never cleared by a refusal.
    #[must_use]
    pub fn and_then(self, next: Self) -> Self {
        match (self, next) {
            (Self::Accepted, _) | (_, Self::Accepted) => Self::Accepted,
            (unknown @ Self::Unknown { .. }, _) | (_, unknown @ Self::Unknown { .. }) => unknown,
            (Self::Refused { .. }, last) => last,
        }
    }
}

/// One vote as it was sent. Times are microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Number inside the run.
    pub n: u64,
    /// Start of the first attempt, since the start of the run.
    pub at_us: u64,
    /// From there to the answer of the last attempt.
    pub took_us: u64,
    pub attempts: u32,
    pub answer: Answer,
}

impl Sent {
    fn answered_us(&self) -> u64 {
        self.at_us + self.took_us
    }
}

/// What was found afterwards, by number inside the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Rows in the database.
    pub persisted: BTreeSet<u64>,
    /// Entries in a queue, being worked on or not.
    pub queued: BTreeSet<u64>,
    /// Places that could not be read, and why.
    pub unseen: Vec<String>,
}

/// A time without an accepted vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Since the start of the run.
    pub start_ms: u64,
    pub length_ms: u64,
}

/// Milliseconds from sending to the whole answer, of accepted votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Latencies above an hour count as an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// How many ids are listed at most.
const LISTED: usize = 20;

/// How many gaps are listed at most, the longest ones.
const GAPS: usize = 20;

/// The three-level account. `sent = accepted + refused + unknown`; the levels
/// below are none where nothing was read back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub sent: u64,
    /// HTTP 200.
    pub accepted: u64,
    /// Clearly refused, or surely not delivered.
    pub refused: u64,
    /// Without an answer.
    pub unknown: u64,
    /// How often each refusal and each missing answer came.
    pub why: BTreeMap<String, u64>,
    /// In a queue and not yet in the database.
    pub queued: Option<u64>,
    /// In the database.
    pub persisted: Option<u64>,
    /// Accepted, and neither persisted nor queued.
    pub lost: Option<u64>,
    /// Persisted although refused.
    pub phantom: Option<u64>,
    /// Persisted, and the sender had no answer. No fault: it could not know.
    pub unknown_persisted: Option<u64>,
    /// Numbers of the first lost ones.
    pub lost_ids: Vec<u64>,
    /// Numbers of the first phantoms.
    pub phantom_ids: Vec<u64>,
    /// What could not be read back, and why.
    pub unseen: Vec<String>,
    /// From the first sending to the last answer.
    pub duration_ms: u64,
    /// Accepted votes per second of the duration.
    pub throughput_per_s: f64,
    pub latency_ms: Latency,
    /// Longest time without an accepted vote, from the start to the last
    /// answer.
    pub longest_gap_ms: u64,
    /// Gaps that were longer than the threshold, in order of time.
    pub gaps: Vec<Gap>,
}

impl Account {
    /// Counts. `found` is none when nothing was read back; gaps from
    /// `threshold_ms` on are listed.
    #[must_use]
    pub fn of(sent: &[Sent], found: Option<&Found>, threshold_ms: u64) -> Self {
        let levels = found.map(|found| Levels::of(sent, found));
        let count = |wanted: fn(&Answer) -> bool| {
            sent.iter().filter(|vote| wanted(&vote.answer)).count() as u64
        };
        let accepted = count(|answer| matches!(answer, Answer::Accepted));
        let duration_us = duration_us(sent);
        let gaps = gaps(sent);
        Self {
            sent: sent.len() as u64,
            accepted,
            refused: count(|answer| matches!(answer, Answer::Refused { .. })),
            unknown: count(|answer| matches!(answer, Answer::Unknown { .. })),
            why: why(sent),
            queued: levels.as_ref().map(|levels| levels.queued),
            persisted: levels.as_ref().map(|levels| levels.persisted),
            lost: levels.as_ref().map(|levels| levels.lost.len() as u64),
            phantom: levels.as_ref().map(|levels| levels.phantom.len() as u64),
            unknown_persisted: levels.as_ref().map(|levels| levels.unknown_persisted),
            lost_ids: levels
                .as_ref()
                .map_or_else(Vec::new, |levels| first(&levels.lost)),
            phantom_ids: levels
                .as_ref()
                .map_or_else(Vec::new, |levels| first(&levels.phantom)),
            unseen: found.map_or_else(Vec::new, |found| found.unseen.clone()),
            duration_ms: duration_us / 1000,
            throughput_per_s: per_second(accepted, duration_us),
            latency_ms: latency(sent),
            longest_gap_ms: gaps.iter().map(|gap| gap.length_ms).max().unwrap_or(0),
            gaps: listed(gaps, threshold_ms),
        }
    }

    /// Whether what was promised holds, as far as it was read back.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.lost.unwrap_or(0) == 0 && self.phantom.unwrap_or(0) == 0
    }
}

/// The levels below the answer.
struct Levels {
    queued: u64,
    persisted: u64,
    lost: Vec<u64>,
    phantom: Vec<u64>,
    unknown_persisted: u64,
}

impl Levels {
    fn of(sent: &[Sent], found: &Found) -> Self {
        let mut levels = Self {
            queued: found.queued.difference(&found.persisted).count() as u64,
            persisted: found.persisted.len() as u64,
            lost: Vec::new(),
            phantom: Vec::new(),
            unknown_persisted: 0,
        };
        for vote in sent {
            let persisted = found.persisted.contains(&vote.n);
            match vote.answer {
                Answer::Accepted if !persisted && !found.queued.contains(&vote.n) => {
                    levels.lost.push(vote.n);
                }
                Answer::Refused { .. } if persisted => levels.phantom.push(vote.n),
                Answer::Unknown { .. } if persisted => levels.unknown_persisted += 1,
                Answer::Accepted | Answer::Refused { .. } | Answer::Unknown { .. } => {}
            }
        }
        levels.lost.sort_unstable();
        levels.phantom.sort_unstable();
        levels
    }
}

fn first(ids: &[u64]) -> Vec<u64> {
    ids.iter().take(LISTED).copied().collect()
}

fn why(sent: &[Sent]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for vote in sent {
        if let Answer::Refused { why } | Answer::Unknown { why } = &vote.answer {
            *counts.entry(why.clone()).or_insert(0) += 1;
        }
    }
    counts
}

fn duration_us(sent: &[Sent]) -> u64 {
    let start = sent.iter().map(|vote| vote.at_us).min().unwrap_or(0);
    let end = sent.iter().map(Sent::answered_us).max().unwrap_or(0);
    end - start
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(accepted: u64, duration_us: u64) -> f64 {
    if duration_us == 0 {
        return 0.0;
    }
    round(accepted as f64 * 1e6 / duration_us as f64, 10.0)
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

fn latency(sent: &[Sent]) -> Latency {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST_US, 3)
        .expect("the bounds and three significant digits are in the allowed range");
    for vote in sent.iter().filter(|vote| vote.answer == Answer::Accepted) {
        histogram.saturating_record(vote.took_us);
    }
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    let milliseconds = |us: u64| round(us as f64 / 1000.0, 100.0);
    Latency {
        p50: milliseconds(histogram.value_at_quantile(0.5)),
        p90: milliseconds(histogram.value_at_quantile(0.9)),
        p99: milliseconds(histogram.value_at_quantile(0.99)),
        max: milliseconds(histogram.max()),
    }
}

/// The times between acceptances, the edges of the run included: an outage
/// that lasts to the end is an outage too.
fn gaps(sent: &[Sent]) -> Vec<Gap> {
    let Some(start) = sent.iter().map(|vote| vote.at_us).min() else {
        return Vec::new();
    };
    let end = sent.iter().map(Sent::answered_us).max().unwrap_or(start);
    let accepted = sent.iter().filter(|vote| vote.answer == Answer::Accepted);
    let mut moments: Vec<u64> = accepted.map(Sent::answered_us).collect();
    moments.push(start);
    moments.push(end);
    moments.sort_unstable();
    let pairs = moments.iter().zip(&moments[1..]);
    pairs
        .map(|(from, to)| Gap {
            start_ms: from / 1000,
            length_ms: (to - from) / 1000,
        })
        .collect()
}

fn listed(mut gaps: Vec<Gap>, threshold_ms: u64) -> Vec<Gap> {
    gaps.retain(|gap| gap.length_ms >= threshold_ms);
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.length_ms));
    gaps.truncate(GAPS);
    gaps.sort_by_key(|gap| gap.start_ms);
    gaps
}

#[cfg(test)]
mod tests;
