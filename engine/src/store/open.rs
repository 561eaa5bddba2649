//! Opening a store: lock, keys, tables, log, threads; and closing it.
//!
//! What is durable is decided by `log::recovery`; here the records above the tables' stamp are
//! opened and applied, as the committer applied them before the stop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::create::{KeySource, log_setup};
use super::layout::{DirectoryLock, Layout, MAIN_VOLUME, NodeFile};
use super::prepare::Permits;
use super::read::SummaryCache;
use super::{Inner, Store};
use crate::commit::{Change, CommitStep, Committer, CommitterSetup};
use crate::disk::{Clock, Disk, PlainDisk, SystemClock, durable};
use crate::error::{CommitError, Damage, OpenError, ReadError};
use crate::ids::{AccountNumber, KeyGeneration, Lsn};
use crate::log::format::group::Group;
use crate::log::{
    GroupHash, Item, LogReader, LogWriter, RecordHeader, RecoverError, RecoveryReport, Replayed,
    SegmentNumber, StateStamp, recover,
};
use crate::mailbox::{PageCache, PageReader, PageSource};
use crate::record::Record;
use crate::seal::{Aad, Argon2Cost, KeyTable, KeyTableSnapshot, RootKeyFile, Sealer};
use crate::state::{
    Changes, Committed, Places, RocksTables, Saved, StateChunkPlace, Values, write_checkpoint,
};

/// How a store is opened.
pub struct OpenOptions {
    /// What opens it.
    pub key: KeySource,
    /// Memory for opened pages of mailboxes, in bytes.
    pub page_cache_bytes: u64,
    /// Memory for opened summaries, in bytes.
    pub summary_cache_bytes: u64,
    /// The largest message taken, in bytes.
    pub message_bytes_max: u64,
    /// Free disk below which nothing new is taken, so that deleting and checkpoints always work, in
    /// bytes.
    pub reserve_bytes: u64,
    /// What a password's hash costs.
    pub password_cost: Argon2Cost,
}

impl OpenOptions {
    /// The defaults, with that key.
    pub fn new(key: KeySource) -> OpenOptions {
        OpenOptions {
            key,
            page_cache_bytes: 256 << 20,
            summary_cache_bytes: 64 << 20,
            message_bytes_max: 64 << 20,
            reserve_bytes: 512 << 20,
            password_cost: Argon2Cost::PASSWORD,
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
    /// A copy of the key table that was damaged and healed, and how.
    pub healed_key_table: Option<String>,
}

/// Large messages that are parsed and sealed at a time: memory is this number times their size.
const LARGE_MESSAGES_MAX: usize = 4;
/// How often the committer looks at the clock when nothing comes.
const IDLE: Duration = Duration::from_millis(50);

impl Store {
    /// Opens the store in `directory`; afterwards everything acknowledged before is there.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed then, except that a torn tail may have been cut.
    pub fn open(directory: &Path, options: OpenOptions) -> Result<(Store, OpenReport), OpenError> {
        let begin = Instant::now();
        let disk: Arc<dyn Disk> = Arc::new(PlainDisk);
        let layout = Layout::of(directory);
        if !disk.exists(&layout.node())? {
            return Err(OpenError::NotAStore(directory.to_path_buf()));
        }
        let lock = DirectoryLock::take(&layout)?;
        let node = read_node(disk.as_ref(), &layout)?;
        let sealer = Sealer::system();
        let root_file = RootKeyFile::load(&layout.root_key())?
            .ok_or_else(|| OpenError::NotAStore(directory.to_path_buf()))?;
        let root = options.key.unlock(&root_file)?;
        let (keys, key_report) = KeyTable::load(&layout.keys(), &sealer, &root, node.volume)?;
        let keys = Arc::new(keys);
        empty_spool(disk.as_ref(), &layout)?;

        let values = Arc::new(Values::new(sealer.clone(), Arc::clone(&keys)));
        let tables = Arc::new(RocksTables::open(&layout.state())?);
        let saved = Arc::new(Saved { tables, values });
        let pages = PageReader {
            source: page_source(&saved),
            cache: PageCache::new(options.page_cache_bytes),
        };
        let committed = Arc::new(Committed::load(Arc::clone(&saved), pages)?);
        let setup = log_setup(&layout, &sealer, node.volume)?;
        let mut replay = Replay::new(&committed, keys.snapshot());
        let writer = replay.run(setup, &saved)?;
        let mut report = replay.finish()?;
        report.healed_key_table = key_report.healed.map(|(copy, why)| format!("{copy:?}: {why}"));

        let inner = Arc::new(Inner {
            directory: directory.to_path_buf(),
            disk: Arc::clone(&disk),
            reader: LogReader::new(disk, layout.log()),
            sealer,
            keys,
            committed,
            saved,
            queue: Arc::default(),
            checkpoints: Arc::default(),
            commit_status: Arc::default(),
            summaries: SummaryCache::new(options.summary_cache_bytes),
            password_cost: options.password_cost,
            message_bytes_max: options.message_bytes_max,
            reserve_bytes: options.reserve_bytes,
            large_messages: Permits::new(LARGE_MESSAGES_MAX),
            threads: Mutex::default(),
            _lock: lock,
        });
        let store = Store { inner };
        store.start(writer, &node, report.log.bytes)?;
        store.finish_interrupted()?;
        report.elapsed = begin.elapsed();
        Ok((store, report))
    }

    /// Writes a checkpoint, stops the threads and lets go of the directory. Changes that wait are
    /// still committed; later ones are refused.
    pub fn close(&self) {
        let inner = &self.inner;
        if inner.commit_status.stopped.read().is_none() {
            let before = inner.checkpoints.want();
            inner.queue.nudge();
            inner.checkpoints.wait_beyond(before);
        }
        inner.queue.close();
        let threads = std::mem::take(&mut *inner.threads.lock());
        let (committer, checkpointer): (Vec<_>, Vec<_>) =
            threads.into_iter().partition(|thread| thread.thread().name() == Some("committer"));
        committer.into_iter().for_each(|thread| drop(thread.join()));
        inner.checkpoints.close();
        checkpointer.into_iter().for_each(|thread| drop(thread.join()));
    }

    /// Asks for a checkpoint and waits until it is flushed.
    pub fn checkpoint(&self) {
        let inner = &self.inner;
        if inner.commit_status.stopped.read().is_none() {
            let before = inner.checkpoints.want();
            inner.queue.nudge();
            inner.checkpoints.wait_beyond(before);
        }
    }

    fn start(
        &self,
        writer: LogWriter,
        node: &NodeFile,
        replayed_bytes: u64,
    ) -> Result<(), OpenError> {
        let inner = &self.inner;
        let history = inner.committed.volume().history;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let setup = CommitterSetup {
            volume: node.volume,
            volume_name: MAIN_VOLUME.to_owned(),
            epoch: history.last().map_or(1, |link| link.number),
            parity: 1,
            committed: Arc::clone(&inner.committed),
            keys: Arc::clone(&inner.keys),
            sealer: inner.sealer.clone(),
            clock,
            queue: Arc::clone(&inner.queue),
            status: Arc::clone(&inner.commit_status),
            checkpoints: Arc::clone(&inner.checkpoints),
        };
        let next = writer.end().last_lsn.next().ok_or_else(|| {
            OpenError::Invalid("the epoch has no positions left; open a new epoch".into())
        })?;
        let stamp = inner.committed.highest_stamp();
        let mut committer = Committer::new(setup, writer, next, stamp, replayed_bytes);
        if history.is_empty() {
            committer.begin_history(node.node);
        }
        let checkpointing = Arc::clone(inner);
        let mut threads = inner.threads.lock();
        threads.push(spawn(
            "committer",
            move || {
                while committer.step(IDLE) == CommitStep::Again {}
            },
        )?);
        threads.push(spawn("checkpointer", move || checkpoint_loop(&checkpointing))?);
        Ok(())
    }

    /// Finishes deletions of accounts that a stop interrupted: record, then key, then certificate.
    fn finish_interrupted(&self) -> Result<(), OpenError> {
        for account in self.inner.keys.accounts() {
            if self.inner.committed.account(account).is_none() {
                tracing::info!(%account, "destroying the key of an account that no record names");
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

fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, OpenError> {
    // A committer that panics leaves callers waiting for ever; a process that ends is restarted and
    // loses nothing that was acknowledged.
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            std::process::abort();
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map_err(|cause| OpenError::Invalid(format!("no thread could be started: {cause}")))
}

fn page_source(saved: &Arc<Saved>) -> Arc<dyn PageSource> {
    Arc::<Saved>::clone(saved)
}

/// Writes checkpoints until closed. One that fails stops the volume's writes: the log would grow
/// for ever.
fn checkpoint_loop(inner: &Inner) {
    while let Some((unsaved, stamp)) = inner.checkpoints.take() {
        match write_checkpoint(&inner.saved, &inner.committed, unsaved, stamp) {
            Ok(report) => tracing::debug!(
                lsn = %stamp.lsn, values = report.value_count, bytes = report.bytes, "checkpoint"
            ),
            Err(error) => {
                tracing::error!("a checkpoint failed: {error}; the volume takes no more writes");
                *inner.commit_status.stopped.write() = Some(error.to_string());
            }
        }
        inner.checkpoints.done();
    }
}

fn read_node(disk: &dyn Disk, layout: &Layout) -> Result<NodeFile, OpenError> {
    let bytes = durable::read_file(disk, &layout.node(), 64 << 10)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    NodeFile::decode(&layout.node(), &text)
}

fn empty_spool(disk: &dyn Disk, layout: &Layout) -> Result<(), OpenError> {
    disk.create_dir_all(&layout.spool())?;
    for file in disk.list(&layout.spool())? {
        disk.remove(&file)?;
    }
    Ok(())
}

/// Applies what the log holds above the tables' stamp.
struct Replay<'a> {
    committed: &'a Committed,
    keys: Arc<KeyTableSnapshot>,
    state_lsn: Lsn,
    report: OpenReport,
    places: BTreeMap<Lsn, Places>,
    /// Records of a run that has not ended yet.
    run: Vec<(RecordHeader, Record)>,
}

/// Why replay stopped.
enum ReplayError {
    Recover(RecoverError),
    Open(OpenError),
}

impl From<RecoverError> for ReplayError {
    fn from(error: RecoverError) -> ReplayError {
        ReplayError::Recover(error)
    }
}

impl<'a> Replay<'a> {
    fn new(committed: &'a Committed, keys: Arc<KeyTableSnapshot>) -> Replay<'a> {
        Replay {
            committed,
            keys,
            state_lsn: Lsn::ZERO,
            report: OpenReport::default(),
            places: BTreeMap::new(),
            run: Vec::new(),
        }
    }

    fn run(&mut self, setup: crate::log::LogSetup, saved: &Saved) -> Result<LogWriter, OpenError> {
        let stamp = saved.stamp()?;
        self.state_lsn = stamp.map_or(Lsn::ZERO, |stamp| stamp.lsn);
        let state = stamp.map(|stamp| StateStamp {
            lsn: stamp.lsn,
            open_lsn: stamp.open_lsn,
            group_hash: GroupHash(stamp.group_hash),
        });
        let recovered = recover::<ReplayError>(setup, state, |replayed| {
            self.visit(replayed).map_err(ReplayError::Open)
        });
        match recovered {
            Ok(recovered) => {
                self.report.log = recovered.report;
                Ok(recovered.writer)
            }
            Err(ReplayError::Open(error)) => Err(error),
            Err(ReplayError::Recover(error)) => Err(open_error(error)),
        }
    }

    fn visit(&mut self, replayed: Replayed<'_>) -> Result<(), OpenError> {
        match replayed {
            // Up to the stamp the tables know where chunks lie.
            Replayed::Chunk(chunk) if chunk.lsn <= self.state_lsn => Ok(()),
            Replayed::Chunk(chunk) => {
                let places = self.places.entry(chunk.lsn).or_default();
                places.segment = chunk.segment.0;
                places.chunks.push(StateChunkPlace {
                    number: u32::from(chunk.number),
                    offset: chunk.offset,
                    length: chunk.length,
                    hash: chunk.hash,
                });
                Ok(())
            }
            Replayed::Group { place, group } => self.group(place.segment, place.offset, group),
        }
    }

    fn group(
        &mut self,
        segment: SegmentNumber,
        offset: u64,
        group: &Group<'_>,
    ) -> Result<(), OpenError> {
        if group.header.stamp.key_version > self.keys.version() {
            return Err(OpenError::Invalid(format!(
                "the key table is older than the log needs (group at {}); restore \
                 volumes/{MAIN_VOLUME}/keys from the newest copy",
                group.header.stamp.first_lsn
            )));
        }
        let mut changes = Changes::default();
        changes.places.extend(std::mem::take(&mut self.places));
        for placed in group.items() {
            let Item::Record { header, payload } = placed.item else { continue };
            if header.lsn <= self.state_lsn {
                continue;
            }
            let Some(record) = self.open_record(segment, offset, &header, payload)? else {
                continue;
            };
            self.apply(&mut changes, header, record)?;
        }
        self.committed.publish(changes);
        Ok(())
    }

    /// The opened record; `None` if its account's key is destroyed.
    fn open_record(
        &mut self,
        segment: SegmentNumber,
        offset: u64,
        header: &RecordHeader,
        payload: &[u8],
    ) -> Result<Option<Record>, OpenError> {
        let account = header.account;
        let keys = Arc::clone(&self.keys);
        if account != AccountNumber::VOLUME && keys.current(account).is_none() {
            self.report.destroyed_count += 1;
            return Ok(None);
        }
        let aad = Aad::Record { kind: header.record_type, account, lsn: header.lsn };
        let damage = |what: String| Damage {
            file: PathBuf::from(format!("segment {}", segment.0)),
            offset,
            what: format!("the record at {}: {what}", header.lsn),
        };
        let (generation, sealed) =
            payload.split_first_chunk().ok_or_else(|| damage("it ends early".into()))?;
        let generation = KeyGeneration(u32::from_le_bytes(*generation));
        let key = match account {
            AccountNumber::VOLUME => Some(keys.volume_key()),
            account => keys.key(account, generation),
        };
        let key = key.ok_or_else(|| damage("its key is not in the key table".into()))?;
        let plain =
            crate::seal::open(key, aad, sealed).map_err(|error| damage(error.to_string()))?;
        let record = Record::decode(header.record_type, &plain)
            .map_err(|why| damage(format!("it does not decode: {why}")))?;
        self.report.record_count += 1;
        Ok(Some(record))
    }

    /// Applies a record; those of a run when its last one is there. Anything in between makes the
    /// run void.
    fn apply(
        &mut self,
        changes: &mut Changes,
        header: RecordHeader,
        record: Record,
    ) -> Result<(), OpenError> {
        let continues = self.run.first().is_some_and(|(_, first)| {
            first.run.map(|run| run.first) == record.run.map(|run| run.first)
        });
        if !continues && !self.run.is_empty() {
            self.report.void_count += 1;
            self.run.clear();
        }
        match record.run {
            None => changes.apply(self.committed, header.account, header.lsn, &record)?,
            Some(run) => {
                self.run.push((header, record));
                if run.last {
                    for (header, record) in std::mem::take(&mut self.run) {
                        changes.apply(self.committed, header.account, header.lsn, &record)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<OpenReport, OpenError> {
        if !self.run.is_empty() {
            self.report.void_count += 1;
        }
        self.committed.add_places(std::mem::take(&mut self.places));
        Ok(self.report)
    }
}

fn open_error(error: RecoverError) -> OpenError {
    match error {
        RecoverError::Disk(error) => OpenError::Disk(error),
        RecoverError::Damage(damage) => OpenError::Damage(damage),
        RecoverError::Corruption { damage, first, last } => {
            OpenError::Corrupt { damage, first, last }
        }
        other => OpenError::Invalid(other.to_string()),
    }
}

impl From<OpenError> for CommitError {
    fn from(error: OpenError) -> CommitError {
        CommitError::Read(ReadError::Table(error.to_string()))
    }
}
