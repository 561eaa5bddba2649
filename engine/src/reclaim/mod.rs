//! Space: segments whose living share has fallen are rewritten without what is dead, and small
//! neighbours are made one; base images let records go, too.
//!
//! ```text
//! Choosing ─► Copying ─► Published ─► (checkpoint flushed) ─► the old segments go ─► Choosing
//!    │        a group      places are in memory and
//!    │        a step       in the next checkpoint
//!    └─────► Imaging ─► Imaged ─► (checkpoint flushed) ─► Choosing
//! ```
//! On the way the headers of blobs are re-wrapped whose keys are retired (`rewrap`); for their sake
//! alone images are made and segments rewritten when that is ordered (`orders`). Files of released
//! segments become spares, a few of them (`log/spare.rs`).
//!
//! A state machine with a `step`, driven by a thread that keeps to a rate, or by a simulation.
//! Nothing here touches the log's open segment or the committer, but that base images are
//! committed as records.
//!
//! # Invariants
//! 1. A segment is removed only when a *flushed* checkpoint holds the new places of all its living
//!    chunks and names the new segment.
//! 2. Only segments that lie wholly below flushed state's position and the oldest message that was
//!    entering then are rewritten: recovery does not walk them.
//! 3. What is alive is told by placement rows, which a checkpoint removes with a blob's last
//!    reference.
//! 4. A copy that has its name and was not published is removed before anything else is chosen: it
//!    is no part of the log, and the next opening could take it for what its sources became.
//! 5. A record goes only if a base image covers it that flushed state knows (`state/base.rs`).
//!
//! # What can go wrong
//! A damaged segment is left alone and reported. A crash leaves the new segment beside the old
//! ones: opening keeps what flushed state refers to.

mod choice;
mod orders;
mod rewrap;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::choice::{Choice, Segments, Situation, named_bytes};
use self::orders::Orders;
pub(crate) use self::orders::OrdersProgress;
pub(crate) use self::rewrap::Rewrapper;
use crate::base::{Abandon, BaseSetup, Round, RoundStep, Spans};
use crate::commit::CheckpointSlot;
use crate::error::{DiskError, ReadError};
use crate::format_level;
use crate::ids::Lsn;
use crate::log::{
    ChunkPlace, Keep, LogReader, LogSetup, RecordHeader, Released, Rewrite, RewriteStep,
    SegmentNumber, release,
};
use crate::pair::PairState;
use crate::sabotage::{Sabotage, breaks};
use crate::state::{Committed, Coverage, Places, Saved, SpaceUse, StateChunkPlace};
use crate::way_back::Held;

/// What reclaim needs.
pub(crate) struct ReclaimSetup {
    pub(crate) log: LogSetup,
    pub(crate) pair: Arc<PairState>,
    pub(crate) held: Arc<Held>,
    pub(crate) saved: Arc<Saved>,
    pub(crate) committed: Arc<Committed>,
    pub(crate) checkpoints: Arc<CheckpointSlot>,
    pub(crate) space: Arc<SpaceUse>,
    pub(crate) reader: Arc<LogReader>,
    pub(crate) rewrapper: Rewrapper,
    pub(crate) base: BaseSetup,
    /// Base images are not worth making for fewer bytes of records.
    pub(crate) image_bytes_min: u64,
    /// Bytes of the disk that are kept free.
    pub(crate) reserve_bytes: u64,
    /// Spare segments take at most this part of the log's bytes.
    pub(crate) spare_part: u64,
}

/// Reclaims the space of one volume.
pub(crate) struct Reclaimer {
    setup: ReclaimSetup,
    phase: Phase,
    segments: Segments,
    /// Where the dumps of images lie, as of when records up to there were covered.
    named: (Lsn, BTreeMap<Lsn, u64>),
    figures: Arc<ReclaimFigures>,
}

enum Phase {
    Choosing,
    Imaging(Box<Round>),
    /// Images are in the log; waits until more checkpoints than that are completed, because records
    /// go only under what flushed state knows.
    Imaged(u64),
    Copying(Box<Copying>),
    /// A copy whose publishing failed may have its name already.
    Unpublished(SegmentNumber),
    /// Waits until more checkpoints than that are completed.
    Published {
        old: Vec<SegmentNumber>,
        new: SegmentNumber,
        completed: u64,
    },
}

/// Segments that are being rewritten.
struct Copying {
    rewrite: Rewrite,
    old: Vec<SegmentNumber>,
    coverage: Coverage,
}

/// What was reclaimed since the start, and what is ordered beside.
#[derive(Debug, Default)]
pub(crate) struct ReclaimFigures {
    /// Segments to be rewritten for the sake of keys.
    pub(crate) orders: Orders,
    /// Segments rewritten and released.
    pub(crate) segment_count: AtomicU64,
    /// Bytes copied on the way.
    pub(crate) copied_bytes: AtomicU64,
    /// Bytes of disk that were given back.
    pub(crate) freed_bytes: AtomicU64,
    /// Rounds of base images.
    pub(crate) image_rounds: AtomicU64,
    /// Images that were not made, because an account's rows are not what was changed.
    pub(crate) images_refused: AtomicU64,
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
            segments: Segments::default(),
            named: (Lsn::ZERO, BTreeMap::new()),
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
            Phase::Imaging(round) => self.image(round),
            Phase::Imaged(completed) => {
                if self.setup.checkpoints.completed_beyond(completed) {
                    self.figures.orders.images_made();
                    return Ok(ReclaimStep::Copied(0));
                }
                self.phase = Phase::Imaged(completed);
                Ok(ReclaimStep::Waiting)
            }
            Phase::Copying(copying) => self.copy(copying),
            Phase::Unpublished(number) => match self.remove_unpublished(number) {
                Ok(()) => Ok(ReclaimStep::Copied(0)),
                Err(error) => {
                    self.phase = Phase::Unpublished(number);
                    Err(error.into())
                }
            },
            Phase::Published { old, new, completed } => {
                let is_flushed = self.setup.checkpoints.completed_beyond(completed);
                if is_flushed || breaks(Sabotage::Release) {
                    if let Err(error) = self.release(&old, new) {
                        // Until they are gone, nothing else is chosen: they look wholly dead.
                        self.phase = Phase::Published { old, new, completed };
                        return Err(error);
                    }
                    return Ok(ReclaimStep::Copied(0));
                }
                self.phase = Phase::Published { old, new, completed };
                Ok(ReclaimStep::Waiting)
            }
        }
    }

    /// Makes base images now, whether it is worth it or not, when nothing else is under way.
    #[cfg(test)]
    pub(crate) fn want_images(&mut self) {
        if matches!(self.phase, Phase::Choosing) && self.allows_images() {
            self.make_images(Spans::default());
        }
    }

    /// Whether segments are left alone because they could not be read or copied.
    #[cfg(test)]
    pub(crate) fn leaves_segments_alone(&self) -> bool {
        !self.segments.damaged.is_empty()
    }

    /// Makes base images next; units in those spans of positions are written anew.
    fn make_images(&mut self, anew: Spans) {
        self.phase = Phase::Imaging(Box::new(Round::new(self.setup.base.clone(), anew)));
    }

    fn allows_images(&self) -> bool {
        // Those of a node that follows come from the other one.
        let level = self.setup.committed.format_level();
        level >= format_level::BASE_IMAGES && !self.setup.pair.follows()
    }

    /// After a refusal no round is begun until the next start: the records that stay would ask for
    /// it again and again.
    fn image_bytes_min(&self) -> u64 {
        match self.figures.images_refused.load(Ordering::Relaxed) {
            0 => self.setup.image_bytes_min,
            _ => u64::MAX,
        }
    }

    fn choose(&mut self) -> Result<ReclaimStep, ReadError> {
        let (Some(live), Some(stamp)) = (self.setup.space.live(), self.setup.saved.stamp()?) else {
            return Ok(ReclaimStep::Idle);
        };
        if self.allows_images()
            && let Some(records) = self.figures.orders.take_images()
        {
            self.make_images(records);
            return Ok(ReclaimStep::Copied(0));
        }
        let images = self.setup.committed.bases();
        let coverage = Coverage::new(&images, stamp.lsn, self.setup.rewrapper.keys.snapshot());
        let horizon = coverage.horizon();
        if self.named.0 != horizon {
            self.named = (horizon, named_bytes(images.values().map(AsRef::as_ref)));
        }
        let accounts = self.setup.committed.accounts();
        // What the other node lacks is shipped as it was written; and what came since the held
        // checkpoint is replayed, if this node has to go back.
        if self.setup.held.give_up_if_large()? {
            tracing::warn!("what the other node lacks is reclaimed: it needs a full copy");
        }
        let free = self.setup.log.disk.free_bytes(&self.setup.log.directory)?;
        self.setup.held.loan.end_if_short(free, self.setup.reserve_bytes)?;
        let noted = self.setup.pair.gate.noted().filter(|_| !self.setup.held.is_given_up());
        let shippable = noted.unwrap_or(Lsn::MAX);
        let replayable = self.setup.held.floor();
        let situation = Situation {
            live,
            below: stamp.lsn.min(stamp.open_lsn).min(shippable).min(replayable),
            horizon,
            named: &self.named.1,
            free,
            message_count: accounts.iter().map(|account| account.usage.message_count).sum(),
            allows_images: self.allows_images(),
            image_bytes_min: self.image_bytes_min(),
            orders: &self.figures.orders,
        };
        match self.segments.choose(&self.setup.log, &situation)? {
            Choice::Nothing => Ok(ReclaimStep::Idle),
            Choice::Images => {
                self.make_images(Spans::default());
                Ok(ReclaimStep::Copied(0))
            }
            Choice::Rewrite(old) => match Rewrite::begin(&self.setup.log, &old) {
                Ok(Some(rewrite)) => {
                    self.phase = Phase::Copying(Box::new(Copying { rewrite, old, coverage }));
                    Ok(ReclaimStep::Copied(0))
                }
                Ok(None) => {
                    self.segments.damaged.extend(old);
                    Ok(ReclaimStep::Copied(0))
                }
                Err(error) => Ok(self.give_up(&old, &error)),
            },
        }
    }

    fn image(&mut self, mut round: Box<Round>) -> Result<ReclaimStep, ReadError> {
        let step = round.step().inspect_err(|_| {
            self.figures.orders.images_abandoned(Abandon::Otherwise);
        })?;
        match step {
            RoundStep::Worked(bytes) => {
                self.phase = Phase::Imaging(round);
                Ok(ReclaimStep::Copied(bytes))
            }
            RoundStep::Waiting => {
                self.phase = Phase::Imaging(round);
                Ok(ReclaimStep::Waiting)
            }
            RoundStep::Done { refused } => {
                self.figures.image_rounds.fetch_add(1, Ordering::Relaxed);
                self.figures.images_refused.fetch_add(refused, Ordering::Relaxed);
                if refused > 0 {
                    self.figures.orders.images_abandoned(Abandon::Refused);
                }
                self.phase = Phase::Imaged(self.setup.checkpoints.want());
                Ok(ReclaimStep::Waiting)
            }
            RoundStep::Abandoned(why) => {
                self.figures.orders.images_abandoned(why);
                Ok(ReclaimStep::Idle)
            }
        }
    }

    fn copy(&mut self, mut copying: Box<Copying>) -> Result<ReclaimStep, ReadError> {
        let Copying { rewrite, coverage, .. } = copying.as_mut();
        let ReclaimSetup { committed, rewrapper, .. } = &self.setup;
        let step = rewrite.step(&mut Kept { committed, coverage, rewrapper });
        match step {
            Ok(RewriteStep::Copied(bytes)) => {
                self.figures.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.phase = Phase::Copying(copying);
                Ok(ReclaimStep::Copied(bytes))
            }
            Ok(RewriteStep::AllCopied) => {
                let (number, old) = (copying.rewrite.number(), copying.old.clone());
                self.publish(*copying).or_else(|error| {
                    self.phase = Phase::Unpublished(number);
                    // It would be copied over and over.
                    if is_for_want_of_room(&error) {
                        Ok(self.give_up(&old, &error))
                    } else {
                        Err(error)
                    }
                })
            }
            Err(error) => {
                let Copying { rewrite, old, .. } = *copying;
                rewrite.abandon();
                Ok(self.give_up(&old, &error))
            }
        }
    }

    /// Closes the copy and makes readers use it; the next checkpoint will, too.
    fn publish(&mut self, copying: Copying) -> Result<ReclaimStep, ReadError> {
        let Copying { rewrite, old, coverage } = copying;
        let knows_keys = self.setup.committed.format_level() >= format_level::KEY_GENERATIONS;
        if knows_keys {
            // Before it has its name, so that nobody finds a segment of which nothing is known.
            let names = rewrite.names().clone();
            self.setup.committed.key_uses.set(rewrite.number().0, names);
        }
        let (new, moved) = rewrite.finish()?;
        let mut places: BTreeMap<Lsn, Places> = BTreeMap::new();
        for place in &moved {
            // Dead meanwhile: its row goes, and must not come back.
            if !is_alive_in(&self.setup.committed, place, &old)? {
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
        let mut replaced = Vec::with_capacity(old.len());
        for number in &old {
            replaced.push((number.0, self.setup.committed.key_names(number.0)?));
        }
        // Nothing fails from here on.
        if knows_keys {
            self.setup.committed.key_uses.leave(replaced);
        }
        self.setup.committed.switch_segment(new.0, places);
        let alive = moved.iter().map(|place| u64::from(place.length)).sum();
        self.segments.settle(new, coverage.horizon(), alive);
        let completed = self.setup.checkpoints.want();
        self.phase = Phase::Published { old, new, completed };
        Ok(ReclaimStep::Waiting)
    }

    /// Removes a copy to which nothing refers.
    fn remove_unpublished(&self, number: SegmentNumber) -> Result<(), DiskError> {
        let LogSetup { disk, directory, .. } = &self.setup.log;
        let path = number.path(directory);
        if disk.exists(&path)? {
            disk.remove(&path)?;
        }
        disk.sync_dir(directory)?;
        self.setup.committed.segment_released(number.0, [number.0]);
        Ok(())
    }

    /// Removes the old segments, to which nothing refers any more.
    fn release(&mut self, old: &[SegmentNumber], new: SegmentNumber) -> Result<(), ReadError> {
        let disk = self.setup.log.disk.as_ref();
        let path = |number: SegmentNumber| number.path(&self.setup.log.directory);
        let size = |number: SegmentNumber| -> Result<u64, DiskError> {
            disk.open(&path(number), crate::disk::OpenMode::Read)?.byte_count()
        };
        let after = size(new)?;
        let mut before = 0;
        // What loses its name may become another segment, and must not be healed any more.
        let _named = self.setup.reader.hold_names();
        for number in old {
            // An earlier try may have come this far.
            if disk.exists(&path(*number))? {
                before += size(*number)?;
                if let Released::Kept(bytes) = self.take_name(*number)? {
                    before -= bytes;
                }
            }
            self.setup.reader.forget(*number);
        }
        disk.sync_dir(&self.setup.log.directory)?;
        let count = crate::width::u64_of(old.len());
        self.figures.segment_count.fetch_add(count, Ordering::Relaxed);
        let freed = before.saturating_sub(after);
        self.figures.freed_bytes.fetch_add(freed, Ordering::Relaxed);
        self.setup.committed.segment_released(new.0, old.iter().map(|number| number.0));
        old.iter().for_each(|number| self.figures.orders.settled(*number));
        Ok(())
    }

    /// The file of a segment becomes a spare, or goes. Only what was written from its first byte to
    /// its last by groups on page boundaries is kept, so that what lies in it is recognised.
    fn take_name(&self, number: SegmentNumber) -> Result<Released, DiskError> {
        let ReclaimSetup { log, committed, .. } = &self.setup;
        let is_written_ahead = number.generation() == 0;
        let has_room = log.disk.free_bytes(&log.directory)? >= self.setup.reserve_bytes * 2;
        let is_held = self.setup.held.has_segment(number)?;
        if is_written_ahead
            && has_room
            && !is_held
            && committed.format_level() >= format_level::SPARES
        {
            return release(log, number, self.segments.byte_count() / self.setup.spare_part);
        }
        log.disk.remove(&number.path(&log.directory))?;
        Ok(Released::Removed)
    }

    fn give_up(&mut self, numbers: &[SegmentNumber], error: &ReadError) -> ReclaimStep {
        let places: Vec<u64> = numbers.iter().map(|number| number.place()).collect();
        if is_for_want_of_room(error) {
            // Nothing is wrong with them; there may be room for their copy later.
            tracing::warn!(segments = ?places, "no room to rewrite segments: {error}");
            self.figures.orders.out_of_room(numbers);
            return ReclaimStep::Idle;
        }
        self.segments.damaged.extend(numbers);
        tracing::error!(
            segments = ?places,
            "segments cannot be rewritten and keep their space: {error}; run 'pillarbox check'"
        );
        ReclaimStep::Copied(0)
    }
}

fn is_for_want_of_room(error: &ReadError) -> bool {
    matches!(error, ReadError::Disk(error)
        if error.cause.kind() == std::io::ErrorKind::StorageFull)
}

/// What of a segment stays.
struct Kept<'a> {
    committed: &'a Committed,
    coverage: &'a Coverage,
    rewrapper: &'a Rewrapper,
}

impl Keep for Kept<'_> {
    fn is_alive(&mut self, place: &ChunkPlace) -> Result<bool, ReadError> {
        let own = self.committed.find_places(place.lsn)?;
        let own = own.filter(|places| places.segment == place.segment.0);
        let chunk = own.and_then(|places| places.find(u32::from(place.number)));
        Ok(chunk.is_some_and(|chunk| chunk.offset == place.offset))
    }

    fn is_needed(&self, record: &RecordHeader) -> bool {
        self.coverage.is_needed(record)
    }

    fn rewrapped(&self, header: &[u8]) -> Option<Vec<u8>> {
        self.rewrapper.rewrap(header)
    }
}

/// Whether a chunk that was copied is alive in one of the segments that it was copied from.
fn is_alive_in(
    committed: &Committed,
    place: &ChunkPlace,
    segments: &[SegmentNumber],
) -> Result<bool, ReadError> {
    let places = committed.find_places(place.lsn)?;
    Ok(places.is_some_and(|places| {
        segments.contains(&SegmentNumber(places.segment))
            && places.find(u32::from(place.number)).is_some()
    }))
}

#[cfg(test)]
mod tests;
