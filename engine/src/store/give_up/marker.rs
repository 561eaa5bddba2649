//! The file that says that damage is being given up, from before anything is changed until all of
//! it is done. While it is there the store opens for reading alone: going on in the old epoch would
//! give positions and UIDs away twice.
//!
//! ```text
//! format = 1
//! inherited = 140737488355341      the last position that the next epoch inherits
//! ```

use std::path::Path;

use crate::disk::{Disk, durable};
use crate::error::{DiskError, OpenError};
use crate::ids::Lsn;

const FORMAT: u64 = 1;
const HEAD: &str = "# Damage of this volume is being given up, and that is not finished: run\n\
                    # 'pillarbox check --repair --give-up' again.\n";

/// Its text.
pub(in crate::store) fn encode(inherited: Lsn) -> String {
    format!("{HEAD}format = {FORMAT}\ninherited = {}\n", inherited.bits())
}

/// The last position inherited, if that is such a text of a format that is known.
pub(in crate::store) fn decode(text: &str) -> Option<Lsn> {
    let number = |key: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().parse::<u64>().ok()).flatten()
        })
    };
    number("format").filter(|format| *format == FORMAT)?;
    number("inherited").and_then(Lsn::from_bits)
}

/// Writes it; durable on return.
pub(super) fn write(disk: &dyn Disk, path: &Path, inherited: Lsn) -> Result<(), DiskError> {
    durable::replace_file(disk, path, encode(inherited).as_bytes())
}

/// The last position inherited, if the file is there.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Lsn>, OpenError> {
    if !disk.exists(path)? {
        return Ok(None);
    }
    let bytes = durable::read_file(disk, path, 4096)?.unwrap_or_default();
    match decode(&String::from_utf8_lossy(&bytes)) {
        Some(inherited) => Ok(Some(inherited)),
        None => Err(OpenError::Invalid(format!(
            "{} cannot be read; it says from which position a volume goes on whose damage is \
             being given up: restore it",
            path.display()
        ))),
    }
}

/// Takes it away; durable on return.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    if disk.exists(path)? {
        disk.remove(path)?;
        disk.sync_dir(durable::folder_of(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_reads_back() {
        let fork = Lsn::new(3, 77).unwrap();
        assert_eq!(decode(&encode(fork)), Some(fork));
        crate::golden::compare("giving_up_1.txt", encode(fork).as_bytes());
        assert_eq!(decode("format = 2\ninherited = 1"), None);
        assert_eq!(decode(""), None);
    }
}
