//! Adapters against the real programs on this machine: HAProxy, Redis,
//! PostgreSQL and a DNS server, all on loopback; Route 53 by moto. Hosts are
//! reached by a stand-in for SSH that dials loopback.

mod database;
mod dns;
mod front_doors;
mod haproxy;
mod local;
#[path = "../provision/moto.rs"]
mod moto;
mod port;
mod redis;
mod route53;
