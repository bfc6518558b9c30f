//! The vault: secrets and keys of a deployment, in one directory that only
//! its owner can read, outside the repository.

mod carried;
mod store;

use std::path::{Path, PathBuf};

use base64::Engine;
use rand::Rng;
use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    adapters::pki::{Authority, Issued, PkiError, Subject},
    topology::{SecretName, SecretSource, Surroundings, Topology},
};
use store::Store;
pub use store::VaultError;

/// Secrets, SSH key and certificate authority of one deployment. Whatever is
/// missing is made at its first use; several processes may do so at once, and
/// all get what the first made.
pub struct Vault {
    store: Store,
    topology: String,
    sources: std::collections::BTreeMap<SecretName, SecretSource>,
    ssh_key: Option<PathBuf>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.store.directory().display())
    }
}

const SSH_KEY: &str = "id_ed25519";
const CA_KEY: &str = "ca.key";
const CA_CERTIFICATE: &str = "ca.pem";

impl Vault {
    /// Opens, or makes, the directory `<home>/<topology name>/secrets`.
    ///
    /// # Errors
    /// The directory cannot be made, or others can read it.
    pub fn open(home: &Path, topology: &Topology) -> Result<Self, VaultError> {
        Ok(Self::of(Store::open(directory(home, topology))?, topology))
    }

    /// The vault as it is, for plans and dry runs: whatever is missing is made
    /// in memory and never written, not even the directory.
    ///
    /// # Errors
    /// Others can read the directory.
    pub fn look(home: &Path, topology: &Topology) -> Result<Self, VaultError> {
        Ok(Self::of(Store::look(directory(home, topology))?, topology))
    }

    fn of(store: Store, topology: &Topology) -> Self {
        Self {
            store,
            topology: topology.name.clone(),
            sources: topology.secrets.clone(),
            ssh_key: topology.access.ssh_key.clone(),
        }
    }

    /// Whether there is a key for SSH already, stated or generated.
    #[must_use]
    pub fn has_ssh_key(&self) -> bool {
        self.ssh_key.is_some() || self.store.path(SSH_KEY).exists()
    }

    /// Where the secrets are kept.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.store.directory()
    }

    /// A secret: from its file or environment variable where the topology
    /// names one, else generated at the first call and kept.
    ///
    /// # Errors
    /// The file or variable is missing or empty, or the vault cannot be used.
    pub fn secret(&self, name: SecretName) -> Result<SecretString, VaultError> {
        let text = match self.sources.get(&name) {
            Some(SecretSource::File(path)) => stated_file(name, path)?,
            Some(SecretSource::Environment(variable)) => stated_variable(name, variable)?,
            Some(SecretSource::Generated) | None => self
                .store
                .get_or_make(name.as_str(), || Ok(random_password()))?,
        };
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() || trimmed.chars().any(char::is_control) {
            return Err(VaultError::Unusable { name });
        }
        Ok(trimmed.into())
    }

    /// The private key for SSH to the hosts: that of the topology, or an
    /// Ed25519 key of the vault, generated at the first call; its public half
    /// lies beside it in `id_ed25519.pub`.
    ///
    /// # Errors
    /// The key is missing, not an OpenSSH key, or protected by a passphrase.
    pub fn ssh_key(&self) -> Result<PrivateKey, VaultError> {
        let (path, text) = match &self.ssh_key {
            Some(path) => {
                let path = store::expand(path);
                let text = store::read_foreign(&path).map_err(|source| VaultError::Read {
                    path: path.clone(),
                    source,
                })?;
                (path, text)
            }
            None => (
                self.store.path(SSH_KEY),
                self.store
                    .get_or_make(SSH_KEY, || new_ssh_key(&self.topology))?,
            ),
        };
        let key =
            PrivateKey::from_openssh(text.as_str()).map_err(|error| VaultError::NoSshKey {
                path: path.clone(),
                why: error.to_string(),
            })?;
        if key.is_encrypted() {
            return Err(VaultError::Passphrase { path });
        }
        if self.ssh_key.is_none() {
            self.store
                .get_or_make("id_ed25519.pub", || public_line(&key))?;
        }
        Ok(key)
    }

    /// The certificate authority of the deployment, made at the first call.
    ///
    /// # Errors
    /// The vault cannot be used, or holds something that is no key.
    pub fn authority(&self) -> Result<Authority, VaultError> {
        if self.store.get(CA_KEY)?.is_none() && self.store.get(CA_CERTIFICATE)?.is_some() {
            let why = format!("{} is missing", self.store.path(CA_KEY).display());
            return Err(PkiError::Key { why }.into());
        }
        let key = self.store.get_or_make(CA_KEY, Authority::new_key)?;
        let cert = self.store.get_or_make(CA_CERTIFICATE, || {
            let made = Authority::new(&self.topology, &key, None)?;
            Ok(made.certificate_pem().to_owned())
        })?;
        Ok(Authority::new(&self.topology, &key, Some(&cert))?)
    }

    /// The server certificate of a host, for its name, `names` and
    /// `addresses`. The same at each call; issued anew when those change, when
    /// fewer than 30 days are left, or when the authority is another.
    ///
    /// # Errors
    /// The vault cannot be used, or a name is no DNS name.
    pub fn certificate(
        &self,
        host: &str,
        names: &[String],
        addresses: &[std::net::IpAddr],
    ) -> Result<Issued, VaultError> {
        self.issued(&Subject::host(host, names, addresses))
    }

    /// The same for a host that also asks others: the store, or other guards.
    ///
    /// # Errors
    /// As for [`Vault::certificate`].
    pub fn asking_certificate(
        &self,
        host: &str,
        addresses: &[std::net::IpAddr],
    ) -> Result<Issued, VaultError> {
        self.issued(&Subject::host(host, &[], addresses).asking())
    }

    /// The certificate by which guards know the operator.
    ///
    /// # Errors
    /// As for [`Vault::certificate`].
    pub fn operator_certificate(&self) -> Result<Issued, VaultError> {
        self.issued(&Subject::operator())
    }

    fn issued(&self, subject: &Subject) -> Result<Issued, VaultError> {
        let file = subject.file();
        let now = jiff::Timestamp::now();
        if let Some(ca) = self.foreign_authority()? {
            return self.carried_certificate(&file, subject, &ca, now);
        }
        let authority = self.authority()?;
        self.store.exclusively(|| {
            let kept = self.store.get(&file)?;
            if let Some(issued) = kept.and_then(|text| authority.kept(&text, subject, now)) {
                return Ok(issued);
            }
            let issued = authority.issue(subject, now)?;
            self.store.replace(&file, &issued.to_json(subject))?;
            Ok(issued)
        })
    }

    /// Identifies the vault without revealing anything: a digest of the
    /// authority's certificate. Kept where all operators see it, such as in a
    /// tag, it shows who lacks the directory.
    ///
    /// # Errors
    /// As for [`Vault::authority`].
    pub fn fingerprint(&self) -> Result<String, VaultError> {
        Ok(self.authority()?.fingerprint())
    }

    /// The fingerprint of a vault that was used before; none when nothing has
    /// been made yet, and nothing is made now.
    ///
    /// # Errors
    /// As for [`Vault::authority`].
    pub fn known_fingerprint(&self) -> Result<Option<String>, VaultError> {
        match self.store.get(CA_CERTIFICATE)? {
            Some(_) => self.fingerprint().map(Some),
            None => Ok(None),
        }
    }
}

fn directory(home: &Path, topology: &Topology) -> PathBuf {
    home.join(&topology.name).join("secrets")
}

/// The machine that this runs on.
pub struct ThisMachine;

impl Surroundings for ThisMachine {
    fn has_variable(&self, name: &str) -> bool {
        store::variable(name).is_some()
    }

    fn unreadable(&self, path: &Path) -> Option<String> {
        let read = store::read_foreign(&store::expand(path));
        read.err().map(|error| error.to_string())
    }
}

fn stated_file(name: SecretName, path: &Path) -> Result<String, VaultError> {
    let path = store::expand(path);
    store::read_foreign(&path).map_err(|source| VaultError::SecretFile { name, path, source })
}

fn stated_variable(name: SecretName, variable: &str) -> Result<String, VaultError> {
    store::variable(variable).ok_or_else(|| VaultError::SecretVariable {
        name,
        variable: variable.to_owned(),
    })
}

/// 192 bits, in letters that need no quoting in any configuration file, URL
/// or shell.
fn random_password() -> String {
    let mut bytes = [0_u8; 24];
    rand::rng().fill_bytes(&mut bytes);
    // `-` first would look like an option, so a letter goes first.
    format!(
        "p{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    )
}

fn new_ssh_key(topology: &str) -> Result<String, VaultError> {
    let made = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).and_then(|mut key| {
        key.set_comment(format!("hafail-{topology}"));
        key.to_openssh(LineEnding::LF)
    });
    made.map(|text| text.to_string())
        .map_err(|error| VaultError::Make {
            what: "an SSH key",
            why: error.to_string(),
        })
}

fn public_line(key: &PrivateKey) -> Result<String, VaultError> {
    let line = key
        .public_key()
        .to_openssh()
        .map_err(|error| VaultError::Make {
            what: "a public SSH key",
            why: error.to_string(),
        })?;
    Ok(format!("{line}\n"))
}

/// Reveals a secret; the only way, so that a search finds all uses.
#[must_use]
pub fn reveal(secret: &SecretString) -> &str {
    secret.expose_secret()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

    use rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    };

    use super::*;

    fn topology() -> Topology {
        let text = include_str!("../../topologies/two-regions.yaml");
        Topology::parse(text, "topologies/two-regions.yaml").unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn secrets_are_made_once_and_private() {
        let home = tempfile::tempdir().unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                let vault = Vault::open(home.path(), &topology()).unwrap();
                let key = vault.ssh_key().unwrap();
                let secret = vault.secret(SecretName::QueuePassword).unwrap();
                let authority = vault.fingerprint().unwrap();
                let issued = vault.certificate("site1-db", &[], &[]).unwrap();
                (
                    reveal(&secret).to_owned(),
                    key.public_key().clone(),
                    authority,
                    issued.key_pem,
                )
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
        assert!(made[0].0.len() >= 32);

        let directory = home.path().join("two-regions/secrets");
        assert_eq!(mode(&directory), 0o700);
        let files: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 6, "no temporary files stay: {files:?}");
        for file in files {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }

    #[test]
    fn a_look_makes_nothing_that_stays() {
        let home = tempfile::tempdir().unwrap();
        let looked = Vault::look(home.path(), &topology()).unwrap();
        assert!(!looked.has_ssh_key());
        let secret = |vault: &Vault| {
            let secret = vault.secret(SecretName::QueuePassword).unwrap();
            reveal(&secret).to_owned()
        };
        assert_eq!(secret(&looked), secret(&looked), "it keeps its word");
        let issued = looked.certificate("site1-db", &[], &[]).unwrap();
        let again = looked.certificate("site1-db", &[], &[]).unwrap();
        assert_eq!(issued.cert_pem, again.cert_pem);
        looked.ssh_key().unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

        let vault = Vault::open(home.path(), &topology()).unwrap();
        let issued = vault.certificate("site1-db", &[], &[]).unwrap();
        let kept = secret(&vault);
        let files = || fs::read_dir(vault.directory()).unwrap().count();
        let before = files();
        let looked = Vault::look(home.path(), &topology()).unwrap();
        assert_eq!(secret(&looked), kept);
        let same = looked.certificate("site1-db", &[], &[]).unwrap();
        assert_eq!(same.cert_pem, issued.cert_pem);
        let address = "10.10.1.5".parse().unwrap();
        let other = looked.certificate("site1-db", &[], &[address]).unwrap();
        assert_ne!(other.cert_pem, issued.cert_pem);
        looked.secret(SecretName::DatabaseUser).unwrap();
        assert_eq!(files(), before);
        let same = vault.certificate("site1-db", &[], &[]).unwrap();
        assert_eq!(same.cert_pem, issued.cert_pem);
    }

    #[test]
    fn different_secrets_differ() {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::open(home.path(), &topology()).unwrap();
        let one = vault.secret(SecretName::QueuePassword).unwrap();
        let other = vault.secret(SecretName::DatabaseUser).unwrap();
        assert_ne!(reveal(&one), reveal(&other));
        assert!(!format!("{one:?} {vault:?}").contains(reveal(&one)));
    }

    #[test]
    fn what_others_can_read_is_refused_with_the_way_out() {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::open(home.path(), &topology()).unwrap();
        vault.secret(SecretName::QueuePassword).unwrap();
        let file = vault.directory().join("queue-password");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = vault.secret(SecretName::QueuePassword).unwrap_err();
        assert_eq!(error.hint(), format!("run: chmod 600 {}", file.display()));

        fs::set_permissions(vault.directory(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = Vault::open(home.path(), &topology()).unwrap_err();
        assert_eq!(
            error.hint(),
            format!("run: chmod 700 {}", vault.directory().display())
        );
    }

    #[test]
    fn a_stated_secret_comes_from_its_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("password");
        let mut topology = topology();
        let source = SecretSource::File(file.clone());
        topology.secrets.insert(SecretName::DatabaseUser, source);
        let vault = Vault::open(home.path(), &topology).unwrap();

        let missing = vault.secret(SecretName::DatabaseUser).unwrap_err();
        assert!(
            matches!(missing, VaultError::SecretFile { .. }),
            "{missing:?}"
        );
        fs::write(&file, "from the file\n").unwrap();
        let secret = vault.secret(SecretName::DatabaseUser).unwrap();
        assert_eq!(reveal(&secret), "from the file");
        fs::write(&file, "\n").unwrap();
        let empty = vault.secret(SecretName::DatabaseUser).unwrap_err();
        assert!(matches!(empty, VaultError::Unusable { .. }), "{empty:?}");
    }

    #[test]
    fn certificates_stay_until_their_names_change() {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::open(home.path(), &topology()).unwrap();
        assert_eq!(vault.known_fingerprint().unwrap(), None);
        let address = "10.10.1.5".parse().unwrap();
        let first = vault.certificate("site1-db", &[], &[address]).unwrap();
        let again = vault.certificate("site1-db", &[], &[address]).unwrap();
        assert_eq!(first.cert_pem, again.cert_pem);
        let changed = vault.certificate("site1-db", &["db.example.org".to_owned()], &[address]);
        assert_ne!(first.cert_pem, changed.unwrap().cert_pem);
        assert_eq!(
            vault.known_fingerprint().unwrap(),
            Some(vault.fingerprint().unwrap())
        );

        fs::remove_file(vault.directory().join(CA_KEY)).unwrap();
        assert!(
            vault.authority().is_err(),
            "a second key would fit no certificate"
        );
    }

    #[test]
    fn a_certificate_about_to_expire_is_issued_anew() {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::open(home.path(), &topology()).unwrap();
        let authority = vault.authority().unwrap();
        let subject = Subject::operator();
        let now = jiff::Timestamp::now();
        let issued = authority.issue(&subject, now).unwrap();
        let text = issued.to_json(&subject);
        let after = |days: i64| now + jiff::SignedDuration::from_hours(24 * days);
        assert!(authority.kept(&text, &subject, after(330)).is_some());
        assert!(authority.kept(&text, &subject, after(340)).is_none());
    }

    fn chain(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
        (vec![certificate], key)
    }

    /// Shakes hands in memory; the error of whichever side refuses.
    fn handshake(server: &Issued, client: &Issued, name: &str) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(server.ca_pem.as_bytes()).unwrap())
            .unwrap();
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let (certificates, key) = chain(server);
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(certificates, key)?;
        let mut server = ServerConnection::new(Arc::new(config))?;
        let (certificates, key) = chain(client);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates, key)?;
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name)?;
        for _ in 0..10 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }

    #[test]
    fn only_the_operator_is_a_client_and_only_hosts_are_servers() {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::open(home.path(), &topology()).unwrap();
        let host = vault.certificate("site1-db", &[], &[]).unwrap();
        let operator = vault.operator_certificate().unwrap();
        handshake(&host, &operator, "site1-db").unwrap();
        handshake(&host, &operator, "127.0.0.1").unwrap();
        assert!(handshake(&host, &operator, "site2-db").is_err());
        assert!(handshake(&host, &host, "site1-db").is_err());
        assert!(handshake(&operator, &operator, "operator").is_err());
        let asking = vault.asking_certificate("site1-db", &[]).unwrap();
        handshake(&host, &asking, "site1-db").unwrap();
        handshake(&asking, &operator, "site1-db").unwrap();

        let stranger_home = tempfile::tempdir().unwrap();
        let stranger = Vault::open(stranger_home.path(), &topology()).unwrap();
        let stranger = stranger.operator_certificate().unwrap();
        assert!(handshake(&host, &stranger, "site1-db").is_err());
    }
}
