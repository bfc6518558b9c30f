//! Services: images, environment, health.

use super::{Overview, entries, services::is_variable};
use crate::topology::{
    raw,
    read::{At, Reader, closest, list},
    values::Plain,
};

/// What values of `environment` can refer to by `{{ … }}`.
pub const ENVIRONMENT_VARIABLES: [&str; 16] = [
    "database.host",
    "database.name",
    "database.port",
    "database.replica_port",
    "database.user",
    "host.name",
    "host.private_address",
    "host.region",
    "host.site",
    "lb.host",
    "queue.host",
    "queue.port",
    "secrets.database_user",
    "secrets.queue_password",
    "site",
    "topology.name",
];

pub(super) fn check(plan: &Overview<'_>, reader: &mut Reader<'_>) {
    for (key, service) in entries(plan.raw.stack.0.as_ref()) {
        image(&service.value, reader);
        environment(&key.text, &service.value, reader);
        if let Some(health) = &service.value.health {
            self::health(&health.value, reader);
        }
    }
}

fn image(raw: &raw::Service, reader: &mut Reader<'_>) {
    let Some(image) = &raw.image.0 else { return };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let begins = image.value.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || !image.value.chars().all(plain) || image.value.ends_with(':') {
        let message = format!("`{}` is not the name of a container image", image.value);
        let hint = "write one such as registry.example.org/vote:1.4";
        reader.error("invalid-value", image.at, message, hint);
    }
}

fn environment(service: &str, raw: &raw::Service, reader: &mut Reader<'_>) {
    for (key, value) in entries(raw.environment.as_ref()) {
        if !is_variable(&key.text) {
            let message = format!("`{}` cannot name an environment variable", key.text);
            let hint = "use letters, digits and _, not beginning with a digit";
            reader.error("invalid-name", key.at, message, hint);
        }
        if value.value.0.contains(['\n', '\r']) {
            let message = format!("`{}` of `{service}` has a line break", key.text);
            let hint =
                "Docker takes environment by lines: write it on one, or put it into the image";
            reader.error("invalid-value", value.at, message, hint);
        }
        template(service, &key.text, value, reader);
    }
}

fn template(service: &str, key: &str, value: &At<Plain>, reader: &mut Reader<'_>) {
    let engine = minijinja::Environment::new();
    let parsed = match engine.template_from_str(&value.value.0) {
        Ok(parsed) => parsed,
        Err(error) => {
            let why = error.detail().unwrap_or("it is not closed");
            let message = format!("`{key}` of `{service}` is not a valid template: {why}");
            let hint = "write {{ queue.host }} and the like; for a literal {{ write {{ '{{' }}";
            return reader.error("invalid-template", value.at, message, hint);
        }
    };
    let mut used: Vec<_> = parsed.undeclared_variables(true).into_iter().collect();
    used.sort();
    for name in used {
        if ENVIRONMENT_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let message = format!("`{key}` of `{service}` uses `{name}`, which is not known");
        let hint = match closest(&name, ENVIRONMENT_VARIABLES) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", list(&ENVIRONMENT_VARIABLES)),
        };
        reader.error("unknown-variable", value.at, message, hint);
    }
}

fn health(raw: &raw::Health, reader: &mut Reader<'_>) {
    if let Some(path) = &raw.path.0
        && (!path.value.starts_with('/') || path.value.contains(char::is_whitespace))
    {
        let message = format!("`{}` is not an HTTP path", path.value);
        reader.error(
            "invalid-value",
            path.at,
            message,
            "write one such as /readyz",
        );
    }
    if let Some(interval) = &raw.interval
        && interval.value.0.as_millis() < 100
    {
        let message = "health is asked too often";
        reader.error(
            "invalid-value",
            interval.at,
            message,
            "write at least 100ms, such as 2s",
        );
    }
}
