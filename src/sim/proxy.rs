//! Load balancers: told at once, confirming by their checks.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ids::HostName,
    observation::{ProxyOrder, ProxyServer, ProxyStatus, ProxyVerb, ServerAdmin},
    order::PostgresState,
    step::Backend,
    topology::{Role, Topology},
};

use super::{Core, State};

const CHECK_EVERY: Duration = Duration::from_millis(300);

/// One load balancer.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub backends: ProxyStatus,
}

impl Proxy {
    pub(super) fn deployed(topology: &Topology) -> Self {
        let active = |host: &crate::topology::Host| host.site == topology.initial_primary;
        let servers = |role| -> BTreeMap<String, ProxyServer> {
            let hosts = topology.hosts_with(role);
            hosts
                .map(|host| (host.name.to_string(), server(active(host))))
                .collect()
        };
        let database = (Backend::Database.name().to_owned(), servers(Role::Db));
        let queue = (Backend::Queue.name().to_owned(), servers(Role::Queue));
        Self {
            backends: [database, queue].into(),
        }
    }

    /// Forgets what it was told.
    pub(super) fn restart(&mut self) {
        for servers in self.backends.values_mut() {
            servers.values_mut().for_each(|each| *each = server(false));
        }
    }

    /// Takes an order as HAProxy does.
    pub(super) fn obey(&mut self, order: &ProxyOrder) -> Result<(), String> {
        let backend = self.backends.get_mut(&order.backend);
        let server = backend.and_then(|backend| backend.get_mut(&order.server));
        let server =
            server.ok_or_else(|| format!("no server {}/{}", order.backend, order.server))?;
        match order.what {
            ProxyVerb::Drain => server.admin = ServerAdmin::Drain,
            ProxyVerb::Maintenance => {
                server.admin = ServerAdmin::Maintenance;
                server.up = false;
            }
            // Out of maintenance it counts as up until a check fails.
            ProxyVerb::Ready if server.admin == ServerAdmin::Maintenance => {
                server.admin = ServerAdmin::Ready;
                server.up = true;
            }
            ProxyVerb::Ready => server.admin = ServerAdmin::Ready,
            ProxyVerb::HealthUp => server.up = true,
            ProxyVerb::HealthDown => server.up = false,
            ProxyVerb::ShutSessions => {}
        }
        Ok(())
    }

    /// The servers that get new sessions.
    pub fn usable(&self, backend: Backend) -> impl Iterator<Item = &str> {
        let servers = self.backends[backend.name()].iter();
        let usable = servers.filter(|(_, server)| server.admin == ServerAdmin::Ready && server.up);
        usable.map(|(name, _)| name.as_str())
    }
}

fn server(up: bool) -> ProxyServer {
    ProxyServer {
        admin: ServerAdmin::Ready,
        up,
        sessions: 0,
    }
}

/// The checks of all load balancers, for ever.
pub(super) fn start_checks(core: &mut Core) {
    core.look_later(CHECK_EVERY, |core| {
        core.state.check_servers();
        start_checks(core);
    });
}

impl State {
    fn check_servers(&mut self) {
        for lb in 0..self.proxies.len() {
            for place in 0..self.sites.len() {
                self.check_site(lb, place);
            }
        }
    }

    /// A load balancer asks the guard of a site about its database, and about
    /// its queue, which follows the database.
    fn check_site(&mut self, lb: usize, place: usize) {
        let place = &self.sites[place];
        let name = self.proxies.keys().nth(lb).expect("a known number");
        if !self.is_on(name) {
            return;
        }
        let up = self.connected(name, &place.db)
            && self.databases[&place.db].state == PostgresState::Primary
            && self.is_confirmed(&place.db);
        let servers = [
            (Backend::Database, &place.db),
            (Backend::Queue, &place.queue),
        ];
        let mut changed = false;
        for (backend, server) in servers {
            let servers = self.proxies.at_mut(lb).backends.get_mut(backend.name());
            let server = servers.and_then(|servers| servers.get_mut(server.as_str()));
            let server = server.expect("a known server");
            if server.admin != ServerAdmin::Maintenance && server.up != up {
                server.up = up;
                changed = true;
            }
        }
        if changed {
            self.touch();
        }
    }

    /// Where a load balancer sends a new session, if anywhere.
    #[must_use]
    pub fn routed(&self, lb: &HostName, backend: Backend) -> Option<HostName> {
        if !self.is_on(lb) {
            return None;
        }
        let server = self.proxies[lb].usable(backend).next()?;
        let mut hosts = self.sites.iter().map(|place| match backend {
            Backend::Database => &place.db,
            Backend::Queue => &place.queue,
        });
        hosts.find(|host| host.as_str() == server).cloned()
    }
}
