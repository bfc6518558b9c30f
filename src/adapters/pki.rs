//! The certificate authority of a deployment: TLS between hosts, and between
//! operator and guards.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// An authority outlives its deployment: replacing it touches every host.
const AUTHORITY_DAYS: i32 = 3650;
const CERTIFICATE_DAYS: i32 = 365;
/// A certificate with fewer days left is issued anew.
const RENEWAL_DAYS: i32 = 30;

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("`{name}` cannot stand in a certificate: it is no DNS name")]
    Name { name: String },
    #[error("the key of the certificate authority cannot be used: {why}")]
    Key { why: String },
    #[error("cannot make a certificate: {why}")]
    Make { why: String },
}

impl PkiError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Name { .. } => "correct the name in the topology".to_owned(),
            Self::Key { .. } => {
                "restore ca.key and ca.pem in the directory for secrets from a backup".to_owned()
            }
            Self::Make { .. } => "run the command again".to_owned(),
        }
    }
}

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    common_name: String,
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    /// Whether it proves a server or a client.
    client: bool,
    /// Both: a host that also asks the store or other guards. What it may do
    /// there is theirs to say; all other hosts can only be asked.
    #[serde(default)]
    both: bool,
}

impl Subject {
    /// A host, by its name, other names and addresses. Loopback is always
    /// among them: orders arrive there through SSH.
    #[must_use]
    pub fn host(host: &str, names: &[String], addresses: &[IpAddr]) -> Self {
        let names = names
            .iter()
            .cloned()
            .chain([host.to_owned(), "localhost".to_owned()]);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            common_name: host.to_owned(),
            names: names.collect(),
            addresses: addresses.iter().copied().chain([loopback]).collect(),
            client: false,
            both: false,
        }
    }

    /// Such a host that may also ask others.
    #[must_use]
    pub fn asking(self) -> Self {
        Self { both: true, ..self }
    }

    /// The operator.
    #[must_use]
    pub fn operator() -> Self {
        Self {
            common_name: "operator".to_owned(),
            // Guards go by the alternative name, as all of TLS does.
            names: BTreeSet::from(["operator".to_owned()]),
            addresses: BTreeSet::new(),
            client: true,
            both: false,
        }
    }

    /// The file of the vault that keeps its certificate.
    #[must_use]
    pub fn file(&self) -> String {
        if self.client {
            "client-operator.json".to_owned()
        } else {
            format!("server-{}.json", self.common_name)
        }
    }
}

/// A certificate with its private key and its issuer, all in PEM.
#[derive(Clone)]
pub struct Issued {
    pub cert_pem: String,
    pub key_pem: String,
    pub ca_pem: String,
    not_after: Timestamp,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued(until {})", self.not_after)
    }
}

/// How the vault keeps a certificate: one file, so that certificate and key
/// always belong together.
#[derive(Serialize, Deserialize)]
struct Kept {
    subject: Subject,
    not_after: Timestamp,
    authority: String,
    certificate: String,
    key: String,
}

impl Issued {
    /// The certificate as it was kept, where it is this subject's and of that
    /// authority.
    pub(super) fn kept(text: &str, subject: &Subject, authority: &str) -> Option<Self> {
        let kept: Kept = serde_json::from_str(text).ok()?;
        let same = kept.subject == *subject && kept.authority == authority;
        same.then_some(Self {
            cert_pem: kept.certificate,
            key_pem: kept.key,
            ca_pem: kept.authority,
            not_after: kept.not_after,
        })
    }

    /// The last moment at which it is valid.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(super) fn to_json(&self, subject: &Subject) -> String {
        let kept = Kept {
            subject: subject.clone(),
            not_after: self.not_after,
            authority: self.ca_pem.clone(),
            certificate: self.cert_pem.clone(),
            key: self.key_pem.clone(),
        };
        serde_json::to_string_pretty(&kept).expect("plain data with string keys")
    }
}

/// Issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// A private key for a new authority, in PEM.
    pub(super) fn new_key() -> Result<String, super::secrets::VaultError> {
        let key = KeyPair::generate().map_err(make)?;
        Ok(key.serialize_pem())
    }

    /// The authority with that key; its certificate is made when not given.
    pub(super) fn new(
        topology: &str,
        key_pem: &str,
        certificate: Option<&str>,
    ) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem).map_err(|error| PkiError::Key {
            why: error.to_string(),
        })?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = format!("hafail {topology}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = match certificate {
            Some(pem) => pem.to_owned(),
            None => {
                valid_for(&mut params, Timestamp::now(), AUTHORITY_DAYS);
                params.self_signed(&key).map_err(make)?.pem()
            }
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate_pem,
        })
    }

    /// The certificate that all sides trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A digest of the certificate, such as `SHA256:5f3c…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.certificate_pem.trim().as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("SHA256:{hex}")
    }

    /// The kept certificate, when it is still the right one.
    pub(super) fn kept(&self, text: &str, subject: &Subject, now: Timestamp) -> Option<Issued> {
        let issued = Issued::kept(text, subject, &self.certificate_pem)?;
        (issued.not_after > now + DAY * RENEWAL_DAYS).then_some(issued)
    }

    /// Makes a new key and a certificate for it.
    pub(super) fn issue(&self, subject: &Subject, now: Timestamp) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, subject.common_name.clone());
        for name in &subject.names {
            let invalid = |_| PkiError::Name { name: name.clone() };
            let name = name.clone().try_into().map_err(invalid)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = subject.addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match (subject.client, subject.both) {
            (true, _) => vec![ExtendedKeyUsagePurpose::ClientAuth],
            (false, false) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            (false, true) => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 16]>()));
        let not_after = valid_for(&mut params, now, CERTIFICATE_DAYS);
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(Issued {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            ca_pem: self.certificate_pem.clone(),
            not_after,
        })
    }
}

fn make(error: rcgen::Error) -> PkiError {
    PkiError::Make {
        why: error.to_string(),
    }
}

/// Sets the days of validity, beginning a day early for clocks that are slow,
/// and answers the last moment.
fn valid_for(params: &mut CertificateParams, now: Timestamp, days: i32) -> Timestamp {
    let midnight = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        let part = |n: i8| u8::try_from(n).expect("months and days are positive");
        rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    params.not_before = midnight(now - DAY);
    params.not_after = midnight(now + DAY * days);
    let seconds = params.not_after.unix_timestamp();
    Timestamp::from_second(seconds).expect("it came from a timestamp a few years before")
}
