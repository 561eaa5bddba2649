//! Summary pages on their way into the tables: which runs want one, what for, and what was made.
//!
//! ```text
//!  committed: a run is full ─┐                          ┌─► waiting ─(checkpoint)─► the table
//!  a reader misses a page ───┴─► spans, wanted ─► maker ┘                               │
//!                                (store/summary_maker.rs)     a message of it goes: deleted
//! ```
//! All of it is a cache: whatever is lost here or in the table is made again when it is read.
//!
//! # Invariants
//! 1. When a checkpoint has flushed, no page in the table has a message that was gone in it: a page
//!    is written only if the newest view has all of its messages, and deleted by the checkpoint
//!    that writes the expunge of one.
//! 2. All that waits is bounded; what does not fit is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::changes::MailboxKey;
use super::committed::{Committed, Unsaved};
use super::saved::Saved;
use super::table::Table;
use crate::error::ReadError;
use crate::ids::{BlobId, Uid};
use crate::limits::{
    SUMMARY_PAGES_WAITING_BYTES_MAX, SUMMARY_RUN_PART, SUMMARY_RUN_UIDS, SUMMARY_SPANS_MAX,
};
use crate::mailbox::PageKey;
use crate::uid_set::UidSet;

/// UIDs of a mailbox of whose runs pages are to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SummarySpan {
    pub(crate) mailbox: MailboxKey,
    /// The first of a run.
    pub(crate) from: Uid,
    /// The last; there are more behind it or it is the highest of its run.
    pub(crate) last: Uid,
    /// Of a run of which the table has a page that cannot be read.
    pub(crate) anew: bool,
}

/// A page that waits for a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MadePage {
    pub(crate) uids: UidSet,
    /// As it is stored, not sealed yet.
    pub(crate) value: Arc<[u8]>,
}

/// Pages that wait for a checkpoint, by their keys.
pub(crate) type MadePages = BTreeMap<PageKey, MadePage>;

/// What the maker has to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SummaryWork {
    Span(SummarySpan),
    /// What was made has to be written first.
    Full,
    Nothing,
}

/// Which runs want a page, and what was made.
pub(crate) struct SummaryPages {
    run_uids: u32,
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Called after a full run was noted.
    #[cfg(test)]
    pub(crate) on_growth: Mutex<Option<Box<dyn Fn() + Send>>>,
}

#[derive(Default)]
struct Inner {
    spans: VecDeque<SummarySpan>,
    /// Runs that a reader missed.
    wanted: BTreeMap<PageKey, bool>,
    made: MadePages,
    made_bytes: usize,
    /// Of messages that were committed a moment ago, so that their blobs need not be opened.
    recent: HashMap<BlobId, Arc<[u8]>>,
    recent_order: VecDeque<BlobId>,
    recent_bytes: usize,
    closed: bool,
}

impl Default for SummaryPages {
    fn default() -> SummaryPages {
        SummaryPages::of_runs(SUMMARY_RUN_UIDS)
    }
}

impl SummaryPages {
    /// With runs of so many UIDs, at most [`SUMMARY_RUN_UIDS`].
    pub(crate) fn of_runs(run_uids: u32) -> SummaryPages {
        SummaryPages {
            run_uids,
            inner: Mutex::default(),
            changed: Condvar::new(),
            #[cfg(test)]
            on_growth: Mutex::default(),
        }
    }

    /// The first UID of a UID's run.
    pub(crate) fn run_of(&self, uid: Uid) -> Uid {
        Uid(uid.0 - uid.0 % self.run_uids)
    }

    /// The last UID of the run that begins with that one.
    pub(crate) fn last_of(&self, run: Uid) -> Uid {
        Uid(run.0.saturating_add(self.run_uids - 1))
    }

    /// Whether a page is worth it for so many messages of a run.
    pub(crate) fn is_worth(&self, count: usize) -> bool {
        count >= crate::width::usize_of_u32(self.run_uids / SUMMARY_RUN_PART).max(1)
    }

    /// A mailbox has given the UIDs from `before` on, and not yet `now`.
    pub(super) fn note_growth(&self, mailbox: MailboxKey, before: u64, now: u64) {
        let run_uids = u64::from(self.run_uids);
        let (from, end) = (before - before % run_uids, now - now % run_uids);
        let (Ok(from), Some(last)) = (u32::try_from(from), end.checked_sub(1)) else { return };
        let Ok(last) = u32::try_from(last) else { return };
        if from > last {
            return;
        }
        let (from, last) = (Uid(from), Uid(last));
        let mut inner = self.inner.lock();
        match inner.spans.back_mut() {
            // A long append comes in several pieces.
            Some(span) if span.mailbox == mailbox && span.last.0.checked_add(1) == Some(from.0) => {
                span.last = last;
            }
            _ => inner.spans.push_back(SummarySpan { mailbox, from, last, anew: false }),
        }
        if inner.spans.len() > SUMMARY_SPANS_MAX {
            inner.spans.pop_front();
        }
        drop(inner);
        self.changed.notify_one();
        #[cfg(test)]
        if let Some(hears) = &*self.on_growth.lock() {
            hears();
        }
    }

    /// A reader found no page of a run, or (`anew`) one that cannot be read.
    pub(crate) fn want(&self, run: PageKey, anew: bool) {
        let mut inner = self.inner.lock();
        if inner.wanted.len() < SUMMARY_SPANS_MAX {
            *inner.wanted.entry(run).or_default() |= anew;
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Takes what is to be done next.
    pub(crate) fn next(&self) -> SummaryWork {
        let mut inner = self.inner.lock();
        if inner.made_bytes >= SUMMARY_PAGES_WAITING_BYTES_MAX {
            return SummaryWork::Full;
        }
        if let Some(span) = inner.spans.pop_front() {
            return SummaryWork::Span(span);
        }
        let Some((run, anew)) = inner.wanted.pop_first() else { return SummaryWork::Nothing };
        let (from, last) = (run.first_uid, self.last_of(run.first_uid));
        let mailbox = (run.account, run.mailbox);
        SummaryWork::Span(SummarySpan { mailbox, from, last, anew })
    }

    /// Puts back what is left of a span.
    pub(crate) fn put_back(&self, span: SummarySpan) {
        self.inner.lock().spans.push_front(span);
    }

    /// Forgets all that is to be done.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.spans.clear();
        inner.wanted.clear();
    }

    /// Waits until there is something to do; `false` once closed.
    pub(crate) fn wait(&self) -> bool {
        let mut inner = self.inner.lock();
        while !inner.closed && inner.spans.is_empty() && inner.wanted.is_empty() {
            self.changed.wait(&mut inner);
        }
        !inner.closed
    }

    /// Does nothing for so long; `false` once closed.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        let mut inner = self.inner.lock();
        let until = std::time::Instant::now() + time;
        while !inner.closed && !self.changed.wait_until(&mut inner, until).timed_out() {}
        !inner.closed
    }

    /// Ends all waiting.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.changed.notify_all();
    }

    /// Keeps summaries of messages that are being committed.
    pub(super) fn remember(&self, summaries: Vec<(BlobId, Arc<[u8]>)>) {
        if summaries.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        for (blob, summary) in summaries {
            inner.recent_bytes += summary.len();
            if let Some(before) = inner.recent.insert(blob, summary) {
                inner.recent_bytes -= before.len();
                continue;
            }
            inner.recent_order.push_back(blob);
        }
        while inner.recent_bytes > SUMMARY_PAGES_WAITING_BYTES_MAX {
            let Some(oldest) = inner.recent_order.pop_front() else { break };
            let gone = inner.recent.remove(&oldest);
            inner.recent_bytes -= gone.map_or(0, |summary| summary.len());
        }
    }

    /// Takes the summary of a message that was committed a moment ago.
    pub(crate) fn recall(&self, blob: BlobId) -> Option<Arc<[u8]>> {
        /// What was taken stays in the order for a while, at most so many and as many as are left.
        const TAKEN_MAX: usize = 1024;
        let mut inner = self.inner.lock();
        let Inner { recent, recent_order, recent_bytes, .. } = &mut *inner;
        let summary = recent.remove(&blob)?;
        *recent_bytes -= summary.len();
        if recent_order.len() > 2 * recent.len() + TAKEN_MAX {
            recent_order.retain(|blob| recent.contains_key(blob));
        }
        Some(summary)
    }

    /// A page was made.
    pub(crate) fn put(&self, run: PageKey, page: MadePage) {
        let mut inner = self.inner.lock();
        inner.made_bytes += page.value.len();
        let before = inner.made.insert(run, page);
        inner.made_bytes -= before.map_or(0, |page| page.value.len());
    }

    /// A page that waits for a checkpoint.
    pub(crate) fn find(&self, run: PageKey) -> Option<Arc<[u8]>> {
        self.inner.lock().made.get(&run).map(|page| Arc::clone(&page.value))
    }

    /// UIDs of a run.
    pub(super) fn run_uids(&self) -> u32 {
        self.run_uids
    }

    fn take_made(&self) -> MadePages {
        let mut inner = self.inner.lock();
        inner.made_bytes = 0;
        std::mem::take(&mut inner.made)
    }
}

/// The runs that lost messages.
pub(super) fn thinned(unsaved: &Unsaved) -> BTreeSet<PageKey> {
    let run_uids = unsaved.summary_run_uids.max(1);
    let mut runs = BTreeSet::new();
    for gone in unsaved.gone.values() {
        let (account, mailbox) = gone.mailbox;
        for &(first, last) in gone.uids.ranges() {
            runs.extend((first / run_uids..=last / run_uids).map(|run| {
                let first_uid = Uid(run.saturating_mul(run_uids));
                PageKey { account, mailbox, first_uid }
            }));
        }
    }
    runs
}

impl Committed {
    /// Takes the pages that a checkpoint may write: those whose messages are all still there.
    pub(crate) fn take_summary_pages(&self) -> MadePages {
        let mut pages = self.summary_pages.take_made();
        pages.retain(|run, page| {
            let cell = self.cell((run.account, run.mailbox)).ok().flatten();
            let view = cell.and_then(|cell| cell.view());
            view.is_some_and(|view| view.existing(&page.uids).is_ok_and(|now| now == page.uids))
        });
        pages
    }
}

impl Saved {
    /// A stored page of summaries, opened.
    pub(crate) fn summary_page(&self, run: PageKey) -> Result<Option<Vec<u8>>, ReadError> {
        let key = run.to_bytes();
        let Some(sealed) = self.tables.get(Table::Summary, &key)? else { return Ok(None) };
        self.values.open(Table::Summary, &key, run.account, &sealed).map(Some)
    }
}
