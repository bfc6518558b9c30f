//! Where votes are found again.

use async_trait::async_trait;

use super::account::Found;

/// Reads votes back.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The votes of a run that are in a queue or in the database now.
    ///
    /// Queues are read *before* the database: a vote moves from the one to the
    /// other, and in the other order it could be missed in both.
    async fn find(&self, run: &str) -> Result<Found, LedgerError>;
}

/// Why votes could not be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("no database accepts writes: {0}")]
    NoPrimary(String),
    #[error("{0} both accept writes: rows cannot be counted")]
    TwoPrimaries(String),
    #[error("{0}")]
    Unreadable(String),
}
