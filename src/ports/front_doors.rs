//! The front doors: what the users of the stack see.

use async_trait::async_trait;

use super::PortError;
use crate::{ids::SiteName, observation::DoorAnswer};

/// Asks services of the stack through the load balancers of a site.
#[async_trait]
pub trait FrontDoors: Send + Sync {
    /// Gets the page by which the service says that it is ready, from outside
    /// as a browser would. Takes as long as the answer does: the caller ends
    /// it.
    ///
    /// # Errors
    /// No HTTP answer of any status. `Absent` for a service that is not served.
    async fn ask(&self, site: &SiteName, service: &str) -> Result<DoorAnswer, PortError>;
}
