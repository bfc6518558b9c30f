//! The real world behind the ports.

pub mod aws;
pub mod database;
pub mod guard_client;
pub mod journal_file;
pub mod ledger;
pub mod pki;
pub mod queues;
pub mod redis_link;
pub mod resolver;
pub mod secrets;
pub mod ssh;
