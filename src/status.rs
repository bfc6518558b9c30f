//! The status page: what was seen, what follows from it, and how it is shown.
//! Pure: what was seen goes in, text and findings come out.

mod automatic;
mod databases;
mod findings;
mod places;
mod render;
mod seen;
mod store;
mod tables;
mod unseen;
mod view;

pub use automatic::Automatic;
pub use findings::{Finding, Severity, findings};
pub use render::{Look, document, render};
pub use seen::Seen;
pub use view::{HostFacts, Names, RunLine, View};
