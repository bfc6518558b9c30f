//! What a program of ours needs of a host: read from its ELF file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

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
        let read = |source| AgentError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(read)?;
        let mut header = [0; HEADER];
        let elf = match file.read_exact(&mut header) {
            Ok(()) => Elf::of(&header),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(read(error)),
        };
        let elf = elf.ok_or_else(|| AgentError::NoProgram {
            path: path.to_owned(),
        })?;
        let names = elf.dynamic_names(&mut file).map_err(read)?;
        let (major, minor) = newest_glibc(&names);
        Ok(Self {
            binary: path.to_owned(),
            machine: elf.machine,
            libc: if major == 0 {
                "0".to_owned()
            } else {
                format!("{major}.{minor}")
            },
        })
    }
}

/// Bytes of the header of a 64-bit file.
const HEADER: usize = 64;
/// Type of the section with the dynamic linking information.
const DYNAMIC: u32 = 6;

/// The parts of an ELF header that are needed here.
struct Elf {
    machine: String,
    sections: u64,
    section_size: u16,
    section_count: u16,
}

impl Elf {
    /// A 64-bit little-endian file; none otherwise.
    fn of(header: &[u8; HEADER]) -> Option<Self> {
        if header[..6] != [0x7f, b'E', b'L', b'F', 2, 1] {
            return None;
        }
        let machine = match number(header, 18, 2) {
            62 => "x86_64".to_owned(),
            183 => "aarch64".to_owned(),
            243 => "riscv64".to_owned(),
            other => format!("machine-{other}"),
        };
        Some(Self {
            machine,
            sections: number(header, 40, 8),
            section_size: u16::try_from(number(header, 58, 2)).ok()?,
            section_count: u16::try_from(number(header, 60, 2)).ok()?,
        })
    }

    /// The string table of dynamic linking; empty for a static program.
    fn dynamic_names(&self, file: &mut File) -> io::Result<Vec<u8>> {
        let size = usize::from(self.section_size);
        if size < HEADER {
            return Ok(Vec::new());
        }
        let mut table = vec![0; size * usize::from(self.section_count)];
        file.seek(SeekFrom::Start(self.sections))?;
        file.read_exact(&mut table)?;
        let mut sections = table.chunks_exact(size);
        let dynamic = sections.find(|section| number(section, 4, 4) == u64::from(DYNAMIC));
        let names = dynamic.and_then(|section| {
            let index = usize::try_from(number(section, 40, 4)).ok()?;
            table.chunks_exact(size).nth(index)
        });
        let Some(names) = names else {
            return Ok(Vec::new());
        };
        file.seek(SeekFrom::Start(number(names, 24, 8)))?;
        let mut bytes = Vec::new();
        file.take(number(names, 32, 8)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A little-endian number; 0 past the end.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The newest symbol version `GLIBC_x.y` among names.
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
