//! Makes the full-text index follow the log, on a thread of its own.
//!
//! It rests as long as it works, and several times as long while changes are being committed, so
//! that a delivery waits for nothing here; when the disk is short of room, it makes nothing. What
//! it does is `search/indexer.rs`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::layout::Layout;
use super::surroundings::Surroundings;
use super::{Inner, OpenOptions, Store};
use crate::disk::OpenMode;
use crate::error::CommitError;
use crate::ids::AccountNumber;
use crate::log::Recovered;
use crate::seal::{KeyTable, Sealer};
use crate::search::{
    Documents, Index, IndexFigures, IndexFolder, Indexer, IndexerFigures, IndexerSetup,
    IndexerStep, Mail,
};
use crate::state::Committed;
use crate::width::u64_of;

/// How long room on the disk is waited for at a time.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// How often whoever waits for a new index is told how far it is.
const REBUILD_WAIT: Duration = Duration::from_millis(100);
/// It rests so many times as long as it works.
const REST_PART: u32 = 1;
/// It rests so long at most: what an extractor did was no work of its own.
const REST_MAX: Duration = Duration::from_secs(2);
/// The same while others change something.
const BUSY_REST_PART: u32 = 4;

/// Figures of the full-text index of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexStatus {
    /// Of accounts that were looked at since the start.
    pub figures: IndexFigures,
    /// Messages that are in no split yet: they are read when they are sought in.
    pub waiting_count: u64,
    /// Bytes of them, as received.
    pub waiting_bytes: u64,
    /// Accounts that have more of these than there may be, and others that are to be looked at.
    pub due_account_count: u64,
    /// Messages indexed since the start.
    pub made_count: u64,
    /// Bytes of them, as received.
    pub made_bytes: u64,
    /// Splits made since the start, by merging too.
    pub made_split_count: u64,
    /// Messages since the start that could not be indexed.
    pub made_skipped_count: u64,
}

/// The full-text index of a store, and what makes it follow the log.
pub(super) struct Indexing {
    pub(super) index: Arc<Index>,
    pub(super) indexer: Mutex<Indexer>,
    /// What the indexer did.
    figures: Arc<IndexerFigures>,
    /// How long one search may have documents looked into that are not indexed yet.
    pub(super) search_time: Duration,
}

impl Indexing {
    /// Looks which files there are. Where no changes are taken, they stay as they are.
    pub(super) fn begin(
        surroundings: &Surroundings,
        (layout, sealer, keys, committed): (&Layout, &Sealer, &Arc<KeyTable>, &Arc<Committed>),
        options: &OpenOptions,
        recovered: &Recovered,
    ) -> Indexing {
        let takes_changes = recovered.writer.is_some();
        let mode = if takes_changes { options.mode } else { OpenMode::Read };
        let bytes = options.index_cache_bytes;
        let (disk, sealing) = (Arc::clone(&surroundings.disk), (sealer.clone(), Arc::clone(keys)));
        let folder = IndexFolder::new(layout.index(), disk, sealing, bytes);
        let at = (mode, recovered.end.last_lsn);
        let documents = Arc::new(Documents::new(options.extractor.clone()));
        if documents.is_on() && mode == OpenMode::ReadWrite {
            committed.index_feed.look_at_each();
        }
        let index =
            Index::begin((folder, documents), committed, surroundings.index_bounds, at, bytes);
        let figures = Arc::<IndexerFigures>::default();
        let setup = IndexerSetup { index: Arc::clone(&index), committed: Arc::clone(committed) };
        let indexer = Mutex::new(Indexer::new(setup, Arc::clone(&figures)));
        let search_time = options.extractor_search_time;
        Indexing { index, indexer, figures, search_time }
    }
}

/// Indexes until the store is closed; holds nothing of it that keeps it open.
pub(super) fn index_while_open(store: &Weak<Inner>) {
    let Some(committed) = store.upgrade().map(|inner| Arc::clone(&inner.committed)) else { return };
    let feed = &committed.index_feed;
    // What is half done goes on, whether anything new comes or not.
    let mut step = IndexerStep::Idle;
    while step == IndexerStep::Again || feed.wait() {
        let Some(inner) = store.upgrade() else { return };
        let rest;
        (step, rest) = if inner.may_index() { inner.index_and_time() } else { (step, ROOM_WAIT) };
        drop(inner);
        if !feed.rest(rest) {
            return;
        }
    }
}

impl Inner {
    fn may_index(&self) -> bool {
        self.mode == OpenMode::ReadWrite
            && self.commit_status.stopped().is_none()
            && self.room.has_beside_reserve(self.indexing.index.bounds.builder_bytes)
    }

    /// Takes a step; answers what it did, and how long to rest.
    fn index_and_time(&self) -> (IndexerStep, Duration) {
        let feed = &self.committed.index_feed;
        let changes = || self.commit_status.change_count.load(Ordering::Relaxed);
        let mut before = (self.clock.monotonic(), changes());
        let mut rest_of = |is_step_over: bool| {
            let now = (self.clock.monotonic(), changes());
            let part = if now.1 == before.1 { REST_PART } else { BUSY_REST_PART };
            let rest = (now.0.saturating_sub(before.0) * part).min(REST_MAX);
            if !is_step_over {
                let goes_on = feed.rest(rest);
                before = (self.clock.monotonic(), changes());
                return (goes_on, Duration::ZERO);
            }
            (true, rest)
        };
        let step = self.index_step(&mut || rest_of(false).0 && self.may_index());
        (step, rest_of(true).1)
    }

    /// Takes a step; a merge asks `go_on` now and then.
    fn index_step(&self, go_on: &mut dyn FnMut() -> bool) -> IndexerStep {
        let mail = Mail {
            whole: &|account, blob| self.message_and_summary(account, blob),
            summary: &|account, blob| self.summary(account, blob),
        };
        self.indexing.indexer.lock().step(&mail, go_on)
    }
}

impl Store {
    /// Figures of the full-text index.
    pub fn index_status(&self) -> IndexStatus {
        let inner = &self.inner;
        let (waiting_count, waiting_bytes) = inner.committed.index_feed.outside();
        let made = &inner.indexing.figures;
        IndexStatus {
            figures: inner.indexing.index.figures(),
            waiting_count,
            waiting_bytes,
            due_account_count: inner.committed.index_feed.due_count(),
            made_count: made.message_count.load(Ordering::Relaxed),
            made_bytes: made.message_bytes.load(Ordering::Relaxed),
            made_split_count: made.split_count.load(Ordering::Relaxed),
            made_skipped_count: made.skipped_count.load(Ordering::Relaxed),
        }
    }

    /// Makes the index of an account anew, in the background; comes back when no more of it lies
    /// outside than may. `progress` hears messages done, of how many. Who searches meanwhile reads
    /// messages.
    ///
    /// # Errors
    /// [`CommitError`] if state cannot be read, or the store takes no changes or has no room.
    pub fn rebuild_index(
        &self,
        account: AccountNumber,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), CommitError> {
        let inner = &self.inner;
        if inner.commit_status.stopped().is_some() {
            return Err(inner.refusal());
        }
        inner.indexing.index.forget(account);
        let mut total = 0;
        loop {
            let left = u64_of(inner.indexing.index.to_index(account)?.len());
            if left == 0 && inner.indexing.index.is_looked_at(account) {
                return Ok(());
            }
            total = left.max(total);
            progress(total - left, total);
            if inner.commit_status.stopped().is_some() {
                return Err(inner.refusal());
            }
            if !inner.may_index() {
                return Err(CommitError::DiskFull);
            }
            inner.committed.index_feed.want(account);
            std::thread::sleep(REBUILD_WAIT);
        }
    }
}

#[cfg(test)]
impl Store {
    /// Does at most so many steps; answers how many did something.
    pub(crate) fn make_index(&self, step_count: u64) -> u64 {
        let does = |_: &u64| {
            self.inner.may_index() && self.inner.index_step(&mut || true) == IndexerStep::Again
        };
        (0..step_count).take_while(does).count().try_into().unwrap()
    }
}
