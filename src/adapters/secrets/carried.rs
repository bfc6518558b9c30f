//! The part of a vault that watchers carry who make machines anew: what a
//! deploy puts on hosts, and the way to them. The authority's key stays with
//! the operator: certificates that were issued are given out again, and none
//! is issued.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use russh::keys::ssh_key::LineEnding;
use secrecy::SecretString;

use super::{CA_CERTIFICATE, CA_KEY, SSH_KEY, Store, Vault, VaultError, reveal};
use crate::{
    adapters::pki::{Issued, PkiError, Subject},
    topology::{SecretName, Topology},
};

impl Vault {
    /// All of it in one text.
    ///
    /// # Errors
    /// A secret cannot be read.
    pub fn to_carry(&self, topology: &Topology) -> Result<SecretString, VaultError> {
        let mut files = BTreeMap::new();
        for name in SecretName::ALL {
            let secret = self.secret(name)?;
            files.insert(name.as_str().to_owned(), reveal(&secret).to_owned());
        }
        let key = self.ssh_key()?.to_openssh(LineEnding::LF);
        let key = key.map_err(|error| VaultError::Make {
            what: "a copy of the SSH key",
            why: error.to_string(),
        })?;
        files.insert(SSH_KEY.to_owned(), key.to_string());
        let hosts = topology.hosts().map(|host| host.name.as_str());
        let certificates = hosts.map(|host| Subject::host(host, &[], &[]).file());
        for file in certificates.chain([CA_CERTIFICATE.to_owned()]) {
            if let Some(text) = self.store.get(&file)? {
                files.insert(file, text);
            }
        }
        Ok(serde_json::to_string(&files)
            .expect("plain data with string keys")
            .into())
    }

    /// Unpacks what [`Vault::to_carry`] made into a directory of its own.
    ///
    /// # Errors
    /// It is no such text, or the directory cannot be used.
    pub fn carried(text: &str, directory: &Path, topology: &Topology) -> Result<Self, VaultError> {
        let files: BTreeMap<String, String> =
            serde_json::from_str(text).map_err(|error| VaultError::Make {
                what: "a vault from what was carried",
                why: error.to_string(),
            })?;
        let store = Store::open(directory.to_owned())?;
        for (name, text) in &files {
            store.replace(name, text)?;
        }
        Ok(Self {
            store,
            topology: topology.name.clone(),
            // Whatever the topology names lies here as well.
            sources: BTreeMap::new(),
            ssh_key: None,
        })
    }

    /// The certificate of an authority whose key is elsewhere.
    pub(super) fn foreign_authority(&self) -> Result<Option<String>, VaultError> {
        match self.store.get(CA_KEY)? {
            Some(_) => Ok(None),
            None => self.store.get(CA_CERTIFICATE),
        }
    }

    /// A certificate that was issued before.
    pub(super) fn carried_certificate(
        &self,
        file: &str,
        subject: &Subject,
        authority: &str,
        now: Timestamp,
    ) -> Result<Issued, VaultError> {
        let kept = self.store.get(file)?;
        let issued = kept.and_then(|text| Issued::kept(&text, subject, authority));
        issued
            .filter(|issued| issued.not_after() > now)
            .ok_or_else(|| {
                let why =
                    format!("no valid {file} was carried, and its authority's key is not here");
                PkiError::Key { why }.into()
            })
    }
}
