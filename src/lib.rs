//! hafail: a multi-region high-availability failover orchestrator.

pub mod adapters;
pub mod cli;
pub mod guard;
pub mod ids;
pub mod inventory;
pub mod observation;
pub mod order;
pub mod ports;
pub mod topology;
