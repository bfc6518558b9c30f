//! `Initialise`: a new cluster with its roles, and this host its primary.

use std::{path::Path, sync::Arc, time::Duration};

use super::{Done, Result, refused};
use crate::{
    coordination::How,
    guard::{
        Guard, failpoint,
        settings::read_password,
        sql::{Session, literal},
        tools,
    },
    ids::Epoch,
    order::WantedRole,
};

const CONNECT: Duration = Duration::from_secs(5);

/// What pg_rewind reads of its source, and the checkpoint before.
const REWIND_GRANTS: &str = "\
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean),
  pg_catalog.pg_stat_file(text, boolean),
  pg_catalog.pg_read_binary_file(text),
  pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO ";

impl Guard {
    pub(super) async fn initialise(self: &Arc<Self>, epoch: Epoch) -> Result<Done> {
        let wanted = self.store.with(|state| state.wanted.clone());
        let own = matches!(wanted, WantedRole::Uninitialised | WantedRole::Primary);
        if self.data().is_some() && !own {
            let why = format!("there is a cluster already, wanted {wanted:?}");
            return refused("already-initialised", why);
        }
        if self.data().is_none() {
            self.require_no_stranger()?;
            self.make_cluster().await?;
        }
        let how = if self.find()?.is_none() {
            How::Promote { in_sync: false }
        } else {
            How::GoOn
        };
        self.take_right(epoch, how).await?;
        let grant = self.grant(epoch);
        self.accept(epoch, |state| {
            state.wanted = WantedRole::Primary;
            state.grant = Some(grant);
        })
        .await?;
        let data = self.require_data()?;
        let started = self.find()?.is_none();
        if started {
            self.start_primary(&data).await?;
        } else {
            self.look_now().await;
        }
        let made = self.make_roles().await?;
        self.keep_slots().await?;
        Ok(if started || made {
            Done::Changed("made a cluster and is its primary".to_owned())
        } else {
            Done::Unchanged("is the primary of its cluster".to_owned())
        })
    }

    async fn make_cluster(self: &Arc<Self>) -> Result<()> {
        let new = self.prepare_copy().await?;
        tools::initdb(&self.config, &new).await?;
        failpoint::pass("cluster made");
        self.put_in_place(&new).await
    }

    /// Creates what is missing of roles, grants and the database.
    async fn make_roles(&self) -> Result<bool> {
        let session = Session::open(&self.config, "postgres", CONNECT).await?;
        // Statements with passwords must not reach the server's log.
        session
            .run(
                "SET log_statement = 'none'; SET log_min_error_statement = 'panic'; \
                  SET log_min_duration_statement = -1",
            )
            .await?;
        let config = &self.config;
        let application = &config.application;
        let roles = [
            (
                &config.replication.user,
                &config.replication.password_file,
                "REPLICATION",
            ),
            (&config.rewind.user, &config.rewind.password_file, ""),
            (&application.user, &application.password_file, ""),
        ];
        let mut made = false;
        for (user, file, attributes) in roles {
            made |= make_role(&session, user, file, attributes).await?;
            failpoint::pass("role made");
        }
        let rewind = &config.rewind.user;
        session
            .run(&format!("{REWIND_GRANTS} \"{rewind}\""))
            .await?;
        if config.version >= 15 {
            let grant = format!("GRANT pg_checkpoint TO \"{rewind}\"");
            session.run(&grant).await?;
        }
        made |= make_database(&session, &application.database, &application.user).await?;
        Ok(made)
    }
}

async fn make_role(
    session: &Session,
    user: &str,
    password_file: &Path,
    attributes: &str,
) -> Result<bool> {
    let present = format!("SELECT 1 FROM pg_roles WHERE rolname = {}", literal(user));
    if !session.text(&present).await?.is_empty() {
        return Ok(false);
    }
    let password = literal(&read_password(password_file)?);
    let statement = format!("CREATE ROLE \"{user}\" LOGIN {attributes} PASSWORD {password}");
    session.run(&statement).await?;
    Ok(true)
}

async fn make_database(session: &Session, database: &str, owner: &str) -> Result<bool> {
    let name = literal(database);
    let present = format!("SELECT 1 FROM pg_database WHERE datname = {name}");
    if session.text(&present).await?.is_empty() {
        let statement = format!("CREATE DATABASE \"{database}\" OWNER \"{owner}\"");
        session.run(&statement).await?;
        return Ok(true);
    }
    let owned = format!(
        "SELECT 1 FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba \
         WHERE datname = {name} AND rolname = {}",
        literal(owner)
    );
    if !session.text(&owned).await?.is_empty() {
        return Ok(false);
    }
    let statement = format!("ALTER DATABASE \"{database}\" OWNER TO \"{owner}\"");
    session.run(&statement).await?;
    Ok(true)
}
