//! Steps on DNS records.

use std::{collections::BTreeMap, time::Duration};

use futures::future::{join_all, try_join_all};

use crate::{
    journal::Fact,
    observation::{AddressRecord, Knowledge},
};

use super::context::{Context, Done, Failure};

/// Name servers that do not answer are waited for so long.
const SILENT: Duration = Duration::from_secs(10);

pub(super) async fn move_records(
    cx: &Context<'_>,
    records: &[AddressRecord],
) -> Result<Done, Failure> {
    let ask = records
        .iter()
        .map(|record| cx.world.records.current(&record.name));
    let current = try_join_all(ask).await?;
    let same = records
        .iter()
        .zip(&current)
        .all(|(wanted, now)| now.as_ref() == Some(wanted));
    if same {
        return Ok(Done::new(false, "the records answer so already"));
    }
    cx.holds_lock()?;
    let change = cx.world.records.point(cx.epoch, records).await?;
    let what = format!("the zone took the change {}", change.0);
    Ok(Done::new(true, what).fact(Fact::Changed { change }))
}

pub(super) async fn await_in_sync(cx: &Context<'_>) -> Result<Done, Failure> {
    let Some(change) = &cx.facts.change else {
        return Ok(Done::new(false, "nothing was changed"));
    };
    if cx.world.records.in_sync(change).await? {
        return Ok(Done::new(false, "the zone reports INSYNC"));
    }
    Err(Failure::again("the zone reports the change as pending"))
}

pub(super) async fn await_authoritative(
    cx: &Context<'_>,
    records: &[AddressRecord],
) -> Result<Done, Failure> {
    let servers = moved(cx, records, SILENT * 2).await?;
    Ok(Done::new(
        false,
        format!("{servers} name servers answer the new addresses"),
    ))
}

/// Health checks move the names, by what the load balancers answer: the run
/// has nothing to repeat, and what comes late is only told.
pub(super) async fn await_checks(
    cx: &Context<'_>,
    records: &[AddressRecord],
    within: Duration,
) -> Result<Done, Failure> {
    let start = cx.world.clock.now();
    let (followed, what) = match moved(cx, records, within).await {
        Ok(servers) => {
            let took = cx.world.clock.now().saturating_sub(start).as_secs_f64();
            let what =
                format!("{servers} name servers answer the new addresses, {took:.1} s later");
            (true, what)
        }
        Err(failure) => (false, format!("not yet: {}; `hafail status`", failure.why)),
    };
    Ok(Done::new(false, what).fact(Fact::Followed { followed }))
}

/// Waits until the name servers answer so; how many there are.
async fn moved(
    cx: &Context<'_>,
    records: &[AddressRecord],
    within: Duration,
) -> Result<usize, Failure> {
    let start = cx.world.clock.now();
    let moved = || async move {
        let answers = join_all(
            records
                .iter()
                .map(|record| cx.world.records.authoritative(&record.name)),
        )
        .await;
        let mut servers = 0;
        for (record, answer) in records.iter().zip(answers) {
            let patient = cx.world.clock.now().saturating_sub(start) < SILENT;
            servers = servers.max(all_answer(record, &answer?, patient)?);
        }
        Ok(servers)
    };
    cx.until(within, moved).await
}

/// How many servers answer the record as wanted; none may answer otherwise.
fn all_answer(
    wanted: &AddressRecord,
    answers: &BTreeMap<String, Knowledge<AddressRecord>>,
    patient: bool,
) -> Result<usize, Failure> {
    let mut right = 0;
    for (server, answer) in answers {
        match answer {
            Knowledge::Known(record) if record.addresses == wanted.addresses => right += 1,
            Knowledge::Unknown { .. } if !patient => {}
            Knowledge::Unknown { why, .. } => {
                return Err(Failure::again(format!("{server} does not answer: {why}")));
            }
            _ => {
                return Err(Failure::again(format!(
                    "{server} answers {} otherwise",
                    wanted.name
                )));
            }
        }
    }
    if right == 0 {
        return Err(Failure::again(format!(
            "no name server answers {}",
            wanted.name
        )));
    }
    Ok(right)
}

/// Reports what resolvers answer when the old answer has expired. Caches of
/// others are not in our hands: this is a finding, not a failure.
pub(super) async fn await_resolvers(
    cx: &Context<'_>,
    records: &[AddressRecord],
) -> Result<Done, Failure> {
    let ttl = records.iter().map(|record| record.ttl).max().unwrap_or(0);
    let limit = Duration::from_secs(ttl + 5);
    let all = || async {
        let (asked, moved) = resolvers(cx, records).await;
        if asked == moved {
            Ok((asked, moved))
        } else {
            Err(Failure::again("not all resolvers"))
        }
    };
    let (asked, moved) = match cx.until(limit, all).await {
        Ok(counts) => counts,
        Err(_) => resolvers(cx, records).await,
    };
    let what = format!("{moved} of {asked} resolvers answer the new addresses");
    Ok(Done::new(false, what).fact(Fact::Resolvers { asked, moved }))
}

/// How many answers of resolvers there are, and how many are the new ones.
async fn resolvers(cx: &Context<'_>, records: &[AddressRecord]) -> (usize, usize) {
    let ask = records
        .iter()
        .map(|record| cx.world.records.resolved(&record.name));
    let answers = join_all(ask).await;
    let mut counts = (0, 0);
    for (record, answers) in records.iter().zip(answers) {
        counts.0 += answers.len();
        counts.1 += answers
            .values()
            .filter(|answer| {
                answer
                    .known()
                    .is_some_and(|now| now.addresses == record.addresses)
            })
            .count();
    }
    counts
}
