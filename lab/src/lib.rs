//! A small AWS on one machine.
//!
//! The EC2 and Route 53 API is [moto](https://docs.getmoto.org) behind a
//! reverse proxy ([`proxy`]). After every call that changes something the
//! proxy has the lab follow ([`reconcile`]): what the API describes
//! ([`cloud`]) becomes network namespaces, routes and packet filters
//! ([`fabric`]), containers with systemd ([`machines`]) and DNS answers
//! ([`dns`]).
//!
//! One direction: `cli` and `daemon` know everything; `reconcile` knows
//! `cloud`, `fabric` and `machines`; these three know only the words in
//! [`cloud::model`] and how to run a command.

pub mod cli;
pub mod cloud;
pub mod command;
pub mod daemon;
pub mod dns;
pub mod fabric;
pub mod image;
pub mod machines;
pub mod moto;
pub mod needs;
pub mod process;
pub mod proxy;
pub mod reconcile;
pub mod registry;
pub mod settings;
pub mod ui;
