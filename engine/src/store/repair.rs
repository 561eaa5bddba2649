//! `check --repair`: a closed store is mended from what it has twice and from a copy of its files.
//!
//! The key table heals when it is loaded; segments are mended one by one (`check/repair.rs`). What
//! has no copy stays as it is, untouched. The state is made anew from the log by a rebuild.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Store;
use super::layout::Layout;
use super::open::{OpenOptions, read_node, take_lock, unlock};
use super::rebuild::old_state;
use super::surroundings::Surroundings;
use crate::check::{Flaw, LogSource, Mended};
use crate::disk::{OpenMode, PlainDisk};
use crate::error::OpenError;
use crate::ids::Lsn;
use crate::seal::KeyTable;

/// What a repair did.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// One sentence for each thing that was mended.
    pub mended: Vec<String>,
    /// One sentence for each that could not be.
    pub left: Vec<String>,
}

impl Store {
    /// Mends the files of a closed store; `from` is a copy of its data directory, or of its log's
    /// folder. Called again, it changes nothing more.
    ///
    /// # Errors
    /// [`OpenError`]; what was mended before stays so, everything else is as it was.
    pub fn repair(
        directory: &Path,
        options: &OpenOptions,
        from: Option<&Path>,
    ) -> Result<RepairReport, OpenError> {
        let surroundings = Surroundings::system(Arc::new(PlainDisk), options.segment_bytes);
        let disk = &surroundings.disk;
        let layout = Layout::of(directory);
        if !disk.exists(&layout.node())? {
            return Err(OpenError::NotAStore(directory.to_path_buf()));
        }
        let _lock = take_lock(disk.as_ref(), &layout, directory)?;
        let node = read_node(disk.as_ref(), &layout)?;
        let mut report = RepairReport::default();
        let (sealer, mode) = (&surroundings.sealer, OpenMode::ReadWrite);
        let (root, healed) = unlock(disk.as_ref(), &layout, &options.key, mode)?;
        report.mended.extend(healed);
        let keys = KeyTable::load(disk, &layout.keys(), sealer, &root, node.volume, mode)?;
        if let Some((copy, why)) = keys.1.healed {
            report.mended.push(format!("copy {copy:?} of the key table ({why}), from the other"));
        }
        let log =
            LogSource { disk: Arc::clone(disk), directory: layout.log(), volume: node.volume };
        let copies = from.map(copies_in).unwrap_or_default();
        let state = old_state(&surroundings, &layout, options, &layout.state());
        let durable = state.as_ref().map_or(Lsn::ZERO, |(_, lsn)| *lsn);
        let switched = state.and_then(|(committed, _)| committed.switched().ok());
        let found = log.read(&switched.unwrap_or_default(), durable, &mut |_| {})?;
        let mut flaws = found.flaws;
        flaws.sort_by_key(|flaw| flaw.segment);
        for of_one in flaws.chunk_by(|one, other| one.segment == other.segment) {
            let Some(Flaw { segment, .. }) = of_one.first() else { continue };
            let words = |flaw: &Flaw| {
                let path = segment.path(log.directory());
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                format!("segment {name}, offset {}: {}", flaw.from, flaw.what)
            };
            match log.mend(*segment, of_one, &copies)? {
                Mended::Wholly => report.mended.extend(of_one.iter().map(words)),
                Mended::Partly => report.left.push(format!(
                    "segment {}: mended in part; run the command again with another copy",
                    segment.place()
                )),
                Mended::NotAtAll => report.left.extend(of_one.iter().map(words)),
            }
        }
        Ok(report)
    }
}

/// Where segments may lie in a copy: of the data directory, of the volume, of the log's folder.
fn copies_in(from: &Path) -> Vec<PathBuf> {
    vec![Layout::of(from).log(), from.join("log"), from.to_path_buf()]
}
