//! The values that topology files consist of: how each is read, and how the
//! schema describes it.

mod schemas;

use std::{net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;

use super::{
    Balance, CloudAccess, Coordination, Cutover, HealMode, OnStandbyLoss, Replication, Role,
    WatchMode,
    node::{Key, Node, Value},
    read::{Entries, List, Read, Reader, closest, expected, list},
};
use crate::ids::{HostName, InvalidName, Region, SiteName};

/// A time such as `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub Duration);

/// A number of bytes such as `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub u64);

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr(pub Ipv4Net);

/// A TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(pub u16);

/// A name that becomes a part of other names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label(pub String);

/// Text, a number or a truth value, kept as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plain(pub String);

/// Units of time with their milliseconds.
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Units of size with their bytes.
const SIZES: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Splits `30s` into number and unit; the unit may stand apart.
fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    let number: u64 = match number.parse() {
        Ok(number) => number,
        Err(_) if number.is_empty() => return Err(format!("`{text}` begins with no number")),
        Err(_) => return Err(format!("`{text}` is too large")),
    };
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => format!("`{text}` has no unit; the units are {}", list(&names)),
            _ => format!("`{unit}` is no unit here; the units are {}", list(&names)),
        });
    };
    let too_large = || format!("`{text}` is too large");
    number.checked_mul(*factor).ok_or_else(too_large)
}

/// Reads text and turns it into a value, or reports why not.
fn convert<T: Read>(
    node: &Node,
    reader: &mut Reader<'_>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let Value::Text(text) = &node.value else {
        reader.wrong_type::<T>(node);
        return None;
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(why) => {
            reader.invalid::<T>(node, &why);
            None
        }
    }
}

/// Numbers without their unit are a frequent slip: say what is missing.
fn convert_quantity<T: Read>(
    node: &Node,
    reader: &mut Reader<'_>,
    units: &[(&str, u64)],
    make: impl FnOnce(u64) -> T,
) -> Option<T> {
    if let Value::Integer(_) | Value::Real(_) = node.value {
        let text = reader.written(node);
        let why = quantity(&text, units).err().unwrap_or_default();
        reader.invalid::<T>(node, &why);
        return None;
    }
    convert(node, reader, |text| quantity(text, units).map(make))
}

impl Read for Time {
    const EXPECTED: &'static str = "a time such as 500ms, 30s, 5m or 1h";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        convert_quantity(node, reader, &TIMES, |ms| Self(Duration::from_millis(ms)))
    }
}

impl Read for Size {
    const EXPECTED: &'static str = "a size such as 0B, 64KiB, 1MiB or 2GiB";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        convert_quantity(node, reader, &SIZES, Self)
    }
}

impl Read for Port {
    const EXPECTED: &'static str = "a port number such as 8080";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Integer(number) = node.value else {
            reader.wrong_type::<Self>(node);
            return None;
        };
        match u16::try_from(number) {
            Ok(port) if port > 0 => Some(Self(port)),
            _ => {
                let why = format!("{number} is no port; ports go from 1 to 65535");
                reader.invalid::<Self>(node, &why);
                None
            }
        }
    }
}

impl Read for u32 {
    const EXPECTED: &'static str = "a whole number such as 3";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Integer(number) = node.value else {
            reader.wrong_type::<Self>(node);
            return None;
        };
        let value = Self::try_from(number).ok();
        if value.is_none() {
            reader.invalid::<Self>(node, &format!("{number} is out of range"));
        }
        value
    }
}

impl Read for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        reader.wrong_type::<Self>(node);
        None
    }
}

impl Read for String {
    const EXPECTED: &'static str = "text";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        convert(node, reader, |text| match text.trim() {
            "" => Err("it is empty".to_owned()),
            _ => Ok(text.to_owned()),
        })
    }
}

impl Read for Plain {
    const EXPECTED: &'static str = "text, a number, true or false";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Null => Some(Self(String::new())),
            Value::Sequence(_) | Value::Mapping(_) => {
                reader.wrong_type::<Self>(node);
                None
            }
            _ => Some(Self(reader.written(node))),
        }
    }
}

impl Read for Cidr {
    const EXPECTED: &'static str = "a network such as 10.10.0.0/16";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        convert(node, reader, |text| {
            let net: Ipv4Net = text
                .parse()
                .map_err(|_| format!("`{text}` is no IPv4 network in CIDR notation"))?;
            if net.trunc() == net {
                Ok(Self(net))
            } else {
                Err(format!(
                    "`{net}` is an address inside the network {}",
                    net.trunc()
                ))
            }
        })
    }
}

impl Read for Ipv4Addr {
    const EXPECTED: &'static str = "an IPv4 address such as 10.10.1.10";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        convert(node, reader, |text| {
            text.parse()
                .map_err(|_| format!("`{text}` is no IPv4 address"))
        })
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        HostName::try_from(text).map(|name| Self(name.into()))
    }
}

macro_rules! names {
    ($($name:ty: $expected:literal),* $(,)?) => {$(
        impl Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                convert(node, reader, |text| {
                    Self::try_from(text.to_owned()).map_err(|_| format!("`{text}` is not 1 to 63 lower-case letters, digits and inner hyphens"))
                })
            }
        }
    )*};
}

names! {
    Label: "a name such as vote-1",
    SiteName: "the name of a site, such as site1",
    Region: "a region such as eu-west-1",
}

macro_rules! choices {
    ($($name:ty as $expected:literal { $($word:literal => $value:expr),* $(,)? })*) => {$(
        impl Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let words = [$($word),*];
                let text = match &node.value {
                    Value::Text(text) => text,
                    _ => {
                        reader.wrong_type::<Self>(node);
                        return None;
                    }
                };
                match text.as_str() {
                    $($word => Some($value),)*
                    _ => {
                        let message = format!("{} cannot be `{text}`", reader.here());
                        let hint = match closest(text, words) {
                            Some(near) => format!("did you mean `{near}`? Allowed: {}", list(&words)),
                            None => format!("allowed: {}", list(&words)),
                        };
                        reader.error("unknown-value", node.at, message, hint);
                        None
                    }
                }
            }
        }
    )*};
}

choices! {
    Role as "a role: bastion, lb, app, queue, db or witness" {
        "bastion" => Self::Bastion,
        "lb" => Self::Lb,
        "app" => Self::App,
        "queue" => Self::Queue,
        "db" => Self::Db,
        "witness" => Self::Witness,
    }
    Replication as "synchronous or asynchronous" {
        "synchronous" => Self::Synchronous,
        "asynchronous" => Self::Asynchronous,
    }
    Balance as "local-first or all-replicas" {
        "local-first" => Self::LocalFirst,
        "all-replicas" => Self::AllReplicas,
    }
    Coordination as "manual or etcd" {
        "manual" => Self::Manual,
        "etcd" => Self::Etcd,
    }
    Cutover as "upsert or health-check" {
        "upsert" => Self::Upsert,
        "health-check" => Self::HealthCheck,
    }
    CloudAccess as "instance-profile or operator" {
        "instance-profile" => Self::InstanceProfile,
        "operator" => Self::Operator,
    }
    WatchMode as "automatic or observe" {
        "automatic" => Self::Automatic,
        "observe" => Self::Observe,
    }
    HealMode as "off, start or replace" {
        "off" => Self::Off,
        "start" => Self::Start,
        "replace" => Self::Replace,
    }
    OnStandbyLoss as "degrade or block" {
        "degrade" => Self::Degrade,
        "block" => Self::Block,
    }
}

impl<T: Read> Read for List<T> {
    const EXPECTED: &'static str = "a list in brackets";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Sequence(items) = &node.value else {
            let message = format!("{} is {}, not a list", reader.here(), node.value.kind());
            let hint = format!("write it in brackets, each item {}", expected::<T>());
            reader.error("wrong-type", node.at, message, hint);
            return None;
        };
        let numbered = items.iter().enumerate();
        let read: Vec<_> = numbered
            .filter_map(|(index, item)| reader.read_at(&(index + 1).to_string(), item))
            .collect();
        let complete = read.len() == items.len();
        Some(Self(read, complete))
    }
}

impl<T: Read> Read for Entries<T> {
    const EXPECTED: &'static str = "a mapping of names";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(entries) = reader.entries(node) else {
            let message = format!("{} is {}, not a mapping", reader.here(), node.value.kind());
            let hint = format!("write `name: value` lines, each value {}", expected::<T>());
            reader.error("wrong-type", node.at, message, hint);
            return None;
        };
        let all = match &node.value {
            Value::Mapping(all) => all.len(),
            _ => 0,
        };
        let read = |(key, node): (&Key, &Node)| {
            let value = reader.read_at(&key.text, node)?;
            Some((key.clone(), value))
        };
        let read: Vec<_> = entries.into_iter().filter_map(read).collect();
        let complete = read.len() == all;
        Some(Self(read, complete))
    }
}
