//! The end of a run, in a table or as JSON.

use super::super::Context;
use crate::configure::Report;

/// Shows the sum of a run. In JSON, failures have a document of their own,
/// which contains the report.
pub(in super::super) fn show(context: &Context, report: &Report) {
    if report.succeeded() {
        context.ui.data(&text(report), report);
    } else {
        context.ui.status(&text(report));
    }
}

fn text(report: &Report) -> String {
    let names = report.hosts.keys().map(|host| host.as_str().len());
    let width = names.max().unwrap_or(0);
    let word = if report.dry_run {
        "would change"
    } else {
        "changed"
    };
    let lines = report.hosts.iter().map(|(host, counts)| {
        format!(
            "{host:width$}  {} ok, {} {word}, {} skipped, {} failed{}\n",
            counts.ok,
            counts.changed,
            counts.skipped,
            counts.failed,
            match counts.untold {
                0 => String::new(),
                untold => format!(", {untold} not to be told by a dry run"),
            }
        )
    });
    let mut text: String = lines.collect();
    let seconds = std::time::Duration::from_millis(report.durations.total).as_secs_f64();
    text.push_str(&format!(
        "{} {word} on {} hosts in {seconds:.1} s\n",
        report.changed.len(),
        report.hosts.len()
    ));
    if !report.not_begun.is_empty() {
        text.push_str(&format!("not begun: {}\n", report.not_begun.join(", ")));
    }
    text
}
