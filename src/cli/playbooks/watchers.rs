//! What the watchers get from the operator's machine.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    cli::{CommandError, Context, Exit},
    configure::Secrets,
    topology::{CloudAccess, Topology},
};

/// What watchers are told of this machine.
pub(super) fn describe(context: &Context, vars: &mut BTreeMap<String, Value>) {
    let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
    let resolvers = std::env::var("HAFAIL_RESOLVERS").unwrap_or_default();
    let known = [
        ("topology_file", context.topology.display().to_string()),
        ("aws_endpoint", endpoint),
        ("resolvers", resolvers),
    ];
    for (name, value) in known {
        vars.entry(name.to_owned()).or_insert_with(|| value.into());
    }
}

/// The operator's access key for the cloud, where watchers go by it.
pub(super) fn access(topology: &Topology, secrets: &mut Secrets) -> Result<(), CommandError> {
    if !topology.is_automatic() || topology.watch.cloud_access != CloudAccess::Operator {
        return Ok(());
    }
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let value = std::env::var(name).map_err(|_| {
            let why = "watch.cloud_access is operator: watchers use the access key of the deploy";
            CommandError::new(Exit::Access, format!("{name} is not set: {why}"))
                .hint(format!("export {name}, or attach an instance profile and state `watch.cloud_access: instance-profile`"))
        })?;
        secrets.values.insert(name.to_lowercase(), value.into());
    }
    Ok(())
}
