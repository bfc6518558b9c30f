//! The runs of a deployment, from their journals.

use crate::{
    journal::{Entry, IllegalEvent, JournalError, parse},
    ports::store::{RunId, Store, StoreError},
};

/// Why the past cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the journal cannot be read")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("a journal is not a possible one")]
    Illegal(#[from] IllegalEvent),
}

/// The journals of all runs, oldest first.
///
/// # Errors
/// A journal that cannot be read or is damaged.
pub async fn journals(store: &dyn Store) -> Result<Vec<(RunId, Vec<Entry>)>, HistoryError> {
    let mut journals = Vec::new();
    for run in store.list().await? {
        let entries = parse(&run, &store.read(&run).await?)?;
        if !entries.is_empty() {
            journals.push((run, entries));
        }
    }
    Ok(journals)
}
