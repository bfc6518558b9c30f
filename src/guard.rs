//! The guard: the only program of a database host that starts, stops,
//! promotes, re-points or rewinds PostgreSQL. It answers role questions over
//! HTTP, takes orders over mutual TLS, and lets PostgreSQL accept writes only
//! while `Guard::may_write` says so.
//!
//! What it does has one shape: an order changes what is *wanted*, durably and
//! before any effect; whoever finds PostgreSQL different from that, the order
//! itself or the supervisor later, makes it so.

mod config;
mod control;
mod failpoint;
mod http;
mod lag;
mod lease;
mod liveness;
mod metrics;
mod monitor;
mod orders;
mod process;
mod reserve;
mod secure;
mod server;
mod settings;
mod sql;
mod store;
mod supervise;
mod tools;
mod view;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{Mutex, Notify, watch},
};

pub use self::{
    config::{
        Access, Application, ConfigError, GuardConfig, Login, Peer, Timing, TlsFiles, is_owned,
    },
    lease::{DeadManError, run_dead_man},
    orders::order_name,
    secure::socket,
    settings::slot_name,
    store::StoreError,
};
use self::{
    lease::Lease,
    metrics::Counters,
    process::Finder,
    settings::Settings,
    sql::{Session, SqlError},
    store::{Persisted, Store},
    view::View,
};
use crate::{
    ids::Epoch,
    order::{GuardStatus, PostgresState, WantedRole},
};

/// Why the guard could not begin.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error("cannot make or use the directory {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot tell this boot from others by {path}")]
    Boot { path: PathBuf, source: io::Error },
    #[error("cannot tell which user runs the guard")]
    User(#[from] tools::ToolError),
    #[error("cannot use the certificates: {0}")]
    Tls(#[from] secure::TlsError),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("another guard holds {path}")]
    Locked { path: PathBuf },
    #[error("the certificate for peers and the shared store cannot be used")]
    Identity(#[from] crate::adapters::guard_client::GuardClientError),
    #[error("the way to the shared store cannot be prepared")]
    Quorum(#[from] crate::adapters::etcd::EtcdError),
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

impl GuardError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Directory { path, .. } => format!(
                "make it for the user that runs the guard: install -d -o postgres -g postgres {}",
                path.display()
            ),
            Self::Store(_) => "restore the file, or remove it and order `Initialise` or `Clone` \
                 anew after moving the data directories away"
                .to_owned(),
            Self::Boot { .. } => {
                "set boot_id_file to a file that changes with each boot".to_owned()
            }
            Self::User(_) => "run the guard as the user postgres".to_owned(),
            Self::Tls(_) | Self::Identity(_) => "deploy the certificates again".to_owned(),
            Self::Quorum(error) => error.remedy(),
            Self::Listen { .. } => "see who uses the port: ss -ltnp".to_owned(),
            Self::Locked { .. } => "systemctl status hafail-guard".to_owned(),
            Self::Signals(_) => "run the guard as a normal process".to_owned(),
        }
    }
}

/// Says why PostgreSQL may not accept writes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRight {
    #[error("no order made this host the primary")]
    NotWanted,
    #[error("the machine has booted since an order made this host the primary")]
    OtherBoot,
    #[error("this host does not hold the lease of the primary")]
    NoLease,
}

/// The guard of one host.
pub struct Guard {
    config: GuardConfig,
    /// Names this boot of the machine.
    boot: String,
    os_user: String,
    store: Store,
    /// What was last seen of PostgreSQL.
    view: watch::Sender<View>,
    /// Counts changes of state, so that a look that began before one is not
    /// published after it.
    generation: AtomicU64,
    session: Mutex<Option<Arc<Session>>>,
    /// Held by whoever changes PostgreSQL: one order, or the supervisor.
    hands: Mutex<()>,
    /// The order that runs, for refusals.
    order: std::sync::Mutex<Option<(&'static str, String)>>,
    supervise: Notify,
    look: Notify,
    /// Whether the running PostgreSQL has been told to read its files again
    /// since this guard began.
    reloaded: std::sync::atomic::AtomicBool,
    finder: Finder,
    counters: Counters,
    /// Automatic mode: the right to write goes with a lease.
    lease: Option<Lease>,
}

impl Guard {
    fn new(config: GuardConfig, os_user: String, lease: Option<Lease>) -> Result<Self, GuardError> {
        for path in [config.version_dir(), config.state_dir.clone()] {
            make_private(&path).map_err(|source| GuardError::Directory { path, source })?;
        }
        let boot =
            store::boot_identity(&config.boot_id_file).map_err(|source| GuardError::Boot {
                path: config.boot_id_file.clone(),
                source,
            })?;
        let guard = Self {
            store: Store::open(&config.state_dir)?,
            config,
            boot,
            os_user,
            view: watch::Sender::new(View::default()),
            generation: AtomicU64::new(0),
            session: Mutex::new(None),
            hands: Mutex::new(()),
            order: std::sync::Mutex::new(None),
            supervise: Notify::new(),
            look: Notify::new(),
            reloaded: false.into(),
            finder: Finder::default(),
            counters: Counters::default(),
            lease,
        };
        guard.stand_back_after_boot()?;
        guard.keep_promise_over_boot();
        guard.take_over().map_err(|source| GuardError::Directory {
            path: guard.config.path.clone(),
            source,
        })?;
        Ok(guard)
    }

    /// The right to write does not outlive a boot: meanwhile another host may
    /// have got it.
    fn stand_back_after_boot(&self) -> Result<(), StoreError> {
        if self.may_write() != Err(NoRight::OtherBoot) {
            return Ok(());
        }
        tracing::warn!("this host was primary before a boot: it comes up as a standby");
        self.store.update(|state| {
            state.wanted = WantedRole::Standby { upstream: None };
            state.grant = None;
            state.right = None;
        })
    }

    /// The right to write, asked in this one place: the epoch for which this
    /// host may accept writes. An accepted order gives it for the boot of the
    /// machine in which it was accepted, and in automatic mode only as long
    /// as the lease of the same epoch holds.
    pub fn may_write(&self) -> Result<Epoch, NoRight> {
        self.store.with(|state| match &state.grant {
            Some(grant) if state.wanted == WantedRole::Primary => {
                if grant.boot != self.boot {
                    return Err(NoRight::OtherBoot);
                }
                match &self.lease {
                    Some(lease) if !lease.covers(grant.epoch) => Err(NoRight::NoLease),
                    _ => Ok(grant.epoch),
                }
            }
            _ => Err(NoRight::NotWanted),
        })
    }

    /// Whether PostgreSQL accepts writes here, and may.
    pub fn is_primary(&self) -> bool {
        let confirmed = self.lease.as_ref().is_none_or(Lease::is_confirmed);
        let primary = self.view.borrow().postgres.state == PostgresState::Primary;
        primary && confirmed && self.may_write().is_ok()
    }

    /// The status as last seen.
    pub fn status(&self) -> GuardStatus {
        let state = self.store.get();
        GuardStatus {
            host: self.config.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: state.epoch,
            run: state.holder.clone(),
            wanted: state.wanted,
            lease: self.lease.as_ref().and_then(Lease::status),
            postgres: self.view.borrow().postgres.clone(),
        }
    }

    /// The data directory, where there is a complete one.
    fn data(&self) -> Option<PathBuf> {
        let name = self.store.with(|state| state.data.clone())?;
        let path = self.config.version_dir().join(name);
        path.join("PG_VERSION").exists().then_some(path)
    }

    /// The settings that the memory asks for.
    fn settings(&self) -> Settings {
        self.store.with(|state| Settings {
            upstream: match &state.wanted {
                WantedRole::Standby { upstream } => upstream.clone(),
                // Not used by a primary; needed until the promotion comes true.
                _ => state.grant.as_ref().and_then(|grant| grant.before.clone()),
            },
            synchronous: state.synchronous.clone(),
        })
    }

    /// The kept connection, opened anew where it has ended.
    async fn session(&self, limit: Duration) -> Result<Arc<Session>, SqlError> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        *kept = None;
        let session = Arc::new(Session::open(&self.config, "postgres", limit).await?);
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Changes the memory off the runtime's threads, which a hung disk must
    /// not block.
    async fn remember(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Persisted) + Send + 'static,
    ) -> Result<(), StoreError> {
        let guard = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || guard.store.update(change));
        written.await.expect("writing the state does not panic")
    }
}

/// The data directory of this host, as the guard's memory names it; none
/// before there is a cluster.
pub fn data_directory(config: &GuardConfig) -> Result<Option<PathBuf>, StoreError> {
    let name = Store::open(&config.state_dir)?.get().data;
    let path = name.map(|name| config.version_dir().join(name));
    Ok(path.filter(|path| path.join("PG_VERSION").exists()))
}

fn make_private(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Runs the guard until SIGTERM or SIGINT. PostgreSQL goes on without it.
pub async fn run(config: GuardConfig) -> Result<(), GuardError> {
    let mut signals = Signals::new().map_err(GuardError::Signals)?;
    let os_user = tools::os_user().await?;
    make_private(&config.state_dir).map_err(|source| GuardError::Directory {
        path: config.state_dir.clone(),
        source,
    })?;
    let _lock = lock(&config.state_dir)?;
    let lease = Lease::new(&config)?;
    let guard = Arc::new(Guard::new(config, os_user, lease)?);
    let acceptor = secure::acceptor(&guard.config)?;
    let roles = listen(&guard, guard.config.guard_port).await?;
    let orders = listen(&guard, guard.config.order_port).await?;
    let path = secure::socket(&guard.config);
    let local =
        secure::listen_locally(&path).map_err(|source| GuardError::Directory { path, source })?;
    tracing::info!(
        host = %guard.config.host,
        boot = guard.boot,
        wanted = ?guard.status().wanted,
        "guard begins"
    );
    guard.bring_right_along().await;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&guard).supervise_forever());
    tasks.spawn(Arc::clone(&guard).observe_forever());
    tasks.spawn(Arc::clone(&guard).probe_forever());
    tasks.spawn(Arc::clone(&guard).mind_dead_man());
    tasks.spawn(Arc::clone(&guard).keep_forever());
    tasks.spawn(Arc::clone(&guard).mind_deadline());
    tasks.spawn(Arc::clone(&guard).keep_set_forever());
    tasks.spawn(http::serve(Arc::clone(&guard), roles));
    tasks.spawn(secure::serve(Arc::clone(&guard), orders, acceptor));
    tasks.spawn(secure::serve_locally(Arc::clone(&guard), local));
    tokio::select! {
        () = signals.recv() => tracing::info!("guard ends; PostgreSQL goes on"),
        // None of them ends but by a panic: better a restart than half a guard.
        ended = tasks.join_next() => panic!("a part of the guard ended: {ended:?}"),
    }
    Ok(())
}

async fn listen(guard: &Guard, port: u16) -> Result<TcpListener, GuardError> {
    let address = SocketAddr::new(guard.config.guard_listen, port);
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| GuardError::Listen { address, source })
}

/// Two guards must never work on one data directory.
fn lock(state_dir: &std::path::Path) -> Result<std::fs::File, GuardError> {
    let path = state_dir.join("lock");
    let file = std::fs::File::create(&path).map_err(|source| GuardError::Directory {
        path: path.clone(),
        source,
    })?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(GuardError::Locked { path }),
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
