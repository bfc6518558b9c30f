//! What the entries of the queue mean.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Longest id and vote: the columns of the public application hold no more.
const LIMIT: usize = 255;

/// One entry. Unknown fields are left alone: other writers may add some.
#[derive(Debug, Deserialize)]
struct Entry {
    voter_id: String,
    vote: String,
}

/// A batch in the form in which it is written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The last vote of every voter, in the order of the primary key so that
    /// concurrent writers cannot deadlock.
    pub votes: BTreeMap<String, String>,
    /// Entries that are no votes.
    pub rejected: Vec<Vec<u8>>,
}

impl Batch {
    /// Reads entries, oldest first.
    pub fn read(entries: &[Vec<u8>]) -> Self {
        let mut batch = Self::default();
        for raw in entries {
            match serde_json::from_slice::<Entry>(raw) {
                Ok(entry) if is_storable(&entry.voter_id) && is_storable(&entry.vote) => {
                    batch.votes.insert(entry.voter_id, entry.vote);
                }
                _ => batch.rejected.push(raw.clone()),
            }
        }
        batch
    }
}

/// PostgreSQL has no zero byte in text.
fn is_storable(text: &str) -> bool {
    !text.is_empty() && text.len() <= LIMIT && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_vote_of_a_voter_wins_and_junk_is_put_aside() {
        let long = format!(r#"{{"voter_id":"{}","vote":"a"}}"#, "x".repeat(256));
        let junk = [
            r#"nonsense"#,
            r#"{"voter_id":"v"}"#,
            r#"{"voter_id":"","vote":"a"}"#,
            r#"{"voter_id":"z\u0000","vote":"a"}"#,
            long.as_str(),
            "[]",
        ];
        let mut entries = vec![
            r#"{"voter_id":"v1","vote":"a"}"#,
            r#"{"vote":"b","voter_id":"v2","more":1}"#,
            r#"{"voter_id":"v1","vote":"b"}"#,
        ];
        entries.extend(junk);
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| entry.as_bytes().to_vec())
            .collect();
        let batch = Batch::read(&entries);
        let votes = [("v1", "b"), ("v2", "b")].map(|(id, vote)| (id.into(), vote.into()));
        assert_eq!(batch.votes, BTreeMap::from(votes));
        assert_eq!(batch.rejected.len(), junk.len());
    }
}
