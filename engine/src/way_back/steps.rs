//! Which files have steps that are to be merged: `way-back/steps`, and `steps.1`, `steps.2` and so
//! on of a node that was deposed again before they were done. What is in them is told in
//! `store/merge/file.rs`.

use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::DiskError;

/// The newest.
pub(crate) const STEPS: &str = "steps";

/// Those before it, oldest first, with their numbers.
pub(crate) fn earlier_steps(
    disk: &dyn Disk,
    folder: &Path,
) -> Result<Vec<(u32, PathBuf)>, DiskError> {
    if !disk.exists(folder)? {
        return Ok(Vec::new());
    }
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(STEPS)?.strip_prefix('.')?.parse::<u32>().ok()
    };
    let paths = disk.list(folder)?.into_iter();
    let mut earlier: Vec<(u32, PathBuf)> =
        paths.filter_map(|path| Some((number(&path)?, path))).collect();
    earlier.sort_unstable();
    Ok(earlier)
}

/// Whether there are any.
pub(crate) fn has_steps(disk: &dyn Disk, folder: &Path) -> Result<bool, DiskError> {
    Ok(disk.exists(&folder.join(STEPS))? || !earlier_steps(disk, folder)?.is_empty())
}
