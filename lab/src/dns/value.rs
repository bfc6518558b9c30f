//! Names and values from the presentation form of the Route 53 API.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use tracing::warn;

use super::{RecordKind, RecordSet};

impl RecordKind {
    /// Every kind, in the order in which they are answered to `ANY`.
    pub(super) const ALL: [Self; 6] = [
        Self::A,
        Self::Aaaa,
        Self::Cname,
        Self::Txt,
        Self::Ns,
        Self::Soa,
    ];

    pub(super) fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Cname => RecordType::CNAME,
            Self::Txt => RecordType::TXT,
            Self::Ns => RecordType::NS,
            Self::Soa => RecordType::SOA,
        }
    }
}

/// An absolute name; the API writes `*` as the octal escape `\052`.
pub(super) fn parse_name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text.replace("\\052", "*")).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The records of a set under the name that was asked for. Values that cannot
/// be read are left out with a warning.
pub(super) fn records(name: &Name, set: &RecordSet) -> Vec<Record> {
    let parsed = set.values.iter().filter_map(|value| {
        let data = parse(set.kind, value.trim());
        if data.is_none() {
            warn!(name = %set.name, kind = ?set.kind, value, "record value cannot be read");
        }
        data
    });
    parsed
        .map(|data| Record::from_rdata(name.clone(), set.ttl, data))
        .collect()
}

fn parse(kind: RecordKind, value: &str) -> Option<RData> {
    Some(match kind {
        RecordKind::A => RData::A(A(value.parse::<Ipv4Addr>().ok()?)),
        RecordKind::Aaaa => RData::AAAA(AAAA(value.parse::<Ipv6Addr>().ok()?)),
        RecordKind::Cname => RData::CNAME(CNAME(parse_name(value)?)),
        RecordKind::Ns => RData::NS(NS(parse_name(value)?)),
        RecordKind::Txt => RData::TXT(TXT::from_bytes(
            strings(value).iter().map(Vec::as_slice).collect(),
        )),
        RecordKind::Soa => RData::SOA(parse_soa(value)?),
    })
}

fn parse_soa(value: &str) -> Option<SOA> {
    let fields: Vec<_> = value.split_whitespace().collect();
    let [primary, mailbox, serial, refresh, retry, expire, minimum] = fields[..] else {
        return None;
    };
    Some(SOA::new(
        parse_name(primary)?,
        parse_name(mailbox)?,
        serial.parse().ok()?,
        refresh.parse().ok()?,
        retry.parse().ok()?,
        expire.parse().ok()?,
        minimum.parse().ok()?,
    ))
}

/// The character strings of a `TXT` value: `"one" "two"`, with `\"` and `\\`.
fn strings(value: &str) -> Vec<Vec<u8>> {
    let mut strings = Vec::new();
    let mut current: Option<Vec<u8>> = None;
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match (byte, &mut current) {
            (b'"', Some(_)) => strings.extend(current.take()),
            (b'"', None) => current = Some(Vec::new()),
            (b'\\', Some(text)) => text.extend(bytes.next()),
            (_, Some(text)) => text.push(byte),
            (_, None) => {}
        }
    }
    if strings.is_empty() {
        strings.push(value.as_bytes().to_vec());
    }
    strings
}
