//! A copy of a data directory while its store works, for tests.

use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Copies a folder as it is at one moment. RocksDB makes and removes files at any time, and a list
/// of its files beside others than it names does not open: a folder of which the names changed
/// meanwhile is copied once more.
pub(super) fn copy_live(from: &Path, to: &Path) {
    while let Err(error) = copy_once(from, to) {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}: {error}", from.display());
        std::fs::remove_dir_all(to).unwrap();
    }
}

fn copy_once(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to)?;
    let before = names(from)?;
    for name in &before {
        let (source, target) = (from.join(name), to.join(name));
        let kind = std::fs::symlink_metadata(&source)?.file_type();
        if kind.is_dir() {
            copy_live(&source, &target);
        } else if kind.is_file() {
            std::fs::copy(source, target)?;
        }
    }
    if names(from)? == before { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
}

fn names(folder: &Path) -> Result<Vec<OsString>, Error> {
    let names = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    names.sort();
    Ok(names)
}
