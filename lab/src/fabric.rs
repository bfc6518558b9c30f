//! The networks of the lab, made of network namespaces.
//!
//! ```text
//!  operator ──veth── internet ──veth── VPC router ──veth── instance (eth0)
//!                        │                  │
//!                        └──veth── VPC router (another region)
//!                                           └── peerings: veth between routers
//! ```
//!
//! A VPC is a namespace that plays the VPC's router: it owns the first address
//! of every subnet, routes by each subnet's own route table, filters by
//! security groups, and translates public addresses at the internet gateway.
//! The *internet* is a namespace that knows who owns which public address.
//! Public addresses are moto's (127.x.y.z) and are really routed: the operator's
//! machine has one route per address, so a stopped instance is a black hole and
//! a reset is a reset.
//!
//! [`plan`] is pure: what the API describes to what each namespace should hold.
//! [`Fabric`] makes it so.

mod apply;
mod cut;
mod filters;
mod internet;
mod namespace;
mod operator;
mod plan;
mod plug;
#[cfg(test)]
mod tests;
mod whole;

pub use apply::{Fabric, FabricError, tear_down};
pub use cut::{cut, mend};
pub use internet::{Internet, host_link};
pub use namespace::{in_namespace, listen, path};
pub use plan::{Plan, VpcPlan, plan};
pub use plug::Socket;
