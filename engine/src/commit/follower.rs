//! The follower: takes groups that the primary of the pair has made durable, makes them durable
//! here, applies them.
//!
//! It stands where a committer stands on the other node. Nothing is assigned here: groups come with
//! everything in them, and the chain of hashes says whether they are the next ones.
//!
//! # Invariants
//! 1. All groups of a batch are looked at before the first byte of any is written: the chain, the
//!    hash of each chunk, the key table that they need, records that this version reads. What was
//!    opened to look at it is what is applied: nothing is read or opened a second time.
//! 2. What is answered as taken survives a power cut here.
//! 3. A chunk that came ahead of its record is alive until the primary's `open_lsn` has passed the
//!    first of its message.

use std::sync::Arc;

use super::apply::Applier;
use super::committer::{
    CheckpointSlot, CommitBounds, CommitterStatus, Frozen, named_in, places_of,
};
use super::due::CheckpointDue;
use super::room::Room;
use super::unnamed::Unnamed;
use crate::disk::Clock;
use crate::error::{ReadError, TakeError};
use crate::format_level;
use crate::ids::{Lsn, VolumeId};
use crate::limits::GROUP_BYTES_MAX;
use crate::log::format::group::Group;
use crate::log::{BuiltGroup, GroupHash, GroupPlace, Item, LogWriter, RecordHeader, Role};
use crate::pair::Position;
use crate::record::{Body, Record, open_record};
use crate::seal::{KeyTable, KeyTableSnapshot};
use crate::state::{Changes, CheckpointStamp, Committed};
use crate::width::u64_of;

/// What a follower is made of.
pub(crate) struct FollowerSetup {
    pub(crate) volume: VolumeId,
    pub(crate) volume_name: String,
    pub(crate) committed: Arc<Committed>,
    pub(crate) keys: Arc<KeyTable>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) status: Arc<CommitterStatus>,
    pub(crate) checkpoints: Arc<CheckpointSlot>,
    pub(crate) bounds: CommitBounds,
    pub(crate) room: Arc<Room>,
}

/// What has begun at the end of the log and may end yet.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(crate) applier: Applier,
    pub(crate) unnamed: Unnamed,
    /// Where the oldest message begins that is entering.
    pub(crate) open_lsn: Lsn,
}

/// A group's records, opened. Of an account whose keys are destroyed there are none: they mean
/// nothing any more.
struct Opened(Vec<(RecordHeader, Record)>);

impl Opened {
    /// Whether base images begin behind it, or two nodes are compared there.
    fn is_mark(&self) -> bool {
        self.0.iter().any(|(_, record)| matches!(record.body, Body::BaseBegin { .. }))
    }
}

/// The follower of one volume.
pub(crate) struct Follower {
    setup: FollowerSetup,
    writer: LogWriter,
    begun: Inherited,
    due: CheckpointDue,
    /// The last group that took a position: what state is stamped with. The primary may lack
    /// watermarks behind it.
    last_hash: GroupHash,
}

impl Follower {
    /// Goes on at the end of the log.
    pub(crate) fn new(
        setup: FollowerSetup,
        writer: LogWriter,
        begun: Inherited,
        replayed_bytes: u64,
    ) -> Follower {
        let due = CheckpointDue::new(setup.bounds, setup.clock.monotonic(), replayed_bytes);
        setup.status.note_position(writer.end().last_lsn);
        let last_hash = writer.durable_hash();
        Follower { setup, writer, begun, due, last_hash }
    }

    /// Where its log ends: what it asks the primary to go on from.
    pub(crate) fn position(&self) -> Position {
        let end = self.writer.end();
        Position { lsn: end.last_lsn, hash: end.hash }
    }

    /// Takes whole groups, one behind the other; they are durable and seen when it returns.
    ///
    /// # Errors
    /// [`TakeError`]. Nothing was written then, unless it is [`TakeError::Stopped`].
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Position, TakeError> {
        if let Some(reason) = self.setup.status.stopped() {
            return Err(TakeError::Stopped { reason });
        }
        let (groups, opened) = self.judged(bytes)?;
        if !self.setup.room.has_for_reclaim(bytes.len()) {
            return Err(TakeError::DiskFull);
        }
        let places = self.write(&groups).map_err(|reason| self.stop(reason))?;
        for ((group, records), place) in groups.iter().zip(opened).zip(&places) {
            let is_mark = records.is_mark();
            self.apply(group, records, place).map_err(|reason| self.stop(reason))?;
            if group.header().item_count > 0 {
                self.last_hash = group.hash();
            }
            self.due.written(u64::from(place.stored_len));
            self.setup.status.count_group(u64_of(group.bytes().len()));
            if is_mark && self.setup.checkpoints.take_expectation() {
                self.keep_behind(group.header().stamp.last_lsn);
            }
        }
        self.setup.status.note_position(self.writer.end().last_lsn);
        self.checkpoint_if_due();
        Ok(self.position())
    }

    /// Whether a command has begun of which more is to come: until then there is no checkpoint.
    pub(crate) fn is_within_run(&self) -> bool {
        self.begun.applier.is_within_run()
    }

    /// Begins a checkpoint, if one is due: for whoever waits for one, and when nothing comes.
    pub(crate) fn checkpoint_if_due(&mut self) {
        let Position { lsn, .. } = self.position();
        let FollowerSetup { checkpoints, committed, clock, status, .. } = &self.setup;
        let now = clock.monotonic();
        let is_due = self.due.is_due((checkpoints, committed), now, lsn);
        // The beginning of a run would be missing from what is replayed.
        if !is_due || status.stopped().is_some() || self.is_within_run() {
            return;
        }
        self.begin_checkpoint(lsn, (self.due.is_urgent(), false));
    }

    /// Begins a checkpoint as of a mark, of which the tables are kept: the primary has kept its own
    /// at the same position (`compare/`). Whoever expects it has waited until the checkpointer was
    /// free.
    fn keep_behind(&mut self, lsn: Lsn) {
        if self.setup.status.stopped().is_none() && !self.is_within_run() {
            self.begin_checkpoint(lsn, (false, true));
        }
    }

    /// Hands what is not saved to the checkpointer, if that is free, or, when `urgent`, as soon as
    /// it is; `snapshot`: the tables are kept as they are behind it.
    fn begin_checkpoint(&mut self, lsn: Lsn, (urgent, snapshot): (bool, bool)) {
        let FollowerSetup { checkpoints, committed, clock, .. } = &self.setup;
        let stamp = CheckpointStamp {
            lsn,
            open_lsn: self.begun.open_lsn,
            group_hash: self.last_hash.0,
            stamp: committed.highest_stamp(),
        };
        let frozen = || Frozen { unsaved: committed.freeze(), stamp, snapshot };
        if checkpoints.offer(urgent, frozen) {
            self.due.begun(clock.monotonic(), lsn);
        }
    }

    /// It ends, because this node becomes primary: what has begun is void, or dead. Answers the log
    /// and how much of it state does not have.
    pub(crate) fn end(mut self) -> Result<(LogWriter, u64), ReadError> {
        let committed = &self.setup.committed;
        self.begun.applier.end();
        let dead_chunks = self.begun.unnamed.dead_below(Lsn::MAX, committed)?;
        committed.publish(Changes { dead_chunks, ..Changes::default() });
        self.writer.set_role(Role::Primary);
        Ok((self.writer, self.due.log_bytes()))
    }

    /// The groups and the records of each, if all of them can be taken.
    fn judged(&self, mut bytes: &[u8]) -> Result<(Vec<BuiltGroup>, Vec<Opened>), TakeError> {
        let mut end = self.position();
        let (mut groups, mut records) = (Vec::new(), Vec::new());
        let keys = self.setup.keys.snapshot();
        while !bytes.is_empty() {
            let malformed = |why| TakeError::Malformed { behind: end.lsn, why };
            let read = Group::decode(bytes).map_err(malformed)?;
            let length = read.stored_len();
            let group = BuiltGroup::of(&read, bytes).map_err(malformed)?;
            let stamp = &group.header().stamp;
            if stamp.volume != self.setup.volume {
                return Err(TakeError::OtherVolume { found: stamp.volume });
            }
            let is_whole = group.header().stands_for.is_none() && length <= GROUP_BYTES_MAX * 2;
            if !is_whole || stamp.previous != end.hash || !stamp.follows(end.lsn) {
                return Err(TakeError::NotNext { behind: end.lsn, found: stamp.first_lsn });
            }
            if stamp.key_version > keys.version() {
                return Err(TakeError::OlderKeys { needed: stamp.key_version });
            }
            end = Position { lsn: stamp.last_lsn, hash: group.hash() };
            records.push(opened(&read, &keys)?);
            groups.push(group);
            bytes = bytes.get(length..).unwrap_or_default();
        }
        Ok((groups, records))
    }

    fn write(&mut self, groups: &[BuiltGroup]) -> Result<Vec<GroupPlace>, String> {
        let needs_flush = groups.iter().any(|group| group.header().item_count > 0);
        let written = if needs_flush {
            self.writer.append(groups)
        } else {
            groups.iter().map(|group| self.writer.append_watermark(group)).collect()
        };
        written.map_err(|error| error.to_string())
    }

    fn apply(
        &mut self,
        group: &BuiltGroup,
        Opened(records): Opened,
        place: &GroupPlace,
    ) -> Result<(), String> {
        let committed = Arc::clone(&self.setup.committed);
        let mut changes = Changes::default();
        changes.places.extend(places_of(group, place));
        changes.named.push(named_in(group, place));
        for (header, record) in records {
            let applied = self.begun.applier.apply(&committed, &mut changes, header, record);
            applied.map_err(|error| error.to_string())?;
        }
        let Inherited { unnamed, open_lsn, .. } = &mut self.begun;
        group.chunk_places(*place).for_each(|chunk| unnamed.note(&chunk));
        changes.blobs.values().for_each(|row| unnamed.is_named(row.shape.tag));
        *open_lsn = group.header().stamp.open_lsn;
        committed.publish(changes);
        let dead_chunks = unnamed.dead_below(*open_lsn, &committed).map_err(|e| e.to_string())?;
        if !dead_chunks.is_empty() {
            committed.publish(Changes { dead_chunks, ..Changes::default() });
        }
        Ok(())
    }

    /// Takes nothing more: what is in the log and what is seen may differ, or the disk failed.
    fn stop(&self, reason: String) -> TakeError {
        let FollowerSetup { status, checkpoints, volume_name, .. } = &self.setup;
        if status.stop(&reason) {
            tracing::error!(
                volume = %volume_name,
                "the volume takes nothing more from the other node: {reason}; reads go on. Look at \
                 the disk, then restart"
            );
        }
        checkpoints.give_up();
        TakeError::Stopped { reason }
    }
}

/// The records of a group, opened; refused if this version would not understand everything.
fn opened(group: &Group<'_>, keys: &KeyTableSnapshot) -> Result<Opened, TakeError> {
    let newer = |level| TakeError::NewerFormat { level, known: format_level::NEWEST };
    let mut records = Vec::new();
    for placed in group.items() {
        let Item::Record { header, payload } = placed.item else { continue };
        if format_level::of_record(header.record_type).is_none() {
            return Err(newer(format_level::NEWEST + 1));
        }
        let record = open_record(keys, &header, payload)
            .map_err(|what| TakeError::Unreadable { lsn: header.lsn, what })?;
        let Some(record) = record else { continue };
        if let Body::FormatLevel(level) = record.body
            && level > format_level::NEWEST
        {
            return Err(newer(level));
        }
        records.push((header, record));
    }
    Ok(Opened(records))
}
