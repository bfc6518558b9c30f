//! A small map by host. A world has a handful of hosts and is asked about
//! them at every event, where a tree costs more than looking along a list.

use std::ops::Index;

use crate::ids::HostName;

/// Something of each host, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts<T>(Vec<(HostName, T)>);

impl<T> Hosts<T> {
    /// Of that host, if there is such a thing.
    #[must_use]
    pub fn get(&self, host: &HostName) -> Option<&T> {
        let found = self.0.iter().find(|(name, _)| name == host);
        found.map(|(_, value)| value)
    }

    /// Of that host, to change.
    pub fn get_mut(&mut self, host: &HostName) -> Option<&mut T> {
        let found = self.0.iter_mut().find(|(name, _)| name == host);
        found.map(|(_, value)| value)
    }

    #[must_use]
    pub fn contains_key(&self, host: &HostName) -> bool {
        self.get(host).is_some()
    }

    pub fn keys(&self) -> impl Iterator<Item = &HostName> {
        self.0.iter().map(|(name, _)| name)
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HostName, &T)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Number of that host in the order of names.
    pub(super) fn position(&self, host: &HostName) -> Option<usize> {
        self.0.iter().position(|(name, _)| name == host)
    }

    pub(super) fn at(&self, position: usize) -> &T {
        &self.0[position].1
    }

    pub(super) fn at_mut(&mut self, position: usize) -> &mut T {
        &mut self.0[position].1
    }
}

impl<T> Index<&HostName> for Hosts<T> {
    type Output = T;

    fn index(&self, host: &HostName) -> &T {
        self.get(host).expect("a known host")
    }
}

impl<T> FromIterator<(HostName, T)> for Hosts<T> {
    fn from_iter<I: IntoIterator<Item = (HostName, T)>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self(all)
    }
}

impl<'a, T> IntoIterator for &'a Hosts<T> {
    type Item = &'a (HostName, T);
    type IntoIter = std::slice::Iter<'a, (HostName, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
