//! Opening a store: lock, keys, tables, log, machines; and closing it.
//!
//! What is durable is decided by `log::recovery`; what it holds above the tables' stamp is applied
//! by `replay`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::create::KeySource;
use super::drive::{Driver, Steps};
use super::foundation::{Foundation, foundation, with_switched};
use super::give_up::{Fork, GivingUp, refuse_unfinished};
use super::index_maker::{IndexDrive, Indexing};
use super::keys::Ending;
use super::layout::{Layout, MAIN_VOLUME, NodeFile};
use super::prepare::Permits;
use super::recent_passwords::RecentPasswords;
use super::replay::Replay;
use super::summary_cache::SummaryCache;
use super::surroundings::{Drive, Surroundings};
use super::{Inner, Store};
use crate::base::BaseSetup;
use crate::check::Healer;
use crate::commit::{
    Change, Checkpointer, Committer, CommitterSetup, CommitterStatus, Follower, FollowerSetup,
    Inherited, Queue, Room,
};
use crate::disk::{Disk, IoChoice, IoReport, Lock, OpenMode, PlainDisk, durable, system_disk};
use crate::error::{CommitError, DiskError, OpenError, ReadError};
use crate::ids::{EpochId, Lsn};
use crate::limits::SEGMENT_BYTES;
use crate::log::{
    ChainEnd, LogDamage, LogReader, LogSetup, LogWriter, Recovered, RecoveryReport, Role, Severity,
};
use crate::mailbox::{PageCache, PageReader};
use crate::pair::{Acknowledgement, Position};
use crate::purge::{PurgeSetup, Purger};
use crate::reclaim::{ReclaimSetup, Reclaimer, Rewrapper};
use crate::seal::{Argon2Cost, RootKey, RootKeyFile};
use crate::search::Extractor;
use crate::state::{Committed, IndexBounds, IndexFeed, Saved, SummaryPages};

/// How a store is opened.
pub struct OpenOptions {
    /// What opens it.
    pub key: KeySource,
    /// Memory for opened pages of mailboxes, in bytes.
    pub page_cache_bytes: u64,
    /// Memory for opened summaries, in bytes.
    pub summary_cache_bytes: u64,
    /// Memory for opened blocks of the full-text index, and as much for its open files, in bytes.
    pub index_cache_bytes: u64,
    /// How much may lie outside of the full-text index, and how large its pieces are.
    pub index_bounds: IndexBounds,
    /// Who makes it follow the log.
    pub index_drive: IndexDrive,
    /// The largest message taken, in bytes.
    pub message_bytes_max: u64,
    /// Bytes that reclaim copies a second; 0: space is not reclaimed.
    pub reclaim_bytes_per_second: u64,
    /// After which time everything is counted anew and compared with the running figures; zero:
    /// never.
    pub recount_interval: Duration,
    /// Bytes of cold segments that are read and verified a second; 0: none.
    pub scrub_bytes_per_second: u64,
    /// Bytes that a checkpoint would write after which one is written while the log is replayed.
    pub replay_checkpoint_bytes: u64,
    /// Free disk below which nothing new is taken, so that deleting and checkpoints always work, in
    /// bytes. Below a quarter of it no change is taken. 0: the disk is not asked.
    pub reserve_bytes: u64,
    /// Bytes of a segment of the log; a checkpoint begins after half as many.
    pub segment_bytes: u64,
    /// What a password's hash costs.
    pub password_cost: Argon2Cost,
    /// How long a right password is checked without that cost; zero: never.
    pub password_memory: Duration,
    /// Makes text of documents, so that it is found; `None`: nobody does.
    pub extractor: Option<Arc<dyn Extractor>>,
    /// How long one search may have it work on messages that are not indexed yet.
    pub extractor_search_time: Duration,
    /// Whether it may be changed. [`OpenMode::Read`] leaves every file as it is.
    pub mode: OpenMode,
    /// A primary goes on in an epoch of its own, because nobody can be asked whether the other node
    /// has more of the one before.
    pub begins_epoch: bool,
    /// There is a second node, and changes are acknowledged like this.
    pub pair: Option<Acknowledgement>,
    /// Bytes that may be kept so that this node can go back to what the other one has; beyond, it
    /// needs a full copy then. 0: no bound.
    pub held_bytes_max: u64,
    /// How the log is written.
    pub io: IoChoice,
}

impl OpenOptions {
    /// The defaults, with that key.
    pub fn new(key: KeySource) -> OpenOptions {
        OpenOptions {
            key,
            page_cache_bytes: 256 << 20,
            summary_cache_bytes: 64 << 20,
            index_cache_bytes: 64 << 20,
            index_bounds: IndexBounds::default(),
            index_drive: IndexDrive::Thread,
            message_bytes_max: 64 << 20,
            reclaim_bytes_per_second: 32 << 20,
            recount_interval: Duration::from_secs(24 * 3600),
            scrub_bytes_per_second: 4 << 20,
            replay_checkpoint_bytes: 64 << 20,
            reserve_bytes: 512 << 20,
            segment_bytes: SEGMENT_BYTES,
            password_cost: Argon2Cost::PASSWORD,
            password_memory: Duration::from_secs(600),
            extractor: None,
            extractor_search_time: Duration::from_secs(10),
            mode: OpenMode::ReadWrite,
            begins_epoch: false,
            pair: None,
            held_bytes_max: 64 << 30,
            io: IoChoice::Auto,
        }
    }
}

/// What opening found and did.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// From the log.
    pub log: RecoveryReport,
    /// Records applied.
    pub record_count: u64,
    /// Records of accounts whose keys are destroyed.
    pub destroyed_count: u64,
    /// Groups of a command that was cut short by the stop, and therefore void.
    pub void_count: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Acknowledged groups that cannot be read: those that state has applied cost the messages in
    /// them; with others the store is read-only.
    pub damage: Vec<LogDamage>,
    /// A file of the root key that was damaged and healed from the other, and how.
    pub healed_root_key: Option<String>,
    /// A copy of the key table that was damaged and healed, and how.
    pub healed_key_table: Option<String>,
    /// How the log is written, and why so.
    pub io: IoReport,
}

/// What the machines of a store begin with.
struct BeginWith {
    replayed_bytes: u64,
    /// What the end of the log left open, for who follows.
    inherited: Inherited,
    /// Damage is given up: what the volume goes on from.
    fork: Option<Fork>,
    /// When changes are acknowledged, if there is a second node.
    pair: Option<Acknowledgement>,
    /// Whether the other node is primary.
    follows: bool,
}

/// What a role begins with, at opening or later.
pub(crate) struct Beginning {
    pub(super) surroundings: Surroundings,
    pub(super) log: LogSetup,
    pub(super) node: NodeFile,
    upkeep: Upkeep,
    /// Nothing was written since the store was closed.
    was_closed: bool,
}

impl Beginning {
    fn of(
        surroundings: &Surroundings,
        (log, node): (LogSetup, NodeFile),
        (upkeep, was_closed): (Upkeep, bool),
    ) -> Beginning {
        let surroundings = surroundings.clone();
        Beginning { surroundings, log, node, upkeep, was_closed }
    }
}

/// How much is done in the background.
#[derive(Clone, Copy)]
struct Upkeep {
    /// Bytes a second.
    reclaim_rate: u64,
    recount_interval: Duration,
    /// Bytes a second.
    scrub_rate: u64,
    index_drive: IndexDrive,
}

impl Upkeep {
    fn of(options: &OpenOptions) -> Upkeep {
        Upkeep {
            reclaim_rate: options.reclaim_bytes_per_second,
            recount_interval: options.recount_interval,
            scrub_rate: options.scrub_bytes_per_second,
            index_drive: options.index_drive,
        }
    }
}

/// Large messages that are parsed and sealed at a time: memory is this number times their size.
const LARGE_MESSAGES_MAX: usize = 4;

impl Store {
    /// Opens the store in `directory`; afterwards everything acknowledged before is there.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed then, except that a torn tail may have been cut.
    pub fn open(directory: &Path, options: OpenOptions) -> Result<(Store, OpenReport), OpenError> {
        let layout = Layout::of(directory);
        // What cannot even be looked at is refused below, by the name of the file that matters.
        let is_there = PlainDisk.exists(&layout.log()).unwrap_or(false);
        let is_written = options.mode == OpenMode::ReadWrite && is_there;
        // Trying the disk out would write to it, which reading must not.
        let mut disk: Arc<dyn Disk> = Arc::new(PlainDisk);
        let mut io = IoReport::default();
        if is_written {
            (disk, io) = system_disk(options.io, &layout.log()).map_err(OpenError::NoUring)?;
        }
        let surroundings = Surroundings::system(disk, options.segment_bytes);
        let (store, mut report) = Store::open_in(&surroundings, directory, options)?;
        report.io = io;
        Ok((store, report))
    }

    /// The same, on a given disk.
    pub(crate) fn open_in(
        surroundings: &Surroundings,
        directory: &Path,
        options: OpenOptions,
    ) -> Result<(Store, OpenReport), OpenError> {
        let layout = Layout::of(directory);
        if !surroundings.disk.exists(&layout.node())? {
            return Err(OpenError::NotAStore(directory.to_path_buf()));
        }
        let lock = take_lock(surroundings.disk.as_ref(), &layout, directory)?;
        Store::open_locked(surroundings, directory, options, lock)
    }

    /// The same, of a store that the caller has locked.
    pub(super) fn open_locked(
        surroundings: &Surroundings,
        directory: &Path,
        options: OpenOptions,
        lock: Box<dyn Send + Sync>,
    ) -> Result<(Store, OpenReport), OpenError> {
        refuse_unfinished(surroundings.disk.as_ref(), &Layout::of(directory), options.mode)?;
        Store::open_for(surroundings, (directory, options), lock, None)
    }

    /// The same, of a store whose damage may be given up: then what can be read behind it counts.
    pub(super) fn open_for(
        surroundings: &Surroundings,
        (directory, options): (&Path, OpenOptions),
        lock: Box<dyn Send + Sync>,
        mut giving_up: Option<&mut GivingUp>,
    ) -> Result<(Store, OpenReport), OpenError> {
        let begin = surroundings.clock.monotonic();
        let (disk, layout) = (Arc::clone(&surroundings.disk), Layout::of(directory));
        let (sealer, mode) = (surroundings.sealer.clone(), options.mode);
        let Foundation { node, pair, held, rewound, keys, healed, saved, committed, log } =
            foundation(surroundings, &layout, &options)?;
        let was_closed = take_closed(disk.as_ref(), &layout, mode)?;
        let (follows, bytes) = (log.role == Role::Follower, options.replay_checkpoint_bytes);
        let mut replay = Replay::new(&committed, &saved, keys.snapshot(), bytes);
        replay.follows(follows);
        replay.survey(giving_up.as_deref_mut());
        let recovered = replay.run(with_switched(&saved, &log)?, mode)?;
        let (mut report, inherited) = replay.finish()?;
        (report.healed_root_key, report.healed_key_table) = healed;
        let of = (&layout, &sealer, &keys, &committed);
        let indexing = Indexing::begin(surroundings, of, &options, &recovered);
        let reader = Arc::new(LogReader::new(Arc::clone(&disk), layout.log()));
        let inner = Arc::new(Inner {
            indexing,
            directory: directory.to_path_buf(),
            healer: Arc::new(Healer::new(Arc::clone(&reader), Arc::clone(&committed))),
            reader,
            sealer,
            keys,
            committed,
            saved,
            queue: Arc::default(),
            pair,
            held,
            follower: Mutex::default(),
            beginning: Beginning::of(surroundings, (log, node), (Upkeep::of(&options), was_closed)),
            route: RwLock::default(),
            checkpoints: Arc::default(),
            commit_status: Arc::default(),
            space: Arc::default(),
            reclaimed: Arc::default(),
            recounted: Arc::default(),
            ending: Ending::default(),
            clock: Arc::clone(&surroundings.clock),
            scrubbed: Arc::default(),
            summaries: SummaryCache::new(options.summary_cache_bytes),
            password_cost: options.password_cost,
            recent_passwords: RecentPasswords::new(options.password_memory),
            message_bytes_max: options.message_bytes_max,
            inline_message_bytes_max: surroundings.inline_message_bytes_max,
            room: room(&disk, &layout, options.reserve_bytes),
            large_messages: Permits::new(LARGE_MESSAGES_MAX),
            mode,
            log_damage: recovered.damage.clone(),
            driver: Driver::default(),
            steps: steps_of(surroundings.drive),
            disk,
            _lock: lock,
        });
        let store = Store { inner };
        let fork = fork_of(giving_up.as_deref(), options.begins_epoch && !follows, &recovered);
        let replayed_bytes = report.log.bytes;
        let with = BeginWith { replayed_bytes, inherited, fork, pair: options.pair, follows };
        store.begin(with, recovered)?;
        if let Some(order) = rewound {
            store.rewound(&order)?;
        }
        report.elapsed = surroundings.clock.monotonic().saturating_sub(begin);
        Ok((store, report))
    }

    /// Starts what takes changes; or says why none are taken.
    fn begin(&self, with: BeginWith, recovered: Recovered) -> Result<(), OpenError> {
        let inner = &self.inner;
        inner.pair.set_follows(with.follows);
        if let Some(mode) = with.pair {
            self.begin_pair(mode);
        }
        let ChainEnd { last_lsn: lsn, hash, .. } = recovered.end;
        inner.pair.tail.begin(Position { lsn, hash });
        let mut writer = recovered.writer;
        if let Some(writer) = &mut writer
            && let Some(group) = self.group_ending_at(lsn)?
        {
            writer.stamp_with(group.hash);
        }
        match writer {
            Some(writer) if inner.pair.follows() => self.start_following(writer, with),
            Some(writer) => {
                let is_given_up = with.fork.is_some();
                self.start(writer, with)?;
                // With records lost, nobody knows which accounts were made.
                if is_given_up {
                    return Ok(());
                }
                self.finish_interrupted()?;
                self.remove_staged()
            }
            None => {
                let is_cause = |damage: &&LogDamage| damage.severity == Severity::AboveState;
                let reason = match recovered.damage.iter().find(is_cause) {
                    Some(damage) => format!(
                        "{damage}; what is below can be read; keep a copy of the directory, run \
                         'pillarbox check' and see docs/operate.md"
                    ),
                    None => "it was opened for reading only".to_owned(),
                };
                inner.commit_status.stop(&reason);
                inner.commit_status.note_position(recovered.end.last_lsn);
                inner.queue.close();
                inner.checkpoints.give_up();
                Ok(())
            }
        }
    }

    /// Writes a checkpoint, stops the threads and lets go of the directory. Changes that wait are
    /// still committed; later ones are refused.
    pub fn close(&self) {
        let inner = &self.inner;
        inner.driver.stop_upkeep();
        inner.reclaimed.orders.give_up();
        inner.driver.stop_reclaim();
        inner.driver.stop_scrub();
        inner.committed.index_feed.close();
        inner.indexing.index.documents().stop();
        inner.driver.join("indexer");
        inner.committed.summary_pages.close();
        inner.driver.join("summary maker");
        inner.make_last_summary_pages();
        self.checkpoint();
        inner.queue.close();
        inner.pair.tail.wake();
        inner.driver.join("committer");
        *inner.follower.lock() = None;
        inner.checkpoints.close();
        inner.driver.join("checkpointer");
        // After a failed write nobody knows what the disk has.
        if inner.mode == OpenMode::ReadWrite && inner.commit_status.stopped().is_none() {
            let closed = Layout::of(&inner.directory).closed();
            if let Err(error) = durable::replace_file(inner.disk.as_ref(), &closed, &[]) {
                tracing::warn!(%error, "the next start will take this for a crash");
            }
        }
    }

    /// Whether no other handle is left: dropped, the directory is free.
    pub fn is_only_handle(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
    }

    /// Whether the store had been closed when it was opened; else its last process ended otherwise.
    pub fn was_closed(&self) -> bool {
        self.inner.beginning.was_closed
    }

    /// Asks for a checkpoint and waits until it is flushed; answers whether it was. Returns at once
    /// if the store takes no changes.
    pub fn checkpoint(&self) -> bool {
        let inner = &self.inner;
        if inner.commit_status.stopped().is_some() {
            return false;
        }
        let before = inner.checkpoints.want();
        if inner.pair.follows() {
            return self.checkpoint_following(before);
        }
        inner.queue.nudge();
        match &inner.steps {
            None => inner.checkpoints.wait_beyond(before),
            Some(steps) => {
                while !inner.checkpoints.is_beyond(before) {
                    steps.commit();
                    steps.checkpoint();
                }
            }
        }
        inner.commit_status.stopped().is_none()
    }

    /// The machines of a simulated store.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> &Steps {
        self.inner.steps.as_deref().expect("a simulated store is stepped")
    }

    /// Position of the flushed tables, and the first chunk that was entering then.
    #[cfg(test)]
    pub(crate) fn state_position(&self) -> Option<(crate::ids::Lsn, crate::ids::Lsn)> {
        let stamp = self.inner.saved.stamp().ok()??;
        Some((stamp.lsn, stamp.open_lsn))
    }

    /// The running figures of living bytes equal a recount; no checkpoint may be on its way.
    #[cfg(test)]
    pub(crate) fn compare_space(&self) {
        let recount = crate::state::count_space(&self.inner.saved).unwrap();
        if let Some(live) = self.inner.space.live() {
            assert_eq!(live, recount, "living bytes by segment");
        }
    }

    /// Waits until reclaim has nothing to do.
    #[cfg(test)]
    pub(crate) fn wait_for_reclaim(&self) {
        self.inner.driver.wait_for_reclaim();
    }

    /// Waits until purging has nothing to do.
    #[cfg(test)]
    pub(crate) fn wait_for_purge(&self) {
        self.inner.driver.wait_for_purge();
    }

    /// Asks for a checkpoint without waiting for it.
    #[cfg(test)]
    pub(crate) fn want_checkpoint(&self) {
        self.inner.checkpoints.want();
    }

    fn start(&self, writer: LogWriter, with: BeginWith) -> Result<(), OpenError> {
        let BeginWith { replayed_bytes, fork, .. } = with;
        let inner = &self.inner;
        let history = inner.committed.volume().history;
        let epoch = history.last().map_or(1, |link| link.number);
        let begins = fork.map(|fork| (fork.epoch(epoch), fork));
        let next = match begins {
            Some((epoch, _)) => Lsn::new(epoch, 1),
            None => writer.end().last_lsn.next(),
        };
        let next = next.ok_or_else(|| {
            OpenError::Invalid("the epoch has no positions left; open a new epoch".into())
        })?;
        let epoch = begins.map_or(epoch, |(epoch, _)| epoch);
        // This node was promoted, and the power went before its key table knew.
        if begins.is_none() && inner.keys.version().epoch() < epoch {
            inner.keys.begin_epoch(epoch)?;
        }
        let mut committer = self.committer(writer, (epoch, next), replayed_bytes);
        if begins.is_some() || history.is_empty() {
            let volume = inner.committed.volume();
            let parent = begins.and_then(|(_, fork)| {
                volume.parent_at(fork.inherited).map(|link| (link.id, fork.inherited))
            });
            let id = EpochId(inner.sealer.random_id());
            committer.begin_epoch((id, inner.beginning.node.node), parent);
        }
        let (checkpointer, reclaimer) = (self.checkpointer(), self.reclaimer());
        match &inner.steps {
            Some(steps) => steps.fill(Some(committer), checkpointer, reclaimer),
            None => {
                inner.driver.start_checkpointer(checkpointer)?;
                inner.driver.start_committer(committer)?;
                self.keep_up(reclaimer)?;
                self.keep_up_primary()?;
            }
        }
        Ok(())
    }

    /// What assigns, from `next` on.
    pub(super) fn committer(
        &self,
        writer: LogWriter,
        (epoch, next): (u16, Lsn),
        replayed_bytes: u64,
    ) -> Committer {
        let inner = &self.inner;
        let Beginning { surroundings, node, .. } = &inner.beginning;
        let setup = CommitterSetup {
            volume: node.volume,
            volume_name: MAIN_VOLUME.to_owned(),
            epoch,
            parity: u8::from(epoch % 2 == 1),
            committed: Arc::clone(&inner.committed),
            keys: Arc::clone(&inner.keys),
            sealer: inner.sealer.clone(),
            clock: Arc::clone(&surroundings.clock),
            queue: Arc::<Queue>::clone(&inner.queue),
            status: Arc::<CommitterStatus>::clone(&inner.commit_status),
            checkpoints: Arc::clone(&inner.checkpoints),
            bounds: surroundings.commit_bounds,
            room: Arc::clone(&inner.room),
            pair: Arc::clone(&inner.pair),
        };
        let stamp = inner.committed.highest_stamp();
        Committer::new(setup, writer, next, stamp, replayed_bytes)
    }

    /// Starts what a node has that follows.
    fn start_following(&self, writer: LogWriter, with: BeginWith) -> Result<(), OpenError> {
        let inner = &self.inner;
        let Beginning { surroundings, node, .. } = &inner.beginning;
        let setup = FollowerSetup {
            volume: node.volume,
            volume_name: MAIN_VOLUME.to_owned(),
            committed: Arc::clone(&inner.committed),
            keys: Arc::clone(&inner.keys),
            clock: Arc::clone(&surroundings.clock),
            status: Arc::<CommitterStatus>::clone(&inner.commit_status),
            checkpoints: Arc::clone(&inner.checkpoints),
            bounds: surroundings.commit_bounds,
            room: Arc::clone(&inner.room),
        };
        inner.queue.set_refusing(true);
        let follower = Follower::new(setup, writer, with.inherited, with.replayed_bytes);
        *inner.follower.lock() = Some(follower);
        let (checkpointer, reclaimer) = (self.checkpointer(), self.reclaimer());
        match &inner.steps {
            Some(steps) => steps.fill(None, checkpointer, reclaimer),
            None => {
                inner.driver.start_checkpointer(checkpointer)?;
                self.keep_up(reclaimer)?;
            }
        }
        Ok(())
    }

    fn checkpointer(&self) -> Checkpointer {
        let inner = &self.inner;
        Checkpointer::new(
            Arc::clone(&inner.saved),
            Arc::clone(&inner.committed),
            Arc::clone(&inner.checkpoints),
            Arc::clone(&inner.commit_status),
            (Arc::clone(&inner.space), Arc::clone(&inner.held)),
        )
    }

    /// What reclaims the volume's space.
    fn reclaimer(&self) -> Reclaimer {
        let inner = &self.inner;
        let surroundings = &inner.beginning.surroundings;
        let setup = ReclaimSetup {
            log: inner.beginning.log.clone(),
            pair: Arc::clone(&inner.pair),
            held: Arc::clone(&inner.held),
            saved: Arc::clone(&inner.saved),
            committed: Arc::clone(&inner.committed),
            checkpoints: Arc::clone(&inner.checkpoints),
            space: Arc::clone(&inner.space),
            reader: Arc::clone(&inner.reader),
            base: BaseSetup {
                saved: Arc::clone(&inner.saved),
                committed: Arc::clone(&inner.committed),
                checkpoints: Arc::clone(&inner.checkpoints),
                queue: Arc::clone(&inner.queue),
            },
            image_bytes_min: surroundings.image_bytes_min,
            reserve_bytes: inner.room.reserve_bytes(),
            spare_part: surroundings.spare_part,
            rewrapper: Rewrapper {
                keys: Arc::clone(&inner.keys),
                sealer: inner.sealer.clone(),
                committed: Arc::clone(&inner.committed),
            },
        };
        Reclaimer::new(setup, Arc::clone(&inner.reclaimed))
    }

    /// Starts what works in the background on either node, besides committer and checkpointer.
    fn keep_up(&self, reclaimer: Reclaimer) -> Result<(), OpenError> {
        let inner = &self.inner;
        let Beginning { surroundings, upkeep, .. } = &inner.beginning;
        let Upkeep { reclaim_rate, recount_interval, scrub_rate, index_drive } = *upkeep;
        if reclaim_rate > 0 {
            // It holds nothing of the store that keeps it open.
            let weak = Arc::downgrade(inner);
            let at_rest = move || {
                if let Some(inner) = weak.upgrade() {
                    Store { inner }.end_unnamed_keys();
                }
            };
            inner.driver.start_reclaim(reclaimer, reclaim_rate, at_rest)?;
        }
        inner.driver.start_summary_maker(Arc::downgrade(inner))?;
        if index_drive == IndexDrive::Thread {
            inner.driver.start_indexer(Arc::downgrade(inner))?;
        }
        if !recount_interval.is_zero() {
            inner.driver.start_recount(recount_interval, inner.recounting())?;
        }
        if scrub_rate > 0 {
            let clock = Arc::clone(&surroundings.clock);
            inner.driver.start_scrub(self.scrubber(clock, scrub_rate), scrub_rate)?;
        }
        Ok(())
    }

    /// Starts what a primary alone does of itself.
    pub(super) fn keep_up_primary(&self) -> Result<(), OpenError> {
        self.inner.driver.start_purge(self.purger(&self.inner.beginning.surroundings))
    }

    fn purger(&self, surroundings: &Surroundings) -> Purger {
        let inner = &self.inner;
        Purger::new(PurgeSetup {
            committed: Arc::clone(&inner.committed),
            queue: Arc::clone(&inner.queue),
            clock: Arc::clone(&surroundings.clock),
            disk: Arc::clone(&inner.disk),
            directory: inner.directory.clone(),
            reserve_bytes: inner.room.reserve_bytes(),
        })
    }

    /// Finishes deletions of accounts that a stop interrupted: record, then key, then certificate.
    fn finish_interrupted(&self) -> Result<(), OpenError> {
        for account in self.inner.keys.accounts() {
            if self.inner.committed.account(account).is_none() {
                tracing::info!(%account, "destroying the key of an account that no record names");
                // What the tables hold of it is deleted while its key can still open it.
                if !self.checkpoint() {
                    return Ok(());
                }
                self.inner.keys.remove_account(account)?;
                let destroyed = |promise| Change::AccountDestroyed { account, promise };
                if let Err(error) = self.inner.submit(destroyed).wait() {
                    return Err(OpenError::Invalid(error.to_string()));
                }
            }
        }
        Ok(())
    }
}

fn room(disk: &Arc<dyn Disk>, layout: &Layout, reserve_bytes: u64) -> Arc<Room> {
    let directory = layout.directory().to_path_buf();
    Room::new(Arc::clone(disk), directory, layout.log(), reserve_bytes)
}

/// What readers see, as the tables have it.
pub(super) fn committed_of(
    surroundings: &Surroundings,
    saved: &Arc<Saved>,
    options: &OpenOptions,
) -> Result<Arc<Committed>, ReadError> {
    let source = Arc::<Saved>::clone(saved);
    let pages = PageReader { source, cache: PageCache::new(options.page_cache_bytes) };
    let runs = SummaryPages::of_runs(surroundings.summary_run_uids);
    let committed = Committed::load(Arc::clone(saved), pages)?;
    let feed = IndexFeed::with(options.index_bounds);
    Ok(Arc::new(committed.with_summary_pages(runs).with_index_feed(feed)))
}

fn steps_of(drive: Drive) -> Option<Arc<Steps>> {
    match drive {
        Drive::Threads => None,
        #[cfg(test)]
        Drive::Stepped => Some(Arc::default()),
    }
}

/// The root key; and what was wrong with its file, if that was healed.
pub(super) fn unlock(
    disk: &dyn Disk,
    layout: &Layout,
    key: &KeySource,
    mode: OpenMode,
) -> Result<(RootKey, Option<String>), OpenError> {
    let path = layout.root_key();
    let loaded = match mode {
        OpenMode::Read => RootKeyFile::load(disk, &path)?.map(|file| (file, None)),
        OpenMode::ReadWrite => RootKeyFile::load_and_heal(disk, &path)?,
    };
    let missing = || OpenError::NotAStore(layout.directory().to_path_buf());
    let (file, healed) = loaded.ok_or_else(missing)?;
    Ok((key.unlock(&file)?, healed))
}

pub(super) fn take_lock(
    disk: &dyn Disk,
    layout: &Layout,
    directory: &Path,
) -> Result<Box<dyn Send + Sync>, OpenError> {
    match disk.lock(&layout.lock())? {
        Lock::Taken(lock) => Ok(lock),
        Lock::Held { by } => {
            Err(OpenError::InUse { directory: directory.to_path_buf(), process: by })
        }
    }
}

pub(super) fn read_node(disk: &dyn Disk, layout: &Layout) -> Result<NodeFile, OpenError> {
    let bytes = durable::read_file(disk, &layout.node(), 64 << 10)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    NodeFile::decode(&layout.node(), &text)
}

/// From where a primary goes on in another epoch, if it does.
fn fork_of(
    giving_up: Option<&GivingUp>,
    begins_epoch: bool,
    recovered: &Recovered,
) -> Option<Fork> {
    let given_up = giving_up.and_then(|giving_up| giving_up.fork(recovered));
    let alone = || Fork::at_the_end(recovered.end.last_lsn);
    given_up.or_else(|| begins_epoch.then(alone))
}

/// Whether the store had been closed. From now on it counts as not.
fn take_closed(disk: &dyn Disk, layout: &Layout, mode: OpenMode) -> Result<bool, DiskError> {
    let path = layout.closed();
    let was_closed = disk.exists(&path)?;
    if was_closed && mode == OpenMode::ReadWrite {
        disk.remove(&path)?;
        disk.sync_dir(&layout.volume())?;
    }
    Ok(was_closed)
}

pub(super) fn empty_spool(
    disk: &dyn Disk,
    layout: &Layout,
    mode: OpenMode,
) -> Result<(), OpenError> {
    if mode == OpenMode::Read {
        return Ok(());
    }
    disk.create_dir_all(&layout.spool())?;
    for file in disk.list(&layout.spool())? {
        disk.remove(&file)?;
    }
    Ok(())
}

impl From<OpenError> for CommitError {
    fn from(error: OpenError) -> CommitError {
        CommitError::Read(ReadError::Table(error.to_string()))
    }
}
