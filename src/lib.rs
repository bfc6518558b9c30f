//! hafail: a multi-region high-availability failover orchestrator.

pub mod adapters;
pub mod cli;
pub mod configure;
pub mod decide;
pub mod guard;
pub mod ids;
pub mod inventory;
pub mod journal;
pub mod load;
pub mod observation;
pub mod order;
pub mod plan;
pub mod playbook;
pub mod ports;
pub mod probe;
pub mod provision;
pub mod run;
pub mod status;
pub mod step;
pub mod topology;
