//! The JSON Schema of topology files, for editors.

use super::raw;

/// The schema as text, with a final line break.
#[must_use]
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(raw::Topology);
    schema.insert("title".to_owned(), "hafail topology".into());
    let text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    format!("{text}\n")
}
