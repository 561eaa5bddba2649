//! Making groups durable: one write and one flush per batch, in the segment that is open.
//!
//! # Life cycle of a segment
//! Written under an unfinished name with its header (and, after a crash, the groups carried over),
//! flushed, given its name, the folder flushed; then groups; then footer, trailer, flush, closed
//! for
//! good. A file that bears a segment's name therefore always has a whole header.
//!
//! # Invariants
//! 1. When `append` returns `Ok`, every group given, and all before, survive a power cut.
//! 2. Zeros are never written where a group was or is being written: a step of zeros that still
//!    runs is
//!    waited for before a batch that reaches into it.
//! 3. A segment is closed and flushed before the next one exists, so only the newest can have a
//!    torn tail.
//!
//! # What can go wrong
//! Any failed write or flush ends the writer: later calls are refused with the first cause. Nothing
//! is tried again, because after a failed flush the kernel may count pages clean that are gone.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::build::BuiltGroup;
use super::format::group::GroupHash;
use super::format::segment::{
    Footer, GROUPS_AT, GroupEntry, Joined, Role, SegmentHeader, SegmentNumber, aligned,
};
use super::setup::{GroupPlace, LogSetup, ZerosAhead};
use super::spare;
use crate::disk::{DiskFile, OpenMode, durable, failed};
use crate::error::DiskError;
use crate::ids::Lsn;
use crate::sabotage::{Sabotage, breaks};
use crate::width::{u32_of, u64_of};

/// A batch of this size and more extends the file directly: zeros would double the bytes written.
const ZEROS_WORTHWHILE_BELOW: u64 = 256 << 10;

/// Groups that did not become durable, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// This call failed; whether its groups survive is unknown, and the writer takes no more.
    #[error("{0}; the log takes no more groups until it is opened again")]
    Failed(#[from] DiskError),
    /// An earlier call failed; nothing was written.
    #[error("the log takes no groups since {reason}")]
    Poisoned {
        /// What happened then, with file, offset and cause.
        reason: String,
    },
}

/// Where the chain of groups ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainEnd {
    /// Last position taken.
    pub last_lsn: Lsn,
    /// Hash of the last group.
    pub hash: GroupHash,
    /// Highest position known durable on this disk.
    pub durable_lsn: Lsn,
}

/// The open end of the log.
pub struct LogWriter {
    /// What the open segment says of this node.
    role: Role,
    setup: LogSetup,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    number: SegmentNumber,
    /// Where the next group goes.
    position: u64,
    /// The file holds flushed or soon flushed bytes up to here: zeros or groups.
    filled: u64,
    /// A step of zeros on its own thread; reaches up to `filled`.
    zeros: Option<JoinHandle<Result<(), DiskError>>>,
    end: ChainEnd,
    /// Hash of the last group that a flush covers; a watermark behind it may still be lost.
    durable_hash: GroupHash,
    contents: Footer,
    /// The next group goes into another segment, however full this one is.
    rolls: bool,
    poisoned: Option<String>,
}

impl LogWriter {
    /// Begins the log of a new volume, whose first group will follow `end`.
    ///
    /// # Errors
    /// The call that failed; the log then has no segment or one without groups.
    pub fn create(setup: LogSetup, end: ChainEnd) -> Result<LogWriter, DiskError> {
        LogWriter::begin(setup, SegmentNumber(1), end, end, &mut no_groups())
    }

    /// Begins segment `number` behind `before`, carrying `carried` over, which reach up to `end`;
    /// all
    /// of it is durable on return.
    pub(crate) fn begin<E: From<DiskError>>(
        setup: LogSetup,
        number: SegmentNumber,
        before: ChainEnd,
        end: ChainEnd,
        carried: &mut dyn Iterator<Item = Result<BuiltGroup, E>>,
    ) -> Result<LogWriter, E> {
        // The file has no name of a segment before all of it is flushed, so whoever reads this
        // header
        // may rely on the groups carried.
        let durable_lsn = before.durable_lsn.max(end.last_lsn);
        let path = number.path(&setup.directory);
        let unfinished = durable::unfinished(&path);
        if setup.disk.exists(&unfinished)? {
            setup.disk.remove(&unfinished)?;
        }
        let (file, filled) = match spare::take(&setup, &unfinished) {
            Some(taken) => taken,
            None => (new_file(&setup, &unfinished)?, GROUPS_AT),
        };
        let header = SegmentHeader {
            role: setup.role,
            volume: setup.volume,
            number,
            incarnation: (setup.incarnation)(),
            created_ms: setup.clock.unix_ms(),
            first_lsn: before.last_lsn.next().unwrap_or(before.last_lsn),
            previous: before.hash,
            durable_lsn,
            joined: Joined::default(),
        };
        file.write_at(0, &header.encode_twice())?;
        let version = (setup.footer)();
        let contents = Footer { durable_lsn, last: before.hash, ..Footer::new(version) };
        let mut writer = LogWriter {
            role: setup.role,
            setup,
            file,
            path: path.clone(),
            number,
            position: GROUPS_AT,
            filled: filled.max(GROUPS_AT),
            zeros: None,
            end,
            durable_hash: end.hash,
            contents,
            rolls: false,
            poisoned: None,
        };
        for group in carried {
            let group = group?;
            writer.file.write_at(writer.position, group.padded_bytes())?;
            writer.note(&group);
        }
        writer.end = ChainEnd { durable_lsn, ..end };
        if filled == GROUPS_AT || writer.wants_zeros() {
            writer.write_zeros_now()?;
        }
        writer.file.sync_data()?;
        writer.setup.disk.rename(&unfinished, &path)?;
        if !breaks(Sabotage::DirectorySync) {
            writer.setup.disk.sync_dir(&writer.setup.directory)?;
        }
        Ok(writer)
    }

    /// Makes `groups` durable in one write and one flush; they lie where the answer says, in order.
    ///
    /// # Errors
    /// [`AppendError`]; the writer then takes nothing more.
    ///
    /// # Panics
    /// If a group does not continue the chain: a bug of the caller.
    pub fn append(&mut self, groups: &[BuiltGroup]) -> Result<Vec<GroupPlace>, AppendError> {
        if let Some(reason) = &self.poisoned {
            return Err(AppendError::Poisoned { reason: reason.clone() });
        }
        self.assert_chain(groups);
        let written = self.write(groups);
        if let Err(error) = &written {
            self.poisoned = Some(error.to_string());
        }
        Ok(written?)
    }

    /// Writes a group without items, without a flush: it becomes durable with the next batch.
    ///
    /// # Errors
    /// As for [`LogWriter::append`].
    ///
    /// # Panics
    /// If the group has items: those need a flush before anyone is answered.
    pub fn append_watermark(&mut self, group: &BuiltGroup) -> Result<GroupPlace, AppendError> {
        if let Some(reason) = &self.poisoned {
            return Err(AppendError::Poisoned { reason: reason.clone() });
        }
        assert!(group.header().item_count == 0, "a group with items is flushed");
        self.assert_chain(std::slice::from_ref(group));
        let written = self.write_watermark(group);
        if let Err(error) = &written {
            self.poisoned = Some(error.to_string());
        }
        Ok(written?)
    }

    fn write_watermark(&mut self, group: &BuiltGroup) -> Result<GroupPlace, DiskError> {
        self.make_room(u64_of(group.padded_bytes().len()))?;
        self.file.write_at(self.position, group.padded_bytes())?;
        Ok(self.note(group))
    }

    /// Where the chain ends: what the next group's `previous` and `first_lsn` follow.
    pub fn end(&self) -> ChainEnd {
        self.end
    }

    /// Hash of the last group that is durable: what state may be stamped with. The chain may end
    /// with a watermark behind it that a power cut takes back.
    pub fn durable_hash(&self) -> GroupHash {
        self.durable_hash
    }

    /// State is stamped with that group until another one is flushed: the first that ends where the
    /// chain does, before watermarks.
    pub(crate) fn stamp_with(&mut self, hash: GroupHash) {
        self.durable_hash = hash;
    }

    /// Closes the segment before the next group, so that what lies in it can be rewritten.
    pub(crate) fn begin_another(&mut self) {
        self.rolls = true;
    }

    /// From the next group on this node writes in another role; that begins a segment.
    pub(crate) fn set_role(&mut self, role: Role) {
        self.setup.role = role;
        self.rolls = true;
    }

    /// Why the writer takes nothing more, if so.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// The segment that is open.
    pub fn segment(&self) -> SegmentNumber {
        self.number
    }

    fn assert_chain(&self, groups: &[BuiltGroup]) {
        let mut hash = self.end.hash;
        let mut last_lsn = self.end.last_lsn;
        for group in groups {
            let stamp = &group.header().stamp;
            assert!(stamp.volume == self.setup.volume, "a group belongs to its volume");
            assert!(stamp.previous == hash, "a group names the one before it");
            assert!(stamp.follows(last_lsn), "{} does not follow {last_lsn}", stamp.first_lsn);
            hash = group.hash();
            last_lsn = stamp.last_lsn;
        }
    }

    fn write(&mut self, groups: &[BuiltGroup]) -> Result<Vec<GroupPlace>, DiskError> {
        let batch_bytes = groups.iter().map(|group| u64_of(group.padded_bytes().len())).sum();
        if batch_bytes == 0 {
            return Ok(Vec::new());
        }
        if self.role != self.setup.role {
            return self.begin_in_role(groups);
        }
        self.make_room(batch_bytes)?;
        let batch = match groups {
            [group] => Cow::Borrowed(group.padded_bytes()),
            _ => {
                let batch: Vec<&[u8]> = groups.iter().map(BuiltGroup::padded_bytes).collect();
                Cow::Owned(batch.concat())
            }
        };
        let is_small = batch_bytes < ZEROS_WORTHWHILE_BELOW;
        let is_inline = is_small && matches!(self.setup.zeros, ZerosAhead::Inline { .. });
        let position = self.position;
        let places;
        if is_inline || breaks(Sabotage::Flush) {
            // Zeros go between write and flush, which covers both.
            self.file.write_at(position, &batch)?;
            places = groups.iter().map(|group| self.note(group)).collect();
            if is_inline && self.wants_zeros() {
                self.write_zeros_now()?;
            }
            if !breaks(Sabotage::Flush) {
                self.file.sync_data()?;
            }
        } else {
            self.file.write_and_sync(position, &batch)?;
            places = groups.iter().map(|group| self.note(group)).collect();
        }
        self.end.durable_lsn = self.end.last_lsn;
        self.durable_hash = self.end.hash;
        if is_small && self.wants_zeros() {
            self.start_zeros();
        }
        Ok(places)
    }

    /// Begins another segment if this one is full, and hears of zeros.
    fn make_room(&mut self, batch_bytes: u64) -> Result<(), DiskError> {
        let is_full = self.position.saturating_add(batch_bytes) > self.setup.segment_bytes;
        if (is_full || self.rolls) && self.position > GROUPS_AT {
            self.roll()?;
        }
        self.rolls = false;
        self.gather_zeros(self.position + batch_bytes)
    }

    /// Takes a group that was written at the position into the segment's contents.
    fn note(&mut self, group: &BuiltGroup) -> GroupPlace {
        let stored_len = u32_of(group.bytes().len());
        let place = GroupPlace {
            segment: self.number,
            offset: self.position,
            stored_len,
            hash: group.hash(),
        };
        let stamp = &group.header().stamp;
        self.contents.groups.push(GroupEntry {
            offset: self.position,
            first_lsn: stamp.first_lsn,
            last_lsn: stamp.last_lsn,
            stored_len,
        });
        group.chunk_places(place).for_each(|place| self.contents.add_chunk(place.entry()));
        self.contents.last = group.hash();
        self.position = aligned(self.position + u64::from(stored_len));
        self.filled = self.filled.max(self.position);
        self.end.last_lsn = stamp.last_lsn;
        self.end.hash = group.hash();
        place
    }

    /// Closes the segment and begins the next one.
    fn roll(&mut self) -> Result<(), DiskError> {
        self.close_full()?;
        let next = self.number.next_place().unwrap_or(self.number);
        *self = LogWriter::begin(self.setup.clone(), next, self.end, self.end, &mut no_groups())?;
        Ok(())
    }

    fn close_full(&mut self) -> Result<(), DiskError> {
        self.wait_for_zeros()?;
        self.contents.durable_lsn = self.end.durable_lsn;
        self.contents.shorten((self.setup.footer)());
        close(self.file.as_ref(), self.position, &self.contents)?;
        // No zeros are ahead of it any more; its end is its footer.
        self.filled = self.position;
        Ok(())
    }

    /// Begins a segment that says that this node has another role, with the first groups that it
    /// writes in it: it has its name when they are durable. A role without them would be that of a
    /// primary that has no epoch of its own, and goes on in the one of the other node.
    fn begin_in_role(&mut self, groups: &[BuiltGroup]) -> Result<Vec<GroupPlace>, DiskError> {
        let empty = (self.position == GROUPS_AT).then(|| self.path.clone());
        match &empty {
            Some(_) => self.wait_for_zeros()?,
            None => self.close_full()?,
        }
        let next = self.number.next_place().unwrap_or(self.number);
        let end = groups.last().map_or(self.end, |group| ChainEnd {
            last_lsn: group.header().stamp.last_lsn,
            hash: group.hash(),
            ..self.end
        });
        let mut carried = groups.iter().cloned().map(Ok::<_, DiskError>);
        *self = LogWriter::begin(self.setup.clone(), next, self.end, end, &mut carried)?;
        if let Some(empty) = empty {
            self.setup.disk.remove(&empty)?;
            self.setup.disk.sync_dir(&self.setup.directory)?;
        }
        let place = |(entry, group): (&GroupEntry, &BuiltGroup)| GroupPlace {
            segment: self.number,
            offset: entry.offset,
            stored_len: entry.stored_len,
            hash: group.hash(),
        };
        Ok(self.contents.groups.iter().zip(groups).map(place).collect())
    }

    fn wants_zeros(&self) -> bool {
        let step = self.setup.zeros.step_bytes();
        let ahead = self.filled - self.position;
        self.zeros.is_none() && ahead < step / 2 && self.filled < self.setup.segment_bytes
    }

    /// The next step: where it begins and how long it is.
    fn zeros_step(&self) -> (u64, u64) {
        let left = self.setup.segment_bytes.saturating_sub(self.filled);
        (self.filled, self.setup.zeros.step_bytes().min(left))
    }

    /// Writes a step that the caller's flush makes durable.
    fn write_zeros_now(&mut self) -> Result<(), DiskError> {
        let (offset, byte_count) = self.zeros_step();
        self.file.write_zeros(offset, byte_count)?;
        self.filled += byte_count;
        Ok(())
    }

    /// Starts a step on a thread of its own; without one, later batches extend the file themselves.
    fn start_zeros(&mut self) {
        let ZerosAhead::Background { .. } = self.setup.zeros else { return };
        let (offset, byte_count) = self.zeros_step();
        let disk = self.setup.disk.clone();
        let path = self.path.clone();
        let step = move || {
            // A handle of its own: the kernel reports a failed flush once per open file, and the
            // writer's flush must not miss it because this one heard of it first.
            let file = disk.open(&path, OpenMode::ReadWrite)?;
            file.write_zeros(offset, byte_count)?;
            file.sync_data()
        };
        let thread = std::thread::Builder::new().name("pillarbox-zeros".into()).spawn(step);
        if let Ok(thread) = thread {
            self.filled += byte_count;
            self.zeros = Some(thread);
        }
    }

    /// Hears of a step of zeros that ended; waits for it if a batch up to `batch_end` would meet
    /// it.
    fn gather_zeros(&mut self, batch_end: u64) -> Result<(), DiskError> {
        let is_met = batch_end > self.filled.saturating_sub(self.setup.zeros.step_bytes());
        let is_done = self.zeros.as_ref().is_some_and(JoinHandle::is_finished);
        if is_met || is_done { self.wait_for_zeros() } else { Ok(()) }
    }

    fn wait_for_zeros(&mut self) -> Result<(), DiskError> {
        let Some(thread) = self.zeros.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| {
            let cause = io::Error::other("the thread that writes zeros panicked");
            Err(failed("pwrite", &self.path, None, cause))
        })
    }
}

impl Drop for LogWriter {
    /// Waits for a step of zeros, so that nobody writes to the volume after it was closed, and cuts
    /// off what no group will need: the next start begins a segment of its own. Not flushed: zeros
    /// that come back after a power cut are what an open segment ends with.
    fn drop(&mut self) {
        if let Err(error) = self.wait_for_zeros() {
            tracing::warn!(%error, "zeros ahead of the log were not written");
            return;
        }
        let is_written = matches!(self.setup.zeros, ZerosAhead::Background { .. });
        if is_written && self.poisoned.is_none() && self.filled > self.position {
            // Only space is at stake.
            let _ = self.file.set_byte_count(self.position);
        }
    }
}

/// A new file of that name; what a spare left there that could not be used goes.
fn new_file(setup: &LogSetup, unfinished: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
    if setup.disk.exists(unfinished)? {
        setup.disk.remove(unfinished)?;
    }
    setup.disk.create_log(unfinished)
}

/// Nothing to carry over.
fn no_groups() -> std::iter::Empty<Result<BuiltGroup, DiskError>> {
    std::iter::empty()
}

/// Writes footer and trailer at `offset`, cuts the file behind them and flushes it.
pub(crate) fn close(file: &dyn DiskFile, offset: u64, contents: &Footer) -> Result<(), DiskError> {
    let bytes = contents.encode(offset);
    file.write_at(offset, &bytes)?;
    file.set_byte_count(offset + u64_of(bytes.len()))?;
    file.sync_data()
}
