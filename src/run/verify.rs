//! Looking from outside.

use std::time::Duration;

use crate::ids::SiteName;

use super::context::{Context, Done, Failure};

const WRITE: Duration = Duration::from_secs(5);

pub(super) async fn writes(cx: &Context<'_>, site: &SiteName) -> Result<Done, Failure> {
    let start = cx.world.clock.now();
    cx.world.end_to_end.write(site, WRITE).await?;
    let took = cx.world.clock.now().saturating_sub(start).as_millis();
    Ok(Done::new(
        false,
        format!("a write through {site} was acknowledged in {took} ms"),
    ))
}
