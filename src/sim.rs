//! One simulated world: hosts, databases with logs and timelines, guards,
//! load balancers, queues, DNS and a cloud, in simulated time, with faults by
//! name, writing clients, and the invariants checked at every event. Seeded:
//! the same seed gives the same story.

pub mod check;
mod clients;
mod core;
mod database;
mod delivery;
mod events;
pub mod fault;
pub mod hosts;
mod machine;
pub mod mutation;
mod operator;
mod ports;
mod proxy;
mod queue;
pub mod recover;
mod rng;
pub mod schedule;
mod state;
mod store;
mod zone;

pub use check::Violation;
pub use core::{Core, Sim};
pub use operator::{Answer, Operator};
pub use rng::Rng;
pub use state::{Settings, State, two_sites};
pub use store::{CrashPoint, SimStore};
