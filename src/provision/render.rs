//! A plan as people read it.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{
    diff::{Change, Changes, Edit, What},
    resource::{Discovered, Key, count},
};

/// Numbers of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub delete: usize,
    pub blocked: usize,
    pub unchanged: usize,
}

/// Counts the changes.
#[must_use]
pub fn counts(changes: &Changes) -> Counts {
    let mut counts = Counts {
        unchanged: changes.unchanged,
        ..Counts::default()
    };
    for change in changes.entries.values() {
        match change.what {
            What::Create { .. } => counts.create += 1,
            What::Update { .. } => counts.update += 1,
            What::Replace { .. } => counts.replace += 1,
            What::Delete { .. } => counts.delete += 1,
            What::Blocked { .. } => counts.blocked += 1,
        }
    }
    counts
}

/// The plan as a tree by site: `+` create, `~` change, `-` remove, `±` make
/// anew, `!` needs a decision.
#[must_use]
pub fn text(changes: &Changes) -> String {
    let mut out = String::new();
    let mut families: BTreeMap<&str, Vec<(&Key, &Change)>> = BTreeMap::new();
    for (key, change) in &changes.entries {
        families
            .entry(key.family())
            .or_default()
            .push((key, change));
    }
    for (family, members) in families {
        let region = members
            .iter()
            .find_map(|(_, change)| change.region.as_ref());
        match region {
            Some(region) => writeln!(out, "{family} ({region})"),
            None => writeln!(out, "{family}"),
        }
        .expect("writing to a string cannot fail");
        for (key, change) in members {
            member(&mut out, key, change);
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&summary(changes));
    out
}

/// One line with the numbers.
#[must_use]
pub fn summary(changes: &Changes) -> String {
    let counts = counts(changes);
    if changes.is_empty() {
        return format!(
            "0 changes; {} as wanted",
            count(counts.unchanged, "resource")
        );
    }
    let parts = [
        (counts.create, "to create"),
        (counts.update, "to change"),
        (counts.replace, "to make anew"),
        (counts.delete, "to remove"),
        (counts.blocked, "to decide"),
        (counts.unchanged, "as wanted"),
    ];
    let shown: Vec<String> = (parts.iter())
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    shown.join(", ")
}

fn member(out: &mut String, key: &Key, change: &Change) {
    let name = key
        .as_str()
        .split_once('/')
        .map_or(key.as_str(), |(_, rest)| rest);
    let kind = change.kind;
    let line = match &change.what {
        What::Create { resource, .. } => format!("+ {name}  {kind} {}", resource.spec.summary()),
        What::Update { id, .. } => format!("~ {name}  {kind} {id}"),
        What::Replace { why, old, .. } => format!("± {name}  {kind} {}: {why}", old.id),
        What::Delete { found, .. } => format!("- {name}  {kind} {}", found.id),
        What::Blocked { why, .. } => format!("! {name}  {kind}: {why}"),
    };
    let _ = writeln!(out, "  {}", line.trim_end());
    match &change.what {
        What::Update { edits, .. } => edits.iter().for_each(|it| edit(out, it)),
        What::Blocked { remedy, .. } => {
            let _ = writeln!(out, "      {remedy}");
        }
        What::Create { .. } | What::Replace { .. } | What::Delete { .. } => {}
    }
}

fn edit(out: &mut String, edit: &Edit) {
    let or_nothing = |text: &str| {
        if text.is_empty() {
            "nothing".to_owned()
        } else {
            text.to_owned()
        }
    };
    let _ = match edit.field.as_str() {
        "allow" => writeln!(out, "      {}: {}", edit.field, edit.new),
        "forbid" => writeln!(out, "      {}: {}", edit.field, edit.old),
        field => writeln!(
            out,
            "      {field}: {} → {}",
            or_nothing(&edit.old),
            or_nothing(&edit.new)
        ),
    };
}

/// The plan for programs.
#[derive(Debug, Serialize)]
pub struct Document {
    pub topology: String,
    pub counts: Counts,
    pub changes: Vec<Entry>,
    /// Records of the managed zone that the topology does not name.
    pub foreign_records: Vec<String>,
}

/// One change for programs.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub resource: String,
    pub kind: &'static str,
    pub region: Option<String>,
    /// `create`, `update`, `replace`, `delete` or `blocked`.
    pub action: &'static str,
    pub id: Option<String>,
    pub why: Option<String>,
    pub edits: Vec<EditLine>,
}

/// One aspect for programs.
#[derive(Debug, Serialize)]
pub struct EditLine {
    pub field: String,
    pub old: String,
    pub new: String,
}

/// The plan for programs.
#[must_use]
pub fn document(topology: &str, changes: &Changes, found: &Discovered) -> Document {
    let entries = changes.entries.iter();
    Document {
        topology: topology.to_owned(),
        counts: counts(changes),
        changes: entries.map(|(key, change)| entry(key, change)).collect(),
        foreign_records: found.foreign_records.clone(),
    }
}

fn entry(key: &Key, change: &Change) -> Entry {
    let (action, id, why, edits): (_, Option<&str>, Option<&str>, &[Edit]) = match &change.what {
        What::Create { .. } => ("create", None, None, &[]),
        What::Update { id, edits, .. } => ("update", Some(id), None, edits),
        What::Replace { old, why, .. } => ("replace", Some(&old.id), Some(why), &[]),
        What::Delete { found, .. } => ("delete", Some(&found.id), None, &[]),
        What::Blocked { why, .. } => ("blocked", None, Some(why), &[]),
    };
    let line = |edit: &Edit| EditLine {
        field: edit.field.clone(),
        old: edit.old.clone(),
        new: edit.new.clone(),
    };
    Entry {
        resource: key.to_string(),
        kind: change.kind,
        region: change.region.as_ref().map(ToString::to_string),
        action,
        id: id.map(str::to_owned),
        why: why.map(str::to_owned),
        edits: edits.iter().map(line).collect(),
    }
}
