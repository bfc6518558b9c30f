//! The real world behind the ports.

pub mod pki;
pub mod secrets;
