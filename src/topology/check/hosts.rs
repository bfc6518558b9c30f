//! Sites, hosts, roles, and the ways to reach them.

use super::{Overview, SiteView, check_name, unknown};
use crate::topology::{Role, node::Key, problem::Position, read::Reader};

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    sites(plan, reader);
    host_names(plan, reader);
    let needed = needed_roles(plan);
    for site in &plan.sites {
        let needed = if site.is_witness() { &[][..] } else { &needed };
        roles(site, needed, reader);
        one_each(site, reader);
        ways_in(site, reader);
    }
    ssh_user(plan, reader);
    provision(plan, reader);
    witness(plan, reader);
}

fn sites(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let mut regions: Vec<(&str, &Key)> = Vec::new();
    for site in &plan.sites {
        check_name(site.key, "the site", reader);
        if site.key.text == "active" {
            let message = "no site can be named `active`: DNS records use that word";
            reader.error(
                "invalid-name",
                site.key.at,
                message,
                "rename the site, such as site1",
            );
        }
        let Some(region) = &site.raw.region.0 else {
            continue;
        };
        let name = region.value.as_str();
        match regions.iter().find(|(other, _)| *other == name) {
            Some((_, first)) => {
                let message = format!(
                    "the sites `{}` and `{}` are both in {name}",
                    first.text, site.key.text
                );
                let hint = "give each site its own region: a failover names the region to go to";
                reader.error("duplicate-region", region.at, message, hint);
            }
            None => regions.push((name, site.key)),
        }
    }
    if let Some(sites) = &plan.raw.sites.0
        && plan.sites.is_empty()
        && sites.value.0.is_empty()
    {
        let hint = "add a site with its region and hosts; hafail init writes an example";
        reader.error("no-sites", sites.at, "there is no site", hint);
    }
    initial_primary(plan, reader);
}

fn initial_primary(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let Some(primary) = &plan.raw.initial_primary.0 else {
        return;
    };
    let (name, known) = (primary.value.as_str(), plan.site_names());
    if !known.is_empty() && !known.contains(&name) {
        let message = format!("`initial_primary` is `{name}`, and there is no such site");
        unknown(reader, primary.at, message, name, &known);
    }
    let site = plan.sites.iter().find(|site| site.key.text == name);
    if site.is_some_and(SiteView::is_witness) {
        let message = format!("`initial_primary` is `{name}`, which has no database but a witness");
        let hint = "name a site with a database";
        reader.error("unknown-reference", primary.at, message, hint);
    }
}

fn host_names(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let mut seen: Vec<(&str, &str, Position)> = Vec::new();
    for (site, host) in plan.hosts() {
        check_name(host.key, "the host", reader);
        let name = host.key.text.as_str();
        if name == "localhost" {
            let message = "no host can be named `localhost`: that name is every host's own";
            reader.error(
                "invalid-name",
                host.key.at,
                message,
                "rename it, such as site1-db",
            );
        }
        if let Some((_, other, first)) = seen.iter().find(|(seen, ..)| *seen == name) {
            let message = format!(
                "the host `{name}` is in `{other}` (line {}) and in `{}`",
                first.line, site.key.text
            );
            let hint = "host names are known on all hosts: give each its own";
            reader.error("duplicate-host", host.key.at, message, hint);
        }
        seen.push((name, &site.key.text, host.key.at));
    }
}

/// Roles that every site needs, with the reason.
fn needed_roles(plan: &Overview<'_>) -> Vec<(Role, &'static str, &'static str)> {
    let mut needed = vec![(Role::Db, "db", "a site without a database cannot take over")];
    if plan
        .raw
        .stack
        .get()
        .is_some_and(|stack| !stack.0.is_empty())
    {
        needed.extend([
            (
                Role::App,
                "app",
                "the services of the stack run on app hosts",
            ),
            (Role::Queue, "queue", "the stack keeps its queue there"),
            (
                Role::Lb,
                "lb",
                "services find the database and the queue through it",
            ),
        ]);
    }
    needed
}

fn roles(site: &SiteView<'_>, needed: &[(Role, &str, &str)], reader: &mut Reader<'_>) {
    for host in &site.hosts {
        let Some(roles) = &host.raw.roles.0 else {
            continue;
        };
        if roles.value.0.is_empty() && roles.value.1 {
            let message = format!("the host `{}` has no role", host.key.text);
            let hint = "write roles: [app], or one of bastion, lb, queue, db";
            reader.error("no-role", roles.at, message, hint);
        }
        for (index, role) in roles.value.0.iter().enumerate() {
            if host.roles[..index].contains(&role.value) {
                let message = format!("the host `{}` has this role twice", host.key.text);
                reader.warning("duplicate-role", role.at, message, "remove one of them");
            }
        }
    }
    // Where hosts or their roles could not be read, one may have the role.
    let complete = site.raw.hosts.0.as_ref().is_some_and(|at| at.value.1)
        && site
            .hosts
            .iter()
            .all(|host| host.raw.roles.get().is_some_and(|roles| roles.1));
    if !complete {
        return;
    }
    for (role, word, why) in needed {
        if site.with(*role).next().is_none() {
            let message = format!("the site `{0}` has no `{word}` host: {why}", site.key.text);
            let hint =
                format!("add a host with roles: [{word}], or add `{word}` to the roles of one");
            reader.error("missing-role", site.key.at, message, hint);
        }
    }
}

/// Roles of which this version runs one in each site.
fn one_each(site: &SiteView<'_>, reader: &mut Reader<'_>) {
    for (role, word) in [(Role::Db, "db"), (Role::Queue, "queue")] {
        let mut hosts = site.with(role);
        let Some(first) = hosts.next() else {
            continue;
        };
        for second in hosts {
            let message = format!(
                "the site `{}` has two `{word}` hosts, `{}` and `{}`: this version runs one in each site",
                site.key.text, first.key.text, second.key.text
            );
            let hint = format!("take the role `{word}` from one of them");
            reader.error("two-hosts", second.key.at, message, hint);
        }
    }
}

/// Every host can be reached by SSH: directly, or through a bastion.
fn ways_in(site: &SiteView<'_>, reader: &mut Reader<'_>) {
    for bastion in site.with(Role::Bastion) {
        if bastion.is_static() && bastion.raw.ssh_address.is_none() {
            let message = format!("the bastion `{}` has no address for SSH", bastion.key.text);
            let hint = "add `ssh_address:`, the name or address by which you reach it";
            reader.error("no-way-in", bastion.key.at, message, hint);
        }
    }
    if site.with(Role::Bastion).next().is_some() {
        return;
    }
    let shut = site
        .hosts
        .iter()
        .filter(|host| host.raw.ssh_address.is_none());
    let names: Vec<_> = shut.map(|host| host.key.text.as_str()).collect();
    if let Some(first) = names.first() {
        let others = and_others(names.len() - 1);
        let message = format!(
            "there is no way to `{first}`{others} of the site `{}`: it has no bastion",
            site.key.text
        );
        let hint =
            "add the role `bastion` to a host that can be reached from outside, such as the lb";
        reader.error("no-way-in", site.key.at, message, hint);
    }
}

fn ssh_user(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let user = plan
        .raw
        .access
        .get()
        .and_then(|access| access.ssh_user.0.as_ref());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if let Some(user) = user
        && (!user.value.chars().all(plain) || user.value.starts_with('-'))
    {
        let message = format!("`{}` is not the name of a user", user.value);
        reader.error(
            "invalid-name",
            user.at,
            message,
            "write one such as admin or ec2-user",
        );
    }
}

fn provision(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let instance = plan
        .hosts()
        .map(|(_, host)| host)
        .find(|host| !host.is_static());
    let Some(instance) = instance else {
        if let Some(provision) = &plan.raw.provision
            && plan.hosts().next().is_some()
        {
            let message = "every host is an existing machine: `provision` has no effect";
            reader.warning("no-effect", provision.at, message, "remove it");
        }
        return;
    };
    if plan.raw.provision.is_none() && instance.raw.r#type.is_some() {
        let message = format!(
            "the host `{}` is to be made, and `provision` is missing",
            instance.key.text
        );
        let hint = "add `provision:` with the image, or describe the host as an existing machine";
        reader.error("missing-key", instance.key.at, message, hint);
    }
    if let Some(access) = &plan.raw.access.0
        && !reader.was_wrong(&["access", "ssh_from"])
        && access
            .value
            .ssh_from
            .as_ref()
            .is_none_or(|from| from.value.0.is_empty() && from.value.1)
    {
        let hint = "add `ssh_from:` with your network, such as [203.0.113.0/24]";
        reader.error(
            "no-way-in",
            access.at,
            "no network may reach the bastions by SSH",
            hint,
        );
    }
}

fn witness(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    if plan.is_automatic() {
        return;
    }
    for (_, host) in plan.hosts().filter(|(_, host)| host.is(Role::Witness)) {
        let message = format!(
            "nothing runs on the witness `{}` while `coordination` is manual",
            host.key.text
        );
        reader.warning(
            "no-effect",
            host.key.at,
            message,
            "remove the host or the role",
        );
    }
}

/// Such as ` and 3 other hosts`, for the end of a list of one.
pub(super) fn and_others(number: usize) -> String {
    match number {
        0 => String::new(),
        1 => " and 1 other host".to_owned(),
        n => format!(" and {n} other hosts"),
    }
}
