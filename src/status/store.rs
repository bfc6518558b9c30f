//! The shared store of automatic coordination.

use comfy_table::Table;

use super::{
    findings::{Finding, Severity},
    view::View,
};
use crate::ports::quorum::MemberHealth;

/// One member may be away; without a majority nothing is automatic, and the
/// service goes on.
pub fn findings(view: &View) -> Vec<Finding> {
    let members = &view.members;
    let trouble = members
        .iter()
        .filter_map(|(name, health)| Some((name, health.clone().trouble()?)));
    let ill: Vec<_> = trouble.collect();
    let Some((first, _)) = ill.first() else {
        return Vec::new();
    };
    let seen = ill.iter().map(|(name, why)| format!("{name} {why}"));
    let seen = seen.collect::<Vec<_>>().join("; ");
    let leaderless = members
        .values()
        .any(|health| *health == MemberHealth::Leaderless);
    let finding = if 2 * ill.len() < members.len() {
        Finding::new(
            "store-degraded",
            Severity::Degraded,
            format!("the store: {seen}"),
        )
        .next("hafail deploy")
    } else if leaderless {
        let text = format!("the store has no majority, so nothing is automatic: {seen}");
        Finding::new("store-lost", Severity::Degraded, text).next(format!("hafail logs {first}"))
    } else {
        Finding::new(
            "store-unseen",
            Severity::Unseen,
            format!("the store: {seen}"),
        )
    };
    vec![finding]
}

pub fn table(view: &View) -> Option<Table> {
    if view.members.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.set_header(["STORE", "MEMBER"]);
    for (name, health) in &view.members {
        let word = match health {
            MemberHealth::Leader => "leader",
            MemberHealth::Follower => "follower",
            MemberHealth::Leaderless => "no leader",
            MemberHealth::Unknown { .. } => "unknown",
        };
        table.add_row([name.as_str(), word]);
    }
    Some(table)
}
