//! What the link to a second node uses of a store: shipping, taking, and changing roles.

use std::sync::Arc;

use super::Store;
use super::open::Beginning;
use crate::check::Neighbour;
use crate::error::{OpenError, TakeError};
use crate::format_level;
use crate::ids::{EpochId, KeyTableVersion, Lsn, NodeId, VolumeId};
use crate::pair::{Acknowledgement, LeaseCheck, Position, Shipper, ShipperSetup};
use crate::record::EpochBegin;
use crate::seal::{Key, KeyError, Sealer};

/// A volume as one node of a pair tells the other of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeStanding {
    /// The volume.
    pub volume: VolumeId,
    /// This node.
    pub node: NodeId,
    /// Whether it follows.
    pub follows: bool,
    /// Where its log ends, as far as it is durable here.
    pub position: Position,
    /// Every epoch, oldest first; also one that was opened here and is not committed yet.
    pub history: Vec<Epoch>,
    /// The format level that records may have.
    pub format_level: u32,
    /// The newest that this version reads.
    pub format_level_newest: u32,
    /// Of the key table.
    pub keys: KeyTableVersion,
}

/// One epoch of a volume's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// Its number, which no two nodes ever share.
    pub number: u16,
    /// Random.
    pub id: EpochId,
    /// The epoch that it goes on from, and the last position inherited.
    pub parent: Option<(EpochId, Lsn)>,
    /// Who opened it.
    pub node: NodeId,
    /// Its first position.
    pub first: Lsn,
}

/// What a volume's second node was told and told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PairStanding {
    /// The other node is there.
    pub is_there: bool,
    /// Changes are acknowledged without it that should not be.
    pub is_degraded: bool,
    /// Up to where the other node has the log, if there is one.
    pub noted: Option<Lsn>,
    /// Where the log here ends.
    pub last: Lsn,
}

/// The last position that two logs have in common: each is told by its epochs, oldest first, and
/// its end.
pub fn common_position(one: (&[Epoch], Lsn), other: (&[Epoch], Lsn)) -> Option<Lsn> {
    let others = chain(other);
    chain(one).into_iter().find_map(|(id, last)| {
        let (_, other_last) = others.iter().find(|(other, _)| *other == id)?;
        Some(last.min(*other_last))
    })
}

/// The epochs of a history with the last position of each, newest first.
fn chain((history, end): (&[Epoch], Lsn)) -> Vec<(EpochId, Lsn)> {
    let mut chain = Vec::new();
    let mut next = history.last().map(|epoch| (epoch, end));
    while let Some((epoch, last)) = next.take() {
        chain.push((epoch.id, last));
        if let Some((parent, fork)) = epoch.parent {
            let parent = history.iter().find(|other| other.id == parent);
            next = parent.map(|parent| (parent, fork));
        }
    }
    chain
}

impl Store {
    /// There is a second node, and changes are acknowledged like this. Groups are kept in memory
    /// for it from now on.
    pub fn begin_pair(&self, mode: Acknowledgement) {
        let inner = &self.inner;
        inner.pair.tail.keep();
        inner.pair.gate.set(mode);
        inner.queue.nudge();
    }

    /// There is no second node any more: what waited for it is committed, and changes are
    /// acknowledged here alone.
    pub fn end_pair(&self) {
        self.inner.pair.gate.forget();
        self.inner.queue.nudge();
        self.give_up_held();
    }

    /// How this node stands.
    pub fn standing(&self) -> VolumeStanding {
        let inner = &self.inner;
        let Beginning { node, .. } = &inner.beginning;
        let volume = inner.committed.volume();
        let epoch = |link: &crate::state::EpochLink| Epoch {
            number: link.number,
            id: link.id,
            parent: link.parent,
            node: link.node,
            first: link.first,
        };
        let mut history: Vec<Epoch> = volume.history.iter().map(epoch).collect();
        if let Some((begun, first)) = inner.pair.begun()
            && history.iter().all(|epoch| epoch.id != begun.id)
        {
            let EpochBegin { number, id, parent, node } = begun;
            history.push(Epoch { number, id, parent, node, first });
        }
        VolumeStanding {
            volume: node.volume,
            node: node.node,
            follows: inner.pair.follows(),
            position: self.position(),
            history,
            format_level: volume.format_level,
            format_level_newest: format_level::NEWEST,
            keys: inner.keys.version(),
        }
    }

    /// Where the log ends, as far as it is durable here.
    pub fn position(&self) -> Position {
        self.inner.pair.tail.end()
    }

    /// What the key of this node's certificate is sealed with.
    pub fn pair_cover(&self) -> (Sealer, Key) {
        (self.inner.sealer.clone(), self.inner.keys.volume_key())
    }

    /// Ends the waits of all shippers: whoever drives them looks whether it still should.
    pub fn wake_shippers(&self) {
        self.inner.pair.tail.wake();
    }

    /// Reads the log on behind a position.
    pub fn ship_behind(&self, at: Position) -> Shipper {
        let inner = &self.inner;
        let setup = ShipperSetup {
            pair: Arc::clone(&inner.pair),
            log: self.log_source(),
            committed: Arc::clone(&inner.committed),
        };
        Shipper::new(setup, at)
    }

    /// The key table as it travels, and its version.
    pub fn key_table(&self) -> (KeyTableVersion, Vec<u8>) {
        let snapshot = self.inner.keys.snapshot();
        (snapshot.version(), snapshot.encode())
    }

    /// Takes over the primary's key table, if it is newer; answers the version that is here.
    ///
    /// # Errors
    /// [`KeyError`]: it belongs elsewhere or is damaged, or the disk.
    pub fn take_key_table(&self, bytes: &[u8]) -> Result<KeyTableVersion, KeyError> {
        let inner = &self.inner;
        let before = inner.keys.snapshot();
        let taken = inner.keys.decode(bytes)?;
        if taken.version() <= before.version() {
            return Ok(before.version());
        }
        // What the tables hold of an account is deleted while its key can still open it.
        if before.accounts().any(|account| taken.current(account).is_none()) {
            self.checkpoint();
        }
        // Values that the held tables have could not be opened any more.
        let is_gone = |(account, generation)| taken.key(account, generation).is_none();
        if before.retired().any(is_gone) {
            self.give_up_held();
        }
        inner.keys.adopt(bytes)
    }

    /// What is held is of no use any more; the next checkpoint is held in its place.
    pub(super) fn give_up_held(&self) {
        let held = &self.inner.held;
        if let Err(error) = held.give_up().and_then(|()| held.loan.end()) {
            tracing::warn!(%error, "what was held for the other node's sake stays on the disk");
        }
    }

    /// Takes groups of the primary; durable here, and seen, when it returns.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn take_groups(&self, bytes: &[u8]) -> Result<Position, TakeError> {
        let mut follower = self.inner.follower.lock();
        if self.inner.pair.is_paused() {
            return Err(TakeError::NotFollower);
        }
        let end = follower.as_mut().ok_or(TakeError::NotFollower)?.take(bytes)?;
        self.inner.pair.tail.begin(end);
        Ok(end)
    }

    /// Whether groups of the primary are taken: not while it may be that this node is to become
    /// primary, so that the old one can acknowledge nothing by it. Whatever was taken before is
    /// part of [`Store::position`] when this returns.
    pub fn set_following_paused(&self, is_paused: bool) {
        let _none_is_taken = self.inner.follower.lock();
        self.inner.pair.set_paused(is_paused);
    }

    /// Takes no changes for the moment, or takes them again; what waits is still committed.
    pub fn set_changes_refused(&self, refused: bool) {
        self.inner.queue.set_refusing(refused);
    }

    /// In [`Acknowledgement::Local`], changes are acknowledged without the other node only while
    /// `is_held` says that nobody else can have become primary; it is asked after the flush.
    pub fn set_lease(&self, is_held: Option<LeaseCheck>) {
        self.inner.pair.gate.set_lease(is_held);
        self.inner.queue.nudge();
    }

    /// The follower has come, or gone.
    pub fn set_follower_there(&self, is_there: bool) {
        self.inner.pair.gate.set_there(is_there);
        self.inner.queue.nudge();
    }

    /// The follower has everything up to there, durably.
    pub fn note_follower(&self, lsn: Lsn) {
        self.inner.pair.gate.note(lsn);
    }

    /// Whether changes are acknowledged without a follower that should have them. Only for who made
    /// sure that the follower is not promoted meanwhile without being asked.
    pub fn set_degraded(&self, is_degraded: bool) {
        self.inner.pair.gate.set_degraded(is_degraded);
    }

    /// Who has the same chunks, for what is damaged here.
    pub fn set_neighbour(&self, neighbour: Option<Arc<dyn Neighbour>>) {
        self.inner.healer.set_neighbour(neighbour);
    }

    /// The other node asks for a chunk that is damaged there.
    ///
    /// # Errors
    /// A sentence for it.
    pub fn answer_chunk(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        self.inner.healer.answer(question)
    }

    /// Chunks that the other node healed here, and those that this one gave to it, since the start.
    pub fn healed(&self) -> (u64, u64) {
        self.inner.healer.figures()
    }

    /// What is known of the other node.
    pub fn pair_standing(&self) -> PairStanding {
        let gate = &self.inner.pair.gate;
        let (is_there, is_degraded) = gate.presence();
        PairStanding { is_there, is_degraded, noted: gate.noted(), last: self.position().lsn }
    }

    /// The checkpoint of a follower, which has no committer that would begin it: waits until it is
    /// flushed, and answers whether it was. There is none in the middle of a command.
    pub(super) fn checkpoint_following(&self, before: u64) -> bool {
        let inner = &self.inner;
        while !inner.checkpoints.is_beyond(before) {
            match inner.follower.lock().as_mut() {
                Some(follower) if !follower.is_within_run() => follower.checkpoint_if_due(),
                _ => return false,
            }
            match &inner.steps {
                Some(steps) => drop(steps.checkpoint()),
                None => inner.checkpoints.wait_for_turn(before),
            }
        }
        inner.commit_status.stopped().is_none()
    }

    /// Whether a write or a flush failed, so that nothing is written any more until the store is
    /// opened again. What was acknowledged is in the log.
    pub fn has_failed(&self) -> bool {
        self.inner.commit_status.has_failed()
    }

    /// Takes no changes any more, for that reason: another node is primary. Reads go on.
    pub fn stand_down(&self, reason: &str) {
        let inner = &self.inner;
        inner.queue.set_refusing(true);
        if inner.commit_status.stop(reason) {
            tracing::error!("this node takes no more changes: {reason}");
        }
        inner.checkpoints.give_up();
    }

    /// The highest number of an epoch that was ever opened here, also of one that this node went
    /// back from: with the same number, the same UIDs would be given again. The key table goes back
    /// with nothing, and knows it.
    pub fn newest_epoch(&self) -> u16 {
        let history = self.standing().history;
        let newest = history.iter().map(|epoch| epoch.number).max().unwrap_or(0);
        newest.max(self.inner.keys.version().epoch())
    }

    /// This node becomes primary: it opens that epoch, which goes on from where its log ends.
    ///
    /// # Errors
    /// [`OpenError::Invalid`], if it does not follow, or the number is not above all before.
    pub fn promote(&self, epoch: u16) -> Result<Lsn, OpenError> {
        self.promote_as(epoch, EpochId(self.inner.sealer.random_id()))
    }

    /// The same, with an identity of the epoch that others know already.
    ///
    /// # Errors
    /// As for [`Store::promote`].
    pub fn promote_as(&self, epoch: u16, id: EpochId) -> Result<Lsn, OpenError> {
        let inner = &self.inner;
        let volume = inner.committed.volume();
        let newest = self.newest_epoch();
        let first = Lsn::new(epoch, 1).filter(|_| epoch > newest).ok_or_else(|| {
            OpenError::Invalid(format!("an epoch of number {epoch} cannot follow {newest}"))
        })?;
        if self.has_arrival()? {
            return Err(OpenError::Invalid(
                "a full copy of the other node is on its way here, and what this one has is older; \
                 'pillarbox replica full-sync --stop' gives the copy up"
                    .into(),
            ));
        }
        let follower =
            inner.follower.lock().take().ok_or_else(|| {
                OpenError::Invalid("only a node that follows can be promoted".into())
            })?;
        let (writer, replayed_bytes) = follower.end()?;
        let end = self.position();
        // The other node wrote what was taken here.
        inner.pair.gate.note(end.lsn);
        inner.pair.set_follows(false);
        let parent = volume.history.last().map(|link| (link.id, end.lsn));
        let mut committer = self.committer(writer, (epoch, first), replayed_bytes);
        committer.begin_epoch((id, inner.beginning.node.node), parent);
        if let Some(reason) = inner.commit_status.stopped() {
            return Err(OpenError::Invalid(format!(
                "the epoch could not be opened: {reason}; look at the disk, then restart this node"
            )));
        }
        // Behind the epoch: a table of one that never began would pass for newer than all that the
        // primary sends. If the power goes in between, the next start does it.
        if let Err(error) = inner.keys.begin_epoch(epoch) {
            inner.commit_status.stop(&format!("the key table could not be written: {error}"));
            return Err(error.into());
        }
        inner.queue.set_refusing(false);
        match &inner.steps {
            Some(steps) => steps.take_seat(committer),
            None => {
                inner.driver.start_committer(committer)?;
                self.keep_up_primary()?;
            }
        }
        Ok(first)
    }
}
