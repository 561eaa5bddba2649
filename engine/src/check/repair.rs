//! Mending a segment from what is left of it and from a copy of the same segment.
//!
//! A mended segment is a new file: the old bytes with the damaged ones replaced by such whose
//! hashes are right. It is read from end to end before it takes the old one's name, so that
//! repairing never makes anything worse, and a crash leaves the old file or the new one.
//!
//! | damaged | taken from |
//! |--|--|
//! | one copy of the header | the other one |
//! | both | a copy of the file, else made from the groups |
//! | footer | made from the groups |
//! | chunks, groups | a copy of the file, same place in it, if the hashes are right |
//! | the file is missing or another | a copy of the file, if it is whole |

use std::path::{Path, PathBuf};

use super::log::LogSource;
use super::segment::{Flaw, FlawKind, ScanStep, SegmentScan};
use crate::disk::{DiskFile, OpenMode, durable};
use crate::error::ReadError;
use crate::ids::Lsn;
use crate::log::format::segment::{
    Footer, GROUPS_AT, GroupEntry, Joined, Role, SegmentHeader, aligned,
};
use crate::log::{FooterVersion, GroupPlace, SegmentNumber, chunks_of, close, successor};
use crate::width::{u64_of, usize_of};

/// Bytes that are copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// What became of a damaged segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mended {
    /// It is whole.
    Wholly,
    /// Some of it is still as it was.
    Partly,
    /// Nothing could be done.
    NotAtAll,
}

impl LogSource {
    /// Mends one segment, given all that is wrong with it; `copies` are folders that may hold a
    /// file of its name.
    ///
    /// # Errors
    /// The disk; the segment is then as it was.
    pub(crate) fn mend(
        &self,
        number: SegmentNumber,
        flaws: &[Flaw],
        copies: &[PathBuf],
    ) -> Result<Mended, ReadError> {
        let path = number.path(&self.directory);
        let copies: Vec<PathBuf> = copies.iter().map(|folder| number.path(folder)).collect();
        if flaws.iter().any(|flaw| flaw.kind == FlawKind::Missing) {
            return self.take_whole(number, &path, &copies);
        }
        let unfinished = self.begin_file(&path)?;
        let file = self.disk.create(&unfinished)?;
        let source = self.disk.open(&path, OpenMode::Read)?;
        let end = source.byte_count()?;
        copy(source.as_ref(), file.as_ref(), (0, end))?;
        for flaw in flaws {
            self.patch(flaw, file.as_ref(), source.as_ref(), &copies)?;
        }
        if flaws.iter().any(|flaw| flaw.kind == FlawKind::Footer) {
            self.close_again(number, &unfinished, file.as_ref())?;
        }
        file.sync_data()?;
        let of_groups = flaws.iter().filter(|flaw| flaw.kind == FlawKind::Group);
        let reach = of_groups.map(|flaw| flaw.last).fold(Lsn::ZERO, Lsn::max);
        let left = self.flaws_of(number, &unfinished, reach)?;
        let better = left.is_some_and(|left| left < flaws.len());
        if !better {
            self.disk.remove(&unfinished)?;
            return Ok(Mended::NotAtAll);
        }
        self.disk.rename(&unfinished, &path)?;
        self.disk.sync_dir(&self.directory)?;
        Ok(if left == Some(0) { Mended::Wholly } else { Mended::Partly })
    }

    /// Where a new file is written before it takes its name.
    fn begin_file(&self, path: &Path) -> Result<PathBuf, ReadError> {
        let unfinished = durable::unfinished(path);
        if self.disk.exists(&unfinished)? {
            self.disk.remove(&unfinished)?;
        }
        Ok(unfinished)
    }

    /// How many flaws a file has that is to become that segment and whose groups reach that
    /// position; `None` if it is none of it.
    fn flaws_of(
        &self,
        number: SegmentNumber,
        file: &Path,
        reach: Lsn,
    ) -> Result<Option<usize>, ReadError> {
        let begun = SegmentScan::begin_file(self.disk.as_ref(), file, number, self.volume)?;
        let Ok(mut scan) = begun else { return Ok(None) };
        while let ScanStep::Read(_) = scan.step(&mut |_, _| {})? {}
        let scanned = scan.finish();
        let open = usize::from(!scanned.is_closed && scanned.was_closed);
        let short = usize::from(scanned.end.0 < reach);
        Ok(Some(scanned.flaws.len() + open + short))
    }

    /// Takes a file from a copy as it is, if it is whole.
    fn take_whole(
        &self,
        number: SegmentNumber,
        path: &Path,
        copies: &[PathBuf],
    ) -> Result<Mended, ReadError> {
        for copied in copies {
            if !self.disk.exists(copied)? || self.flaws_of(number, copied, Lsn::ZERO)? != Some(0) {
                continue;
            }
            let unfinished = self.begin_file(path)?;
            let file = self.disk.create(&unfinished)?;
            let source = self.disk.open(copied, OpenMode::Read)?;
            copy(source.as_ref(), file.as_ref(), (0, source.byte_count()?))?;
            file.sync_data()?;
            if self.flaws_of(number, &unfinished, Lsn::ZERO)? == Some(0) {
                self.disk.rename(&unfinished, path)?;
                self.disk.sync_dir(&self.directory)?;
                return Ok(Mended::Wholly);
            }
            self.disk.remove(&unfinished)?;
        }
        Ok(Mended::NotAtAll)
    }

    /// Puts other bytes in the place of damaged ones; whether they are right is seen afterwards.
    fn patch(
        &self,
        flaw: &Flaw,
        file: &dyn DiskFile,
        source: &dyn DiskFile,
        copies: &[PathBuf],
    ) -> Result<(), ReadError> {
        match flaw.kind {
            FlawKind::HeaderCopy => {
                let length = flaw.to - flaw.from;
                let other = if flaw.from == 0 { length } else { 0 };
                let mut bytes = vec![0; usize_of(length)];
                source.read_at(other, &mut bytes)?;
                file.write_at(flaw.from, &bytes)?;
            }
            FlawKind::Header | FlawKind::Chunk | FlawKind::Group => {
                let mut is_patched = false;
                for copied in copies {
                    if self.disk.exists(copied)? {
                        let copied = self.disk.open(copied, OpenMode::Read)?;
                        if copied.byte_count()? >= flaw.to {
                            copy(copied.as_ref(), file, (flaw.from, flaw.to))?;
                            is_patched = true;
                        }
                    }
                }
                if flaw.kind == FlawKind::Header && !is_patched {
                    self.make_header(flaw.segment, file)?;
                }
            }
            FlawKind::Footer | FlawKind::Missing => {}
        }
        Ok(())
    }

    /// Writes a header that claims no more than the groups show.
    fn make_header(&self, number: SegmentNumber, file: &dyn DiskFile) -> Result<(), ReadError> {
        let path = number.path(&self.directory);
        let begun = SegmentScan::begin_file(self.disk.as_ref(), &path, number, self.volume)?;
        let Ok(mut scan) = begun else { return Ok(()) };
        while let ScanStep::Read(_) = scan.step(&mut |_, _| {})? {}
        let scanned = scan.finish();
        if scanned.hashes.is_empty() {
            return Ok(());
        }
        let header = SegmentHeader {
            role: if number.generation() > 0 { Role::Reclaimed } else { Role::Primary },
            volume: self.volume,
            number,
            // It is the same use of the file, but which one nobody can tell any more.
            incarnation: scanned.end.1.0.first_chunk().copied().unwrap_or_default(),
            created_ms: 0,
            first_lsn: successor(scanned.begin.0),
            previous: scanned.begin.1,
            durable_lsn: scanned.begin.0,
            // What it was made of is gone, or this is not the log's.
            joined: Joined::default(),
        };
        Ok(file.write_at(0, &header.encode_twice())?)
    }

    /// Gives a segment a footer that lists the groups that are there.
    fn close_again(
        &self,
        number: SegmentNumber,
        path: &Path,
        file: &dyn DiskFile,
    ) -> Result<(), ReadError> {
        let begun = SegmentScan::begin_file(self.disk.as_ref(), path, number, self.volume)?;
        let Ok(mut scan) = begun else { return Ok(()) };
        // Without state nobody knows what the volume's level allows; this every binary reads.
        let mut contents = Footer::new(FooterVersion::ListsChunks);
        let mut end = GROUPS_AT;
        let step = &mut |offset: u64, group: &crate::log::format::group::Group<'_>| {
            let stored_len = crate::width::u32_of(group.stored_len());
            let place = GroupPlace { segment: number, offset, stored_len, hash: group.hash };
            let stamp = &group.header.stamp;
            contents.groups.push(GroupEntry {
                offset,
                first_lsn: stamp.first_lsn,
                last_lsn: stamp.last_lsn,
                stored_len,
            });
            for chunk in chunks_of(group) {
                contents.add_chunk(chunk.at(place).entry());
            }
            contents.last = group.hash;
            contents.durable_lsn = stamp.last_lsn;
            end = offset + u64::from(stored_len);
        };
        while let ScanStep::Read(_) = scan.step(step)? {}
        // The next segment was begun when all of this one was durable.
        close(file, aligned(end), &contents)?;
        Ok(())
    }
}

/// Copies bytes `from` to `to` of a file to the same place of another.
fn copy(
    source: &dyn DiskFile,
    file: &dyn DiskFile,
    (from, to): (u64, u64),
) -> Result<(), ReadError> {
    let mut at = from;
    while at < to {
        let mut bytes = vec![0; usize_of((to - at).min(COPY_BYTES))];
        let found = source.read_at(at, &mut bytes)?;
        if found == 0 {
            break;
        }
        bytes.truncate(found);
        file.write_at(at, &bytes)?;
        at += u64_of(found);
    }
    Ok(())
}
