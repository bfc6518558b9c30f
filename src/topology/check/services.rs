//! Objectives, database, queue, secrets and tags.

use super::{Overview, check_name, entries};
use crate::topology::{
    Replication,
    problem::{PLAIN_SECRET, Position},
    raw,
    read::{At, Reader},
};

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    objectives(plan, reader);
    if let Some(database) = &plan.raw.database.0 {
        version(&database.value, reader);
        names(&database.value, reader);
        replication(plan, &database.value, database.at, reader);
        parameters(&database.value, reader);
    }
    queue(plan, reader);
    hold(plan, reader);
    secrets(plan, reader);
    tags(plan, reader);
    for (key, _) in entries(plan.raw.stack.0.as_ref()) {
        check_name(key, "the service", reader);
    }
}

fn objectives(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let objectives = plan.raw.objectives.get();
    if let Some(rto) = objectives.and_then(|objectives| objectives.rto.0.as_ref())
        && rto.value.0.is_zero()
    {
        let message = "no failover takes no time: `rto` cannot be 0";
        let hint = "write the time that your users can wait, such as 30s";
        reader.error("invalid-value", rto.at, message, hint);
    }
}

/// Whether the user promised that nothing is lost.
fn promises_no_loss(plan: &Overview<'_>) -> bool {
    let rpo = plan
        .raw
        .objectives
        .get()
        .and_then(|objectives| objectives.rpo.get());
    rpo.is_some_and(|rpo| rpo.0.is_zero())
}

fn version(raw: &raw::Database, reader: &mut Reader<'_>) {
    if let Some(version) = &raw.version
        && !(13..=18).contains(&version.value)
    {
        let message = format!("PostgreSQL {} is not supported", version.value);
        reader.error(
            "invalid-value",
            version.at,
            message,
            "write a major version from 13 to 18",
        );
    }
}

fn is_identifier(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.len() <= 63
        && text.chars().all(plain)
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
}

fn names(raw: &raw::Database, reader: &mut Reader<'_>) {
    for (field, what) in [(&raw.name, "database"), (&raw.user, "user")] {
        let Some(name) = field else { continue };
        if !is_identifier(&name.value) {
            let message = format!("`{}` cannot be the name of a {what}", name.value);
            let hint = "use lower-case letters, digits and _, beginning with a letter";
            reader.error("invalid-name", name.at, message, hint);
        }
    }
    if let Some(user) = &raw.user
        && (user.value == "postgres" || user.value.starts_with("pg_"))
    {
        let message = format!("the role `{}` is PostgreSQL's own", user.value);
        let hint = "give the application a role of its own, such as vote";
        reader.error("invalid-name", user.at, message, hint);
    }
}

fn replication(plan: &Overview<'_>, raw: &raw::Database, at: Position, reader: &mut Reader<'_>) {
    match (&raw.replication, plan.replicates()) {
        (None, true) if !reader.was_wrong(&["database", "replication"]) => {
            let message = "there are several sites, and `database.replication` is missing";
            let hint = "add `replication: synchronous` (nothing acknowledged is lost) or `asynchronous` (commits do not wait for the other site)";
            reader.error("missing-key", at, message, hint);
        }
        (Some(mode), false) if !plan.sites.is_empty() => {
            let hint = "remove it, or add a second site";
            let message = "there is one site: nothing can be replicated";
            if mode.value == Replication::Synchronous {
                reader.error("no-standby", mode.at, message, hint);
            } else {
                reader.warning("no-effect", mode.at, message, hint);
            }
        }
        (Some(mode), true) if mode.value == Replication::Asynchronous && promises_no_loss(plan) => {
            let message =
                "`objectives.rpo` is 0, and asynchronous replication can lose the newest commits";
            let hint = "write `replication: synchronous`, or an `rpo` that your users accept";
            reader.warning("objective", mode.at, message, hint);
        }
        _ => {}
    }
}

/// Settings that hafail makes itself.
const OWNED: [&str; 22] = [
    "archive_mode",
    "data_directory",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "max_replication_slots",
    "max_wal_senders",
    "password_encryption",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_target_timeline",
    "restore_command",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_key_file",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_level",
    "wal_log_hints",
];

fn parameters(raw: &raw::Database, reader: &mut Reader<'_>) {
    for (key, _) in entries(raw.parameters.as_ref()) {
        if OWNED.contains(&key.text.as_str()) {
            let message = format!("the setting `{}` is made by hafail", key.text);
            let hint = "remove it: a failover depends on it";
            reader.error("owned-parameter", key.at, message, hint);
        } else if !key.text.split('.').all(is_identifier) {
            let message = format!("`{}` is not the name of a setting", key.text);
            reader.error(
                "invalid-name",
                key.at,
                message,
                "write one such as shared_buffers",
            );
        }
    }
}

fn queue(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let replicated = plan
        .raw
        .queue
        .get()
        .and_then(|queue| queue.replicated.as_ref());
    let Some(replicated) = replicated else { return };
    if replicated.value && !plan.replicates() && !plan.sites.is_empty() {
        let message = "there is one site: no replica of the queue can confirm a vote";
        let hint = "write `replicated: false`, or add a second site";
        reader.error("no-standby", replicated.at, message, hint);
    }
    if !replicated.value && plan.replicates() && promises_no_loss(plan) {
        let message = "`objectives.rpo` is 0, and votes that wait in a queue without a confirmed replica are lost with their site";
        let hint = "write `replicated: true`, or an `rpo` that your users accept";
        reader.warning("objective", replicated.at, message, hint);
    }
}

fn hold(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let Some(hold) = plan.raw.load_balancer.get().and_then(|lb| lb.hold.as_ref()) else {
        return;
    };
    if hold.value.0.as_secs() > 60 {
        let message = "new connections would wait for a primary for more than a minute";
        let hint = "write at most 60s: clients give up before, and waiting connections fill the load balancer";
        reader.error("invalid-value", hold.at, message, hint);
    }
}

fn secrets(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    let Some(secrets) = &plan.raw.secrets else {
        return;
    };
    for (name, field) in secrets.value.named() {
        let Some(At {
            at,
            value: raw::Secret::Stated(place),
        }) = field
        else {
            continue;
        };
        let name = name.key();
        match (&place.file, &place.environment) {
            (Some(_), Some(variable)) => {
                let message = format!("the secret `{name}` comes from two places");
                reader.error(
                    "two-places",
                    variable.at,
                    message,
                    "keep `file` or `environment`",
                );
            }
            (None, None) => {
                let message = format!("the secret `{name}` comes from nowhere");
                let hint = "write { file: PATH } or { environment: VARIABLE }, or leave it out to have it generated";
                reader.error("missing-key", *at, message, hint);
            }
            (None, Some(variable)) if !is_variable(&variable.value) => {
                // Not repeated: what stands there may be the secret itself.
                let message = format!("the secret `{name}` names no environment variable");
                let hint = "write the name of the variable, such as VOTE_DB_PASSWORD, never the secret itself";
                reader.error(PLAIN_SECRET, variable.at, message, hint);
            }
            _ => {}
        }
    }
}

/// Whether the text can name an environment variable.
pub(in crate::topology) fn is_variable(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(plain) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn tags(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    for (key, value) in entries(plan.raw.tags.as_ref()) {
        let lower = key.text.to_lowercase();
        if lower.starts_with("aws:") || lower.starts_with("hafail:") || key.text == "Name" {
            let message = format!("the tag `{}` is reserved", key.text);
            reader.error("reserved-tag", key.at, message, "choose another name");
        }
        if key.text.is_empty() || key.text.chars().count() > 128 {
            let message = "the name of a tag has 1 to 128 characters";
            reader.error("invalid-name", key.at, message, "shorten it");
        }
        if value.value.0.chars().count() > 256 {
            let message = format!(
                "the value of the tag `{}` is longer than 256 characters",
                key.text
            );
            reader.error("invalid-value", value.at, message, "shorten it");
        }
    }
}
