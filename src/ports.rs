//! The narrow ways to the world, in hafail's own words. Two worlds implement
//! them: `adapters` (real) and `sim` (simulated).

pub mod cloud;
pub mod remote;
