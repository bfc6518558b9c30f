//! The load balancers, through their runtime API.

use async_trait::async_trait;

use super::PortError;
use crate::{
    ids::HostName,
    observation::{ProxyOrder, ProxyStatus},
};

/// Asks and tells HAProxy.
#[async_trait]
pub trait Proxies: Send + Sync {
    /// All backends and their servers, as the load balancer on `lb` has them.
    async fn status(&self, lb: &HostName) -> Result<ProxyStatus, PortError>;

    /// Gives the orders in sequence, in one exchange.
    ///
    /// # Errors
    /// `Failed` when any of them was rejected (no such backend or server);
    /// those before it have taken effect.
    async fn tell(&self, lb: &HostName, orders: &[ProxyOrder]) -> Result<(), PortError>;
}
