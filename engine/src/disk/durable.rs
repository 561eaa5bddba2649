//! Changes of names and small files that either happened or did not, whatever the power does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Disk, OpenMode};
use crate::error::DiskError;

/// Ending of a file that is being written and has no name yet; left over only by a crash.
pub const UNFINISHED: &str = "unfinished";

/// The name under which `path` is written before it gets its own.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".");
    name.push(UNFINISHED);
    path.with_file_name(name)
}

/// Gives `path` the content `bytes`: after a crash it holds the old content or the new one, whole.
///
/// # Errors
/// The call that failed; the old content is then still there.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let unfinished = unfinished(path);
    if disk.exists(&unfinished)? {
        disk.remove(&unfinished)?;
    }
    let file = disk.create(&unfinished)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(folder_of(path))
}

/// Makes `directory` and all above it, and makes their names durable.
///
/// # Errors
/// The call that failed.
pub fn create_dir_durable(disk: &dyn Disk, directory: &Path) -> Result<(), DiskError> {
    let mut missing = Vec::new();
    let mut found = None;
    for folder in directory.ancestors() {
        if folder.as_os_str().is_empty() {
            break;
        }
        if disk.exists(folder)? {
            found = Some(folder);
            break;
        }
        missing.push(folder);
    }
    // Whoever made it may have been cut short, or told that its name is not durable.
    if let Some(found) = found
        && found.parent().is_some()
    {
        match disk.sync_dir(folder_of(found)) {
            // Nor could whoever made it: it was there before us.
            Err(error) if error.cause.kind() == std::io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    for folder in missing.into_iter().rev() {
        disk.create_dir_all(folder)?;
        disk.sync_dir(folder_of(folder))?;
    }
    disk.sync_dir(directory)
}

/// Reads a whole file of at most `byte_count_max` bytes; `None` if it is longer.
///
/// # Errors
/// The call that failed.
pub fn read_file(
    disk: &dyn Disk,
    path: &Path,
    byte_count_max: usize,
) -> Result<Option<Vec<u8>>, DiskError> {
    let file = disk.open(path, OpenMode::Read)?;
    let Ok(byte_count) = usize::try_from(file.byte_count()?) else { return Ok(None) };
    if byte_count > byte_count_max {
        return Ok(None);
    }
    let mut bytes = vec![0; byte_count];
    let found = file.read_at(0, &mut bytes)?;
    bytes.truncate(found);
    Ok(Some(bytes))
}

/// The folder that holds `path`; the working folder for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
