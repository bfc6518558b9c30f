//! `Claim`, `Checkpoint`, `Synchronous`, `DropKept`.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Done, NotDone, Result, copy::data_names, refused, standby::GLANCE};
use crate::{
    guard::{
        Guard, failpoint,
        lease::Lease,
        server,
        settings::{self, synchronous_standby_names},
        sql::Session,
    },
    ids::HostName,
    order::{OrderRequest, WantedRole},
};

/// How long a standby may take to confirm commits.
const JOIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const CONNECT: Duration = Duration::from_secs(2);

impl Guard {
    /// Whoever claims it wants to use it: it runs, whatever it is.
    pub(super) fn be_claimed(&self) -> Result<Done> {
        self.require_running()?;
        Ok(Done::Unchanged("refuses older runs".to_owned()))
    }

    /// Makes ready for a switchover. A standby that is bound by a promise says
    /// so now, while the primary still accepts writes.
    pub(super) async fn checkpoint(&self) -> Result<Done> {
        self.require_running()?;
        if let Some(lease) = &self.lease
            && self.may_write().is_err()
        {
            self.not_bound(lease)?;
        }
        // On a connection of its own: it takes long, and the kept one must
        // stay free for looking.
        let session = Session::open(&self.config, "postgres", CONNECT).await?;
        session.run("CHECKPOINT").await?;
        Ok(Done::Changed("checkpoint done".to_owned()))
    }

    pub(super) async fn synchronous(
        self: &Arc<Self>,
        request: &OrderRequest,
        standbys: Vec<HostName>,
    ) -> Result<Done> {
        if !self.config.synchronous && !standbys.is_empty() {
            return refused(
                "asynchronous",
                "the topology asks for asynchronous replication",
            );
        }
        let (data, process) = self.require_running()?;
        if self.may_write().is_err() {
            return refused("not-primary", "only a primary waits for standbys");
        }
        for standby in &standbys {
            self.require_peer(standby)?;
        }
        if self.lease.is_some() {
            return self.await_set(&standbys).await;
        }
        let is_overtaken = self.store.with(|state| {
            request.is_overtaken(&standbys, &state.synchronous, state.synchronous_in)
        });
        if is_overtaken {
            return refused(
                "stale-order",
                "a later order of this run lets commits wait for more standbys",
            );
        }
        let names = synchronous_standby_names(&standbys);
        let session = self.session(CONNECT).await?;
        let before = session.text("SHOW synchronous_standby_names").await?;
        let by_run = request.by_run();
        self.accept(request.epoch, move |state| {
            state.synchronous = standbys;
            state.synchronous_in = by_run;
        })
        .await?;
        settings::install(&self.config, &data, &self.settings(), &self.os_user)?;
        server::reload(&process)?;
        failpoint::pass("synchronous reloaded");
        self.wait_setting(&session, "synchronous_standby_names", &names)
            .await?;
        let what = match names.as_str() {
            "" => "commits wait for nobody".to_owned(),
            names => format!("commits wait for {names}"),
        };
        Ok(if before == names {
            Done::Unchanged(what)
        } else {
            Done::Changed(what)
        })
    }

    /// In automatic mode this guard itself keeps who confirms commits.
    async fn await_set(&self, standbys: &[HostName]) -> Result<Done> {
        if standbys.is_empty() {
            return refused(
                "automatic",
                "this guard lets a lost standby go by itself, where `on_standby_loss` is degrade",
            );
        }
        let begin = Instant::now();
        loop {
            let status = self.lease.as_ref().and_then(Lease::status);
            let members = status.map(|status| status.members).unwrap_or_default();
            if standbys.iter().all(|standby| members.contains(standby)) {
                let names = synchronous_standby_names(standbys);
                return Ok(Done::Unchanged(format!("commits wait for {names}")));
            }
            if begin.elapsed() > JOIN {
                let missing = standbys
                    .iter()
                    .filter(|standby| !members.contains(*standby));
                let missing: Vec<_> = missing.map(HostName::as_str).collect();
                let why = format!("{} does not confirm commits yet", missing.join(", "));
                return Err(NotDone::Failed(why));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Removes kept directories, on a standby that streams only: until then
    /// they may hold the last copy of something.
    pub(super) async fn drop_kept(&self) -> Result<Done> {
        let wanted = self.store.with(|state| state.wanted.clone());
        let WantedRole::Standby {
            upstream: Some(upstream),
        } = wanted
        else {
            return refused(
                "not-a-standby",
                "kept directories are removed on a standby only",
            );
        };
        if let Err(why) = self.wait_streaming(&upstream, GLANCE).await {
            return refused(
                "not-streaming",
                format!("does not stream from {upstream}: {why}"),
            );
        }
        let root = self.config.version_dir();
        let current = self.store.with(|state| state.data.clone());
        let mut old = data_names(&root)?;
        old.retain(|name| Some(name) != current.as_ref());
        for entry in fs::read_dir(&root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("diverged-") {
                old.push(name);
            }
        }
        if old.is_empty() {
            return Ok(Done::Unchanged("nothing is kept".to_owned()));
        }
        for name in &old {
            fs::remove_dir_all(root.join(name))?;
            failpoint::pass("kept directory removed");
        }
        Ok(Done::Changed(format!("removed {}", old.join(", "))))
    }
}
