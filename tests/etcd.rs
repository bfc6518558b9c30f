//! The store against three real members of etcd on loopback, with TLS. Needs
//! Debian's package etcd-server.

#[path = "etcd/cluster.rs"]
mod cluster;
#[path = "adapters/local.rs"]
#[allow(dead_code, reason = "shared with the tests of the other adapters")]
mod local;
#[path = "guard/pki.rs"]
mod pki;
#[path = "adapters/port.rs"]
mod port;

#[path = "etcd/faults.rs"]
mod faults;
#[path = "etcd/keys.rs"]
mod keys;
#[path = "etcd/leases.rs"]
mod leases;
#[path = "etcd/locks.rs"]
mod locks;
