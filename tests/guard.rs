//! Guards with real PostgreSQL clusters on loopback. They need root (or the
//! user postgres itself) and Debian's package postgresql-15.

#[path = "guard/harness.rs"]
mod harness;
#[path = "guard/pki.rs"]
mod pki;

#[path = "guard/access.rs"]
mod access;
#[path = "guard/crashes.rs"]
mod crashes;
#[path = "guard/divergence.rs"]
mod divergence;
#[path = "guard/roles.rs"]
mod roles;
#[path = "guard/switchover.rs"]
mod switchover;
