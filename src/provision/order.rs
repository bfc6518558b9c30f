//! In which order changes are made: a graph of single actions.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    compare,
    diff::{Changes, Edit, Update, What},
    resource::{Found, Key, Resource, Spec},
};

/// One action of the cloud, and the actions that must be done before, by
/// their position.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    pub key: &'a Key,
    pub action: Action<'a>,
    pub after: BTreeSet<usize>,
}

/// A single action.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    Create(&'a Resource),
    Update(Target<'a>, &'a Update),
    Delete(&'a Found),
}

/// What an update works on: something that was found, or that will have been
/// created when its turn comes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub region: Option<&'a crate::ids::Region>,
    pub spec: &'a Spec,
    /// None: created in the same run.
    pub id: Option<&'a str>,
}

impl Action<'_> {
    /// For people: what is being done.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Delete(_) => "delete",
            Self::Update(_, update) => match update {
                Update::Tag(_) => "tag",
                Update::EnableDns => "enable DNS names of",
                Update::Attach { .. } => "attach",
                Update::Detach { .. } => "detach",
                Update::Associate { .. } => "associate",
                Update::Disassociate => "disassociate",
                Update::Accept { .. } => "accept",
                Update::Allow(_) => "add rules to",
                Update::Forbid(_) => "remove rules from",
                Update::Route { .. } | Update::DropRoute { .. } => "route in",
                Update::Link { .. } | Update::Unlink { .. } => "set subnets of",
                Update::Groups(_) => "set groups of",
                Update::Start => "start",
                Update::Check(_) => "change",
                Update::Point(_) => "point",
            },
        }
    }
}

/// The actions of `changes` with what each waits for. Blocked changes have
/// none.
#[must_use]
pub fn order(changes: &Changes) -> Vec<Node<'_>> {
    let mut graph = Graph::default();
    for (key, change) in &changes.entries {
        graph.nodes_of(key, &change.what);
    }
    for position in 0..graph.nodes.len() {
        let waits = graph.waits(position);
        graph.nodes[position].after.extend(waits);
    }
    graph.nodes
}

#[derive(Default)]
struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    /// All actions of a key.
    all: BTreeMap<&'a Key, Vec<usize>>,
    create: BTreeMap<&'a Key, usize>,
    delete: BTreeMap<&'a Key, usize>,
}

impl<'a> Graph<'a> {
    fn push(&mut self, key: &'a Key, action: Action<'a>) {
        let position = self.nodes.len();
        // Within a resource one after the other, as listed.
        let before = self.all.get(key).and_then(|all| all.last()).copied();
        let after = before.into_iter().collect();
        self.nodes.push(Node { key, action, after });
        self.all.entry(key).or_default().push(position);
        match action {
            Action::Create(_) => {
                self.create.insert(key, position);
            }
            Action::Delete(_) => {
                self.delete.insert(key, position);
            }
            Action::Update(..) => {}
        }
    }

    fn nodes_of(&mut self, key: &'a Key, what: &'a What) {
        match what {
            What::Create { resource, edits } => self.creation(key, resource, edits),
            What::Update {
                resource,
                id,
                edits,
            } => self.updates(
                key,
                resource.region.as_ref(),
                &resource.spec,
                Some(id),
                edits,
            ),
            What::Replace {
                old,
                resource,
                edits,
                ..
            } => {
                self.push(key, Action::Delete(old));
                self.creation(key, resource, edits);
            }
            What::Delete { found, edits } => {
                let id = Some(found.id.as_str());
                self.updates(key, found.region.as_ref(), &found.spec, id, edits);
                self.push(key, Action::Delete(found));
            }
            What::Blocked { .. } => {}
        }
    }

    fn creation(&mut self, key: &'a Key, resource: &'a Resource, edits: &'a [Edit]) {
        self.push(key, Action::Create(resource));
        self.updates(key, resource.region.as_ref(), &resource.spec, None, edits);
    }

    fn updates(
        &mut self,
        key: &'a Key,
        region: Option<&'a crate::ids::Region>,
        spec: &'a Spec,
        id: Option<&'a str>,
        edits: &'a [Edit],
    ) {
        let target = Target { region, spec, id };
        for edit in edits {
            self.push(key, Action::Update(target, &edit.update));
        }
    }

    fn waits(&self, position: usize) -> BTreeSet<usize> {
        let node = &self.nodes[position];
        let mut waits = BTreeSet::new();
        match node.action {
            Action::Create(resource) => {
                waits.extend(self.created(resource.spec.stands_on()));
                waits.extend(self.completed(&resource.after));
            }
            Action::Update(target, update) => {
                waits.extend(self.created(update.refers_to()));
                if let Update::Detach { .. } = update {
                    waits.extend(self.users_of_the_gateway(target));
                }
                if let Update::Route { via, .. } = update {
                    waits.extend(self.completed(&BTreeSet::from([via.clone()])));
                }
            }
            Action::Delete(found) => waits.extend(self.users_of(node.key, found)),
        }
        waits.remove(&position);
        waits
    }

    fn created(&self, keys: BTreeSet<Key>) -> Vec<usize> {
        let created = keys.iter().filter_map(|key| self.create.get(key));
        created.copied().collect()
    }

    fn completed(&self, keys: &BTreeSet<Key>) -> Vec<usize> {
        let all = keys.iter().filter_map(|key| self.all.get(key));
        all.flatten().copied().collect()
    }

    /// What refers to a resource must be gone, or refer to it no more.
    fn users_of(&self, key: &Key, found: &Found) -> Vec<usize> {
        let mut users = Vec::new();
        for (other, all) in &self.all {
            let gone = self.delete.get(other);
            if let Some(position) = gone
                && let Action::Delete(user) = self.nodes[*position].action
                && user.spec.stands_on().contains(&found.key)
            {
                users.push(*position);
            }
            let updates = all
                .iter()
                .filter(|position| *other != key && self.lets_go(**position, &found.key));
            users.extend(updates);
        }
        users
    }

    /// Whether an action ends a reference to `key`.
    fn lets_go(&self, position: usize, key: &Key) -> bool {
        let Action::Update(target, update) = self.nodes[position].action else {
            return false;
        };
        match update {
            Update::Detach { vpc } => vpc == key,
            Update::Unlink { subnet } => subnet == key,
            Update::Forbid(rules) => {
                let mut groups = rules.iter().filter_map(compare::group_of);
                groups.any(|group| &group == key)
            }
            // Any of these may be the one; they never wait for a removal.
            Update::DropRoute { .. } | Update::Groups(_) | Update::Point(_) => true,
            Update::Disassociate => {
                matches!(target.spec, Spec::Address { instance: Some(instance) } if instance == key)
            }
            _ => false,
        }
    }

    /// Public addresses in use keep a gateway attached.
    fn users_of_the_gateway(&self, gateway: Target<'a>) -> Vec<usize> {
        let deletions = self.delete.values().copied();
        deletions
            .filter(|position| match self.nodes[*position].action {
                Action::Delete(found) => {
                    found.region.as_ref() == gateway.region
                        && matches!(
                            found.spec,
                            Spec::Address { .. } | Spec::NatGateway { .. } | Spec::Instance(_)
                        )
                }
                _ => false,
            })
            .collect()
    }
}
