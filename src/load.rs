//! `hafail load`: real votes through DNS and the load balancer, or numbered
//! commits through the writable database port, and an account of each.
//!
//! An answer is no proof: a vote counts as safe only when its row is read back
//! from the database. So the account has three levels, answered, queued and
//! persisted, and names each vote that is on one level and missing on the next.

pub mod account;
pub mod browser;
pub mod ledger;
pub mod raw;
pub mod send;
pub mod settle;
pub mod target;
pub mod words;
pub mod writer;
