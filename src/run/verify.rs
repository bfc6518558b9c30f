//! Looking from outside.

use std::time::Duration;

use crate::ids::SiteName;

use super::{
    context::{Context, Done, Failure},
    proxy,
};

const WRITE: Duration = Duration::from_secs(5);

/// A load balancer knows no epochs: an order of an older run, come late, may
/// have undone that of this one.
pub(super) async fn writes(cx: &Context<'_>, site: &SiteName) -> Result<Done, Failure> {
    let start = cx.world.clock.now();
    let written = cx.world.end_to_end.write(site, WRITE).await;
    if written.is_err() {
        proxy::use_primary(cx).await?;
    }
    written?;
    let took = cx.world.clock.now().saturating_sub(start).as_millis();
    Ok(Done::new(
        false,
        format!("a write through {site} was acknowledged in {took} ms"),
    ))
}
