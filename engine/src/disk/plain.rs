//! The system's disk through `pread`, `pwrite` and `fdatasync`.
//!
//! Buffered: sealed bytes sit in the page cache, which serves readers of the newest mail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FlockOperation};

use super::{Disk, DiskFile, Lock, OpenMode, failed};
use crate::error::DiskError;
use crate::width::u64_of;

/// Magic numbers of `statfs` for file systems that copy on write: btrfs, ZFS, bcachefs.
const COPY_ON_WRITE_MAGICS: [u64; 3] = [0x9123_683E, 0x2FC1_2FC1, 0xCA45_1A4E];

/// Sizes and times are nobody else's business either.
pub(super) const OWNER_ONLY_FILE: u32 = 0o600;
const OWNER_ONLY_FOLDER: u32 = 0o700;

/// The system's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainDisk;

impl PlainDisk {
    pub(super) fn create_plain(self, path: &Path) -> Result<PlainFile, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(OWNER_ONLY_FILE)
            .open(path)
            .map_err(|cause| failed("create", path, None, cause))?;
        Ok(PlainFile { file, path: path.to_path_buf() })
    }

    pub(super) fn open_plain(self, path: &Path, mode: OpenMode) -> Result<PlainFile, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(mode == OpenMode::ReadWrite)
            .open(path)
            .map_err(|cause| failed("open", path, None, cause))?;
        Ok(PlainFile { file, path: path.to_path_buf() })
    }
}

impl Disk for PlainDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(Box::new(self.create_plain(path)?))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(Box::new(self.open_plain(path, mode)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(|cause| failed("rename", from, None, cause))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::hard_link(from, to).map_err(|cause| failed("link", from, None, cause))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        fs::remove_file(path).map_err(|cause| failed("unlink", path, None, cause))
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, DiskError> {
        let problem = |cause| failed("readdir", directory, None, cause);
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(problem)? {
            let entry = entry.map_err(problem)?;
            if entry.file_type().map_err(problem)?.is_file() {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn create_dir_all(&self, directory: &Path) -> Result<(), DiskError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(OWNER_ONLY_FOLDER)
            .create(directory)
            .map_err(|cause| failed("mkdir", directory, None, cause))
    }

    fn sync_dir(&self, directory: &Path) -> Result<(), DiskError> {
        File::open(directory)
            .and_then(|folder| folder.sync_all())
            .map_err(|cause| failed("fsync", directory, None, cause))
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        path.try_exists().map_err(|cause| failed("stat", path, None, cause))
    }

    fn lock(&self, path: &Path) -> Result<Lock, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY_FILE);
        let mut file = match options.open(path) {
            // A store that cannot be changed can still be read, by one process at a time.
            Err(cause) if cause.kind() == ErrorKind::ReadOnlyFilesystem => File::open(path),
            opened => opened,
        }
        .map_err(|cause| failed("open", path, None, cause))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Ok(Lock::Held { by: holder.trim().to_owned() });
            }
            Err(cause) => return Err(failed("flock", path, None, cause.into())),
        }
        // Only for people who look, so a full or read-only disk is no reason to give up here.
        let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(cause) = noted {
            tracing::debug!(path = %path.display(), %cause, "the lock file names no process");
        }
        Ok(Lock::Taken(Box::new(file)))
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        let figures = rustix::fs::statvfs(path)
            .map_err(|cause| failed("statvfs", path, None, cause.into()))?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    fn copies_on_write(&self, path: &Path) -> Result<bool, DiskError> {
        let figures =
            rustix::fs::statfs(path).map_err(|cause| failed("statfs", path, None, cause.into()))?;
        // The field's width and sign differ between machines; the magic has 32 bits.
        #[expect(clippy::as_conversions, reason = "only the low 32 bits carry the magic")]
        let magic = (figures.f_type as u64) & 0xFFFF_FFFF;
        Ok(COPY_ON_WRITE_MAGICS.contains(&magic))
    }
}

pub(super) struct PlainFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for PlainFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(u64_of(filled))) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(failed("pread", &self.path, Some(offset), cause)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let problem = |cause| failed("pwrite", &self.path, Some(offset), cause);
        loop {
            match self.file.write_at(bytes, offset) {
                Ok(count) if count == bytes.len() => return Ok(()),
                Ok(count) => {
                    let told = format!("only {count} of {} bytes were written", bytes.len());
                    return Err(problem(io::Error::new(ErrorKind::WriteZero, told)));
                }
                // Nothing was written yet, so this is no second try of a failed write.
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(problem(cause)),
            }
        }
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|cause| failed("fdatasync", &self.path, None, cause))
    }

    fn byte_count(&self) -> Result<u64, DiskError> {
        let figures =
            self.file.metadata().map_err(|cause| failed("fstat", &self.path, None, cause))?;
        Ok(figures.len())
    }

    fn set_byte_count(&self, byte_count: u64) -> Result<(), DiskError> {
        self.file
            .set_len(byte_count)
            .map_err(|cause| failed("ftruncate", &self.path, Some(byte_count), cause))
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)
            .map_err(|cause| failed("fadvise", &self.path, None, cause.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_as_it_was_written_and_ends_where_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = PlainDisk.create(&path).unwrap();
        file.write_at(3, b"post").unwrap();
        file.sync_data().unwrap();
        let mut buffer = [9; 16];
        assert_eq!(file.read_at(2, &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"\0post");
        assert_eq!(file.byte_count().unwrap(), 7);
        file.forget_cached().unwrap();
        assert!(PlainDisk.create(&path).is_err(), "a name is taken once");
        assert_eq!(PlainDisk.list(folder.path()).unwrap(), std::slice::from_ref(&path));
        let reader = PlainDisk.open(&path, OpenMode::Read).unwrap();
        let error = reader.write_at(8, b"x").unwrap_err();
        assert_eq!((error.call, error.offset), ("pwrite", Some(8)));
        assert!(PlainDisk.free_bytes(folder.path()).unwrap() > 0);
        PlainDisk.copies_on_write(folder.path()).unwrap();
    }
}
