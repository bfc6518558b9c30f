//! hafail: a multi-region high-availability failover orchestrator.

#![warn(
    clippy::dbg_macro,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::todo,
    clippy::unimplemented,
    clippy::unwrap_used
)]

#[allow(
    clippy::disallowed_methods,
    reason = "adapters are the edge to files, network, clock and environment"
)]
pub mod adapters;
#[allow(
    clippy::disallowed_methods,
    reason = "the command line reads files and environment and passes values on"
)]
pub mod cli;
#[allow(
    clippy::disallowed_methods,
    reason = "playbooks, their templates and what they upload are local files"
)]
pub mod configure;
pub mod coordination;
pub mod decide;
pub mod ground;
#[allow(
    clippy::disallowed_methods,
    reason = "the guard runs PostgreSQL, keeps its state in files and listens"
)]
pub mod guard;
pub mod history;
pub mod ids;
pub mod inventory;
pub mod journal;
#[allow(
    clippy::disallowed_methods,
    reason = "the load is sent from here, on the real clock"
)]
pub mod load;
pub mod observation;
pub mod order;
pub mod plan;
pub mod playbook;
pub mod ports;
pub mod probe;
pub mod provision;
pub mod report;
pub mod right;
pub mod run;
pub mod sim;
pub mod status;
pub mod step;
pub mod topology;
pub mod watch;
