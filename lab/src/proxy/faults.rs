//! Faults of the API on order, and the log of calls.

use std::sync::Mutex;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::call::Call;

/// The next calls of one action fail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Action as in an IAM policy, or `*`.
    pub action: String,
    /// Only calls to this region; all without it.
    #[serde(default)]
    pub region: Option<String>,
    /// Error code, for example `RequestLimitExceeded` or `UnauthorizedOperation`.
    pub code: String,
    /// How often.
    #[serde(default = "once")]
    pub times: u32,
    /// HTTP status; without it the one that AWS uses with the code.
    #[serde(default)]
    pub http_status: Option<u16>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub when: When,
}

/// Whether a failing call has had its effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// It fails and changes nothing.
    #[default]
    Before,
    /// It is done, and only the answer is lost.
    After,
}

fn once() -> u32 {
    1
}

impl Fault {
    fn strikes(&self, action: &str, region: &str) -> bool {
        (self.action == action || self.action == "*")
            && self.region.as_deref().is_none_or(|only| only == region)
    }

    /// The HTTP status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        let usual = match self.code.as_str() {
            "RequestLimitExceeded" | "InternalError" | "Unavailable" | "ServiceUnavailable" => 503,
            "UnauthorizedOperation" | "AccessDenied" => 403,
            "AuthFailure" => 401,
            _ => 400,
        };
        StatusCode::from_u16(self.http_status.unwrap_or(usual)).unwrap_or(StatusCode::BAD_REQUEST)
    }
}

/// Faults that wait for their call.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    fn armed(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn arm(&self, fault: Fault) {
        self.armed().push(fault);
    }

    pub(super) fn clear(&self) {
        self.armed().clear();
    }

    /// The fault that strikes this call, if one does.
    pub(super) fn take(&self, action: &str, region: &str) -> Option<Fault> {
        let mut armed = self.armed();
        let hit = armed
            .iter_mut()
            .find(|f| f.times > 0 && f.strikes(action, region))?;
        hit.times -= 1;
        let fault = hit.clone();
        armed.retain(|f| f.times > 0);
        Some(fault)
    }
}

/// One line of the log of calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Logged {
    pub region: String,
    pub action: String,
    pub status: u16,
    pub changes: bool,
}

/// The last calls, oldest first.
#[derive(Debug, Default)]
pub(super) struct CallLog(Mutex<std::collections::VecDeque<Logged>>);

/// Older calls are forgotten.
const KEPT: usize = 20_000;

impl CallLog {
    fn entries(&self) -> std::sync::MutexGuard<'_, std::collections::VecDeque<Logged>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn add(&self, call: &Call, status: StatusCode) {
        let mut entries = self.entries();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(Logged {
            region: call.region.clone(),
            action: call.action.clone(),
            status: status.as_u16(),
            changes: call.changes,
        });
    }

    pub(super) fn all(&self) -> Vec<Logged> {
        self.entries().iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        self.entries().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_its_action_as_often_as_ordered() {
        let faults = Faults::default();
        let text = r#"{"action":"RunInstances","code":"RequestLimitExceeded","times":2}"#;
        faults.arm(serde_json::from_str(text).unwrap());
        assert!(faults.take("DescribeVpcs", "eu-west-1").is_none());
        assert_eq!(
            faults.take("RunInstances", "eu-west-1").unwrap().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(faults.take("RunInstances", "us-east-1").is_some());
        assert!(faults.take("RunInstances", "eu-west-1").is_none());
    }

    #[test]
    fn a_fault_of_a_region_leaves_others_alone() {
        let faults = Faults::default();
        let text = r#"{"action":"*","region":"us-east-1","code":"InternalError"}"#;
        faults.arm(serde_json::from_str(text).unwrap());
        assert!(faults.take("DescribeVpcs", "eu-west-1").is_none());
        assert!(faults.take("DescribeVpcs", "us-east-1").is_some());
    }
}
