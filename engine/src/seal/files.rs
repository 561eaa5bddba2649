//! The files that hold keys: read with a bound, replaced whole.
//!
//! All are readable by their owner alone, as every file that a [`Disk`] makes.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::disk::{Disk, OpenMode, durable};
use crate::error::DiskError;
use crate::width::usize_of;

/// The file's bytes; `None` if there is no such file. Reads one byte more than `bytes_max`, so that
/// a decoder sees and refuses what is too long.
pub(super) fn read(
    disk: &dyn Disk,
    path: &Path,
    bytes_max: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.byte_count()?.min(bytes_max.saturating_add(1));
    let mut bytes = Zeroizing::new(vec![0; usize_of(length)]);
    let found = file.read_at(0, &mut bytes)?;
    bytes.truncate(found);
    Ok(Some(bytes))
}

/// Writes a file that must not exist yet, durably.
pub(super) fn create_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let file = disk.create(path)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.sync_dir(durable::folder_of(path))
}
