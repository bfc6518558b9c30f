//! Automatic coordination: three places, a lease that cannot outlive its
//! right, and a recovery time that can be kept.

use std::time::Duration;

use super::{Overview, SiteView};
use crate::{
    right::Terms,
    topology::{
        Coordination, Etcd, OnStandbyLoss, Replication, Role, lower,
        problem::Position,
        raw,
        read::{At, Reader},
    },
};

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let Some(coordination) = &plan.raw.coordination else {
        return without_effect(plan, reader);
    };
    if coordination.value != Coordination::Etcd {
        return without_effect(plan, reader);
    }
    places(plan, coordination, reader);
    on_standby_loss(plan, reader);
    watch(plan, reader);
    let etcd = lower::etcd(plan.raw);
    if round_trip(plan, &etcd, reader) && !was_wrong(reader) {
        lease(plan, &etcd, reader);
    }
}

/// Whether something that the lease follows from could not be read.
fn was_wrong(reader: &Reader<'_>) -> bool {
    let lease = [
        "ttl",
        "renew_every",
        "rpc_timeout",
        "kill_time",
        "drift_margin",
    ];
    lease.iter().any(|key| reader.was_wrong(&["lease", key]))
        || reader.was_wrong(&["lease"])
        || reader.was_wrong(&["etcd", "round_trip"])
}

/// Sections that only automatic coordination reads.
fn without_effect(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let raw = plan.raw;
    let sections = [
        ("lease", raw.lease.as_ref().map(|at| at.at)),
        ("etcd", raw.etcd.as_ref().map(|at| at.at)),
        ("watch", raw.watch.as_ref().map(|at| at.at)),
        ("database.on_standby_loss", on_loss(plan).map(|at| at.at)),
    ];
    for (name, at) in sections {
        let Some(at) = at else { continue };
        let message = format!("`{name}` has no effect while `coordination` is manual");
        let hint = "remove it, or write `coordination: etcd`";
        reader.warning("no-effect", at, message, hint);
    }
}

fn on_loss<'r>(plan: &Overview<'r>) -> Option<&'r At<OnStandbyLoss>> {
    plan.raw.database.get()?.on_standby_loss.as_ref()
}

fn on_standby_loss(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let mode = plan
        .raw
        .database
        .get()
        .and_then(|raw| raw.replication.as_ref());
    let asynchronous = mode.is_some_and(|mode| mode.value == Replication::Asynchronous);
    if let Some(policy) = on_loss(plan)
        && asynchronous
    {
        let message = "`on_standby_loss` has no effect with asynchronous replication";
        let hint = "remove it, or write `replication: synchronous`";
        reader.warning("no-effect", policy.at, message, hint);
    }
}

/// One member of the store in each of three places that fail apart.
fn places(plan: &Overview<'_>, at: &At<Coordination>, reader: &mut Reader<'_>) {
    for site in &plan.sites {
        for witness in site.with(Role::Witness).filter(|_| !site.is_witness()) {
            let message = format!(
                "the witness `{}` is in `{}`, a site that serves users: both would be lost together",
                witness.key.text, site.key.text
            );
            let hint = "put it into a site of its own, in a third region";
            reader.error("no-third-place", witness.key.at, message, hint);
        }
        lacks_member(site, reader);
    }
    let serving = plan.sites.iter().filter(|site| !site.is_witness()).count();
    let places = plan.sites.len();
    if serving < 2 {
        let message =
            format!("automatic failover needs two sites with a database, and there is {serving}");
        let hint = "add a second site, or write `coordination: manual`";
        reader.error("no-standby", at.at, message, hint);
    } else if places < 3 {
        let message = format!(
            "automatic failover needs three places, and there are {places}: two cannot tell a dead peer from a cut cable, and when one is lost neither has a majority"
        );
        let hint = "add a site in a third region with one host with roles: [bastion, witness], or write `coordination: manual`";
        reader.error("no-third-place", at.at, message, hint);
    } else if places > 3 {
        let message =
            format!("the store has a member in each of three places, and there are {places}");
        let hint = "keep three sites: two with a database and one with a witness";
        reader.error("too-many-places", at.at, message, hint);
    }
}

/// A site with services has a load balancer anyway.
fn lacks_member(site: &SiteView<'_>, reader: &mut Reader<'_>) {
    let complete = site.raw.hosts.0.as_ref().is_some_and(|at| at.value.1);
    if complete && !site.is_witness() && site.with(Role::Lb).next().is_none() {
        let message = format!(
            "the site `{}` has no `lb` host: its member of the store runs there",
            site.key.text
        );
        let hint = "add a host with roles: [lb], or add `lb` to the roles of one";
        let already = reader
            .problems
            .iter()
            .any(|it| it.at == site.key.at && it.id == "missing-role");
        if !already {
            reader.error("missing-role", site.key.at, message, hint);
        }
    }
}

fn watch(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let Some(watch) = &plan.raw.watch else { return };
    if let Some(raw) = &watch.value.heal {
        heal(&raw.value, reader);
    }
    if let Some(webhook) = &watch.value.webhook
        && !(webhook.value.starts_with("https://") || webhook.value.starts_with("http://"))
    {
        let message = "`watch.webhook` is no URL";
        let hint = "write one such as https://alerts.example.org/hook";
        reader.error("invalid-value", webhook.at, message, hint);
    }
    if let Some(topic) = &watch.value.sns_topic
        && (!topic.value.starts_with("arn:aws") || topic.value.split(':').count() != 6)
    {
        let message = format!("`{}` is not the ARN of a topic", topic.value);
        let hint = "write one such as arn:aws:sns:eu-central-1:123456789012:alerts";
        reader.error("invalid-value", topic.at, message, hint);
    }
}

/// Limits within which healing can be understood and kept by the store.
fn heal(raw: &raw::Heal, reader: &mut Reader<'_>) {
    /// An instance that is rebooted by its cloud answers again by then.
    const SOONEST: Duration = Duration::from_secs(20);
    let heal = lower::heal(Some(raw));
    if let Some(after) = &raw.after
        && heal.after < SOONEST
    {
        let message = "`watch.heal.after` is shorter than a machine may need to reboot";
        let hint = "write 20s or more, such as 2m";
        reader.error("invalid-value", after.at, message, hint);
    }
    if let Some(at_most) = &raw.at_most
        && heal.at_most == 0
    {
        let message = "`watch.heal.at_most: 0` heals nothing";
        let hint = "write 1 or more, or `mode: off`";
        reader.error("invalid-value", at_most.at, message, hint);
    }
    if let Some(within) = &raw.within
        && heal.within < heal.after
    {
        let message = "`watch.heal.within` is shorter than `after`: it limits nothing";
        let hint = "write a longer time, such as 30m";
        reader.error("invalid-value", within.at, message, hint);
    }
}

/// Whether times can follow from the round trip.
fn round_trip(plan: &Overview<'_>, etcd: &Etcd, reader: &mut Reader<'_>) -> bool {
    let stated = plan
        .raw
        .etcd
        .as_ref()
        .and_then(|at| at.value.round_trip.as_ref());
    let Some(at) = stated else { return true };
    // etcd accepts election times up to 50 s.
    let fits = etcd.election() <= Duration::from_secs(50) && !etcd.round_trip.is_zero();
    if !fits {
        let message = "this is no round trip between two places";
        let hint = "write what ping says between the most distant places, such as 80ms";
        reader.error("invalid-value", at.at, message, hint);
    }
    fits
}

fn lease(plan: &Overview<'_>, etcd: &Etcd, reader: &mut Reader<'_>) {
    let rto = plan.raw.objectives.get().and_then(|it| it.rto.0.as_ref());
    let Some(rto) = rto.filter(|rto| !rto.value.0.is_zero()) else {
        return;
    };
    let stated = plan.raw.lease.as_ref();
    let Some(terms) = lower::lease(plan.raw, etcd) else {
        let shortest = Terms::of(etcd.shortest_lease());
        return too_soon(rto, &shortest, etcd, reader);
    };
    let at = stated.map_or(rto.at, |lease| place(&lease.value).unwrap_or(lease.at));
    let ttl = stated.and_then(|lease| lease.value.ttl.as_ref());
    if let Some(ttl) = ttl
        && !length(ttl.at, &terms, etcd, reader)
    {
        return;
    }
    if let Err(tight) = terms.check() {
        let message = format!("the lease does not hold: {tight}");
        let lengths =
            (etcd.shortest_lease().as_secs()..=Terms::LONGEST.as_secs()).map(Duration::from_secs);
        let fits = |ttl: &Duration| {
            let terms = lower::terms(Terms::of(*ttl), stated.map(|at| &at.value));
            terms.check().is_ok()
        };
        let hint = match lengths.into_iter().find(fits) {
            Some(ttl) => format!(
                "write `ttl: {}s` or more, or shorten what stands on the left",
                ttl.as_secs()
            ),
            None => "shorten what stands on the left".to_owned(),
        };
        reader.error("lease-too-tight", at, message, hint);
    } else if terms.renew_every.is_zero() || terms.rpc_timeout.is_zero() {
        let message = "a renewal cannot take no time";
        reader.error("invalid-value", at, message, "write a time such as 500ms");
    } else if terms.worst_case(etcd.outage()).site > rto.value.0 {
        too_late(rto, &terms, etcd, reader);
    }
}

/// The first key of the lease that is stated.
fn place(lease: &raw::Lease) -> Option<Position> {
    let keys = [
        &lease.ttl,
        &lease.renew_every,
        &lease.rpc_timeout,
        &lease.kill_time,
        &lease.drift_margin,
    ];
    keys.into_iter().flatten().map(|key| key.at).next()
}

fn length(at: Position, terms: &Terms, etcd: &Etcd, reader: &mut Reader<'_>) -> bool {
    let shortest = etcd.shortest_lease();
    if terms.ttl.subsec_nanos() != 0 || terms.ttl > Terms::LONGEST {
        let (shortest, longest) = (shortest.as_secs(), Terms::LONGEST.as_secs());
        let hint = format!("write whole seconds, from {shortest}s to {longest}s");
        reader.error("invalid-value", at, "this is no length of a lease", hint);
        return false;
    }
    if terms.ttl < shortest {
        let message = format!(
            "the store makes no lease shorter than {} s, one and a half times its election time of {} ms",
            shortest.as_secs(),
            etcd.election().as_millis()
        );
        let hint = format!(
            "write `ttl: {}s`, or a smaller `etcd.round_trip` where the places are closer",
            shortest.as_secs()
        );
        reader.error("lease-too-short", at, message, hint);
        return false;
    }
    true
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// No lease at all would do.
fn too_soon(
    rto: &At<crate::topology::values::Time>,
    shortest: &Terms,
    etcd: &Etcd,
    reader: &mut Reader<'_>,
) {
    let worst = shortest.worst_case(etcd.outage());
    let message = format!(
        "no lease can keep an `rto` of {}: with the shortest, of {} s, the loss of a site costs up to {}, of which {} until the store leads again",
        seconds(rto.value.0),
        shortest.ttl.as_secs(),
        seconds(worst.site),
        seconds(etcd.outage())
    );
    let hint = format!(
        "write an `rto` of {}s or more, or the true `etcd.round_trip` where the places are closer than {} ms",
        worst.site.as_secs_f64().ceil(),
        etcd.round_trip.as_millis()
    );
    reader.error("objective", rto.at, message, hint);
}

fn too_late(
    rto: &At<crate::topology::values::Time>,
    terms: &Terms,
    etcd: &Etcd,
    reader: &mut Reader<'_>,
) {
    let worst = terms.worst_case(etcd.outage());
    let message = format!(
        "an `rto` of {} cannot be kept with a lease of {} s: the loss of a site costs up to {}, the loss of the primary's host up to {}",
        seconds(rto.value.0),
        terms.ttl.as_secs(),
        seconds(worst.site),
        seconds(worst.host)
    );
    let hint = match Terms::within(rto.value.0, etcd.outage()) {
        Some(fitting) if fitting.ttl >= etcd.shortest_lease() => format!(
            "write `lease: {{ ttl: {}s }}` or leave `lease` out, or an `rto` of {}s",
            fitting.ttl.as_secs(),
            worst.site.as_secs_f64().ceil()
        ),
        _ => format!(
            "write an `rto` of {}s or more",
            worst.site.as_secs_f64().ceil()
        ),
    };
    reader.error("objective", rto.at, message, hint);
}
