//! Space: segments whose living share has fallen are rewritten without their dead chunks.
//!
//! ```text
//! Choosing ─► Copying ─► Published ─► (checkpoint flushed) ─► the old segment goes ─► Choosing
//!             a group      places are in memory and
//!             a step       in the next checkpoint
//! ```
//! A state machine with a `step`, driven by a thread that keeps to a rate, or by a simulation.
//! Nothing here touches the log's open segment or the committer.
//!
//! # Invariants
//! 1. A segment is removed only when a *flushed* checkpoint holds the new places of all its living
//!    chunks and names the new segment.
//! 2. Only segments that lie wholly below flushed state's position and the oldest message that was
//!    entering then are rewritten: recovery does not walk them.
//! 3. What is alive is told by placement rows, which a checkpoint removes with a blob's last
//!    reference.
//!
//! # What can go wrong
//! A damaged segment is left alone and reported. A crash leaves two generations of one place:
//! opening keeps the one that flushed state refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::commit::CheckpointSlot;
use crate::error::{DiskError, ReadError};
use crate::ids::Lsn;
use crate::log::{
    ChunkPlace, LogReader, LogSetup, Rewrite, RewriteStep, SegmentFile, SegmentNumber,
};
use crate::sabotage::{Sabotage, breaks};
use crate::state::{Committed, Places, Saved, SpaceUse, StateChunkPlace};

/// A segment is rewritten when at least this many hundredths of its file would be given back.
const GAIN_PERCENT_MIN: u64 = 25;

/// What reclaim needs.
pub(crate) struct ReclaimSetup {
    pub(crate) log: LogSetup,
    pub(crate) saved: Arc<Saved>,
    pub(crate) committed: Arc<Committed>,
    pub(crate) checkpoints: Arc<CheckpointSlot>,
    pub(crate) space: Arc<SpaceUse>,
    pub(crate) reader: Arc<LogReader>,
}

/// Reclaims the space of one volume.
pub(crate) struct Reclaimer {
    setup: ReclaimSetup,
    phase: Phase,
    /// Could not be rewritten; left alone until the next start.
    damaged: BTreeSet<SegmentNumber>,
    /// Closed segments that were looked at.
    known: BTreeMap<SegmentNumber, Known>,
    figures: Arc<ReclaimFigures>,
}

/// What a closed segment's header and footer say; it does not change.
#[derive(Clone, Copy)]
struct Known {
    first_lsn: Lsn,
    byte_count: u64,
    /// Bytes of all its chunks and of the padding between its groups, once its footer was read;
    /// `None`: it has none.
    movable: Option<Option<(u64, u64)>>,
}

enum Phase {
    Choosing,
    Copying(Box<Rewrite>, SegmentNumber),
    /// Waits until more checkpoints than that are completed.
    Published {
        old: SegmentNumber,
        completed: u64,
    },
}

/// What was reclaimed since the start.
#[derive(Debug, Default)]
pub(crate) struct ReclaimFigures {
    /// Segments rewritten and released.
    pub(crate) segment_count: AtomicU64,
    /// Bytes copied on the way.
    pub(crate) copied_bytes: AtomicU64,
    /// Bytes of disk that were given back.
    pub(crate) freed_bytes: AtomicU64,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReclaimStep {
    /// So many bytes were written; there is more to do.
    Copied(u64),
    /// Waits for a checkpoint.
    Waiting,
    /// Nothing is worth it now.
    Idle,
}

impl Reclaimer {
    pub(crate) fn new(setup: ReclaimSetup, figures: Arc<ReclaimFigures>) -> Reclaimer {
        Reclaimer {
            setup,
            phase: Phase::Choosing,
            damaged: BTreeSet::new(),
            known: BTreeMap::new(),
            figures,
        }
    }

    /// Does the next thing.
    ///
    /// # Errors
    /// [`ReadError`]: what was begun is given up, and nothing was lost.
    pub(crate) fn step(&mut self) -> Result<ReclaimStep, ReadError> {
        match std::mem::replace(&mut self.phase, Phase::Choosing) {
            Phase::Choosing => self.choose(),
            Phase::Copying(rewrite, old) => self.copy(rewrite, old),
            Phase::Published { old, completed } => {
                let is_flushed = self.setup.checkpoints.completed_beyond(completed);
                if is_flushed || breaks(Sabotage::Release) {
                    if let Err(error) = self.release(old) {
                        // Until it is gone, nothing else is chosen: it looks wholly dead.
                        self.phase = Phase::Published { old, completed };
                        return Err(error);
                    }
                    return Ok(ReclaimStep::Copied(0));
                }
                self.phase = Phase::Published { old, completed };
                Ok(ReclaimStep::Waiting)
            }
        }
    }

    fn choose(&mut self) -> Result<ReclaimStep, ReadError> {
        let Some(number) = self.candidate()? else { return Ok(ReclaimStep::Idle) };
        match Rewrite::begin(&self.setup.log, number) {
            Ok(Some(rewrite)) => {
                self.phase = Phase::Copying(Box::new(rewrite), number);
                Ok(ReclaimStep::Copied(0))
            }
            Ok(None) => {
                self.damaged.insert(number);
                Ok(ReclaimStep::Copied(0))
            }
            Err(error) => self.give_up(number, error),
        }
    }

    /// The closed segment below flushed state of which the largest share would be given back.
    fn candidate(&mut self) -> Result<Option<SegmentNumber>, ReadError> {
        let (Some(live), Some(stamp)) = (self.setup.space.live(), self.setup.saved.stamp()?) else {
            return Ok(None);
        };
        let below = stamp.lsn.min(stamp.open_lsn);
        let segments = self.segments()?;
        // The last that begins below is where recovery begins to walk.
        let begins_below = |number: &SegmentNumber| {
            self.known.get(number).is_some_and(|known| known.first_lsn <= below)
        };
        let end = segments.iter().rposition(begins_below).unwrap_or(0);
        let LogSetup { disk, directory, .. } = &self.setup.log;
        let free = disk.free_bytes(directory)?;
        let mut best: Option<(u64, SegmentNumber)> = None;
        for number in segments.into_iter().take(end) {
            let alive = live.get(&number.0).copied().unwrap_or_default();
            let gain = self.gain_percent(number, alive)?;
            // On a disk that is nearly full, what fits goes first, and makes room for the rest.
            let copy_bytes = self.known.get(&number).map_or(0, |known| {
                known.byte_count.saturating_mul(100_u64.saturating_sub(gain)) / 100
            });
            if gain >= GAIN_PERCENT_MIN
                && copy_bytes <= free
                && best.is_none_or(|(other, _)| gain > other)
            {
                best = Some((gain, number));
            }
        }
        Ok(best.map(|(_, number)| number))
    }

    /// How many hundredths of a segment's file rewriting it would give back.
    fn gain_percent(&mut self, number: SegmentNumber, alive: u64) -> Result<u64, ReadError> {
        let Some(known) = self.known.get_mut(&number) else { return Ok(0) };
        let size = known.byte_count.max(1);
        let at_most = size.saturating_sub(alive).saturating_mul(100) / size;
        if at_most < GAIN_PERCENT_MIN || self.damaged.contains(&number) {
            return Ok(0);
        }
        let movable = match known.movable {
            Some(movable) => movable,
            None => {
                let LogSetup { disk, directory, .. } = &self.setup.log;
                let path = number.path(directory);
                let file = SegmentFile::open_cached(disk.as_ref(), &path)?;
                *known.movable.insert(file.movable_bytes()?)
            }
        };
        let Some((chunks, padding)) = movable else { return Ok(0) };
        Ok((chunks.saturating_sub(alive) + padding).saturating_mul(100) / size)
    }

    /// All segments but the last, in order; each is looked at once.
    fn segments(&mut self) -> Result<Vec<SegmentNumber>, ReadError> {
        let LogSetup { disk, directory, .. } = &self.setup.log;
        let files = disk.list(directory)?;
        let mut numbers: Vec<SegmentNumber> =
            files.iter().filter_map(|path| SegmentNumber::of(path)).collect();
        numbers.sort_unstable();
        // It is still being written.
        numbers.pop();
        self.known.retain(|number, _| numbers.contains(number));
        for number in &numbers {
            if self.known.contains_key(number) || self.damaged.contains(number) {
                continue;
            }
            match SegmentFile::open_cached(disk.as_ref(), &number.path(directory)) {
                Ok(file) => {
                    let (first_lsn, byte_count) = (file.header.first_lsn, file.byte_count);
                    let known = Known { first_lsn, byte_count, movable: None };
                    self.known.insert(*number, known);
                }
                Err(error) => {
                    tracing::error!("reclaim leaves a segment alone: {error}");
                    self.damaged.insert(*number);
                }
            }
        }
        Ok(numbers)
    }

    fn copy(
        &mut self,
        mut rewrite: Box<Rewrite>,
        old: SegmentNumber,
    ) -> Result<ReclaimStep, ReadError> {
        let committed = Arc::clone(&self.setup.committed);
        let step = rewrite.step(&mut |place| is_alive(&committed, place));
        match step {
            Ok(RewriteStep::Copied(bytes)) => {
                self.figures.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.phase = Phase::Copying(rewrite, old);
                Ok(ReclaimStep::Copied(bytes))
            }
            Ok(RewriteStep::AllCopied) => self.publish(*rewrite, old),
            Err(error) => {
                rewrite.abandon();
                self.give_up(old, error)
            }
        }
    }

    /// Closes the copy and makes readers use it; the next checkpoint will, too.
    fn publish(&mut self, rewrite: Rewrite, old: SegmentNumber) -> Result<ReclaimStep, ReadError> {
        let (new, moved) = rewrite.finish()?;
        let mut places: BTreeMap<Lsn, Places> = BTreeMap::new();
        for place in &moved {
            // Dead meanwhile: its row goes, and must not come back.
            if !is_alive_in(&self.setup.committed, place, old)? {
                continue;
            }
            let entry = places.entry(place.lsn).or_default();
            entry.segment = new.0;
            entry.chunks.push(StateChunkPlace {
                number: u32::from(place.number),
                offset: place.offset,
                length: place.length,
                hash: place.hash,
            });
        }
        self.setup.committed.switch_segment(new.0, places);
        let completed = self.setup.checkpoints.want();
        self.phase = Phase::Published { old, completed };
        Ok(ReclaimStep::Waiting)
    }

    /// Removes the old segment, to which nothing refers any more.
    fn release(&mut self, old: SegmentNumber) -> Result<(), ReadError> {
        let path = old.path(&self.setup.log.directory);
        let disk = self.setup.log.disk.as_ref();
        let size = |number: SegmentNumber| -> Result<u64, DiskError> {
            let path = number.path(&self.setup.log.directory);
            disk.open(&path, crate::disk::OpenMode::Read)?.byte_count()
        };
        let after = old.rewritten().map_or(Ok(0), size)?;
        let mut before = after;
        self.setup.reader.forget(old);
        // An earlier try may have come this far.
        if disk.exists(&path)? {
            before = size(old)?;
            disk.remove(&path)?;
        }
        disk.sync_dir(&self.setup.log.directory)?;
        self.figures.segment_count.fetch_add(1, Ordering::Relaxed);
        let freed = before.saturating_sub(after);
        self.figures.freed_bytes.fetch_add(freed, Ordering::Relaxed);
        if let Some(new) = old.rewritten() {
            self.setup.committed.segment_released(new.0);
        }
        Ok(())
    }

    fn give_up(
        &mut self,
        number: SegmentNumber,
        error: ReadError,
    ) -> Result<ReclaimStep, ReadError> {
        if let ReadError::Disk(error) = &error
            && error.cause.kind() == std::io::ErrorKind::StorageFull
        {
            // Nothing is wrong with it; there may be room for its copy later.
            tracing::warn!(segment = number.place(), "no room to rewrite a segment: {error}");
            return Ok(ReclaimStep::Idle);
        }
        self.damaged.insert(number);
        tracing::error!(
            segment = number.place(),
            "a segment cannot be rewritten and keeps its space: {error}; run 'pillarbox check'"
        );
        Ok(ReclaimStep::Copied(0))
    }
}

/// Whether a chunk is alive, and here.
fn is_alive(committed: &Committed, place: &ChunkPlace) -> Result<bool, ReadError> {
    Ok(committed.find_places(place.lsn)?.is_some_and(|places| {
        places.segment == place.segment.0
            && places.find(u32::from(place.number)).is_some_and(|own| own.offset == place.offset)
    }))
}

/// Whether a chunk that was copied is alive in the segment that it was copied from.
fn is_alive_in(
    committed: &Committed,
    place: &ChunkPlace,
    segment: SegmentNumber,
) -> Result<bool, ReadError> {
    let places = committed.find_places(place.lsn)?;
    Ok(places.is_some_and(|places| {
        places.segment == segment.0 && places.find(u32::from(place.number)).is_some()
    }))
}

#[cfg(test)]
mod tests;
