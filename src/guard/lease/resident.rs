//! Keeps this program in memory.

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities},
};

/// From now on nothing that this process has used leaves memory: its own code
/// would be read again from a disk that may hang, while PostgreSQL must be
/// killed. What it never uses takes no memory.
pub(super) fn stay_in_memory() {
    if let Err(why) = lock() {
        tracing::warn!(%why, "a hung disk may hold this program up");
    }
}

fn lock() -> Result<(), String> {
    let exempt =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    // Under a limit the next allocation could fail.
    if let Some(limit) = getrlimit(Resource::Memlock).current
        && !exempt
    {
        return Err(format!(
            "locked memory is limited to {limit} bytes: set LimitMEMLOCK=infinity"
        ));
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|error| error.to_string())
}
