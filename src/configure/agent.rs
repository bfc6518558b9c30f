//! What a program of ours needs of a host: read from its ELF file.

use std::path::{Path, PathBuf};

/// The `hafail` program that hosts get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub binary: PathBuf,
    /// As `uname -m` says it, such as `x86_64`.
    pub machine: String,
    /// The oldest glibc that it runs with, such as `2.36`; `0` when it needs
    /// none.
    pub libc: String,
}

/// Why a file cannot be the agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not a Linux program for 64 bits", path.display())]
    NoProgram { path: PathBuf },
}

impl Agent {
    /// Looks at a program.
    ///
    /// # Errors
    /// It cannot be read or is no Linux program.
    pub fn of(path: &Path) -> Result<Self, AgentError> {
        let bytes = std::fs::read(path).map_err(|source| AgentError::Read {
            path: path.to_owned(),
            source,
        })?;
        let machine = machine(&bytes).ok_or_else(|| AgentError::NoProgram {
            path: path.to_owned(),
        })?;
        let (major, minor) = newest_glibc(&bytes);
        Ok(Self {
            binary: path.to_owned(),
            machine,
            libc: if major == 0 {
                "0".to_owned()
            } else {
                format!("{major}.{minor}")
            },
        })
    }
}

/// The machine of a 64-bit little-endian ELF header.
fn machine(bytes: &[u8]) -> Option<String> {
    let header = bytes.get(..20)?;
    if header.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    match u16::from_le_bytes([header[18], header[19]]) {
        62 => Some("x86_64".to_owned()),
        183 => Some("aarch64".to_owned()),
        243 => Some("riscv64".to_owned()),
        other => Some(format!("machine-{other}")),
    }
}

/// The newest symbol version `GLIBC_x.y` that is named anywhere.
fn newest_glibc(bytes: &[u8]) -> (u32, u32) {
    const PREFIX: &[u8] = b"GLIBC_";
    let mut newest = (0, 0);
    let mut rest = bytes;
    while let Some(at) = rest
        .windows(PREFIX.len())
        .position(|window| window == PREFIX)
    {
        rest = &rest[at + PREFIX.len()..];
        let end = rest.iter().position(|c| !c.is_ascii_digit() && *c != b'.');
        let text = std::str::from_utf8(&rest[..end.unwrap_or(rest.len())]).unwrap_or_default();
        let mut numbers = text.split('.').map(str::parse);
        if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) {
            newest = newest.max((major, minor));
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_is_understood() {
        let agent = Agent::of(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(agent.machine, std::env::consts::ARCH);
        let (major, minor) = agent.libc.split_once('.').unwrap();
        assert_eq!(major, "2");
        assert!(
            (17..100).contains(&minor.parse::<u32>().unwrap()),
            "{}",
            agent.libc
        );
        assert!(matches!(
            Agent::of(Path::new("Cargo.toml")),
            Err(AgentError::NoProgram { .. })
        ));
    }

    #[test]
    fn the_newest_version_counts() {
        assert_eq!(
            newest_glibc(b"xGLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE"),
            (2, 34)
        );
        assert_eq!(newest_glibc(b"static"), (0, 0));
    }
}
