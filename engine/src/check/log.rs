//! The whole log read from its first segment to its last: what is damaged, and what it touches.
//!
//! Segments are read one by one (`segment.rs`); here the chain is followed from one to the next, so
//! that a file that is missing, or stands in the place of another, is noticed.
//!
//! # Invariants
//! 1. The end of the log is judged by a position that is known to be durable: what cannot be read
//!    below it is damage, above it a torn tail.
//! 2. Memory is that of one segment's groups and of the damage found, of which a part is listed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{Flaw, FlawKind, ScanStep, Scanned, SegmentScan};
use crate::disk::Disk;
use crate::error::ReadError;
use crate::ids::{Lsn, VolumeId};
use crate::log::format::group::Group;
use crate::log::{GroupHash, SegmentNumber, before, numbers, successor};

/// Flaws that are kept; the rest is counted.
const FLAWS_MAX: usize = 10_000;

/// Where a log lies.
#[derive(Clone)]
pub(crate) struct LogSource {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) volume: VolumeId,
}

/// What reading the log found.
#[derive(Default)]
pub(crate) struct LogFound {
    pub(crate) segment_count: u64,
    pub(crate) group_count: u64,
    pub(crate) byte_count: u64,
    pub(crate) flaws: Vec<Flaw>,
    pub(crate) flaw_count: u64,
}

impl LogFound {
    pub(super) fn flaw(&mut self, flaw: Flaw) {
        self.flaw_count += 1;
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(flaw);
        }
    }
}

/// A group of the log, with its place.
pub(crate) struct ReadGroup<'a> {
    pub(crate) segment: SegmentNumber,
    pub(crate) offset: u64,
    pub(crate) group: &'a Group<'a>,
}

impl LogSource {
    /// The segments that make up the log: of several generations of a place, the one that
    /// `switched` names.
    pub(crate) fn segments(&self, switched: &[u64]) -> Result<Vec<SegmentNumber>, ReadError> {
        let switched: Vec<SegmentNumber> = switched.iter().map(|&n| SegmentNumber(n)).collect();
        Ok(numbers(self.disk.as_ref(), &self.directory, &switched)?.0)
    }

    /// Reads all of the log up to `durable`, and shows every group to `visit`.
    ///
    /// # Errors
    /// The disk, or a newer format.
    pub(crate) fn read(
        &self,
        switched: &[u64],
        durable: Lsn,
        visit: &mut dyn FnMut(ReadGroup<'_>),
    ) -> Result<LogFound, ReadError> {
        let mut found = LogFound::default();
        let numbers = self.segments(switched)?;
        let mut last: Option<Scanned> = None;
        let count = numbers.len();
        for (at, number) in numbers.into_iter().enumerate() {
            let Some(scanned) = self.segment(number, &mut found, visit)? else { continue };
            match last.take() {
                Some(before) => join(before, &scanned, at + 1 == count, &mut found),
                None if scanned.begin.1 != GroupHash::NONE => found.flaw(Flaw {
                    kind: FlawKind::Missing,
                    segment: SegmentNumber(number.place().saturating_sub(1)),
                    from: 0,
                    to: 0,
                    first: Lsn::ZERO,
                    last: scanned.begin.0,
                    what: "the beginning of the log is not there".to_owned(),
                }),
                None => {}
            }
            last = Some(scanned);
        }
        if let Some(tail) = last {
            end(tail, durable, &mut found);
        }
        Ok(found)
    }

    /// Reads one segment, or the generation that reclaim has put into its place meanwhile; `None`
    /// if there is nothing of it.
    fn segment(
        &self,
        number: SegmentNumber,
        found: &mut LogFound,
        visit: &mut dyn FnMut(ReadGroup<'_>),
    ) -> Result<Option<Scanned>, ReadError> {
        let mut first = number;
        let (number, mut scan) = loop {
            let Some(number) = self.present(first)? else { return Ok(None) };
            let disk = self.disk.as_ref();
            match SegmentScan::begin(disk, &self.directory, number, self.volume)? {
                Ok(scan) => break (number, scan),
                // Released just now, and its file is another segment already.
                Err(_) if !disk.exists(&number.path(&self.directory))? => first = number,
                Err(flaw) => {
                    found.flaw(flaw);
                    return Ok(None);
                }
            }
        };
        found.segment_count += 1;
        found.byte_count += scan.byte_count();
        let mut groups = 0;
        let mut visit = |offset: u64, group: &Group<'_>| {
            groups += 1;
            visit(ReadGroup { segment: number, offset, group });
        };
        while let ScanStep::Read(_) = scan.step(&mut visit)? {}
        found.group_count += groups;
        let mut scanned = scan.finish();
        if !self.disk.exists(&number.path(&self.directory))? {
            // Released meanwhile, so its file may be another segment by now; what was alive in it
            // was verified when it was moved.
            scanned.flaws.clear();
        }
        for flaw in std::mem::take(&mut scanned.flaws) {
            found.flaw(flaw);
        }
        Ok(Some(scanned))
    }

    /// The generation of a place that is there now.
    fn present(&self, number: SegmentNumber) -> Result<Option<SegmentNumber>, ReadError> {
        let mut tried = Some(number);
        while let Some(number) = tried.filter(|n| n.generation() < number.generation() + 3) {
            if self.disk.exists(&number.path(&self.directory))? {
                return Ok(Some(number));
            }
            tried = number.rewritten();
        }
        Ok(None)
    }

    /// Whether that damage was given up: bytes from where it begins were kept aside. Its end tells
    /// nothing, for a segment that was closed since ends elsewhere.
    pub(crate) fn is_given_up(&self, flaw: &Flaw) -> bool {
        let folder = self.directory.with_file_name("quarantine");
        if !flaw.costs_bytes() || !self.disk.exists(&folder).unwrap_or(false) {
            return false;
        }
        let kept = self.disk.list(&folder).unwrap_or_default();
        let files = self.disk.list(&self.directory).unwrap_or_default();
        let places = files.iter().filter_map(|path| SegmentNumber::of(path)).map(|n| n.place());
        let next = places.filter(|place| *place > flaw.segment.place()).min();
        kept.iter().any(|path| flaw.is_kept_in(path, next))
    }

    /// The folder.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Connects a segment with the one before it; `is_last`: the later one is the log's last.
fn join(before: Scanned, next: &Scanned, is_last: bool, found: &mut LogFound) {
    let (lsn, hash) = next.begin;
    let is_end = before.end.1 == hash;
    if is_end || before.hashes.contains(&hash) || before.begin.1 == hash {
        // A crash may leave the one before the last unclosed; the next start closes it.
        if is_end && !before.is_closed && (before.was_closed || !is_last) {
            let what = "the segment has no footer that is whole".to_owned();
            let bytes = (before.byte_count, before.byte_count);
            let kind = FlawKind::Footer;
            found.flaw(Flaw::new(kind, before.number, bytes, before.end.0, what));
        }
        return;
    }
    match before.stop {
        Some(stop) => {
            let last = lsn.max(stop.first);
            found.flaw(Flaw { last, ..stop });
        }
        None => found.flaw(Flaw {
            kind: FlawKind::Missing,
            // What ends without a trace ends like a log: which file it was in, nobody can tell.
            segment: SegmentNumber(before.number.place() + 1),
            from: 0,
            to: 0,
            first: successor(before.end.0),
            last: lsn,
            what: match next.number.place() == before.number.place() + 1 {
                true => "groups that come before this segment are not there".to_owned(),
                false => "the segment that belongs here is not there".to_owned(),
            },
        }),
    }
}

/// Judges where the log ends.
fn end(tail: Scanned, durable: Lsn, found: &mut LogFound) {
    if tail.end.0 >= durable {
        return;
    }
    let first = successor(tail.end.0);
    found.flaw(match tail.stop {
        Some(stop) => Flaw { last: durable.max(stop.first), ..stop },
        None => Flaw {
            kind: FlawKind::Missing,
            segment: SegmentNumber(tail.number.place() + 1),
            from: 0,
            to: 0,
            first,
            last: durable.max(before(durable)),
            what: "the log ends before positions that were acknowledged".to_owned(),
        },
    });
}
