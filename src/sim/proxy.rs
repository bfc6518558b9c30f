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
    core.later(CHECK_EVERY, |core| {
        core.state.check_servers();
        start_checks(core);
    });
}

impl State {
    fn check_servers(&mut self) {
        let balancers: Vec<_> = self.proxies.keys().cloned().collect();
        for lb in balancers {
            if !self.is_on(&lb) {
                continue;
            }
            let verdicts = self.verdicts(&lb);
            let proxy = self.proxies.get_mut(&lb).expect("a known host");
            for (backend, server, up) in verdicts {
                let server = proxy
                    .backends
                    .get_mut(backend)
                    .and_then(|b| b.get_mut(&server));
                let server = server.expect("a known server");
                if server.admin != ServerAdmin::Maintenance {
                    server.up = up;
                }
            }
        }
    }

    /// What the guards answer to the checks of a load balancer.
    fn verdicts(&self, lb: &HostName) -> Vec<(&'static str, String, bool)> {
        let is_primary = |db: &HostName| {
            self.connected(lb, db) && self.databases[db].state == PostgresState::Primary
        };
        let databases = self
            .databases
            .keys()
            .map(|db| (Backend::Database.name(), db.to_string(), is_primary(db)));
        let queues = self.queues.keys().map(|queue| {
            let db = self.host_in(&self.site_of(queue), Role::Db);
            (Backend::Queue.name(), queue.to_string(), is_primary(&db))
        });
        databases.chain(queues).collect()
    }

    /// Where a load balancer sends a new session, if anywhere.
    #[must_use]
    pub fn routed(&self, lb: &HostName, backend: Backend) -> Option<HostName> {
        if !self.is_on(lb) {
            return None;
        }
        let server = self.proxies[lb].usable(backend).next()?;
        server.parse().ok()
    }
}
