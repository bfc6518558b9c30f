//! The real world behind the ports.

pub mod aws;
pub mod pki;
pub mod secrets;
