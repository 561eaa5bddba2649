//! The scrub: cold segments are read from end to end, one after the other, for as long as the store
//! is open, so that damage is found while a copy can still mend it.
//!
//! ```text
//! Choosing ─► Reading (a group a step) ─► judged ─► Choosing the next; after the last the first
//! ```
//! A state machine with a `step`, driven by a thread that keeps to a rate, or by a simulation.
//! Verifies hashes and the chain within a segment; needs no key. One copy of a header that is
//! damaged is written anew from the other, and so is one of the key table; a living chunk comes
//! from the other node of a pair (`heal`); everything else is reported and left to `check
//! --repair`.
//!
//! Where it begins follows from the clock: where a scrub would be that had run at this rate since
//! 1970. So a store that is started often is read to its end too, and nothing need be kept.
//!
//! # What can go wrong
//! A segment that reclaim removes meanwhile is passed over. One that cannot be read is reported
//! like damage, and tried again on the next round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::heal::Healer;
use super::log::LogSource;
use super::segment::{Flaw, FlawKind, ScanStep, SegmentScan};
use crate::disk::{Clock, OpenMode};
use crate::error::ReadError;
use crate::log::SegmentNumber;
use crate::seal::KeyTable;
use crate::state::Committed;
use crate::width::{u64_of, usize_of};

/// What the scrub needs.
pub(crate) struct ScrubSetup {
    pub(crate) log: LogSource,
    pub(crate) committed: Arc<Committed>,
    pub(crate) keys: Arc<KeyTable>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) healer: Arc<Healer>,
    /// Bytes a second.
    pub(crate) rate: u64,
}

/// What was scrubbed since the start.
#[derive(Debug, Default)]
pub(crate) struct ScrubFigures {
    /// Bytes read.
    pub(crate) byte_count: AtomicU64,
    /// Segments read to their end.
    pub(crate) segment_count: AtomicU64,
    /// Copies of headers and of the key table that were written anew.
    pub(crate) healed_count: AtomicU64,
    /// What is damaged and was not healed, by segment: how many things.
    pub(crate) damaged: Mutex<BTreeMap<u64, u64>>,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScrubStep {
    /// So many bytes were read; there is more.
    Read(u64),
    /// A round is over, or there is nothing to read.
    Idle,
}

/// Scrubs one volume.
pub(crate) struct Scrubber {
    setup: ScrubSetup,
    figures: Arc<ScrubFigures>,
    reading: Option<(SegmentNumber, SegmentScan)>,
    /// The last segment that was read; `None` before the first.
    last: Option<SegmentNumber>,
    /// Whether it must have a footer: a crash may leave the one before the open one without, which
    /// the next start closes; reclaim leaves none.
    must_be_closed: bool,
}

impl Scrubber {
    pub(crate) fn new(setup: ScrubSetup, figures: Arc<ScrubFigures>) -> Scrubber {
        Scrubber { setup, figures, reading: None, last: None, must_be_closed: false }
    }

    /// Does the next thing.
    ///
    /// # Errors
    /// [`ReadError`]: the segment is passed over.
    pub(crate) fn step(&mut self) -> Result<ScrubStep, ReadError> {
        let Some((number, mut scan)) = self.reading.take() else { return self.choose() };
        match scan.step(&mut |_, _| {})? {
            ScanStep::Read(bytes) => {
                self.figures.byte_count.fetch_add(bytes, Ordering::Relaxed);
                self.reading = Some((number, scan));
                Ok(ScrubStep::Read(bytes))
            }
            ScanStep::Done => {
                self.judge(number, scan)?;
                Ok(ScrubStep::Read(0))
            }
        }
    }

    /// Begins with the segment behind the last one.
    fn choose(&mut self) -> Result<ScrubStep, ReadError> {
        let mut numbers = self.setup.log.segments(&self.setup.committed.switched()?)?;
        // It is still being written.
        numbers.pop();
        let places: Vec<u64> = numbers.iter().map(|number| number.0).collect();
        self.figures.damaged.lock().retain(|segment, _| places.contains(segment));
        let next = match self.last {
            Some(last) => numbers.iter().position(|number| *number > last),
            None => self.first(&numbers)?,
        };
        let is_before_open = next.is_some_and(|at| at + 1 == numbers.len());
        let Some(&number) = next.and_then(|at| numbers.get(at)) else {
            // The next round begins at the beginning.
            let was_at_work = self.last.is_some();
            self.last = Some(SegmentNumber(0));
            if was_at_work {
                self.keys();
            }
            return Ok(ScrubStep::Idle);
        };
        self.last = Some(number);
        self.must_be_closed = !is_before_open || number.generation() > 0;
        let LogSource { disk, directory, volume } = &self.setup.log;
        match SegmentScan::begin(disk.as_ref(), directory, number, *volume) {
            Ok(Ok(scan)) => self.reading = Some((number, scan)),
            // Reclaim was faster.
            Ok(Err(_)) | Err(_) if !disk.exists(&number.path(directory))? => {}
            Ok(Err(flaw)) => self.report(&flaw),
            Err(error) => return Err(error),
        }
        Ok(ScrubStep::Read(0))
    }

    /// Where a scrub would be that had run at this rate since 1970.
    fn first(&self, numbers: &[SegmentNumber]) -> Result<Option<usize>, ReadError> {
        let LogSource { disk, directory, .. } = &self.setup.log;
        let mut ends = Vec::with_capacity(numbers.len());
        let mut total = 0u64;
        for number in numbers {
            let file = disk.open(&number.path(directory), OpenMode::Read);
            total += file.and_then(|file| file.byte_count()).unwrap_or_default();
            ends.push(total);
        }
        let read = (self.setup.clock.unix_ms() / 1000).wrapping_mul(self.setup.rate);
        let Some(at) = read.checked_rem(total) else { return Ok(None) };
        Ok(Some(ends.partition_point(|end| *end <= at)))
    }

    /// Reports what is wrong with a segment, and heals its header.
    fn judge(&mut self, number: SegmentNumber, scan: SegmentScan) -> Result<(), ReadError> {
        let scanned = scan.finish();
        let mut flaws = scanned.flaws;
        if !scanned.is_closed && (scanned.was_closed || self.must_be_closed) {
            let bytes = (scanned.byte_count, scanned.byte_count);
            let what = "the segment has no footer that is whole".to_owned();
            flaws.push(Flaw::new(FlawKind::Footer, number, bytes, scanned.end.0, what));
            flaws.extend(scanned.stop.filter(|stop| !self.is_footer(stop)));
        }
        self.figures.damaged.lock().remove(&number.0);
        let LogSource { disk, directory, .. } = &self.setup.log;
        if !disk.exists(&number.path(directory))? {
            // Released meanwhile: its file may be another segment by now.
            return Ok(());
        }
        for flaw in &flaws {
            if flaw.kind == FlawKind::HeaderCopy && self.setup.log.heal_header(flaw)? {
                self.figures.healed_count.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(segment = number.place(), "healed from the other: {}", flaw.what);
            } else if flaw.kind == FlawKind::Chunk && self.setup.healer.heal(flaw)? {
                self.figures.healed_count.fetch_add(1, Ordering::Relaxed);
            } else {
                self.report(flaw);
            }
        }
        self.figures.segment_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether what could not be read is only the footer.
    fn is_footer(&self, stop: &Flaw) -> bool {
        let LogSource { disk, directory, .. } = &self.setup.log;
        let mut magic = [0; 8];
        let file = disk.open(&stop.segment.path(directory), OpenMode::Read);
        let read = file.and_then(|file| file.read_at(stop.from, &mut magic));
        // The damaged byte may be one of these.
        let same = magic.iter().zip(b"PBXindex").filter(|(found, own)| found == own).count();
        read.is_ok() && same >= magic.len() - 1
    }

    fn report(&self, flaw: &Flaw) {
        // Named and given up before: nothing of it is news.
        if self.setup.log.is_given_up(flaw) {
            return;
        }
        *self.figures.damaged.lock().entry(flaw.segment.0).or_default() += 1;
        tracing::error!(
            file = %flaw.segment.path(self.setup.log.directory()).display(),
            offset = flaw.from,
            "scrub found damage: {}; run 'pillarbox check' and see docs/operate.md",
            flaw.what
        );
    }

    /// Compares both copies of the key table with what is in memory.
    fn keys(&self) {
        match self.setup.keys.heal() {
            Ok(None) => {}
            Ok(Some((copy, why))) => {
                self.figures.healed_count.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("copy {copy:?} of the key table was healed: {why}");
            }
            Err(error) => tracing::error!("the key table could not be verified: {error}"),
        }
    }
}

impl LogSource {
    /// Writes the damaged copy of a header anew from the other; answers whether it did. Nothing
    /// else of the file is touched, so a torn write leaves what there was: one copy that is whole.
    fn heal_header(&self, flaw: &Flaw) -> Result<bool, ReadError> {
        let length = flaw.to - flaw.from;
        let file = self.disk.open(&flaw.segment.path(&self.directory), OpenMode::ReadWrite)?;
        let mut bytes = vec![0; usize_of(length)];
        let found = file.read_at(if flaw.from == 0 { length } else { 0 }, &mut bytes)?;
        let header = crate::log::format::segment::SegmentHeader::decode(&bytes);
        if u64_of(found) < length || header.is_err() {
            return Ok(false);
        }
        file.write_at(flaw.from, &bytes)?;
        file.sync_data()?;
        Ok(true)
    }
}
