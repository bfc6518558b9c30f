//! What etcd's errors mean.

use std::error::Error as _;

use etcd_client::Error;
use tonic::{Code, Status};

use crate::ports::quorum::{LeaseId, QuorumError};

/// Why one member gave no good answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// This member cannot answer now; another one may.
    Away(String),
    /// An answer of the store: another member would say the same.
    Said(QuorumError),
}

impl Fault {
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Said(QuorumError::Refused { why: why.into() })
    }

    /// What an error means to who named that lease.
    pub(super) fn of(error: Error, lease: Option<LeaseId>) -> Self {
        let status = match error {
            Error::GRpcStatus(status) => status,
            other => return Self::Away(why(&other)),
        };
        match (status.code(), lease) {
            (Code::NotFound, Some(lease)) => Self::Said(QuorumError::NoSuchLease(lease)),
            (
                Code::NotFound
                | Code::InvalidArgument
                | Code::OutOfRange
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::FailedPrecondition
                | Code::AlreadyExists
                | Code::ResourceExhausted
                | Code::Unimplemented,
                _,
            ) => Self::refused(status.message()),
            _ => Self::Away(told(&status)),
        }
    }
}

/// Whether the member answered that it knows no leader.
pub(super) fn knows_no_leader(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message() == "etcdserver: no leader")
}

/// The error in words.
pub(super) fn why(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => told(status),
        other => other.to_string(),
    }
}

/// A status with the cause at its root, which says most.
fn told(status: &Status) -> String {
    let mut root = None;
    let mut next = status.source();
    while let Some(error) = next {
        root = Some(error.to_string());
        next = error.source();
    }
    match root {
        Some(root) if root != status.message() => format!("{}: {root}", status.message()),
        _ => status.message().to_owned(),
    }
}
