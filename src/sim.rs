//! One simulated world: hosts, databases with logs and timelines, guards,
//! load balancers, queues, DNS and a cloud, in simulated time, with faults by
//! name, writing clients, and the invariants checked at every event. Seeded:
//! the same seed gives the same story.

mod attendant;
mod automatic;
pub mod check;
mod clients;
pub mod clock;
mod core;
mod database;
mod delivery;
mod events;
pub mod fault;
pub mod guard;
pub mod hosts;
mod machine;
pub mod mutation;
pub mod network;
mod operator;
mod ports;
mod proxy;
mod queue;
pub mod quorum;
pub mod recover;
mod rng;
pub mod schedule;
pub mod script;
mod state;
mod store;
pub mod tasks;
pub mod watcher;
mod zone;

pub use check::Violation;
pub use core::{Core, Sim};
pub use operator::{Answer, Operator};
pub use rng::Rng;
pub use state::{Settings, State, two_sites};
pub use store::{CrashPoint, SimStore};
