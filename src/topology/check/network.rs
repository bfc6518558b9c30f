//! Networks, subnets, zones and addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{HostView, Overview, SiteView, check_name, entries, unknown};
use crate::topology::{
    Role,
    node::Key,
    problem::Position,
    raw,
    read::{At, Reader},
};

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    site_networks(plan, reader);
    for site in &plan.sites {
        presence(site, reader);
        region(site, reader);
        subnets(site, reader);
        for host in &site.hosts {
            host_subnet(site, host, reader);
        }
        egress(plan, site, reader);
    }
    addresses(plan, reader);
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn site_networks(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let docker = Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 0), 16);
    let mut seen: Vec<(&Key, Ipv4Net, Position)> = Vec::new();
    for site in &plan.sites {
        let Some(cidr) = &site.raw.cidr else { continue };
        let net = cidr.value.0;
        size(net, cidr.at, "a site", reader);
        for (other, taken, first) in &seen {
            if overlap(*taken, net) {
                let message = format!(
                    "the network {net} of `{}` overlaps {taken} of `{}` (line {})",
                    site.key.text, other.text, first.line
                );
                let hint = "sites are connected by a peering, which needs networks of their own: change one";
                reader.error("overlapping-networks", cidr.at, message, hint);
            }
        }
        if overlap(net, docker) {
            let message =
                format!("the network {net} overlaps {docker}, which Docker uses on every host");
            let hint =
                "choose another, such as 10.10.0.0/16: containers could not reach hosts in it";
            reader.warning("overlapping-networks", cidr.at, message, hint);
        }
        seen.push((site.key, net, cidr.at));
    }
}

/// The sizes that EC2 accepts.
fn size(net: Ipv4Net, at: Position, what: &str, reader: &mut Reader<'_>) {
    if !(16..=28).contains(&net.prefix_len()) {
        let message = format!("{net} is not a size that {what} can have");
        reader.error(
            "invalid-value",
            at,
            message,
            "write a prefix from /16 to /28",
        );
    }
}

fn presence(site: &SiteView<'_>, reader: &mut Reader<'_>) {
    let raw = site.raw;
    let wrong = |key| reader.was_wrong(&["sites", &site.key.text, key]);
    if wrong("cidr") || wrong("subnets") {
        return;
    }
    let made = site.hosts.iter().any(|host| host.raw.subnet.is_some());
    match (&raw.cidr, &raw.subnets) {
        (None, Some(subnets)) => {
            let message = format!("the site `{}` has subnets and no network", site.key.text);
            let hint = "add `cidr:`, a network that contains them, such as 10.10.0.0/16";
            reader.error("missing-key", subnets.at, message, hint);
        }
        (Some(cidr), None) => {
            let message = format!("the site `{}` has a network and no subnets", site.key.text);
            let hint = "add `subnets:`, at least one with its zone and cidr";
            reader.error("missing-key", cidr.at, message, hint);
        }
        (None, None) if made => {
            let message = format!(
                "the site `{}` has hosts to be made and no network",
                site.key.text
            );
            let hint = "add `cidr:` and `subnets:` to it";
            reader.error("missing-key", site.key.at, message, hint);
        }
        _ => {}
    }
}

/// Names such as `eu-west-1` or `us-gov-east-1`: a typing error would only
/// show as a host name that does not resolve.
fn region(site: &SiteView<'_>, reader: &mut Reader<'_>) {
    let (Some(region), true) = (&site.raw.region.0, site.raw.cidr.is_some()) else {
        return;
    };
    if !is_region(region.value.as_str()) {
        let message = format!("`{}` is not the name of a cloud region", region.value);
        let hint = "write one such as eu-west-1";
        reader.error("invalid-value", region.at, message, hint);
    }
}

fn is_region(name: &str) -> bool {
    let parts: Vec<_> = name.split('-').collect();
    let letters = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase());
    let Some((last, words)) = parts.split_last() else {
        return false;
    };
    words.len() >= 2
        && words.iter().all(letters)
        && last.len() == 1
        && last.bytes().all(|b| b.is_ascii_digit())
}

fn subnets(site: &SiteView<'_>, reader: &mut Reader<'_>) {
    let mut seen: Vec<(&Key, Ipv4Net)> = Vec::new();
    for (key, subnet) in entries(site.raw.subnets.as_ref()) {
        check_name(key, "the subnet", reader);
        zone(site, key, &subnet.value, reader);
        let Some(cidr) = &subnet.value.cidr.0 else {
            continue;
        };
        let net = cidr.value.0;
        size(net, cidr.at, "a subnet", reader);
        if let Some(whole) = &site.raw.cidr
            && !whole.value.0.contains(&net)
        {
            let message = format!(
                "the subnet `{}` ({net}) is outside the network {} of `{}`",
                key.text, whole.value.0, site.key.text
            );
            let hint = format!("write a part of {}", whole.value.0);
            reader.error("subnet-outside", cidr.at, message, hint);
        }
        for (other, taken) in &seen {
            if overlap(*taken, net) {
                let message = format!(
                    "the subnets `{}` ({taken}) and `{}` ({net}) of `{}` overlap",
                    other.text, key.text, site.key.text
                );
                let hint = "give each its own part of the site's network";
                reader.error("overlapping-networks", cidr.at, message, hint);
            }
        }
        seen.push((key, net));
    }
}

fn zone(site: &SiteView<'_>, key: &Key, subnet: &raw::Subnet, reader: &mut Reader<'_>) {
    let (Some(zone), Some(region)) = (&subnet.zone.0, site.raw.region.get()) else {
        return;
    };
    if !is_region(region.as_str()) {
        return;
    }
    let inside = zone.value.0.strip_prefix(region.as_str());
    if inside.is_none_or(|rest| !rest.ends_with(|c: char| c.is_ascii_lowercase())) {
        let message = format!(
            "the zone `{}` of the subnet `{}` is not in the region {region}",
            zone.value.0, key.text
        );
        let hint = format!("write a zone of it, such as {region}a");
        reader.error("zone-outside", zone.at, message, hint);
    }
}

fn find<'s>(site: &'s SiteView<'_>, name: &str) -> Option<&'s raw::Subnet> {
    let subnets = entries(site.raw.subnets.as_ref());
    let found = subnets.iter().find(|(key, _)| key.text == name);
    found.map(|(_, at)| &at.value)
}

fn is_public(subnet: &raw::Subnet) -> bool {
    subnet.public.as_ref().is_some_and(|at| at.value)
}

fn host_subnet(site: &SiteView<'_>, host: &HostView<'_>, reader: &mut Reader<'_>) {
    let Some(name) = &host.raw.subnet else { return };
    let Some(subnet) = find(site, &name.value.0) else {
        let known = entries(site.raw.subnets.as_ref()).iter();
        let known: Vec<_> = known.map(|(key, _)| key.text.as_str()).collect();
        let message = format!(
            "the site `{}` has no subnet `{}`",
            site.key.text, name.value.0
        );
        return unknown(reader, name.at, message, &name.value.0, &known);
    };
    let wrong = reader.was_wrong(&["sites", &site.key.text, "subnets", &name.value.0, "public"]);
    let entrances = [(Role::Bastion, "bastion"), (Role::Lb, "lb")].into_iter();
    let entrances: Vec<_> = entrances.filter(|(role, _)| host.is(*role)).collect();
    if let Some((_, word)) = entrances.first()
        && !is_public(subnet)
        && !wrong
    {
        let message = format!(
            "the {word} `{}` is in the private subnet `{}`: nobody outside can reach it",
            host.key.text, name.value.0
        );
        let hint = "put it into a subnet with `public: true`";
        reader.error("private-entrance", name.at, message, hint);
    }
    if let (Some(address), Some(cidr)) = (&host.raw.address, subnet.cidr.get()) {
        address_inside(address, cidr.0, reader);
    }
}

/// EC2 keeps the first four and the last address of a subnet for itself.
fn address_inside(address: &At<Ipv4Addr>, subnet: Ipv4Net, reader: &mut Reader<'_>) {
    let number = u32::from(address.value);
    let first = u32::from(subnet.network()).saturating_add(4);
    let last = u32::from(subnet.broadcast()).saturating_sub(1);
    if !(first..=last).contains(&number) {
        let message = format!(
            "{} is not a usable address of the subnet {subnet}",
            address.value
        );
        let (first, last) = (Ipv4Addr::from(first), Ipv4Addr::from(last));
        let hint = format!("write one from {first} to {last}, or leave it out");
        reader.error("address-outside", address.at, message, hint);
    }
}

/// Private hosts need a way out, for packages and images.
fn egress(plan: &Overview<'_>, site: &SiteView<'_>, reader: &mut Reader<'_>) {
    let Some(provision) = &plan.raw.provision else {
        return;
    };
    let private = site.hosts.iter().find(|host| {
        let subnet = host
            .raw
            .subnet
            .as_ref()
            .and_then(|name| find(site, &name.value.0));
        subnet.is_some_and(|subnet| !is_public(subnet))
    });
    let Some(host) = private else { return };
    let wrong = |(key, _): &(Key, _)| {
        reader.was_wrong(&["sites", &site.key.text, "subnets", &key.text, "public"])
    };
    if entries(site.raw.subnets.as_ref()).iter().any(wrong) {
        return;
    }
    let nat = provision.value.nat_gateway.as_ref();
    if let Some(nat) = nat
        && !nat.value
    {
        let message = "private hosts cannot install packages or pull images without a NAT gateway";
        let hint =
            "write nat_gateway: true, or use an image with all packages and a registry inside";
        reader.warning("no-egress", nat.at, message, hint);
        return;
    }
    let subnets = entries(site.raw.subnets.as_ref());
    if !subnets.iter().any(|(_, at)| is_public(&at.value)) {
        let message = format!(
            "the site `{}` has no public subnet: `{}` has no way out through a NAT gateway",
            site.key.text, host.key.text
        );
        let hint = "add a subnet with `public: true`, or write nat_gateway: false";
        reader.error("no-egress", site.key.at, message, hint);
    }
}

fn addresses(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let mut seen: Vec<(Ipv4Addr, &Key)> = Vec::new();
    for (_, host) in plan.hosts() {
        let Some(address) = &host.raw.address else {
            continue;
        };
        if let Some((_, first)) = seen.iter().find(|(taken, _)| *taken == address.value) {
            let message = format!(
                "the hosts `{}` and `{}` both have the address {}",
                first.text, host.key.text, address.value
            );
            let hint = "give each its own: hosts of all sites reach each other by it";
            reader.error("duplicate-address", address.at, message, hint);
        }
        seen.push((address.value, host.key));
    }
}
