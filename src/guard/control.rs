//! What the control file of a data directory says, as `pg_controldata`
//! prints it.

use std::collections::BTreeMap;

use crate::ids::{Lsn, Timeline};

/// The control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub system_identifier: String,
    pub state: ClusterState,
    /// Start of the newest checkpoint's record.
    pub checkpoint: Lsn,
    /// Timeline of the cluster: of its newest checkpoint, or newer where
    /// recovery went further.
    pub timeline: Timeline,
}

/// `Database cluster state`, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// A primary that was shut down cleanly.
    ShutDown,
    /// A standby that was shut down cleanly.
    ShutDownInRecovery,
    /// A standby that runs or crashed.
    InArchiveRecovery,
    /// A primary that runs or crashed.
    InProduction,
    /// Another state, such as `starting up`, in PostgreSQL's words.
    Other(String),
}

/// Length of a shutdown checkpoint's record in the log, aligned: 114 bytes in
/// PostgreSQL 13 to 17.
const CHECKPOINT_RECORD: u64 = 120;
const PAGE: u64 = 8192;
const SEGMENT: u64 = 16 * 1024 * 1024;
const PAGE_HEADER: u64 = 24;
const SEGMENT_HEADER: u64 = 40;

impl Control {
    /// Reads the output of `pg_controldata` in the C locale.
    pub fn parse(output: &str) -> Result<Self, String> {
        let fields: BTreeMap<&str, &str> = output
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let field = |key: &str| {
            let value = fields.get(key).copied();
            value.ok_or_else(|| format!("pg_controldata did not print `{key}`"))
        };
        let number = |key: &str| {
            field(key)?
                .parse::<u32>()
                .map_err(|e| format!("{key}: {e}"))
        };
        let checkpoint = field("Latest checkpoint location")?;
        let recovered = number("Min recovery ending loc's timeline").unwrap_or(0);
        Ok(Self {
            system_identifier: field("Database system identifier")?.to_owned(),
            state: ClusterState::parse(field("Database cluster state")?),
            checkpoint: checkpoint
                .parse()
                .map_err(|e: crate::ids::InvalidLsn| e.to_string())?,
            timeline: Timeline(number("Latest checkpoint's TimeLineID")?.max(recovered)),
        })
    }

    /// Where the log of a cleanly stopped primary ends: just after the record
    /// of its shutdown checkpoint. A standby that received everything has
    /// received exactly up to here.
    #[must_use]
    pub fn shutdown_checkpoint(&self) -> Option<Lsn> {
        (self.state == ClusterState::ShutDown).then(|| end_of_checkpoint(self.checkpoint))
    }

    /// Whether the cluster was a standby when it last ran.
    #[must_use]
    pub fn was_standby(&self) -> bool {
        matches!(
            self.state,
            ClusterState::ShutDownInRecovery | ClusterState::InArchiveRecovery
        )
    }
}

impl ClusterState {
    fn parse(text: &str) -> Self {
        match text {
            "shut down" => Self::ShutDown,
            "shut down in recovery" => Self::ShutDownInRecovery,
            "in archive recovery" => Self::InArchiveRecovery,
            "in production" => Self::InProduction,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl std::fmt::Display for ClusterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::InArchiveRecovery => "in archive recovery",
            Self::InProduction => "in production",
            Self::Other(other) => other,
        })
    }
}

/// A record that does not fit in its page continues after the header of the
/// next one.
fn end_of_checkpoint(start: Lsn) -> Lsn {
    let end = start.0 + CHECKPOINT_RECORD;
    let page_end = start.0 - start.0 % PAGE + PAGE;
    if end <= page_end {
        return Lsn(end);
    }
    let header = if page_end.is_multiple_of(SEGMENT) {
        SEGMENT_HEADER
    } else {
        PAGE_HEADER
    };
    Lsn(end + header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
pg_control version number:            1300
Database system identifier:           7574871038041285432
Database cluster state:               shut down
pg_control last modified:             Fri Nov 20 13:00:00 2026
Latest checkpoint location:           0/1A2B3C8
Latest checkpoint's REDO location:    0/1A2B3C8
Latest checkpoint's TimeLineID:       2
Min recovery ending loc's timeline:   0
";

    #[test]
    fn a_stopped_primary() {
        let control = Control::parse(OUTPUT).unwrap();
        assert_eq!(control.state, ClusterState::ShutDown);
        assert_eq!(control.timeline, Timeline(2));
        assert_eq!(control.system_identifier, "7574871038041285432");
        let end = Lsn(0x1A2_B3C8 + 120);
        assert_eq!(control.shutdown_checkpoint(), Some(end));
    }

    #[test]
    fn only_a_clean_stop_has_a_shutdown_checkpoint() {
        for state in ["in production", "shut down in recovery", "shutting down"] {
            let output = OUTPUT.replace("shut down", state);
            let control = Control::parse(&output).unwrap();
            assert_eq!(control.shutdown_checkpoint(), None, "{state}");
        }
    }

    #[test]
    fn records_step_over_page_headers() {
        assert_eq!(end_of_checkpoint(Lsn(PAGE - 120)), Lsn(PAGE));
        assert_eq!(end_of_checkpoint(Lsn(PAGE - 112)), Lsn(PAGE + 8 + 24));
        assert_eq!(end_of_checkpoint(Lsn(SEGMENT - 112)), Lsn(SEGMENT + 8 + 40));
    }

    #[test]
    fn strange_output_is_an_error() {
        let error = Control::parse("no such file").unwrap_err();
        assert!(error.contains("Latest checkpoint location"), "{error}");
    }
}
