//! What the server answers to one question: a pure function of [`Zones`].

use std::net::Ipv4Addr;

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::rdata::{A, NS, SOA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use super::select::select;
use super::value::{self, parse_name};
use super::{RecordKind, RecordSet, Zone, Zones};

/// Longest chain of `CNAME` records that is followed.
const MAX_CHAIN: usize = 8;
/// Time to live of names that the lab makes up, in seconds.
const EXTRA_TTL: u32 = 60;
/// Times to live that Route 53 gives the records of a new zone, in seconds.
const NS_TTL: u32 = 172_800;
const SOA_TTL: u32 = 900;

/// The sections and the code of one response.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: ResponseCode,
    pub authoritative: bool,
    pub answers: Vec<Record>,
    pub soa: Option<Record>,
}

impl Answer {
    fn refused() -> Self {
        Self {
            code: ResponseCode::Refused,
            authoritative: false,
            answers: Vec::new(),
            soa: None,
        }
    }

    fn found(answers: Vec<Record>) -> Self {
        Self {
            code: ResponseCode::NoError,
            authoritative: true,
            answers,
            soa: None,
        }
    }
}

/// Answers the question for `name` and `kind`; `draw(n)` gives a random number
/// below `n` for weighted records.
pub(super) fn answer(
    zones: &Zones,
    name: &Name,
    kind: RecordType,
    draw: &mut dyn FnMut(u64) -> u64,
) -> Answer {
    if let Some(address) = fixed_address(zones, name) {
        let wants_address = matches!(kind, RecordType::A | RecordType::ANY);
        let record = Record::from_rdata(name.clone(), EXTRA_TTL, RData::A(A(address)));
        return Answer::found(wants_address.then_some(record).into_iter().collect());
    }
    let mut chain = Vec::new();
    let mut current = name.clone();
    for _ in 0..MAX_CHAIN {
        let Some((apex, zone)) = zone_of(zones, &current) else {
            // The chain leaves the zones: the client follows it from here.
            return if chain.is_empty() {
                Answer::refused()
            } else {
                Answer::found(chain)
            };
        };
        let found = lookup(zones, zone, &apex, &current, kind, draw);
        match found {
            Found::Records(records) => {
                chain.extend(records);
                return Answer::found(chain);
            }
            Found::Alias(link) => {
                let (record, target) = *link;
                chain.push(record);
                current = target;
            }
            Found::Nothing { name_exists } => {
                return Answer {
                    code: if name_exists {
                        ResponseCode::NoError
                    } else {
                        ResponseCode::NXDomain
                    },
                    authoritative: true,
                    answers: chain,
                    soa: Some(negative_soa(zone, &apex)),
                };
            }
        }
    }
    Answer {
        code: ResponseCode::ServFail,
        ..Answer::found(chain)
    }
}

/// The address of a name server of a zone or of an extra name.
fn fixed_address(zones: &Zones, name: &Name) -> Option<Ipv4Addr> {
    let extra = zones.extra.iter().find(|(extra, _)| is_name(extra, name));
    if let Some((_, address)) = extra {
        return Some(*address);
    }
    let mut name_servers = zones.zones.values().flat_map(|zone| &zone.name_servers);
    let serves = name_servers.any(|server| is_name(server, name));
    serves.then_some(zones.server_address).flatten()
}

fn is_name(text: &str, name: &Name) -> bool {
    parse_name(text).is_some_and(|parsed| parsed == *name)
}

/// The zone with the longest apex that contains `name`.
fn zone_of<'z>(zones: &'z Zones, name: &Name) -> Option<(Name, &'z Zone)> {
    zones
        .zones
        .values()
        .filter_map(|zone| Some((parse_name(&zone.name)?, zone)))
        .filter(|(apex, _)| apex.zone_of(name))
        .max_by_key(|(apex, _)| apex.num_labels())
}

enum Found {
    Records(Vec<Record>),
    Alias(Box<(Record, Name)>),
    Nothing { name_exists: bool },
}

fn lookup(
    zones: &Zones,
    zone: &Zone,
    apex: &Name,
    name: &Name,
    kind: RecordType,
    draw: &mut dyn FnMut(u64) -> u64,
) -> Found {
    let (sets, name_exists) = sets_at(zone, apex, name);
    let mut records = Vec::new();
    for each in RecordKind::ALL {
        if kind != RecordType::ANY && kind != each.record_type() {
            continue;
        }
        let candidates: Vec<_> = sets
            .iter()
            .copied()
            .filter(|set| set.kind == each)
            .collect();
        match select(zones, &candidates, draw) {
            Some(set) => records.extend(value::records(name, set)),
            None if name == apex => records.extend(default_records(zone, apex, each)),
            None => {}
        }
    }
    if !records.is_empty() {
        return Found::Records(records);
    }
    let aliases: Vec<_> = sets
        .into_iter()
        .filter(|set| set.kind == RecordKind::Cname)
        .collect();
    let alias = select(zones, &aliases, draw).and_then(|set| value::records(name, set).pop());
    match alias.map(|record| (record.data.clone(), record)) {
        Some((RData::CNAME(target), record)) => Found::Alias(Box::new((record, target.0))),
        _ => Found::Nothing { name_exists },
    }
}

/// Record sets at `name` (its own, or those of the closest wildcard), and
/// whether the name exists; a name above an existing one does, too.
fn sets_at<'z>(zone: &'z Zone, apex: &Name, name: &Name) -> (Vec<&'z RecordSet>, bool) {
    let named: Vec<_> = zone
        .records
        .iter()
        .filter_map(|set| Some((parse_name(&set.name)?, set)))
        .collect();
    let at = |wanted: &Name| -> Vec<&RecordSet> {
        named
            .iter()
            .filter(|(owner, _)| owner == wanted)
            .map(|(_, set)| *set)
            .collect()
    };
    let exists = |wanted: &Name| named.iter().any(|(owner, _)| wanted.zone_of(owner));
    if name == apex || exists(name) {
        return (at(name), true);
    }
    let mut ancestor = name.base_name();
    while ancestor != *apex && !exists(&ancestor) {
        ancestor = ancestor.base_name();
    }
    let Ok(wildcard) = ancestor.prepend_label("*") else {
        return (Vec::new(), false);
    };
    let sets = at(&wildcard);
    let exists = !sets.is_empty();
    (sets, exists)
}

/// What Route 53 creates with a zone, for a zone given without it.
fn default_records(zone: &Zone, apex: &Name, kind: RecordKind) -> Vec<Record> {
    match kind {
        RecordKind::Soa => vec![default_soa(zone, apex)],
        RecordKind::Ns => zone
            .name_servers
            .iter()
            .filter_map(|server| parse_name(server))
            .map(|server| Record::from_rdata(apex.clone(), NS_TTL, RData::NS(NS(server))))
            .collect(),
        _ => Vec::new(),
    }
}

fn default_soa(zone: &Zone, apex: &Name) -> Record {
    let primary = zone
        .name_servers
        .first()
        .and_then(|server| parse_name(server));
    let mailbox = parse_name("hostmaster.invalid").unwrap_or_default();
    let soa = SOA::new(
        primary.unwrap_or_default(),
        mailbox,
        1,
        7_200,
        900,
        1_209_600,
        86_400,
    );
    Record::from_rdata(apex.clone(), SOA_TTL, RData::SOA(soa))
}

/// The SOA record that says how long a resolver may remember a negative answer
/// (RFC 2308: the lesser of the record's time to live and its last field).
fn negative_soa(zone: &Zone, apex: &Name) -> Record {
    let set = zone.records.iter().find(|set| set.kind == RecordKind::Soa);
    let given = set.and_then(|set| value::records(apex, set).pop());
    let mut record = given.unwrap_or_else(|| default_soa(zone, apex));
    if let RData::SOA(soa) = &record.data {
        record.ttl = record.ttl.min(soa.minimum);
    }
    record
}
