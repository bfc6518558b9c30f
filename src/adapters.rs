//! The real world behind the ports.

pub mod ssh;
