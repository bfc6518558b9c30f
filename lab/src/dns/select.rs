//! Which of several record sets of one name and type is answered, by the rules
//! of Route 53.

use super::{RecordSet, Routing, Zones};

/// Chooses among record sets of one name and type; `draw(n)` gives a random
/// number below `n`.
pub(super) fn select<'z>(
    zones: &Zones,
    candidates: &[&'z RecordSet],
    draw: &mut dyn FnMut(u64) -> u64,
) -> Option<&'z RecordSet> {
    let first = candidates.first()?;
    match first.routing {
        Routing::Simple => Some(first),
        Routing::Primary | Routing::Secondary => failover(zones, candidates),
        Routing::Weighted(_) => weighted(zones, candidates, draw),
    }
}

/// The healthy primary, else the healthy secondary, else the primary.
fn failover<'z>(zones: &Zones, candidates: &[&'z RecordSet]) -> Option<&'z RecordSet> {
    let role = |role| candidates.iter().copied().find(|set| set.routing == role);
    let (primary, secondary) = (role(Routing::Primary), role(Routing::Secondary));
    let up = |set: &&RecordSet| is_healthy(zones, set);
    primary.filter(up).or(secondary.filter(up)).or(primary)
}

/// Healthy ones by weight; those of weight 0 only when no other is healthy;
/// when nothing is healthy, all count as healthy.
fn weighted<'z>(
    zones: &Zones,
    candidates: &[&'z RecordSet],
    draw: &mut dyn FnMut(u64) -> u64,
) -> Option<&'z RecordSet> {
    let healthy: Vec<_> = candidates
        .iter()
        .copied()
        .filter(|set| is_healthy(zones, set))
        .collect();
    let pool = if healthy.is_empty() {
        candidates.to_vec()
    } else {
        healthy
    };
    let total: u64 = pool.iter().map(|set| weight(set)).sum();
    if total == 0 {
        let index = draw(pool.len() as u64) as usize;
        return pool.get(index).copied();
    }
    let mut ticket = draw(total);
    pool.into_iter().find(|set| {
        let weight = weight(set);
        let hit = ticket < weight;
        ticket = ticket.saturating_sub(weight);
        hit
    })
}

fn weight(set: &RecordSet) -> u64 {
    match set.routing {
        Routing::Weighted(weight) => weight,
        _ => 0,
    }
}

fn is_healthy(zones: &Zones, set: &RecordSet) -> bool {
    let verdict = set
        .health_check_id
        .as_ref()
        .and_then(|id| zones.health.get(id));
    verdict.copied().unwrap_or(true)
}
