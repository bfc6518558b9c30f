//! What a deploy would change, resources and hosts: shared by `plan` and
//! `deploy --dry-run`.

mod hosts;

use std::{collections::BTreeSet, path::Path};

use serde::Serialize;

use super::{CommandError, Context, provisioning::Provisioning};
use crate::{
    configure::outlook::{self, Outlooks},
    provision::{
        Changes,
        render::{self, Counts},
        resource::{Discovered, Key},
    },
    topology::Topology,
};

/// What to look at, and how.
pub(super) struct Wish<'a> {
    /// Instances that may be made anew.
    pub replace: &'a BTreeSet<Key>,
    /// Leave the hosts alone.
    pub resources_only: bool,
    /// Directory of playbooks, when one was named.
    pub playbooks: Option<&'a Path>,
    /// Program for the database hosts; this one when none.
    pub agent_binary: Option<&'a Path>,
}

/// What would change.
pub(super) struct Preview {
    topology: String,
    changes: Changes,
    found: Discovered,
    /// Absent where only resources were asked for.
    hosts: Option<Outlooks>,
}

/// The preview for programs.
#[derive(Serialize)]
struct Document {
    topology: String,
    counts: Counts,
    changes: Vec<render::Entry>,
    /// Records of the managed zone that the topology does not name.
    foreign_records: Vec<String>,
    /// Absent where only resources were asked for.
    host_changes: Option<outlook::Document>,
}

impl Preview {
    /// Looks at the cloud, then at the hosts that exist. Changes nothing, on
    /// this machine neither.
    ///
    /// # Errors
    /// The cloud gave no answer, or the playbooks are not valid. Hosts that
    /// cannot be looked at are no error: they are part of the answer.
    pub async fn look(
        context: &Context,
        topology: &Topology,
        wish: &Wish<'_>,
    ) -> Result<Self, CommandError> {
        let look = Provisioning::look(context, topology, false).await?;
        let changes = look.changes(wish.replace);
        let hosts = if wish.resources_only {
            None
        } else {
            Some(hosts::look(context, topology, wish, &changes, &look.cloud).await?)
        };
        Ok(Self {
            topology: topology.name.clone(),
            changes,
            found: look.found,
            hosts,
        })
    }

    /// Writes both parts to standard output.
    pub fn show(&self, context: &Context) {
        let mut text = render::text(&self.changes);
        if let Some(hosts) = &self.hosts {
            text = format!("{}\n\n{}", text.trim_end(), hosts.text());
        }
        context.ui.data(&text, &self.document());
    }

    fn document(&self) -> Document {
        let resources = render::document(&self.topology, &self.changes, &self.found);
        Document {
            topology: resources.topology,
            counts: resources.counts,
            changes: resources.changes,
            foreign_records: resources.foreign_records,
            host_changes: self.hosts.as_ref().map(Outlooks::document),
        }
    }

    /// Whether a deploy would change anything, or may: a host that could not
    /// be looked at counts.
    pub fn differs(&self) -> bool {
        let unsettled = |hosts: &Outlooks| !hosts.is_settled();
        !self.changes.is_empty() || self.hosts.as_ref().is_some_and(unsettled)
    }
}
