//! SSH host keys, made before the machine, so that its first connection is
//! verified already.

use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use secrecy::{ExposeSecret, SecretString};

/// The identity of a host.
pub struct HostKey {
    private: SecretString,
    /// `ssh-ed25519 AAAA…`.
    pub public: String,
}

impl HostKey {
    /// A new key.
    #[must_use]
    pub fn generate() -> Self {
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)
            .expect("ed25519 keys can always be made");
        let private = key
            .to_openssh(LineEnding::LF)
            .expect("a plain key can be written");
        let public = key.public_key().to_openssh();
        Self {
            private: SecretString::from(private.to_string()),
            public: public.expect("a plain key can be written"),
        }
    }

    /// The cloud-config that gives a machine its name and this key.
    #[must_use]
    pub fn user_data(&self, host: &str) -> SecretString {
        let mut private = String::new();
        for line in self.private.expose_secret().lines() {
            private.push_str("    ");
            private.push_str(line);
            private.push('\n');
        }
        SecretString::from(format!(
            "#cloud-config\n\
             hostname: {host}\n\
             preserve_hostname: false\n\
             ssh_deletekeys: true\n\
             ssh_keys:\n\
             \x20 ed25519_private: |\n{private}\
             \x20 ed25519_public: {}\n",
            self.public
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_holds_the_key_that_the_tag_announces() {
        let key = HostKey::generate();
        let text = key.user_data("site1-db");
        let text = text.expose_secret();
        assert!(text.starts_with("#cloud-config\nhostname: site1-db\n"));
        assert!(text.contains(&format!("  ed25519_public: {}\n", key.public)));
        let private: Vec<&str> = (text.lines())
            .skip_while(|line| !line.contains("BEGIN"))
            .take_while(|line| line.starts_with("    "))
            .map(str::trim)
            .collect();
        let private = PrivateKey::from_openssh(private.join("\n") + "\n").unwrap();
        assert_eq!(private.public_key().to_openssh().unwrap(), key.public);
        assert!(HostKey::generate().public != key.public);
    }
}
