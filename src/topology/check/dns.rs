//! The zone and its records.

use super::{Overview, cutover, unknown};
use crate::topology::{
    raw,
    read::{At, Reader},
};

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let Some(dns) = &plan.raw.dns else { return };
    let zone = dns.value.zone.0.as_ref();
    let zone = zone
        .filter(|zone| name(zone, reader))
        .map(|zone| zone.value.as_str());
    let records = dns
        .value
        .records
        .get()
        .map_or(&[][..], |list| list.0.as_slice());
    for (index, record) in records.iter().enumerate() {
        record_name(&record.value, zone, &records[..index], reader);
        target(plan, &record.value, reader);
        ttl(plan, &dns.value, &record.value, reader);
    }
    active(plan, dns, reader);
}

/// Whether the text is a full DNS name, without the final dot.
pub(in crate::topology) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(label)
}

/// Reports what is no name; answers whether it is one.
fn name(field: &At<String>, reader: &mut Reader<'_>) -> bool {
    let text = &field.value;
    if is_name(text) {
        return true;
    }
    let message = format!("`{text}` is not a full DNS name");
    let hint = match text.strip_suffix('.') {
        Some(short) if is_name(short) => format!("leave the final dot out: {short}"),
        _ => "write one such as vote.example.org".to_owned(),
    };
    reader.error("invalid-name", field.at, message, hint);
    false
}

fn record_name(
    record: &raw::Record,
    zone: Option<&str>,
    before: &[At<raw::Record>],
    reader: &mut Reader<'_>,
) {
    let Some(field) = &record.name.0 else { return };
    if !name(field, reader) {
        return;
    }
    let text = field.value.to_lowercase();
    if let Some(zone) = zone {
        let zone = zone.to_lowercase();
        let inside = text.strip_suffix(&zone);
        if inside.is_none_or(|rest| !rest.is_empty() && !rest.ends_with('.')) {
            let message = format!("the record `{}` is outside the zone `{zone}`", field.value);
            let hint = format!("write {zone} or a name below it, such as www.{zone}");
            reader.error("record-outside", field.at, message, hint);
        }
    }
    let same = |other: &&At<raw::Record>| {
        let name = other.value.name.get();
        name.is_some_and(|name| name.to_lowercase() == text)
    };
    if let Some(first) = before.iter().find(same) {
        let message = format!(
            "the record `{}` is given twice (line {})",
            field.value, first.at.line
        );
        reader.error("duplicate-record", field.at, message, "remove one of them");
    }
}

fn target(plan: &Overview<'_>, record: &raw::Record, reader: &mut Reader<'_>) {
    let Some(target) = &record.target.0 else {
        return;
    };
    let mut known = plan.site_names();
    let name = target.value.0.as_str();
    if name != "active" && !known.is_empty() && !known.contains(&name) {
        let message = format!("the target `{name}` is neither `active` nor a site");
        known.insert(0, "active");
        unknown(reader, target.at, message, name, &known);
    }
    let site = plan.sites.iter().find(|site| site.key.text == name);
    if site.is_some_and(super::SiteView::is_witness) {
        let message =
            format!("the target `{name}` is a witness's site: nothing there serves users");
        let hint = "write `active` or a site with a load balancer";
        reader.error("unknown-reference", target.at, message, hint);
    }
}

fn ttl(plan: &Overview<'_>, dns: &raw::Dns, record: &raw::Record, reader: &mut Reader<'_>) {
    let Some(ttl) = &record.ttl else { return };
    let time = ttl.value.0;
    if time.subsec_nanos() != 0 || time.is_zero() || time.as_secs() > 86_400 {
        let message = "this is not a time to live";
        let hint = "write whole seconds, from 1s to 24h";
        return reader.error("invalid-value", ttl.at, message, hint);
    }
    let follows = record
        .target
        .get()
        .is_some_and(|target| target.0 == "active");
    let rto = plan
        .raw
        .objectives
        .get()
        .and_then(|objectives| objectives.rto.get());
    let delay = cutover::delay(dns);
    let time = time + delay;
    if let Some(rto) = rto
        && follows
        && time > rto.0
        && !rto.0.is_zero()
    {
        let message = format!(
            "clients may keep the address of a lost site for {}s, longer than the `rto` of {}s",
            time.as_secs(),
            rto.0.as_secs_f64()
        );
        let hint = match delay.is_zero() {
            true => "lower the `ttl`; a fifth of the `rto` leaves time for the failover itself",
            false => "health checks take so long; with `cutover: upsert` it is the `ttl` alone",
        };
        reader.warning("objective", ttl.at, message, hint);
    }
}

/// Somebody should notice a failover.
fn active(plan: &Overview<'_>, dns: &At<raw::Dns>, reader: &mut Reader<'_>) {
    let Some(records) = dns.value.records.get() else {
        return;
    };
    let active = |record: &At<raw::Record>| {
        let target = record.value.target.0.as_ref();
        target.is_none_or(|target| target.value.0 == "active")
    };
    if plan.replicates() && records.1 && !records.0.iter().any(active) {
        let message =
            "no record follows the active site: after the loss of a site its users stay there";
        let hint = "add a record with target: active";
        reader.warning("objective", dns.at, message, hint);
    }
}
