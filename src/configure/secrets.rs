//! Secrets on their way to hosts, and their removal from all that is shown.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use minijinja::Value;
use secrecy::{ExposeSecret, SecretString};

use crate::ids::HostName;

/// What stands in the place of a secret.
pub const PLACEHOLDER: &str = "[secret]";
/// Shorter texts would be found everywhere.
const SHORTEST: usize = 4;

/// The secrets that playbooks may use.
#[derive(Default)]
pub struct Secrets {
    /// By name in templates, such as `database_user`.
    pub values: BTreeMap<String, SecretString>,
    pub tls: BTreeMap<HostName, Tls>,
}

/// TLS files of a host, PEM.
pub struct Tls {
    pub ca: String,
    pub cert: String,
    pub key: SecretString,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.values.keys().collect();
        f.debug_struct("Secrets")
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// `tls` without the key, for all strings of a host.
    pub(super) fn public_tls(&self, host: &HostName) -> Option<Value> {
        let tls = self.tls.get(host)?;
        Some(Value::from_pairs([
            ("ca", tls.ca.clone()),
            ("cert", tls.cert.clone()),
        ]))
    }

    /// `secrets` and `tls` for the strings that may use them.
    pub(super) fn variables(&self, host: &HostName) -> BTreeMap<String, Value> {
        let values = self.values.iter();
        let values = values.map(|(name, value)| (name.clone(), value.expose_secret().to_owned()));
        let mut variables = BTreeMap::new();
        variables.insert("secrets".to_owned(), Value::from_pairs(values));
        if let Some(tls) = self.tls.get(host) {
            let fields = [
                ("ca", tls.ca.clone()),
                ("cert", tls.cert.clone()),
                ("key", tls.key.expose_secret().to_owned()),
            ];
            variables.insert("tls".to_owned(), Value::from_pairs(fields));
        }
        variables
    }
}

/// Takes secrets out of texts from hosts.
pub struct Redactor {
    /// Longest first, so that no secret is cut by one that it contains.
    hidden: Vec<String>,
}

impl Redactor {
    /// Knows all these secrets, quoted and encoded too.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        let values = secrets.values.values();
        let keys = secrets.tls.values().map(|tls| &tls.key);
        let mut hidden = Vec::new();
        for secret in values.chain(keys) {
            let secret = secret.expose_secret();
            // A key is shown line by line, so its lines are hidden one by one.
            let lines = secret.lines().filter(|line| !line.starts_with("-----"));
            for text in lines.filter(|line| line.len() >= SHORTEST) {
                hidden.push(text.replace('\'', "''"));
                hidden.push(text.replace('\'', r"'\''"));
                hidden.push(BASE64_STANDARD.encode(text));
                hidden.push(text.to_owned());
            }
        }
        hidden.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        hidden.dedup();
        Self { hidden }
    }

    /// The text with placeholders.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.hidden {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), PLACEHOLDER);
            }
        }
        clean
    }
}
