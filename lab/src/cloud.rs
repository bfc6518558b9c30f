//! What the API describes, in the lab's own words.

mod convert;
pub mod model;
mod names;
mod read;

pub use names::{NamesError, read_names};
pub use read::{ReadError, Reader};
