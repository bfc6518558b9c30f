//! The page as text and as a document.

use std::fmt::Write;

use serde_json::json;

use super::{
    automatic,
    findings::{Finding, Severity},
    store, tables,
    unseen::unseen,
    view::View,
};
use crate::{
    observation::{DoorAnswer, Doors, Knowledge, WriteAnswer},
    topology::Topology,
};

/// How the page is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; none: as wide as the text needs.
    pub width: Option<u16>,
    /// Colour supports the words, and never replaces them.
    pub colour: bool,
}

/// The page for people.
#[must_use]
pub fn render(topology: &Topology, view: &View, findings: &[Finding], look: Look) -> String {
    let mut text = header(topology, view, look);
    for finding in findings {
        text.push_str(&lines(finding, look));
    }
    let tables = [
        tables::hosts(topology, view),
        tables::databases(topology, view),
        tables::balancers(view),
        tables::queues(view),
        automatic::table(topology, view),
        store::table(view),
        tables::names(topology, view),
        tables::runs(view),
    ];
    for table in tables.into_iter().flatten() {
        let _ = write!(text, "\n{}\n", tables::draw(table, look));
    }
    if let Some(unseen) = unseen(view) {
        text.push('\n');
        for line in unseen.lines() {
            let _ = writeln!(text, "{}", wrap(line, look.width, 2));
        }
    }
    text
}

fn header(topology: &Topology, view: &View, look: Look) -> String {
    let active = view.active_site(topology).map_or_else(
        || "no active site".to_owned(),
        |site| format!("{site} ({}) is active", topology.sites[site].region),
    );
    let writes: Vec<_> = view
        .snapshot
        .writes
        .iter()
        .map(|(site, answer)| match answer {
            Knowledge::Known(WriteAnswer::Acknowledged { milliseconds }) => {
                format!("{site} {milliseconds} ms")
            }
            Knowledge::Known(WriteAnswer::NotAcknowledged { .. }) => format!("{site} refused"),
            Knowledge::Unknown { .. } => format!("{site} not seen"),
            Knowledge::Absent => format!("{site} none"),
        })
        .collect();
    let mut header = format!(
        "{}: {active}, seen at {}\nwrites through the load balancers: {}\n",
        topology.name,
        view.snapshot.taken,
        writes.join(", ")
    );
    if let Some(doors) = doors(&view.snapshot.doors) {
        let line = format!("pages through the load balancers: {doors}");
        let _ = writeln!(header, "{}", wrap(&line, look.width, 2));
    }
    header.push('\n');
    header
}

/// “site1 result 3 ms, vote 4 ms; site2 result 503, vote 5 ms”
fn doors(doors: &Doors) -> Option<String> {
    let answer = |seen: &Knowledge<DoorAnswer>| match seen {
        Knowledge::Known(answer) if answer.is_open() => format!("{} ms", answer.milliseconds),
        Knowledge::Known(answer) => answer.status.to_string(),
        Knowledge::Unknown { .. } => "not seen".to_owned(),
        Knowledge::Absent => "none".to_owned(),
    };
    let sites = doors.iter().filter(|(_, services)| !services.is_empty());
    let words = sites.map(|(site, services)| {
        let services = services.iter();
        let services: Vec<_> = services
            .map(|(name, seen)| format!("{name} {}", answer(seen)))
            .collect();
        format!("{site} {}", services.join(", "))
    });
    let words: Vec<_> = words.collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn lines(finding: &Finding, look: Look) -> String {
    let (word, colour) = match finding.severity {
        Severity::Good => ("ok", "32"),
        Severity::Unseen => ("unseen", "36"),
        Severity::Degraded => ("degraded", "33"),
        Severity::Critical => ("critical", "1;31"),
    };
    let label = if look.colour {
        format!("\u{1b}[{colour}m{word}\u{1b}[0m")
    } else {
        word.to_owned()
    };
    let indent = word.len() + 2;
    let body = format!("{} [{}]", finding.text, finding.id);
    let body = wrap(&body, look.width, indent);
    let mut text = format!("{label}: {body}\n");
    if let Some(next) = &finding.next {
        let _ = writeln!(text, "{:indent$}next: {next}", "");
    }
    text
}

/// Breaks at spaces, so that no line is longer than the terminal is wide.
fn wrap(text: &str, width: Option<u16>, indent: usize) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let room = usize::from(width).saturating_sub(indent).max(20);
    let mut wrapped = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            let _ = write!(wrapped, "\n{:indent$}", "");
            used = 0;
        } else if used > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += length;
    }
    wrapped
}

/// The page for programs: fields are only ever added.
#[must_use]
pub fn document(topology: &Topology, view: &View, findings: &[Finding]) -> serde_json::Value {
    let healthy = findings
        .iter()
        .all(|finding| finding.severity == Severity::Good);
    json!({
        "topology": topology.name,
        "healthy": healthy,
        "active_site": view.active_site(topology),
        "active_region":
            view.active_site(topology).map(|site| &topology.sites[site].region),
        "primary": view.primary().map(|primary| &primary.host),
        "timeline": view.primary().and_then(|primary| primary.postgres.timeline),
        "findings": findings,
        "seen": view,
    })
}
