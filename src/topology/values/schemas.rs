//! How the JSON Schema describes the values.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    super::read::{At, Entries, List, Required},
    Cidr, Label, Plain, Port, Size, Time,
};
use crate::ids::{Region, SiteName};

/// Types that stand for another in the schema.
macro_rules! same_schema {
    ($($outer:ty),* $(,)?) => {$(
        impl<T: JsonSchema> JsonSchema for $outer {
            fn inline_schema() -> bool {
                T::inline_schema()
            }
            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }
            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    )*};
}
same_schema!(At<T>, Required<T>);

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("ListOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "items": item })
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("EntriesOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": ["object", "null"], "additionalProperties": value })
    }
}

macro_rules! schemas {
    ($($name:ty => $schema:tt),* $(,)?) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}
schemas! {
    Time => { "type": "string", "pattern": "^[0-9]+ *(ms|s|m|h)$" },
    Size => { "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB|TiB)$" },
    Cidr => { "type": "string", "pattern": "^[0-9.]+/[0-9]+$" },
    Port => { "type": "integer", "minimum": 1, "maximum": 65535 },
    Plain => { "type": ["string", "number", "boolean", "null"] },
    Label => { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" },
    SiteName => { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" },
    Region => { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" },
}
