//! A write the way an application writes.

use std::time::Duration;

use async_trait::async_trait;

use super::PortError;
use crate::ids::SiteName;

/// Writes through the load balancer of a site.
#[async_trait]
pub trait EndToEnd: Send + Sync {
    /// Commits one small transaction through the site's writable PostgreSQL
    /// port and returns when the commit was acknowledged.
    ///
    /// It must reach the disk (and the standby in synchronous mode) as an
    /// application's does, and needs no table:
    /// `SELECT pg_logical_emit_message(true, 'hafail', '')` does that.
    /// The connection is kept between calls; a broken one is opened anew by
    /// the next call, so that calling this in a loop measures what a client
    /// of a connection pool sees.
    ///
    /// # Errors
    /// Not acknowledged within `deadline`; whether it was committed is open.
    async fn write(&self, site: &SiteName, deadline: Duration) -> Result<(), PortError>;
}
