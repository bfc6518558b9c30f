//! Instances as containers with systemd.

mod container;
mod seed;

pub use container::{Container, Exit, MachineError, Machines, container_name, tear_down};
pub use seed::Seed;
