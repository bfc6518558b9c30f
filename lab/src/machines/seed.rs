//! What an instance learns at its first boot.

use std::net::Ipv4Addr;

use serde::Serialize;

/// Instance data, as `lab-init` in the image reads it.
#[derive(Clone, Debug, Serialize)]
pub struct Seed {
    pub instance_id: String,
    pub region: String,
    pub hostname: String,
    /// Domain of private names in this region.
    pub domain: String,
    pub private_ip: Ipv4Addr,
    pub resolver: Ipv4Addr,
    /// Lines for `authorized_keys` of the login user.
    pub public_keys: Vec<String>,
    /// As `RunInstances` got it, decoded.
    #[serde(skip)]
    pub user_data: Vec<u8>,
}

impl Seed {
    /// Domain of private names of a region, as EC2 gives them.
    #[must_use]
    pub fn domain_of(region: &str) -> String {
        match region {
            "us-east-1" => "ec2.internal".to_owned(),
            other => format!("{other}.compute.internal"),
        }
    }

    /// The files, as an archive that `docker cp` unpacks at `/`.
    #[must_use]
    pub fn archive(&self) -> Vec<u8> {
        let data = serde_json::to_vec(self).expect("a seed has only strings and addresses");
        let mut archive = Vec::new();
        add_file(&mut archive, "var/lib/lab/meta-data.json", &data);
        add_file(&mut archive, "var/lib/lab/user-data", &self.user_data);
        archive.extend([0; 1024]);
        archive
    }
}

/// Appends one regular file, readable by root alone, in the ustar format.
fn add_file(archive: &mut Vec<u8>, path: &str, content: &[u8]) {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend(header);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_the_archive() {
        let seed = Seed {
            instance_id: "i-1".into(),
            region: "eu-west-1".into(),
            hostname: "ip-10-1-1-10".into(),
            domain: Seed::domain_of("eu-west-1"),
            private_ip: Ipv4Addr::new(10, 1, 1, 10),
            resolver: Ipv4Addr::new(10, 1, 0, 2),
            public_keys: vec!["ssh-ed25519 AAAA".into()],
            user_data: b"#!/bin/sh\n".to_vec(),
        };
        let dir = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar")
            .args(["-x", "-C"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin
            .take()
            .unwrap()
            .write_all(&seed.archive())
            .unwrap();
        assert!(tar.wait().unwrap().success());
        let read = |name: &str| std::fs::read(dir.path().join("var/lib/lab").join(name)).unwrap();
        assert_eq!(read("user-data"), b"#!/bin/sh\n");
        let meta: serde_json::Value = serde_json::from_slice(&read("meta-data.json")).unwrap();
        assert_eq!(meta["domain"], "eu-west-1.compute.internal");
    }
}
