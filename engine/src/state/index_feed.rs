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
use super::part::is_of_part;
use crate::ids::{AccountNumber, BlobId};
use crate::limits::{
    INDEX_BUILDER_BYTES_MAX, INDEX_MERGED_SPLITS, INDEX_SPLIT_MESSAGES_MAX, INDEX_TAIL_BYTES_MAX,
    INDEX_TAIL_MESSAGES_MAX,
};
use crate::sabotage::{Sabotage, breaks};
use crate::width::u64_of;

/// Bounds of the full-text index; see [`crate::limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexBounds {
    /// Messages of an account that may lie outside; one that has no more has no index.
    pub tail_messages: u64,
    /// Bytes of them, as received.
    pub tail_bytes: u64,
    /// Messages of a split that merging makes.
    pub split_messages: u32,
    /// Splits of about the same size that become one.
    pub merged_splits: usize,
    /// Memory of what is gathered for a split.
    pub builder_bytes: usize,
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
    paused: AtomicBool,
}

/// Messages, and bytes of them as received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Amount {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    fn plus(self, other: Amount) -> Amount {
        Amount { count: self.count + other.count, bytes: self.bytes + other.bytes }
    }

    fn minus(self, other: Amount) -> Amount {
        Amount {
            count: self.count.saturating_sub(other.count),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
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
    /// The sum over all accounts of what lies outside.
    outside: Amount,
    /// The same over those that have more of it than there may be.
    behind: Amount,
}

#[derive(Default)]
struct Arrived {
    is_watched: bool,
    fresh: Vec<FreshBlob>,
    /// Messages outside of the index, about.
    outside: Amount,
    /// Messages that went since it was asked last.
    removed: u64,
    /// With more outside than there may be: nothing that lies outside is older than this.
    behind_since: Option<Instant>,
    /// What lay outside then is being indexed.
    looked_at: Option<Instant>,
}

impl Arrived {
    fn is_behind(&self, bounds: &IndexBounds) -> bool {
        bounds.is_over(self.outside.count, self.outside.bytes)
    }

    fn is_due(&self, bounds: &IndexBounds) -> bool {
        self.is_behind(bounds) || self.removed > bounds.removed_max()
    }
}

impl Inner {
    /// Changes what is known of an account, and the sums with it; answers whether it is due.
    fn change(
        &mut self,
        bounds: &IndexBounds,
        account: AccountNumber,
        change: impl FnOnce(&mut Arrived),
    ) -> bool {
        let arrived = self.accounts.entry(account).or_default();
        let (before, was_behind) = (arrived.outside, arrived.is_behind(bounds));
        change(arrived);
        self.outside = self.outside.minus(before).plus(arrived.outside);
        let is_behind = arrived.is_behind(bounds);
        if was_behind {
            self.behind = self.behind.minus(before);
        }
        if is_behind {
            self.behind = self.behind.plus(arrived.outside);
        }
        if !is_behind {
            (arrived.behind_since, arrived.looked_at) = (None, None);
        } else if arrived.behind_since.is_none() {
            arrived.behind_since = Some(Instant::now());
        }
        arrived.is_due(bounds)
    }

    /// The same; answers whether it became due by it.
    fn change_and_call(
        &mut self,
        bounds: &IndexBounds,
        account: AccountNumber,
        change: impl FnOnce(&mut Arrived),
    ) -> bool {
        self.change(bounds, account, change) && self.due.insert(account)
    }

    fn remove(&mut self, bounds: &IndexBounds, account: AccountNumber) {
        if self.accounts.contains_key(&account) {
            self.change(bounds, account, |arrived| arrived.outside = Amount::default());
            self.accounts.remove(&account);
        }
        self.due.remove(&account);
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
        let mut has_work = false;
        let of_messages = changes.references.iter().filter(|(key, _)| !is_of_part(**key));
        for (&(blob, account, ..), &made) in of_messages {
            let bytes = changes.blobs.get(&blob).map_or(0, |row| row.shape.plain_bytes);
            let is_due = inner.change(&self.bounds, account, |arrived| {
                if !made {
                    arrived.removed += 1;
                    return;
                }
                arrived.outside = arrived.outside.plus(Amount { count: 1, bytes });
                if arrived.is_watched {
                    arrived.fresh.push((blob, bytes));
                }
            });
            if is_due {
                has_work |= inner.due.insert(account);
            } else if made && looks {
                inner.unlooked.push_back((account, blob));
                has_work = true;
            }
        }
        for ((account, _), state, _) in &changes.dropped {
            let count = u64::from(state.counts().messages);
            has_work |=
                inner.change_and_call(&self.bounds, *account, |arrived| arrived.removed += count);
        }
        let deleted = changes.accounts.iter().filter(|(_, state)| state.is_none());
        for account in deleted.map(|(account, _)| account).chain(&changes.destroyed) {
            inner.remove(&self.bounds, *account);
            inner.gone.push(*account);
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

    /// An account is gone, and whoever still worked with it is done.
    pub(crate) fn forget(&self, account: AccountNumber) {
        self.inner.lock().remove(&self.bounds, account);
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
        self.inner.lock().change(&self.bounds, account, |arrived| {
            let fresh = arrived.fresh.iter().map(|(_, bytes)| bytes).sum();
            let fresh = Amount { count: u64_of(arrived.fresh.len()), bytes: fresh };
            arrived.outside = Amount { count, bytes }.plus(fresh);
        });
    }

    /// What lies outside of an account's index is taken to be indexed: what was taken the time
    /// before is in it.
    pub(crate) fn note_look(&self, account: AccountNumber) {
        self.inner.lock().change(&self.bounds, account, |arrived| {
            if let Some(before) = arrived.looked_at.replace(Instant::now()) {
                arrived.behind_since = Some(before);
            }
        });
    }

    /// What lies outside, of all accounts, as far as that is known.
    pub(crate) fn outside(&self) -> Amount {
        self.inner.lock().outside
    }

    /// The same of accounts that have more of it than there may be: the indexer is behind by this.
    pub(crate) fn behind(&self) -> Amount {
        self.inner.lock().behind
    }

    /// How long the oldest of this has been waiting, at most.
    pub(crate) fn behind_for(&self) -> Duration {
        let inner = self.inner.lock();
        let oldest = inner.accounts.values().filter_map(|arrived| arrived.behind_since).min();
        oldest.map_or(Duration::ZERO, |since| since.elapsed())
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

    /// Waits until there is something to do; `false` once closed. Whoever is in the middle of
    /// something waits only while all is to be left as it is.
    pub(crate) fn wait(&self, is_busy: bool) -> bool {
        let mut inner = self.inner.lock();
        loop {
            let Inner { due, gone, unlooked, .. } = &*inner;
            let has_work = is_busy || !(due.is_empty() && gone.is_empty() && unlooked.is_empty());
            if self.is_closed() || (has_work && !self.is_paused()) {
                return !self.is_closed();
            }
            self.changed.wait(&mut inner);
        }
    }

    /// Does nothing for so long; `false` once closed.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        let mut inner = self.inner.lock();
        let until = Instant::now() + time;
        while !self.is_closed() && !self.changed.wait_until(&mut inner, until).timed_out() {}
        !self.is_closed()
    }

    /// Leaves everything as it is from now on, or goes on.
    pub(crate) fn set_paused(&self, paused: bool) {
        let _inner = self.inner.lock();
        self.paused.store(paused, Ordering::Release);
        self.changed.notify_all();
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
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
