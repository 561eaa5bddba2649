//! The committer: takes what waits, assigns it, makes it durable with one flush, publishes,
//! answers.
//!
//! A state machine with a `step`; production drives it from one thread a volume, tests as they
//! like.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::assign::Reply;
use super::assign::{AssignContext, Assigned, Assigner};
use super::change::Change;
use super::due::CheckpointDue;
use super::entering::Entering;
use super::gather::Gather;
use super::queue::{Queue, Woken};
use super::room::Room;
use crate::disk::Clock;
use crate::error::CommitError;
use crate::format_level;
use crate::ids::{AccountNumber, EpochId, Lsn, NodeId, Stamp, VolumeId};
use crate::limits::GROUP_BYTES_MAX;
use crate::log::{BuiltGroup, GroupBuilder, GroupPlace, GroupStamp, LogWriter};
use crate::pair::{Judged, PairState};
use crate::record::{Body, EpochBegin};
use crate::sabotage::{Sabotage, breaks};
use crate::seal::{KeyTable, Sealer};
use crate::state::{
    Changes, CheckpointStamp, Committed, Named, Places, StateChunkPlace, TableStore, Unsaved,
};
use crate::ticket::ticket;
use crate::width::u64_of;

/// How long those who wait for an answer wait for the other node.
const OTHER_NODE_PATIENCE: Duration = Duration::from_secs(20);

/// When a committer begins something new; small in simulations, so that it happens often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CommitBounds {
    /// A group that has so many bytes takes no further command.
    pub(crate) group_bytes: usize,
    /// Bytes of log after which a checkpoint begins.
    pub(crate) checkpoint_log_bytes: u64,
    /// Bytes of log after which commits wait for the checkpoint before; never where one thread
    /// drives both.
    pub(crate) checkpoint_wait_bytes: u64,
}

impl CommitBounds {
    /// Of a store in production: what is replayed after a crash is about a segment.
    pub(crate) const fn of_segments(segment_bytes: u64) -> CommitBounds {
        CommitBounds {
            group_bytes: GROUP_BYTES_MAX / 2,
            checkpoint_log_bytes: segment_bytes / 2,
            checkpoint_wait_bytes: segment_bytes,
        }
    }

    /// The same where one thread drives committer and checkpointer: neither waits for the other.
    #[cfg(test)]
    pub(crate) const SINGLE_THREAD: CommitBounds =
        CommitBounds { checkpoint_wait_bytes: u64::MAX, ..CommitBounds::of_segments(128 << 20) };
}

/// What a committer is made of.
pub(crate) struct CommitterSetup {
    pub(crate) volume: VolumeId,
    pub(crate) volume_name: String,
    pub(crate) epoch: u16,
    pub(crate) parity: u8,
    pub(crate) committed: Arc<Committed>,
    pub(crate) keys: Arc<KeyTable>,
    pub(crate) sealer: Sealer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) status: Arc<CommitterStatus>,
    /// Where a frozen part goes; answers `false` while the one before is still being written.
    pub(crate) checkpoints: Arc<CheckpointSlot>,
    pub(crate) bounds: CommitBounds,
    pub(crate) room: Arc<Room>,
    pub(crate) pair: Arc<PairState>,
}

/// Counters, and why the volume stopped if it did.
#[derive(Default)]
pub(crate) struct CommitterStatus {
    pub(crate) group_count: AtomicU64,
    pub(crate) flush_count: AtomicU64,
    pub(crate) change_count: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) last_lsn: AtomicU64,
    /// It stopped because the disk failed.
    has_failed: AtomicBool,
    stopped: RwLock<Option<String>>,
}

/// A frozen part on its way to the checkpointer.
#[derive(Default)]
pub(crate) struct CheckpointSlot {
    inner: Mutex<SlotState>,
    changed: parking_lot::Condvar,
}

/// What a checkpoint is to write.
pub(crate) struct Frozen {
    pub(crate) unsaved: Unsaved,
    pub(crate) stamp: CheckpointStamp,
    /// The tables are kept as they are right behind it.
    pub(crate) snapshot: bool,
}

#[derive(Default)]
struct SlotState {
    waiting: Option<Frozen>,
    /// The tables as they were at a position, until somebody takes them.
    snapshot: Option<(Lsn, Arc<dyn TableStore>)>,
    /// The tables are kept as they are behind the next beginning of base images.
    expects_mark: bool,
    writing: bool,
    closed: bool,
    /// Someone asks for a checkpoint now.
    wanted: bool,
    completed: u64,
    /// The volume has stopped: no checkpoint will be completed any more.
    given_up: bool,
}

/// The committer of one volume.
pub(crate) struct Committer {
    setup: CommitterSetup,
    writer: LogWriter,
    next: Lsn,
    entering: Entering,
    stamp: Stamp,
    gather: Gather,
    due: CheckpointDue,
    /// Durable here, and not yet on the other node.
    held: Option<Held>,
    /// The last group's durability is written nowhere yet.
    unmarked: bool,
    /// What may be written; raised by a record alone.
    format_level: u32,
    /// Accounts that are gone, and of which the disk had no room to say that their keys are, too.
    uncertified: Vec<AccountNumber>,
}

/// A batch that is durable here and not committed: nobody sees it.
struct Held {
    changes: Changes,
    /// Empty once they who wait were told that it takes too long.
    replies: Vec<Reply>,
    last: Lsn,
    since: Duration,
    /// What state is as of, until it is published.
    before: CheckpointStamp,
    batch: Batch,
    group_bytes: Vec<u64>,
}

/// What is said of a batch as a whole.
#[derive(Clone, Copy, Default)]
struct Batch {
    change_count: u64,
    /// It is committed when both nodes of a pair have it, in every mode.
    needs_both: bool,
    /// A checkpoint follows at once, of which a snapshot is kept.
    snapshot: bool,
}

/// Whether the committer goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CommitStep {
    Again,
    Closed,
}

impl Committer {
    /// Goes on at `next`, with a clock not below `stamp`.
    pub(crate) fn new(
        setup: CommitterSetup,
        writer: LogWriter,
        next: Lsn,
        stamp: Stamp,
        replayed_bytes: u64,
    ) -> Committer {
        let due = CheckpointDue::new(setup.bounds, setup.clock.monotonic(), replayed_bytes);
        let setup_level = setup.committed.volume().format_level;
        setup.status.last_lsn.store(next.bits().saturating_sub(1), Ordering::Relaxed);
        Committer {
            setup,
            writer,
            next,
            entering: Entering::default(),
            stamp,
            gather: Gather::new(),
            due,
            held: None,
            unmarked: false,
            format_level: setup_level,
            uncertified: Vec::new(),
        }
    }

    /// Begins an epoch: its first record; and, where there is no history, its one member and its
    /// format level. `parent`: the epoch that it goes on from, and the last position inherited.
    pub(crate) fn begin_epoch(
        &mut self,
        (id, node): (EpochId, NodeId),
        parent: Option<(EpochId, Lsn)>,
    ) {
        let epoch = EpochBegin { number: self.setup.epoch, id, parent, node };
        let begun = epoch.clone();
        let members = Body::Members(vec![(node, self.setup.parity)]);
        let level = Body::FormatLevel(format_level::NEWEST);
        let is_new = self.setup.committed.volume().history.is_empty();
        let mut assigner = self.assigner();
        assigner.assign_volume(Body::Epoch(epoch));
        if is_new {
            assigner.assign_volume(members);
            assigner.assign_volume(level);
        }
        let assigned = assigner.finish();
        self.write(assigned, Batch::default());
        // The other node would stand down for an epoch of which a failed disk may have nothing.
        if let Some(first) = Lsn::new(begun.number, 1)
            && self.setup.status.stopped().is_none()
        {
            self.setup.pair.set_begun(begun, first);
        }
    }

    /// Waits for changes and commits one batch of them.
    pub(crate) fn step(&mut self, timeout: Duration) -> CommitStep {
        let queue = Arc::clone(&self.setup.queue);
        if !self.publish_held(timeout) {
            let step = self.refuse_meanwhile(&queue);
            self.checkpoint_if_due();
            return step;
        }
        match queue.take(timeout) {
            Woken::Changes(mut batch) => {
                self.gather.wait(&queue, batch.len());
                batch.extend(queue.take_more());
                batch.extend(self.certificates());
                self.commit_if_it_may_be(batch);
            }
            Woken::Idle => self.certify_or_mark(),
            Woken::Closed => {
                self.certify_or_mark();
                return CommitStep::Closed;
            }
        }
        self.checkpoint_if_due();
        CommitStep::Again
    }

    /// Commits what the pair lets in; refuses the rest before anything is assigned.
    fn commit_if_it_may_be(&mut self, batch: Vec<Change>) {
        let pair = Arc::clone(&self.setup.pair);
        let (fit, others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|change| pair.gate.refusal(change.needs_both()).is_none());
        for change in others {
            match change {
                // All that it tells of is done.
                Change::AccountDestroyed { account, promise } => {
                    self.uncertified.push(account);
                    promise.answer(Ok(()));
                }
                other => {
                    let reason = pair.gate.refusal(other.needs_both()).unwrap_or_default();
                    other.refuse(&|| self.unavailable(reason));
                }
            }
        }
        if !fit.is_empty() {
            self.commit_if_there_is_room(fit);
        }
    }

    fn unavailable(&self, reason: &str) -> CommitError {
        CommitError::ReadOnly { volume: self.setup.volume_name.clone(), reason: reason.to_owned() }
    }

    /// Publishes the batch that waits for the other node, if it has it; answers whether none waits
    /// any more.
    fn publish_held(&mut self, timeout: Duration) -> bool {
        let Some(held) = &self.held else { return true };
        let judged = self.setup.pair.gate.wait(held.last, held.batch.needs_both, timeout);
        if judged == Judged::Committed
            && let Some(held) = self.held.take()
        {
            self.publish(held);
            return true;
        }
        let waited = self.setup.clock.monotonic();
        if let Some(held) = &mut self.held
            && waited.saturating_sub(held.since) >= OTHER_NODE_PATIENCE
        {
            // It may be committed yet; then it is as if the answer had been lost on its way.
            let late = "the other node of the pair did not confirm it in time";
            std::mem::take(&mut held.replies).into_iter().for_each(|reply| reply(Some(late)));
        }
        false
    }

    /// What comes while a batch waits too long is refused.
    fn refuse_meanwhile(&mut self, queue: &Queue) -> CommitStep {
        let is_late = self.held.as_ref().is_some_and(|held| held.replies.is_empty());
        if !is_late && !queue.is_closed() {
            return CommitStep::Again;
        }
        match queue.take(Duration::ZERO) {
            Woken::Changes(batch) => {
                let reason = "the other node of the pair does not confirm what it is sent";
                batch.into_iter().for_each(|change| change.refuse(&|| self.unavailable(reason)));
                CommitStep::Again
            }
            Woken::Idle => CommitStep::Again,
            Woken::Closed => {
                let replies = self.held.take().map(|held| held.replies).unwrap_or_default();
                let reason = "the server stopped before the other node had it";
                replies.into_iter().for_each(|reply| reply(Some(reason)));
                CommitStep::Closed
            }
        }
    }

    /// Commits a batch; or refuses it, before anything is assigned, if the disk has no room for it.
    /// What gives space back goes on longer than the rest.
    fn commit_if_there_is_room(&mut self, batch: Vec<Change>) {
        let bytes = |batch: &[Change]| batch.iter().map(Change::group_bytes).sum();
        if self.setup.room.has_for_batch(bytes(&batch)) {
            return self.commit(batch);
        }
        let refuse = |change: Change| change.refuse(&|| CommitError::DiskFull);
        let (mut batch, others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(Change::serves_reclaim);
        others.into_iter().for_each(refuse);
        if !self.setup.room.has_for_reclaim(bytes(&batch)) {
            let (ends, others): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|change| matches!(change, Change::EndAhead { .. }));
            for change in others {
                match change {
                    // All that it tells of is done; whoever waits need not wait for space.
                    Change::AccountDestroyed { account, promise } => {
                        self.uncertified.push(account);
                        promise.answer(Ok(()));
                    }
                    other => refuse(other),
                }
            }
            batch = ends;
        }
        self.commit(batch);
    }

    /// Certificates for which there is room now.
    fn certificates(&mut self) -> Vec<Change> {
        let certificate = |account| {
            let (promise, _) = ticket();
            Change::AccountDestroyed { account, promise }
        };
        let certificates: Vec<Change> = self.uncertified.iter().copied().map(certificate).collect();
        let bytes = certificates.iter().map(Change::group_bytes).sum();
        if certificates.is_empty() || !self.setup.room.has_for_reclaim(bytes) {
            return Vec::new();
        }
        self.uncertified.clear();
        certificates
    }

    /// Nothing comes.
    fn certify_or_mark(&mut self) {
        let certificates = self.certificates();
        if certificates.is_empty() { self.mark() } else { self.commit(certificates) }
    }

    /// Commits a batch.
    pub(crate) fn commit(&mut self, mut batch: Vec<Change>) {
        let change_count = u64_of(batch.len());
        let needs_both = batch.iter().any(Change::needs_both);
        let begins_base = |change: &Change| matches!(change, Change::BaseBegin { .. });
        batch.sort_by_key(begins_base);
        let snapshot = batch.last().is_some_and(begins_base);
        let mut assigner = self.assigner();
        for change in batch {
            assigner.assign(change);
        }
        let assigned = assigner.finish();
        self.write(assigned, Batch { change_count, needs_both, snapshot });
    }

    fn write(&mut self, assigned: Assigned, batch: Batch) {
        let Assigned { mut changes, groups, replies, entering, stamp, next, broken, .. } = assigned;
        let before = self.checkpoint_stamp();
        self.stamp = stamp;
        if assigned.another_segment {
            self.writer.begin_another();
        }
        let outcome = match self.setup.status.stopped().or(broken) {
            Some(reason) => Err(reason),
            None if groups.is_empty() => Ok(Vec::new()),
            None => self.writer.append(&groups).map_err(|error| {
                let reason = error.to_string();
                self.stop(&reason);
                reason
            }),
        };
        match outcome {
            Ok(places) => {
                self.next = next;
                self.entering = entering;
                self.unmarked |= !groups.is_empty();
                for (group, place) in groups.iter().zip(&places) {
                    changes.places.extend(places_of(group, place));
                    changes.named.push(named_in(group, place));
                    self.due.written(u64::from(place.stored_len));
                }
                let group_bytes = groups.iter().map(|group| u64_of(group.bytes().len())).collect();
                self.setup.pair.tail.push(groups);
                let (last, since) = (self.last_lsn(), self.setup.clock.monotonic());
                let held = Held { changes, replies, last, since, before, batch, group_bytes };
                match self.setup.pair.gate.judge(last, batch.needs_both) {
                    Judged::Committed => self.publish(held),
                    Judged::Waiting => self.held = Some(held),
                }
            }
            Err(reason) => {
                // Nobody sends a message again under its old positions: what ended in this batch
                // has ended without a record.
                let dead_chunks = self.entering.end_as_in(&entering);
                self.setup.committed.publish(Changes { dead_chunks, ..Changes::default() });
                let told = Some(reason).filter(|_| !breaks(Sabotage::Answer));
                replies.into_iter().for_each(|reply| reply(told.as_deref()));
            }
        }
    }

    /// Makes a batch visible that is committed, and answers those who wait for it.
    fn publish(&mut self, held: Held) {
        let Held { changes, replies, last, batch, group_bytes, .. } = held;
        let status = &self.setup.status;
        status.change_count.fetch_add(batch.change_count, Ordering::Relaxed);
        status.flush_count.fetch_add(u64::from(!group_bytes.is_empty()), Ordering::Relaxed);
        group_bytes.into_iter().for_each(|bytes| status.count_group(bytes));
        status.note_position(last);
        self.setup.committed.publish(changes);
        self.format_level = self.setup.committed.format_level();
        replies.into_iter().for_each(|reply| reply(None));
        if batch.snapshot && self.setup.status.stopped().is_none() {
            self.checkpoint(true, false);
        }
    }

    /// Notes, in a group without items, that the last group is durable: damage to it then counts as
    /// damage and not as a torn tail. Goes without a flush of its own, or a quiet server would make
    /// two for every mail.
    fn mark(&mut self) {
        let is_due = self.unmarked && self.setup.room.has_for_batch(0);
        if !is_due || self.setup.status.stopped().is_some() {
            return;
        }
        self.unmarked = false;
        let end = self.writer.end();
        let group = GroupBuilder::new().finish(GroupStamp {
            flags: 0,
            volume: self.setup.volume,
            first_lsn: self.next,
            last_lsn: self.last_lsn(),
            durable_lsn: end.durable_lsn,
            open_lsn: self.entering.oldest().unwrap_or(self.next),
            key_version: self.setup.keys.version(),
            previous: end.hash,
        });
        match self.writer.append_watermark(&group) {
            // It may be the first of its segment.
            Ok(place) => {
                self.setup.committed.note_watermark(named_in(&group, &place));
                self.setup.pair.tail.push_unflushed(group);
            }
            Err(error) => self.stop(&error.to_string()),
        }
    }

    fn assigner(&self) -> Assigner<'_> {
        let setup = &self.setup;
        let wall = Stamp(setup.clock.unix_ms() << 16);
        let end = self.writer.end();
        let context = AssignContext {
            volume: setup.volume,
            volume_name: &setup.volume_name,
            format_level: self.format_level,
            epoch: setup.epoch,
            parity: setup.parity,
            committed: &setup.committed,
            keys: setup.keys.snapshot(),
            sealer: &setup.sealer,
            group_bytes: setup.bounds.group_bytes,
            stamp: wall.max(self.stamp),
            durable_lsn: end.durable_lsn,
            previous: end.hash,
        };
        Assigner::new(context, self.next, self.entering.clone())
    }

    fn stop(&self, reason: &str) {
        if self.setup.status.fail(reason) {
            tracing::error!(
                volume = %self.setup.volume_name,
                "the volume takes no more writes: {reason}; reads go on. Look at the disk, then \
                 restart"
            );
        }
        self.setup.checkpoints.give_up();
    }

    fn checkpoint_if_due(&mut self) {
        let CommitterSetup { checkpoints, committed, clock, status, .. } = &self.setup;
        let due = self.due.is_due((checkpoints, committed), clock.monotonic(), self.last_lsn());
        if !due || status.stopped().is_some() {
            return;
        }
        // While the one before is being written, changes go on gathering; past twice the size
        // commits wait for it.
        self.checkpoint(false, self.due.is_urgent());
    }

    /// Begins a checkpoint, if the checkpointer is free; `snapshot`: the tables are kept as they
    /// are behind it.
    fn checkpoint(&mut self, snapshot: bool, urgent: bool) {
        // State has what is committed, and no more.
        let stamp = self.held.as_ref().map_or_else(|| self.checkpoint_stamp(), |held| held.before);
        let committed = &self.setup.committed;
        let frozen = || Frozen { unsaved: committed.freeze(), stamp, snapshot };
        if self.setup.checkpoints.offer(urgent, frozen) {
            self.due.begun(self.setup.clock.monotonic(), stamp.lsn);
        }
    }

    fn checkpoint_stamp(&self) -> CheckpointStamp {
        CheckpointStamp {
            lsn: self.last_lsn(),
            open_lsn: self.entering.oldest().unwrap_or(self.next),
            group_hash: self.writer.durable_hash().0,
            stamp: self.stamp,
        }
    }

    /// The last position of the log. In an epoch that has nothing yet it is the last one inherited:
    /// nothing lies at the one before the first.
    fn last_lsn(&self) -> Lsn {
        match self.next.sequence() {
            1 => self.writer.end().last_lsn,
            _ => Lsn::from_bits(self.next.bits() - 1).unwrap_or(Lsn::ZERO),
        }
    }
}

/// Keys that a group names, and where.
pub(super) fn named_in(group: &BuiltGroup, place: &GroupPlace) -> Named {
    let (segment, is_first) = (place.segment.0, place.is_first());
    Named { segment, is_first, names: group.names().clone() }
}

/// Where a group's chunks came to lie, by position.
pub(crate) fn places_of(
    group: &BuiltGroup,
    place: &GroupPlace,
) -> std::collections::HashMap<Lsn, Places> {
    let mut places: std::collections::HashMap<Lsn, Places> = std::collections::HashMap::new();
    for chunk in group.chunk_places(*place) {
        let entry = places.entry(chunk.lsn).or_default();
        entry.segment = chunk.segment.0;
        entry.chunks.push(StateChunkPlace {
            number: u32::from(chunk.number),
            offset: chunk.offset,
            length: chunk.length,
            hash: chunk.hash,
        });
    }
    places
}

impl CommitterStatus {
    /// Takes no more writes, for the first reason given; answers whether this is it.
    pub(crate) fn stop(&self, reason: &str) -> bool {
        let mut stopped = self.stopped.write();
        let is_first = stopped.is_none();
        stopped.get_or_insert_with(|| reason.to_owned());
        is_first
    }

    /// The same, because the disk failed.
    pub(crate) fn fail(&self, reason: &str) -> bool {
        let is_first = self.stop(reason);
        if is_first {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        is_first
    }

    /// Whether it stopped because the disk failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// A group was written.
    pub(crate) fn count_group(&self, bytes: u64) {
        self.group_count.fetch_add(1, Ordering::Relaxed);
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The last position committed.
    pub(crate) fn note_position(&self, last: Lsn) {
        self.last_lsn.store(last.bits(), Ordering::Relaxed);
    }

    /// Why it takes no writes, if so.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.read().clone()
    }
}

impl CheckpointSlot {
    /// Whether someone asked for a checkpoint.
    pub(super) fn wanted(&self) -> bool {
        self.inner.lock().wanted
    }

    /// Hands a frozen part over if the checkpointer is free, or, when `urgent`, as soon as it is.
    pub(super) fn offer(&self, urgent: bool, frozen: impl FnOnce() -> Frozen) -> bool {
        let mut inner = self.inner.lock();
        while urgent
            && !inner.closed
            && !inner.given_up
            && (inner.writing || inner.waiting.is_some())
        {
            self.changed.wait(&mut inner);
        }
        if inner.writing || inner.waiting.is_some() || inner.closed {
            return false;
        }
        inner.wanted = false;
        inner.waiting = Some(frozen());
        drop(inner);
        self.changed.notify_all();
        true
    }

    /// Whether anything was handed over since the start.
    pub(crate) fn any_begun(&self) -> bool {
        let inner = self.inner.lock();
        inner.completed > 0 || inner.writing || inner.waiting.is_some()
    }

    /// The checkpointer's side: waits for a frozen part; `None` when closed.
    pub(crate) fn take(&self) -> Option<Frozen> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(frozen) = inner.waiting.take() {
                inner.writing = true;
                return Some(frozen);
            }
            if inner.closed {
                return None;
            }
            self.changed.wait(&mut inner);
        }
    }

    /// A frozen part, if one waits.
    pub(crate) fn try_take(&self) -> Option<Frozen> {
        let mut inner = self.inner.lock();
        let frozen = inner.waiting.take();
        inner.writing |= frozen.is_some();
        frozen
    }

    /// Keeps the tables as they were at a position.
    pub(crate) fn keep_snapshot(&self, lsn: Lsn, tables: Arc<dyn TableStore>) {
        self.inner.lock().snapshot = Some((lsn, tables));
    }

    /// The tables as they were at that position, if they were kept; others are let go.
    pub(crate) fn take_snapshot(&self, lsn: Lsn) -> Option<Arc<dyn TableStore>> {
        let (at, tables) = self.inner.lock().snapshot.take()?;
        (at == lsn).then_some(tables)
    }

    /// A follower is to keep its tables as they are behind the next mark.
    pub(crate) fn expect_mark(&self) {
        self.inner.lock().expects_mark = true;
    }

    /// Whether it is, once.
    pub(super) fn take_expectation(&self) -> bool {
        std::mem::take(&mut self.inner.lock().expects_mark)
    }

    /// Whether no checkpoint waits or is being written.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.waiting.is_none() && !inner.writing
    }

    /// The checkpointer has written what it took.
    pub(crate) fn done(&self) {
        let mut inner = self.inner.lock();
        inner.writing = false;
        inner.completed += 1;
        drop(inner);
        self.changed.notify_all();
    }

    /// Asks for a checkpoint and answers how many will have been completed before it.
    pub(crate) fn want(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.wanted = true;
        inner.completed + u64::from(inner.writing) + u64::from(inner.waiting.is_some())
    }

    /// Waits until more than `before` were completed, or none comes any more.
    pub(crate) fn wait_beyond(&self, before: u64) {
        let mut inner = self.inner.lock();
        while inner.completed <= before && !inner.closed && !inner.given_up {
            self.changed.wait(&mut inner);
        }
    }

    /// Waits until another one can be handed over, or more than `before` were completed, or none
    /// comes any more.
    pub(crate) fn wait_for_turn(&self, before: u64) {
        let mut inner = self.inner.lock();
        while (inner.writing || inner.waiting.is_some())
            && inner.completed <= before
            && !inner.closed
            && !inner.given_up
        {
            self.changed.wait(&mut inner);
        }
    }

    /// Whether more than `before` were completed, or none comes any more.
    pub(crate) fn is_beyond(&self, before: u64) -> bool {
        let inner = self.inner.lock();
        inner.completed > before || inner.closed || inner.given_up
    }

    /// Whether more than `before` were completed.
    pub(crate) fn completed_beyond(&self, before: u64) -> bool {
        self.inner.lock().completed > before
    }

    /// How many were completed, if none is being written.
    pub(crate) fn at_rest(&self) -> Option<u64> {
        let inner = self.inner.lock();
        (!inner.writing).then_some(inner.completed)
    }

    /// Waits until none is being written and answers how many were completed; `None` if one failed
    /// half-way.
    pub(crate) fn wait_at_rest(&self) -> Option<u64> {
        let mut inner = self.inner.lock();
        while inner.writing && !inner.given_up {
            self.changed.wait(&mut inner);
        }
        (!inner.writing).then_some(inner.completed)
    }

    /// The volume has stopped: whoever waits for a checkpoint need not wait any longer.
    pub(crate) fn give_up(&self) {
        self.inner.lock().given_up = true;
        self.changed.notify_all();
    }

    /// No more come; what waits is still written.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.changed.notify_all();
    }
}
