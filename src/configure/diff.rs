//! What a dry run shows: the difference between what is and what shall be,
//! without secrets, also without those that are no longer in use.

use similar::{ChangeTag, TextDiff};

use super::{
    secrets::{PLACEHOLDER, Redactor},
    task::Wanted,
};

/// Lines around a difference.
const CONTEXT: usize = 2;
/// Lines that are shown at most.
const LONGEST: usize = 200;

/// The difference in unified form; empty when there is none.
#[must_use]
pub fn of(old: &str, wanted: &Wanted, redactor: &Redactor) -> String {
    let new = match wanted {
        Wanted::File(content) => content.clone(),
        Wanted::Block(block) => with_block(old, block),
    };
    let difference = TextDiff::from_lines(old, &new);
    let mut lines = Vec::new();
    for group in difference.grouped_ops(CONTEXT) {
        let changes: Vec<_> = group
            .iter()
            .flat_map(|op| difference.iter_changes(op))
            .collect();
        // Where a secret goes in, what goes out may be its predecessor.
        let secret = changes.iter().any(|change| {
            change.tag() == ChangeTag::Insert && redactor.clean(change.value()) != change.value()
        });
        if let Some(first) = group.first() {
            lines.push(format!("@@ line {} @@", first.old_range().start + 1));
        }
        for change in changes {
            let value = change.value().trim_end_matches('\n');
            lines.push(match change.tag() {
                ChangeTag::Delete if secret => format!("-{PLACEHOLDER}"),
                tag => format!("{tag}{}", redactor.clean(value)),
            });
        }
    }
    let left = lines.len().saturating_sub(LONGEST);
    lines.truncate(LONGEST);
    if left > 0 {
        lines.push(format!("… and {left} more lines"));
    }
    lines.join("\n")
}

/// The same as `with_block` on the host.
fn with_block(old: &str, block: &str) -> String {
    let mut new = format!("{block}\n");
    let mut inside = false;
    for line in old.lines() {
        inside |= line == "# BEGIN hafail";
        if !inside {
            new.push_str(line);
            new.push('\n');
        }
        inside &= line != "# END hafail";
    }
    new
}
