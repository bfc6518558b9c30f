//! The way in through a site's load balancers.

use crate::{
    ids::HostName,
    ports::{
        PortError,
        remote::{Endpoint, Remote, Stream},
    },
};

/// A stream to a port of the first of these load balancers that can be
/// reached.
///
/// # Errors
/// `Unreachable`, with the reason of the last one; `Absent` where there are
/// none. `what`: the name in that error.
pub(super) async fn dial(
    remote: &dyn Remote,
    balancers: &[HostName],
    port: u16,
    what: &str,
) -> Result<Box<dyn Stream>, PortError> {
    let what = what.to_owned();
    let mut failure = PortError::Absent { what: what.clone() };
    for balancer in balancers {
        match remote.dial(balancer, Endpoint::Tcp(port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                failure = PortError::Unreachable {
                    what: what.clone(),
                    why: error.to_string(),
                };
            }
        }
    }
    Err(failure)
}
