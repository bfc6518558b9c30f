//! Guards with real PostgreSQL clusters on loopback. They need root (or the
//! user postgres itself) and Debian's package postgresql-15.

#[path = "etcd/cluster.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod cluster;
#[path = "guard/harness.rs"]
mod harness;
#[path = "adapters/local.rs"]
#[allow(dead_code, reason = "shared with the tests of adapters")]
mod local;
#[path = "guard/pki.rs"]
mod pki;
#[path = "adapters/port.rs"]
mod port;

#[path = "guard/access.rs"]
mod access;
#[path = "guard/crashes.rs"]
mod crashes;
#[path = "guard/divergence.rs"]
mod divergence;
#[path = "guard/lease.rs"]
mod lease;
#[path = "guard/promises.rs"]
mod promises;
#[path = "guard/resident.rs"]
mod resident;
#[path = "guard/roles.rs"]
mod roles;
#[path = "guard/switchover.rs"]
mod switchover;
