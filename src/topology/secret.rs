//! Which secrets there are, and where they come from.

use std::path::PathBuf;

use serde::Serialize;

/// The secrets that a deployment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretName {
    /// Superuser of PostgreSQL, for guard and operator.
    DatabaseSuperuser,
    /// Role that streams.
    DatabaseReplication,
    /// Role that pg_rewind uses.
    DatabaseRewind,
    /// Role of the application.
    DatabaseUser,
    QueuePassword,
    /// Of the statistics page.
    StatisticsPassword,
}

impl SecretName {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::DatabaseSuperuser,
        Self::DatabaseReplication,
        Self::DatabaseRewind,
        Self::DatabaseUser,
        Self::QueuePassword,
        Self::StatisticsPassword,
    ];

    /// The name of its file in the vault, such as `queue-password`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DatabaseSuperuser => "database-superuser",
            Self::DatabaseReplication => "database-replication",
            Self::DatabaseRewind => "database-rewind",
            Self::DatabaseUser => "database-user",
            Self::QueuePassword => "queue-password",
            Self::StatisticsPassword => "statistics-password",
        }
    }

    /// Its key below `secrets:` in topology files.
    #[must_use]
    pub fn key(self) -> String {
        self.as_str().replace('-', "_")
    }
}

/// Where a secret comes from; generated when none is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    File(PathBuf),
    Environment(String),
    /// Made at the first deploy and kept in the 0600 directory of the
    /// deployment.
    Generated,
}
