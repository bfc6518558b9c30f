//! The right to write under a lease: its terms and its deadline. Pure: a
//! moment is time since the machine's boot that counts suspend
//! (`CLOCK_BOOTTIME`), given by the caller. The wall clock plays no part.

mod holding;
mod promise;
mod sync;
mod terms;

pub use holding::{Answer, Holding, Next, Stop};
pub use promise::{NoPromise, Promise, PromiseRequest, Standing};
pub use sync::{Seen, SyncStep, Synced, next_sync};
pub use terms::{Terms, TooTight, WorstCase};

use std::time::Duration;

/// Time since the boot of a machine, suspend included.
pub type Moment = Duration;
