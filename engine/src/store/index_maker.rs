//! Makes the full-text index follow the log, on a thread of its own.
//!
//! It rests as long as it works, and several times as long while changes are being committed, so
//! that a delivery waits for nothing here. The further it is behind, the less it rests, so that
//! what lies outside of the index stays bounded: from [`HURRY_MESSAGES`] or [`HURRY_BYTES`] on not
//! at all. When the disk is short of room, it makes nothing. What it does is `search/indexer.rs`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::layout::Layout;
use super::surroundings::Surroundings;
use super::text_cache::TextCache;
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
use crate::state::{Amount, Committed};
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
/// Others come first where there are not processors enough: it has a third of their share then.
const NICENESS: i32 = 5;
/// With so many messages in accounts that have too many outside of their index, it rests no more;
/// with half as many, half as long.
const HURRY_MESSAGES: u64 = 16 << 10;
/// The same with so many bytes of them.
const HURRY_BYTES: u64 = 256 << 20;

/// Who makes the full-text index follow the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IndexDrive {
    /// A thread of the store.
    #[default]
    Thread,
    /// Whoever calls [`Store::index_step`]: tests, which want it at moments that they choose.
    Caller,
}

/// Figures of the full-text index of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexStatus {
    /// Of accounts that were looked at since the start.
    pub figures: IndexFigures,
    /// Messages that are in no split yet: they are read when they are sought in.
    pub waiting_count: u64,
    /// Bytes of them, as received.
    pub waiting_bytes: u64,
    /// Those of them in accounts that have more of these than there may be: the indexer is behind
    /// by so many.
    pub behind_count: u64,
    /// Bytes of them, as received.
    pub behind_bytes: u64,
    /// For how long it has been behind; none of them came earlier.
    pub behind_for: Duration,
    /// Accounts that wait to be looked at.
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
    /// Texts that searches had to ask.
    pub(super) texts: TextCache,
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
        let index = Index::begin((folder, documents), committed, options.index_bounds, at, bytes);
        let figures = Arc::<IndexerFigures>::default();
        let setup = IndexerSetup { index: Arc::clone(&index), committed: Arc::clone(committed) };
        let indexer = Mutex::new(Indexer::new(setup, Arc::clone(&figures)));
        let search_time = options.extractor_search_time;
        Indexing { index, indexer, figures, search_time, texts: TextCache::new() }
    }
}

/// Indexes until the store is closed; holds nothing of it that keeps it open.
pub(super) fn index_while_open(store: &Weak<Inner>) {
    let Some(committed) = store.upgrade().map(|inner| Arc::clone(&inner.committed)) else { return };
    let feed = &committed.index_feed;
    // On Linux this is about the calling thread alone.
    let _ = rustix::process::nice(NICENESS);
    let mut step = IndexerStep::Idle;
    while feed.wait(step == IndexerStep::Again) {
        let Some(inner) = store.upgrade() else { return };
        let mut rest = ROOM_WAIT;
        if inner.may_index() {
            (step, rest) = inner.index_and_time();
        }
        drop(inner);
        if !feed.rest(rest) {
            return;
        }
    }
}

/// How long to rest after so much work, with so much in accounts that have too much outside.
fn rest_after(worked: Duration, are_others_busy: bool, behind: Amount) -> Duration {
    const WHOLE: u64 = 1024;
    let part = if are_others_busy { BUSY_REST_PART } else { REST_PART };
    let of = |amount: u64, hurry: u64| amount.saturating_mul(WHOLE) / hurry;
    let hurry = of(behind.count, HURRY_MESSAGES).max(of(behind.bytes, HURRY_BYTES)).min(WHOLE);
    let rest = u64_of_micros(worked * part).saturating_mul(WHOLE - hurry) / WHOLE;
    Duration::from_micros(rest)
}

fn u64_of_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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
            let worked = now.0.saturating_sub(before.0);
            let rest = rest_after(worked, now.1 != before.1, feed.behind()).min(REST_MAX);
            if !is_step_over {
                let goes_on = feed.rest(rest);
                before = (self.clock.monotonic(), changes());
                return (goes_on, Duration::ZERO);
            }
            (true, rest)
        };
        let step = self.index_step(&mut || rest_of(false).0 && feed.wait(true) && self.may_index());
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
    /// Figures of the full-text index. Where no changes are taken, nobody has looked at the
    /// accounts that have one, and that is done now.
    pub fn index_status(&self) -> IndexStatus {
        let inner = &self.inner;
        if inner.commit_status.stopped().is_some() {
            inner.indexing.index.look_at_all();
        }
        let outside = inner.committed.index_feed.outside();
        let behind = inner.committed.index_feed.behind();
        let made = &inner.indexing.figures;
        IndexStatus {
            figures: inner.indexing.index.figures(),
            waiting_count: outside.count,
            waiting_bytes: outside.bytes,
            behind_count: behind.count,
            behind_bytes: behind.bytes,
            behind_for: inner.committed.index_feed.behind_for(),
            due_account_count: inner.committed.index_feed.due_count(),
            made_count: made.message_count.load(Ordering::Relaxed),
            made_bytes: made.message_bytes.load(Ordering::Relaxed),
            made_split_count: made.split_count.load(Ordering::Relaxed),
            made_skipped_count: made.skipped_count.load(Ordering::Relaxed),
        }
    }

    /// Does a little of what the index has to do, of a store opened with [`IndexDrive::Caller`];
    /// answers whether there was anything.
    pub fn index_step(&self) -> bool {
        self.inner.may_index() && self.inner.index_step(&mut || true) == IndexerStep::Again
    }

    /// Leaves the index as it is from now on, or lets its thread go on: for measurements of what it
    /// costs others. Searches are answered as always.
    pub fn pause_indexing(&self, paused: bool) {
        self.inner.committed.index_feed.set_paused(paused);
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
        (0..step_count).take_while(|_| self.index_step()).count().try_into().unwrap()
    }

    /// The folder of the index holds what is named, and nothing else.
    pub(crate) fn compare_index_files(&self) {
        self.inner.indexing.index.compare_files();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_the_less_the_further_it_is_behind() {
        let worked = Duration::from_millis(8);
        let with = |are_others_busy, count, bytes| {
            rest_after(worked, are_others_busy, Amount { count, bytes }).as_millis()
        };
        let table = [
            (with(true, 0, 0), 32, "four times as long beside others"),
            (with(false, 0, 0), 8, "as long by itself"),
            (with(true, HURRY_MESSAGES / 2, 0), 16, "half as long"),
            (with(true, 5, HURRY_BYTES / 4 * 3), 8, "bytes count, too"),
            (with(true, HURRY_MESSAGES, 0), 0, "not at all"),
            (with(true, u64::MAX, u64::MAX), 0, "whatever waits"),
        ];
        for (rest, expected, reason) in table {
            assert_eq!(rest, expected, "{reason}");
        }
    }
}
