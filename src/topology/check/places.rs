//! How hosts are made, or where they are.

use super::{HostView, Overview, SiteView, hosts::and_others};
use crate::topology::{
    node::Key,
    raw,
    read::{At, Reader},
};

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    for (site, host) in plan.hosts() {
        place(site, host, reader);
        host_key(host.raw, reader);
        disk(host.raw, reader);
    }
    placeholders(plan, reader);
}

/// A host is either made or exists.
fn place(site: &SiteView<'_>, host: &HostView<'_>, reader: &mut Reader<'_>) {
    let path = |key| ["sites", &site.key.text, "hosts", &host.key.text, key];
    let keys = ["type", "subnet", "address", "host_key"];
    if keys.iter().any(|key| reader.was_wrong(&path(key))) {
        return;
    }
    if host.is_static() {
        existing(host, reader);
    } else if host.raw.r#type.is_none() && host.raw.subnet.is_none() {
        let message = format!(
            "the host `{}` says neither how it is made nor where it is",
            host.key.text
        );
        let hint = "write `type` and `subnet` for an instance, or `address`, `ssh_address` and `host_key` for an existing machine";
        reader.error("no-place", host.key.at, message, hint);
    } else {
        instance(host, reader);
    }
}

fn existing(host: &HostView<'_>, reader: &mut Reader<'_>) {
    let raw = host.raw;
    let of_instances = [
        raw.r#type.as_ref().map(|field| field.at),
        raw.subnet.as_ref().map(|field| field.at),
        raw.disk_gib.as_ref().map(|field| field.at),
    ];
    if let Some(at) = of_instances.into_iter().flatten().next() {
        let message = format!(
            "the host `{}` is described both as an instance and as an existing machine",
            host.key.text
        );
        let hint = "an instance has `type` and `subnet`, an existing machine `address`, `ssh_address` and `host_key`";
        return reader.error("mixed-host", at, message, hint);
    }
    let key = "the machine's public key: ssh-keyscan -t ed25519 ADDRESS";
    need(raw.host_key.as_ref(), host.key, "host_key", key, reader);
    let address = "its address for the other hosts";
    need(raw.address.as_ref(), host.key, "address", address, reader);
}

fn instance(host: &HostView<'_>, reader: &mut Reader<'_>) {
    let raw = host.raw;
    let kind = "an instance type such as t3.small";
    need(raw.r#type.as_ref(), host.key, "type", kind, reader);
    let subnet = "the name of a subnet of its site";
    need(raw.subnet.as_ref(), host.key, "subnet", subnet, reader);
    if let Some(field) = &raw.r#type
        && !is_instance_type(&field.value)
    {
        let message = format!("`{}` is no instance type", field.value);
        let hint = "write one such as t3.small or m7g.large";
        reader.error("invalid-value", field.at, message, hint);
    }
}

fn need<T>(field: Option<&At<T>>, host: &Key, key: &str, what: &str, reader: &mut Reader<'_>) {
    if field.is_none() {
        let message = format!("the host `{}` lacks `{key}`", host.text);
        let hint = format!("add `{key}:` with {what}");
        reader.error("missing-key", host.at, message, hint);
    }
}

fn is_instance_type(text: &str) -> bool {
    let word = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.split_once('.')
        .is_some_and(|(family, size)| word(family) && word(size))
}

fn host_key(raw: &raw::Host, reader: &mut Reader<'_>) {
    let Some(key) = &raw.host_key else { return };
    let mut words = key.value.split_whitespace();
    let algorithm = words.next().unwrap_or("");
    let known = algorithm == "ssh-ed25519"
        || algorithm == "ssh-rsa"
        || algorithm.starts_with("ecdsa-sha2-nistp");
    let body = words.next().unwrap_or("");
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    // Every such key begins with the length of the algorithm's name.
    if !known || !body.starts_with("AAAA") || body.len() < 64 || !body.bytes().all(plain) {
        let message = "this is not an OpenSSH public host key";
        let hint =
            "copy the line `ssh-ed25519 AAAA…` of /etc/ssh/ssh_host_ed25519_key.pub of that host";
        reader.error("invalid-value", key.at, message, hint);
    }
}

/// `hafail init` writes keys that are to be replaced.
fn placeholders(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let key = |(_, host): (_, &HostView<'_>)| {
        let key = host.raw.host_key.as_ref()?;
        let open = key.value.contains("REPLACETHISKEY");
        open.then(|| (host.key.text.clone(), key.at))
    };
    let open: Vec<_> = plan.hosts().filter_map(key).collect();
    if let Some((name, at)) = open.first() {
        let message = format!(
            "the host key of `{name}`{} is still to be filled in",
            and_others(open.len() - 1)
        );
        let hint = "write what ssh-keyscan -t ed25519 ADDRESS prints, without the address";
        reader.warning("placeholder", *at, message, hint);
    }
}

fn disk(raw: &raw::Host, reader: &mut Reader<'_>) {
    if let Some(disk) = &raw.disk_gib
        && !(8..=16_384).contains(&disk.value)
    {
        let message = format!("a root volume of {} GiB cannot be made", disk.value);
        reader.error(
            "invalid-value",
            disk.at,
            message,
            "write a number from 8 to 16384",
        );
    }
}
