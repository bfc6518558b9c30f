//! The account in words.

use std::fmt::Write;

use serde::Serialize;

use super::account::{Account, Answer, Sent};

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Votes by HTTP.
    Votes,
    /// Commits through the writable database port.
    Commits,
}

/// The result of a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub run: String,
    pub kind: Kind,
    /// Where it was sent to.
    pub target: String,
    /// Wall time as RFC 3339 text.
    pub started: String,
    /// It was ended by a signal rather than by its own limits.
    pub interrupted: bool,
    /// Nothing was read back although it was wanted, and why.
    pub unverified: Option<String>,
    pub account: Account,
}

impl Report {
    /// What was promised holds, and was read back where that was wanted.
    #[must_use]
    pub fn good(&self) -> bool {
        self.account.clean() && self.unverified.is_none()
    }

    /// One flat document: the account with the circumstances.
    #[must_use]
    pub fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!({
            "run": self.run,
            "kind": self.kind,
            "target": self.target,
            "started": self.started,
            "interrupted": self.interrupted,
            "unverified": self.unverified,
            "clean": self.good(),
        });
        let account =
            serde_json::to_value(&self.account).expect("an account is plain data with string keys");
        if let (Some(document), serde_json::Value::Object(account)) =
            (document.as_object_mut(), account)
        {
            document.extend(account);
        }
        document
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let account = &self.account;
        let noun = match self.kind {
            Kind::Votes => "votes",
            Kind::Commits => "commits",
        };
        let mut text = format!(
            "{noun} of run {} to {}, {} in {}\n\n",
            self.run,
            self.target,
            self.started,
            seconds(account.duration_ms)
        );
        for (name, count, meaning) in self.levels() {
            let count = count.map_or_else(|| "?".to_owned(), |count| count.to_string());
            let line = format!("  {name:<10}{count:>9}  {meaning}");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.figures(noun));
        text.push('\n');
        text.push_str(&self.verdict(noun));
        text
    }

    fn levels(&self) -> [(&'static str, Option<u64>, String); 8] {
        let account = &self.account;
        let accepted = match self.kind {
            Kind::Votes => "HTTP 200",
            Kind::Commits => "acknowledged",
        };
        let found = account.unknown_persisted.filter(|found| *found > 0);
        let unknown = found.map_or_else(String::new, |found| {
            format!("no answer; {found} of them are in the database")
        });
        [
            ("sent", Some(account.sent), String::new()),
            ("accepted", Some(account.accepted), accepted.into()),
            ("refused", Some(account.refused), String::new()),
            ("unknown", Some(account.unknown), unknown),
            (
                "queued",
                account.queued,
                "in a queue, not yet in the database".into(),
            ),
            (
                "persisted",
                account.persisted,
                "rows in the database".into(),
            ),
            (
                "lost",
                account.lost,
                listed("accepted, and gone", &account.lost_ids),
            ),
            (
                "phantom",
                account.phantom,
                listed("refused, yet stored", &account.phantom_ids),
            ),
        ]
    }

    fn figures(&self, noun: &str) -> String {
        let account = &self.account;
        let latency = account.latency_ms;
        let mut text = format!(
            "  throughput   {} {noun}/s\n  latency      p50 {} ms, p90 {} ms, p99 {} ms, max {} ms\n  longest gap  {}\n",
            account.throughput_per_s,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.max,
            seconds(account.longest_gap_ms)
        );
        for gap in &account.gaps {
            let _ = writeln!(
                text,
                "               {} without one, {} after the start",
                seconds(gap.length_ms),
                seconds(gap.start_ms)
            );
        }
        for (why, count) in &account.why {
            let _ = writeln!(text, "  {count:>6} x {why}");
        }
        text
    }

    fn verdict(&self, noun: &str) -> String {
        let account = &self.account;
        let mut text = String::new();
        for place in &account.unseen {
            let _ = writeln!(text, "not seen: {place}");
        }
        if let Some(why) = &self.unverified {
            let _ = writeln!(text, "NOT VERIFIED: nothing could be read back: {why}");
            return text;
        }
        let (Some(lost), Some(phantom)) = (account.lost, account.phantom) else {
            text.push_str("Not verified: nothing was read back.\n");
            return text;
        };
        let queued = account.queued.unwrap_or(0);
        let _ = match (lost, phantom) {
            (0, 0) if queued == 0 => {
                writeln!(
                    text,
                    "Every accepted one of these {noun} is in the database."
                )
            }
            (0, 0) => writeln!(
                text,
                "No accepted one of these {noun} is lost; {queued} still wait in a queue."
            ),
            _ if account.unseen.is_empty() => writeln!(
                text,
                "NOT CLEAN: {lost} accepted {noun} lost, {phantom} refused ones stored."
            ),
            _ => writeln!(
                text,
                "NOT CLEAN: {lost} accepted {noun} lost, or in a place that was not seen; \
                 {phantom} refused ones stored."
            ),
        };
        text
    }
}

fn listed(meaning: &str, ids: &[u64]) -> String {
    if ids.is_empty() {
        return meaning.to_owned();
    }
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    format!("{meaning}: {}", ids.join(" "))
}

/// `850 ms` or `12.3 s`.
fn seconds(milliseconds: u64) -> String {
    if milliseconds < 1000 {
        return format!("{milliseconds} ms");
    }
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// Counts while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub sent: u64,
    pub accepted: u64,
    pub refused: u64,
    pub unknown: u64,
}

impl Tally {
    /// One more has ended.
    pub fn count(&mut self, sent: &Sent) {
        self.sent += 1;
        match sent.answer {
            Answer::Accepted => self.accepted += 1,
            Answer::Refused { .. } => self.refused += 1,
            Answer::Unknown { .. } => self.unknown += 1,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sent, {} accepted", self.sent, self.accepted)?;
        write!(f, ", {} refused, {} unknown", self.refused, self.unknown)
    }
}

#[cfg(test)]
mod tests;
