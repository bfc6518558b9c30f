//! Room on the disk that is kept for the guard's memory.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::store::write_durably;

/// Several times what the memory takes, in blocks that hold something.
static CONTENT: [u8; 16 * 1024] = [0xa5; 16 * 1024];

/// Files that are given up one by one where there is no other room: whatever
/// fills the disk may take what is left of one.
pub(super) struct Reserve([PathBuf; 4]);

impl Reserve {
    pub fn new(state_dir: &Path) -> Self {
        Self([0, 1, 2, 3].map(|number| state_dir.join(format!("reserve-{number}.dat"))))
    }

    /// Puts them there, where there is room.
    pub fn keep(&self) {
        for file in self.0.iter().filter(|file| !file.exists()) {
            if let Err(error) = write_durably(file, &CONTENT, 0o600) {
                tracing::warn!(%error, "no room is kept for the guard's memory");
                let _ = fs::remove_file(file.with_extension("new"));
                return;
            }
        }
    }

    /// Writes, in their place where the disk is full.
    pub fn spend(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut written = write();
        for file in &self.0 {
            if !written.as_ref().is_err_and(is_full) {
                break;
            }
            if fs::remove_file(file).is_ok() {
                written = write();
            }
        }
        written
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_up_bit_by_bit_where_the_disk_is_full_and_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(directory.path());
        let files = || fs::read_dir(directory.path()).unwrap().count();
        let room_beside = |most: usize| {
            move || match files() > most {
                true => Err(ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        };
        reserve.keep();
        assert_eq!(files(), 4);
        assert_eq!(fs::read(&reserve.0[0]).unwrap(), CONTENT);
        for left in (0..4).rev() {
            reserve.spend(room_beside(left)).unwrap();
            assert_eq!(files(), left);
        }
        let full = || Err(ErrorKind::StorageFull.into());
        assert!(is_full(&reserve.spend(full).unwrap_err()), "all is gone");

        reserve.keep();
        let denied = || Err(ErrorKind::PermissionDenied.into());
        reserve.spend(denied).unwrap_err();
        assert_eq!(files(), 4, "room would not help");
        reserve.spend(room_beside(1)).unwrap();
        assert_eq!(files(), 1, "others took what was given up");
    }
}
