//! The real world behind the ports.

pub mod aws;
mod balanced;
pub mod clock;
pub mod database;
pub mod direct;
pub mod end_to_end;
pub mod etcd;
pub mod front_doors;
pub mod guard_client;
pub mod guards;
pub mod journal_file;
pub mod kept_lock;
pub mod ledger;
pub mod machines;
pub mod notices;
pub mod pki;
pub mod proxies;
pub mod queues;
pub mod rebuild;
pub mod records;
pub mod redis_link;
pub mod resolver;
pub mod secrets;
pub mod ssh;
pub mod watch_config;
pub mod world;
