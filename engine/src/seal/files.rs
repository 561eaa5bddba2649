//! The files that hold keys: read with a bound, replaced whole.
//!
//! A file is written beside its place, flushed, renamed over it, and its folder flushed; so a crash
//! leaves the old or the new file, never half of one. All are readable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::DiskError;

const OWNER_ONLY_FILE: u32 = 0o600;
const OWNER_ONLY_FOLDER: u32 = 0o700;

fn failed<'a>(call: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |cause| DiskError { call, path: path.to_owned(), offset: None, cause }
}

/// The file's bytes; `None` if there is no such file. Reads one byte more than `bytes_max`, so that
/// a decoder sees and refuses what is too long.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(Some(bytes))
}

/// Replaces a file durably.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(OWNER_ONLY_FILE);
    let mut file = options.open(&beside).map_err(failed("open", &beside))?;
    file.write_all(bytes).map_err(failed("write", &beside))?;
    file.sync_all().map_err(failed("fsync", &beside))?;
    fs::rename(&beside, path).map_err(failed("rename", path))?;
    sync_folder_of(path)
}

/// Writes a file that must not exist yet, durably.
pub(super) fn create_new(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(OWNER_ONLY_FILE);
    let mut file = options.open(path).map_err(failed("open", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    file.sync_all().map_err(failed("fsync", path))?;
    sync_folder_of(path)
}

/// Makes a folder of keys and what is missing above it, each durable in the folder that holds it.
pub(super) fn make_folder(path: &Path) -> Result<(), DiskError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .collect();
    for folder in missing.into_iter().rev() {
        let made = fs::DirBuilder::new().mode(OWNER_ONLY_FOLDER).create(folder);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("mkdir", folder)(error));
            }
            _ => sync_folder_of(folder)?,
        }
    }
    Ok(())
}

fn sync_folder_of(path: &Path) -> Result<(), DiskError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let handle = File::open(folder).map_err(failed("open", folder))?;
    handle.sync_all().map_err(failed("fsync", folder))
}
