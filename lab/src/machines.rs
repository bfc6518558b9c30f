//! Instances as containers with systemd.

mod container;
mod faults;
mod seed;

pub use container::{Container, Exit, MachineError, Machines, container_name, tear_down};
pub use faults::{freeze, give_disk, thaw};
pub use seed::Seed;
