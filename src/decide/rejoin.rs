//! Whether and how a database comes back as a standby.

use crate::{
    ids::HostName,
    order::{PostgresState, WantedRole},
    plan::{self, Loss, Plan, RejoinFacts},
    topology::Role,
};

use super::{Reason, Refusal, Sight, given, refusal, refuse_two_writers, view::View};

/// The plan that makes `host` a standby of the running primary, or why not.
///
/// # Errors
/// A refusal with its reason, the evidence and the next command.
pub fn decide_rejoin(sight: &Sight<'_>, host: &str) -> Result<Plan, Refusal> {
    let view = View::new(sight);
    let host = database(&view, host)?;
    if let Some(run) = &sight.past.unfinished {
        return Err(refusal::unfinished(run));
    }
    refuse_two_writers(&view)?;
    let Some(primary) = view.running_primary() else {
        return Err(no_primary(&view, &host));
    };
    if primary == host {
        return Err(Refusal::new(
            Reason::IsPrimary,
            format!("{host} is the primary; nothing on it is ever replaced"),
        )
        .saw(view.says_primary(&host))
        .next("hafail status"));
    }
    let Some(guard) = view.guard(&host) else {
        return Err(host_unknown(&view, &host));
    };
    if is_joined(&view, &host, &primary) {
        return Err(Refusal::new(
            Reason::AlreadyJoined,
            format!("{host} is a standby of {primary} already"),
        )
        .saw(view.says_standby(&host))
        .next("hafail status"));
    }
    let because = vec![
        view.says_primary(&primary),
        format!(
            "PostgreSQL on {host} is {}",
            refusal::word(guard.postgres.state)
        ),
    ];
    let facts = RejoinFacts {
        host: host.clone(),
        may_have_diverged: true,
    };
    let loss = Loss::Nothing {
        because: "a rejoin promotes nobody".to_owned(),
    };
    let given = given(&view, true, primary.clone(), primary, because, loss);
    Ok(plan::rejoin(&given, &facts))
}

fn database(view: &View<'_>, name: &str) -> Result<HostName, Refusal> {
    let host = view.topology().host(name).filter(|host| host.is(Role::Db));
    host.map(|host| host.name.clone()).ok_or_else(|| {
        let names: Vec<_> = view.databases().map(HostName::as_str).collect();
        Refusal::new(
            Reason::NoSuchHost,
            format!("`{name}` is not a database of {}", view.topology().name),
        )
        .saw(format!("its databases are {}", names.join(" and ")))
        .next(format!(
            "hafail rejoin {}",
            names.last().copied().unwrap_or_default()
        ))
    })
}

fn no_primary(view: &View<'_>, host: &HostName) -> Refusal {
    let region = &view.topology().sites[&view.site_of(host)].region;
    let mut refusal = Refusal::new(
        Reason::NoPrimary,
        "no database is known to be primary, so there is nobody to follow",
    )
    .saw(format!("the last primary was {}", view.last_primary()));
    for other in view.databases().filter(|other| *other != host) {
        refusal = refusal.saw(match view.guard(other) {
            Some(guard) => {
                let state = refusal::word(guard.postgres.state);
                format!("PostgreSQL on {other} is {state}")
            }
            None => format!("{other} was not seen: {}", view.why_unseen(other)),
        });
    }
    refusal.next(format!(
        "hafail failover --region {region}, or the other region"
    ))
}

fn host_unknown(view: &View<'_>, host: &HostName) -> Refusal {
    let mut refusal = Refusal::new(
        Reason::HostUnknown,
        format!("the guard of {host} does not answer"),
    )
    .saw(view.why_unseen(host));
    if let Some(machine) = view.machine(host) {
        refusal = refusal.saw(format!(
            "the cloud says that {host} is {}",
            machine.state.word()
        ));
    }
    let entry = view.inventory().hosts.get(host);
    let start = match entry.and_then(|entry| Some((entry, entry.instance_id.as_ref()?))) {
        Some((entry, id)) => format!(
            "if it is stopped: aws ec2 start-instances --region {} --instance-ids {id}",
            entry.region
        ),
        None => "start the machine, then again".to_owned(),
    };
    refusal.next(start).next(format!("hafail ssh {host}"))
}

/// Streams from the primary, and the primary waits for it where it should.
fn is_joined(view: &View<'_>, host: &HostName, primary: &HostName) -> bool {
    let Some((ours, theirs)) = view.guard(host).zip(view.guard(primary)) else {
        return false;
    };
    let follows = ours.postgres.state == PostgresState::Standby
        && ours.postgres.streaming_from.is_some()
        && matches!(&ours.wanted, WantedRole::Standby { upstream: Some(upstream) } if upstream == primary)
        && ours.postgres.timeline == theirs.postgres.timeline;
    let seen = theirs.postgres.standbys.get(host.as_str());
    // In automatic mode the primary's guard sees to that.
    let confirms = view.topology().is_automatic()
        || !super::is_synchronous(view.topology())
        || seen
            .is_some_and(|downstream| matches!(downstream.sync_state.as_str(), "sync" | "quorum"));
    follows && seen.is_some() && confirms
}
