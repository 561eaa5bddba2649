//! What the full-text index hears of committed groups: which blobs an account got, and how many
//! messages went.
//!
//! ```text
//!  publish ─► note ─┬─► fresh blobs      of accounts whose index is in memory
//!                   └─► counted only     of others; when enough lies outside of the index,
//!                                        the account is due (store/index_maker.rs)
//!                  └► to be looked at    each one, where there is an extractor: one that has
//!                                        documents makes its account due
//! ```
//!
//! # Invariants
//! 1. A message that a view shows was noted: groups are noted before they are visible.
//! 2. What is watched from some moment on has every blob that was not in a view at that moment:
//!    watching begins between two groups.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::changes::Changes;
use crate::ids::{AccountNumber, BlobId};
use crate::limits::{
    INDEX_BUILDER_BYTES_MAX, INDEX_MERGED_SPLITS, INDEX_SPLIT_MESSAGES_MAX, INDEX_TAIL_BYTES_MAX,
    INDEX_TAIL_MESSAGES_MAX,
};
use crate::sabotage::{Sabotage, breaks};
use crate::width::u64_of;

/// Bounds of the full-text index; see [`crate::limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IndexBounds {
    pub(crate) tail_messages: u64,
    pub(crate) tail_bytes: u64,
    pub(crate) split_messages: u32,
    pub(crate) merged_splits: usize,
    pub(crate) builder_bytes: usize,
}

impl Default for IndexBounds {
    fn default() -> IndexBounds {
        IndexBounds {
            tail_messages: INDEX_TAIL_MESSAGES_MAX,
            tail_bytes: INDEX_TAIL_BYTES_MAX,
            split_messages: INDEX_SPLIT_MESSAGES_MAX,
            merged_splits: INDEX_MERGED_SPLITS,
            builder_bytes: INDEX_BUILDER_BYTES_MAX,
        }
    }
}

impl IndexBounds {
    /// Whether so much may not lie outside of an account's index.
    pub(crate) fn is_over(&self, count: u64, bytes: u64) -> bool {
        count > self.tail_messages || bytes > self.tail_bytes
    }

    /// So many messages that went are worth looking what of the splits is dead.
    fn removed_max(&self) -> u64 {
        self.tail_messages.saturating_mul(8)
    }
}

/// A blob, and bytes of its message as far as they are known.
pub(crate) type FreshBlob = (BlobId, u64);

/// What came, and what is due.
#[derive(Default)]
pub(crate) struct IndexFeed {
    bounds: IndexBounds,
    /// Held while a group is noted and made visible.
    gate: Mutex<()>,
    inner: Mutex<Inner>,
    changed: Condvar,
    closed: AtomicBool,
    /// Whether what comes is looked at for documents.
    looks: AtomicBool,
}

#[derive(Default)]
struct Inner {
    /// Messages that came and were not looked at; of accounts that are due, none are added.
    unlooked: VecDeque<(AccountNumber, BlobId)>,
    accounts: HashMap<AccountNumber, Arrived>,
    /// Accounts with more outside of their index than there may be.
    due: BTreeSet<AccountNumber>,
    /// Accounts that were deleted.
    gone: Vec<AccountNumber>,
}

#[derive(Default)]
struct Arrived {
    is_watched: bool,
    fresh: Vec<FreshBlob>,
    /// Messages outside of the index, about.
    outside_count: u64,
    outside_bytes: u64,
    /// Messages that went since it was asked last.
    removed: u64,
}

impl Arrived {
    fn is_due(&self, bounds: &IndexBounds) -> bool {
        bounds.is_over(self.outside_count, self.outside_bytes)
            || self.removed > bounds.removed_max()
    }
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IndexWork {
    /// An account's files go.
    Forget(AccountNumber),
    /// An account is looked at.
    Visit(AccountNumber),
    /// A message is looked at: it may have documents.
    Look(AccountNumber, BlobId),
    Nothing,
}

impl IndexFeed {
    /// With these bounds.
    pub(crate) fn with(bounds: IndexBounds) -> IndexFeed {
        IndexFeed { bounds, ..IndexFeed::default() }
    }

    /// From now on each message that comes is looked at.
    pub(crate) fn look_at_each(&self) {
        self.looks.store(true, Ordering::Relaxed);
    }

    /// To be held while a group is made visible.
    pub(super) fn publishing(&self) -> MutexGuard<'_, ()> {
        self.gate.lock()
    }

    /// Notes what a group brings, before it is visible.
    pub(super) fn note(&self, changes: &Changes) {
        let is_touched = !changes.references.is_empty() || !changes.dropped.is_empty();
        let is_gone = changes.accounts.values().any(Option::is_none);
        if !is_touched && !is_gone && changes.destroyed.is_empty() {
            return;
        }
        if breaks(Sabotage::Index) {
            return;
        }
        let mut inner = self.inner.lock();
        let looks = self.looks.load(Ordering::Relaxed);
        let Inner { unlooked, accounts, due, gone } = &mut *inner;
        let mut has_work = false;
        for (&(blob, account, ..), &made) in &changes.references {
            let arrived = accounts.entry(account).or_default();
            if !made {
                arrived.removed += 1;
                has_work |= arrived.is_due(&self.bounds) && due.insert(account);
                continue;
            }
            let bytes = changes.blobs.get(&blob).map_or(0, |row| row.shape.plain_bytes);
            arrived.outside_count += 1;
            arrived.outside_bytes += bytes;
            if arrived.is_watched {
                arrived.fresh.push((blob, bytes));
            }
            if arrived.is_due(&self.bounds) {
                has_work |= due.insert(account);
            } else if looks {
                unlooked.push_back((account, blob));
                has_work = true;
            }
        }
        for ((account, _), state, _) in &changes.dropped {
            let arrived = accounts.entry(*account).or_default();
            arrived.removed += u64::from(state.counts().messages);
            has_work |= arrived.is_due(&self.bounds) && due.insert(*account);
        }
        let deleted = changes.accounts.iter().filter(|(_, state)| state.is_none());
        for account in deleted.map(|(account, _)| account).chain(&changes.destroyed) {
            accounts.remove(account);
            due.remove(account);
            gone.push(*account);
            has_work = true;
        }
        drop(inner);
        if has_work {
            self.changed.notify_one();
        }
    }

    /// Collects the blobs of an account from now on.
    pub(crate) fn watch(&self, account: AccountNumber) {
        // Groups before this one are in the views, later ones are noted.
        let _between_groups = self.gate.lock();
        let mut inner = self.inner.lock();
        let arrived = inner.accounts.entry(account).or_default();
        arrived.is_watched = true;
        arrived.fresh.clear();
    }

    /// Counts the blobs of an account from now on.
    pub(crate) fn unwatch(&self, account: AccountNumber) {
        if let Some(arrived) = self.inner.lock().accounts.get_mut(&account) {
            arrived.is_watched = false;
            arrived.fresh = Vec::new();
        }
    }

    /// Takes what came to a watched account; all of it is visible.
    pub(crate) fn take(&self, account: AccountNumber) -> Vec<FreshBlob> {
        // What was noted and is not visible yet would be taken for gone by whoever reads it.
        let _between_groups = self.gate.lock();
        let mut inner = self.inner.lock();
        let arrived = inner.accounts.get_mut(&account);
        arrived.map(|arrived| std::mem::take(&mut arrived.fresh)).unwrap_or_default()
    }

    /// Takes how many messages went.
    pub(crate) fn take_removed(&self, account: AccountNumber) -> u64 {
        let mut inner = self.inner.lock();
        inner.accounts.get_mut(&account).map_or(0, |arrived| std::mem::take(&mut arrived.removed))
    }

    /// So much of an account lies outside of its index, beside what came since it was taken.
    pub(crate) fn set_outside(&self, account: AccountNumber, count: u64, bytes: u64) {
        let mut inner = self.inner.lock();
        let arrived = inner.accounts.entry(account).or_default();
        arrived.outside_count = count + u64_of(arrived.fresh.len());
        arrived.outside_bytes = bytes + arrived.fresh.iter().map(|(_, bytes)| bytes).sum::<u64>();
    }

    /// Messages and bytes that lie outside, of all accounts, as far as that is known.
    pub(crate) fn outside(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        let all = inner.accounts.values();
        all.fold((0, 0), |sum, one| (sum.0 + one.outside_count, sum.1 + one.outside_bytes))
    }

    /// An account is to be looked at.
    pub(crate) fn want(&self, account: AccountNumber) {
        self.inner.lock().due.insert(account);
        self.changed.notify_one();
    }

    /// Takes what is to be done next.
    pub(crate) fn next(&self) -> IndexWork {
        let mut inner = self.inner.lock();
        if let Some(account) = inner.gone.pop() {
            return IndexWork::Forget(account);
        }
        if let Some((account, blob)) = inner.unlooked.pop_front() {
            drop(inner);
            // It was noted before it was visible; now it is.
            drop(self.gate.lock());
            return IndexWork::Look(account, blob);
        }
        inner.due.pop_first().map_or(IndexWork::Nothing, IndexWork::Visit)
    }

    /// Accounts that wait to be looked at.
    pub(crate) fn due_count(&self) -> u64 {
        u64_of(self.inner.lock().due.len())
    }

    /// Waits until there is something to do; `false` once closed.
    pub(crate) fn wait(&self) -> bool {
        let mut inner = self.inner.lock();
        let is_idle = |inner: &Inner| {
            inner.due.is_empty() && inner.gone.is_empty() && inner.unlooked.is_empty()
        };
        while !self.is_closed() && is_idle(&inner) {
            self.changed.wait(&mut inner);
        }
        !self.is_closed()
    }

    /// Does nothing for so long; `false` once closed.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        let mut inner = self.inner.lock();
        let until = Instant::now() + time;
        while !self.is_closed() && !self.changed.wait_until(&mut inner, until).timed_out() {}
        !self.is_closed()
    }

    /// Whether all work is to end.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends all waiting.
    pub(crate) fn close(&self) {
        let _inner = self.inner.lock();
        self.closed.store(true, Ordering::Release);
        self.changed.notify_all();
    }
}
