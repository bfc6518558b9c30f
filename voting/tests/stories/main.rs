//! Stories of the voting stack: the real binary against a real PostgreSQL and
//! a real Redis, each started for the story on loopback ports of its own, and
//! in a real browser.
//!
//! Needs Debian's packages postgresql-15 and redis-server, and for the browser
//! chromium and chromium-driver; a missing one fails with its name.

mod browser;
mod database;
#[path = "../../../tests/adapters/port.rs"]
mod port;
mod result;
mod support;
mod vote;
mod worker;
