//! Looks at PostgreSQL all the time, so that role questions are answered from
//! memory at once.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use super::{
    Guard,
    control::Control,
    process::PidFile,
    sql::{Observed, SqlError},
    tools,
    view::View,
};
use crate::order::PostgresState;

/// How long the kept connection may be silent before it is replaced.
const ANSWER: Duration = Duration::from_millis(1_000);

/// How often a look is repeated that changes overtake.
const LOOKS: usize = 5;

/// What one look found.
enum Look {
    NoData,
    Stopped(Result<Control, String>),
    Passing(PostgresState, String),
    Blind(String),
    Seen(Box<Observed>),
}

/// The control file as last read, with the time of its change.
type Remembered = Option<(PathBuf, SystemTime, Control)>;

impl Guard {
    /// Looks again and again, and at once when asked.
    pub(super) async fn observe_forever(self: Arc<Self>) {
        let mut remembered = None;
        loop {
            self.observe(&mut remembered).await;
            tokio::select! {
                () = tokio::time::sleep(self.config.timing.observe_every()) => {}
                () = self.look.notified() => {}
            }
        }
    }

    /// Looks now, for an answer that must not be old.
    pub(super) async fn look_now(&self) {
        // A change of state outdates the look that it overtakes.
        for _ in 0..LOOKS {
            if self.observe(&mut None).await {
                return;
            }
        }
    }

    /// Looks once and publishes it; not when the state has changed meanwhile.
    async fn observe(&self, remembered: &mut Remembered) -> bool {
        let generation = self.generation.load(Ordering::Acquire);
        let look = self.take_a_look(remembered).await;
        let published = self.publish_if(generation, |view| match look {
            Look::NoData => view.uninitialised(),
            Look::Stopped(control) => view.stopped(control.as_ref().map_err(Clone::clone)),
            Look::Passing(state, why) => view.passing(state, why),
            Look::Blind(why) => view.blind(why),
            Look::Seen(observed) => view.seen(*observed, Instant::now()),
        });
        self.counters.looked();
        if self.view.borrow().postgres.state == PostgresState::Primary && self.may_write().is_err()
        {
            self.supervise.notify_one();
        }
        published
    }

    async fn take_a_look(&self, remembered: &mut Remembered) -> Look {
        let Some(data) = self.data() else {
            return Look::NoData;
        };
        match self.find_in(&data) {
            Ok(Some(_)) => {}
            Ok(None) => return Look::Stopped(self.control_of(data, remembered).await),
            Err(error) => return Look::Blind(error.to_string()),
        }
        match self.ask().await {
            Ok(observed) => Look::Seen(Box::new(observed)),
            Err(SqlError::Connect(error)) => {
                let state = match PidFile::read(&data) {
                    Some(file) if file.status == "stopping" => PostgresState::Stopping,
                    Some(file) if file.status == "ready" || file.status == "standby" => {
                        return Look::Blind(SqlError::Connect(error).to_string());
                    }
                    _ => PostgresState::Starting,
                };
                Look::Passing(state, SqlError::Connect(error).to_string())
            }
            Err(error) => {
                *self.session.lock().await = None;
                Look::Blind(error.to_string())
            }
        }
    }

    async fn ask(&self) -> Result<Observed, SqlError> {
        let session = self.session(ANSWER).await?;
        match tokio::time::timeout(ANSWER, session.observe()).await {
            Ok(result) => result,
            Err(_) => Err(SqlError::Deadline(ANSWER)),
        }
    }

    async fn control_of(
        &self,
        data: PathBuf,
        remembered: &mut Remembered,
    ) -> Result<Control, String> {
        let changed = std::fs::metadata(data.join("global/pg_control"))
            .and_then(|file| file.modified())
            .map_err(|error| format!("cannot read the control file: {error}"))?;
        if let Some((path, time, control)) = remembered
            && *path == data
            && *time == changed
        {
            return Ok(control.clone());
        }
        let control = tools::control(&self.config, &data).await;
        let control = control.map_err(|error| error.to_string())?;
        *remembered = Some((data, changed, control.clone()));
        Ok(control)
    }

    /// Publishes a change of state, which outdates looks that run now.
    pub(super) fn publish(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(|view| {
            self.generation.fetch_add(1, Ordering::AcqRel);
            change(view);
        });
    }

    /// Publishes what a look found, unless the state has changed meanwhile.
    pub(super) fn publish_if(&self, generation: u64, change: impl FnOnce(&mut View)) -> bool {
        self.view.send_if_modified(|view| {
            let current = self.generation.load(Ordering::Acquire) == generation;
            if current {
                change(view);
            }
            current
        })
    }
}
