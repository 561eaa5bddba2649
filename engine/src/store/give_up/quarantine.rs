//! Damaged bytes are kept aside before anything is given up: copies of what lies in the log, as it
//! lies there, one file for each place. A check takes the file's name as a sign that the place was
//! given up.

use std::path::{Path, PathBuf};

use crate::check::Flaw;
use crate::disk::{Disk, OpenMode, durable};
use crate::error::DiskError;
use crate::width::{u64_of, usize_of};

/// Bytes that are copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// Copies what each flaw touches; answers the files. Those that are there already stay.
pub(super) fn keep(
    disk: &dyn Disk,
    log: &Path,
    folder: &Path,
    flaws: &[Flaw],
) -> Result<Vec<PathBuf>, DiskError> {
    let mut files = Vec::new();
    for flaw in flaws.iter().filter(|flaw| flaw.costs_bytes()) {
        durable::create_dir_durable(disk, folder)?;
        let path = folder.join(flaw.quarantine_name(log));
        if !disk.exists(&path)? {
            copy(disk, (&flaw.segment.path(log), flaw.from, flaw.to), &path)?;
        }
        files.push(path);
    }
    Ok(files)
}

fn copy(
    disk: &dyn Disk,
    (from, first, end): (&Path, u64, u64),
    to: &Path,
) -> Result<(), DiskError> {
    let unfinished = durable::unfinished(to);
    if disk.exists(&unfinished)? {
        disk.remove(&unfinished)?;
    }
    let file = disk.create(&unfinished)?;
    // Of a missing file the name alone is kept.
    if disk.exists(from)? {
        let source = disk.open(from, OpenMode::Read)?;
        let mut at = first;
        while at < end {
            let mut bytes = vec![0; usize_of((end - at).min(COPY_BYTES))];
            let found = source.read_at(at, &mut bytes)?;
            if found == 0 {
                break;
            }
            bytes.truncate(found);
            file.write_at(at - first, &bytes)?;
            at += u64_of(found);
        }
    }
    file.sync_data()?;
    disk.rename(&unfinished, to)?;
    disk.sync_dir(durable::folder_of(to))
}
