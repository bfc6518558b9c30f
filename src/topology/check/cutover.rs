//! What moves the names: nothing to say of `upsert`; health checks need two
//! sites that can be asked from the internet.

use std::{net::Ipv4Addr, time::Duration};

use super::{HostView, Overview};
use crate::topology::{
    Cutover, Role,
    dns::{CHECK_ANSWER, CHECK_INTERVAL},
    raw,
    read::{At, Reader},
};

/// As Route 53 takes them.
const THRESHOLDS: std::ops::RangeInclusive<u32> = 1..=10;

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let Some(dns) = &plan.raw.dns else { return };
    let cutover = dns.value.cutover.as_ref();
    let Some(by_checks) = cutover.filter(|at| at.value == Cutover::HealthCheck) else {
        return without_effect(&dns.value, reader);
    };
    if let Some(threshold) = &dns.value.failure_threshold
        && !THRESHOLDS.contains(&threshold.value)
    {
        let message = "Route 53 takes no such threshold";
        reader.error("invalid-value", threshold.at, message, "write 1 to 10");
    }
    sites(plan, by_checks, reader);
    for (_, host) in plan.hosts().filter(|(_, host)| host.is(Role::Lb)) {
        public(host, reader);
    }
}

fn without_effect(dns: &raw::Dns, reader: &mut Reader<'_>) {
    if let Some(threshold) = &dns.failure_threshold {
        let message = "`failure_threshold` has no effect while `cutover` is upsert";
        let hint = "remove it, or write `cutover: health-check`";
        reader.warning("no-effect", threshold.at, message, hint);
    }
}

/// A failover record has two answers.
fn sites(plan: &Overview<'_>, cutover: &At<Cutover>, reader: &mut Reader<'_>) {
    let serving = plan.sites.iter().filter(|site| !site.is_witness()).count();
    if serving != 2 && !plan.sites.is_empty() {
        let message = format!("health checks choose between two sites, and {serving} serve users");
        let hint = "write `cutover: upsert`, or two sites with a load balancer each";
        reader.error("health-check", cutover.at, message, hint);
    }
}

/// Route 53 refuses to ask addresses that are not public.
fn public(host: &HostView<'_>, reader: &mut Reader<'_>) {
    if !host.is_static() {
        return;
    }
    let asked = host.raw.ssh_address.as_ref();
    let asked = asked.and_then(|at| Some((at.value.parse::<Ipv4Addr>().ok()?, at.at)));
    let stated = host.raw.address.as_ref().map(|at| (at.value, at.at));
    let Some((address, at)) = asked.or(stated) else {
        return;
    };
    if address.is_private() || address.is_link_local() {
        let message = format!("Route 53 cannot ask {address} whether the site is active");
        let hint =
            "write the public address of the load balancer as `ssh_address`, or `cutover: upsert`";
        reader.error("health-check", at, message, hint);
    }
}

/// Until name servers answer the site that is active, beyond the time to live.
pub(super) fn delay(dns: &raw::Dns) -> Duration {
    let by_checks = dns.cutover.as_ref();
    if by_checks.is_none_or(|at| at.value == Cutover::Upsert) {
        return Duration::ZERO;
    }
    let threshold = dns.failure_threshold.as_ref().map_or(1, |at| at.value);
    CHECK_INTERVAL * threshold.min(*THRESHOLDS.end()) + CHECK_ANSWER
}
