//! The real world behind the ports.

pub mod guard_client;
