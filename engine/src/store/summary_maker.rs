//! Makes summary pages of runs that became full, and of those that readers missed.
//!
//! A step makes one page, from the summaries of messages that were committed a moment ago, else
//! from their blobs. What it made waits for the next checkpoint, which writes it
//! (`state/summaries.rs`). A thread of its own does it, and rests as long as it works;
//! a delivery waits for nothing here.
//!
//! # What can go wrong
//! A message that cannot be read is left out, and whoever reads it is told. With too little room on
//! the disk no pages are made; what was to be made is forgotten, and made when it is read.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Inner;
use crate::disk::OpenMode;
use crate::error::ReadError;
use crate::format_level;
use crate::ids::Uid;
use crate::limits::{SUMMARY_PAGED_BYTES_MAX, SUMMARY_PAGES_WAITING_BYTES_MAX};
use crate::mailbox::{PageKey, PagedSummary, Row, View, encode_summary_page};
use crate::message::StoredSummary;
use crate::state::{MadePage, SummarySpan, SummaryWork};
use crate::width::usize_of_u32;

/// How long a checkpoint is waited for at a time.
const FULL_WAIT: Duration = Duration::from_millis(50);
/// It rests so many times as long as it works.
const REST_PART: u32 = 1;
/// What of it is still made when the store is closed.
const CLOSING_TIME: Duration = Duration::from_secs(3);

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MakerStep {
    Again,
    /// A checkpoint has to write what was made.
    Full,
    Idle,
}

/// Makes pages until the store is closed; holds nothing of it that keeps it open.
pub(super) fn make_while_open(store: &Weak<Inner>) {
    let Some(committed) = store.upgrade().map(|inner| Arc::clone(&inner.committed)) else { return };
    let pages = &committed.summary_pages;
    while pages.wait() {
        let Some(inner) = store.upgrade() else { return };
        let begun = inner.clock.monotonic();
        let step = inner.make_summary_page();
        let took = inner.clock.monotonic().saturating_sub(begun);
        drop(inner);
        let rest = if step == MakerStep::Full { FULL_WAIT } else { took * REST_PART };
        if !pages.rest(rest) {
            return;
        }
    }
}

impl Inner {
    /// Makes what is still wanted, for a moment; the checkpoint that closes the store writes it.
    pub(super) fn make_last_summary_pages(&self) {
        let begun = self.clock.monotonic();
        while self.make_summary_page() == MakerStep::Again
            && self.clock.monotonic().saturating_sub(begun) < CLOSING_TIME
        {}
    }

    /// Makes the next page that is wanted.
    pub(super) fn make_summary_page(&self) -> MakerStep {
        let pages = &self.committed.summary_pages;
        let is_open = self.mode == OpenMode::ReadWrite && self.commit_status.stopped().is_none();
        let has_table = self.committed.format_level() >= format_level::SUMMARY_PAGES;
        let has_room = || self.room.has_beside_reserve(SUMMARY_PAGES_WAITING_BYTES_MAX);
        match pages.next() {
            SummaryWork::Nothing => MakerStep::Idle,
            SummaryWork::Full if is_open => {
                self.checkpoints.want();
                self.queue.nudge();
                MakerStep::Full
            }
            SummaryWork::Span(span) if is_open && has_table && has_room() => {
                if let Err(error) = self.make_page_of(span) {
                    tracing::warn!(%error, "a page of summaries is made when it is read");
                }
                MakerStep::Again
            }
            SummaryWork::Full | SummaryWork::Span(_) => {
                pages.forget();
                MakerStep::Idle
            }
        }
    }

    /// Makes the first page that a span wants, and puts back what is left of it.
    fn make_page_of(&self, span: SummarySpan) -> Result<(), ReadError> {
        let pages = &self.committed.summary_pages;
        let cell = self.committed.cell(span.mailbox)?;
        let Some(view) = cell.and_then(|cell| cell.view()) else { return Ok(()) };
        let rows = view.rows_from(span.from, usize_of_u32(crate::limits::SUMMARY_RUN_UIDS))?;
        let Some(first) = rows.first().filter(|first| first.uid <= span.last) else {
            return Ok(());
        };
        let run = pages.run_of(first.uid);
        let last = pages.last_of(run);
        if let Some(next) = last.0.checked_add(1).filter(|next| *next <= span.last.0) {
            pages.put_back(SummarySpan { from: Uid(next), ..span });
        }
        let (account, mailbox) = span.mailbox;
        let key = PageKey { account, mailbox, first_uid: run };
        let count = rows.partition_point(|row| row.uid <= last);
        let rows = rows.get(..count).unwrap_or_default();
        if !is_full(&view, last) || !pages.is_worth(rows.len()) || self.has_page(key, span.anew)? {
            return Ok(());
        }
        let messages: Vec<PagedSummary> =
            rows.iter().filter_map(|row| self.paged_summary(key, row)).collect();
        if messages.is_empty() {
            return Ok(());
        }
        let uids = messages.iter().map(|message| message.uid).collect();
        pages.put(key, MadePage { uids, value: encode_summary_page(&messages).into() });
        Ok(())
    }

    /// Whether there is one already.
    fn has_page(&self, run: PageKey, anew: bool) -> Result<bool, ReadError> {
        let is_made = self.committed.summary_pages.find(run).is_some();
        Ok(is_made || (!anew && self.saved.summary_page(run)?.is_some()))
    }

    fn paged_summary(&self, run: PageKey, row: &Row) -> Option<PagedSummary> {
        let stored = match self.committed.summary_pages.recall(row.blob) {
            Some(recent) => StoredSummary::new(Arc::clone(&recent), 0..recent.len()),
            None => match self.summaries.find(run.account, row.blob) {
                Some(kept) => Ok(kept),
                None => StoredSummary::of(&self.stored_summary(run.account, row.blob).ok()?),
            },
        };
        let summary = stored.ok()?.without_preview();
        let is_paged = summary.len() <= SUMMARY_PAGED_BYTES_MAX;
        is_paged.then_some(PagedSummary { uid: row.uid, blob: row.blob, summary })
    }
}

#[cfg(test)]
impl super::Store {
    /// Does at most so many steps; answers how many did something.
    pub(crate) fn make_summary_pages(&self, step_count: u64) -> u64 {
        let does = |_: &u64| self.inner.make_summary_page() == MakerStep::Again;
        (0..step_count).take_while(does).count().try_into().unwrap()
    }
}

/// Whether a run gets no more messages.
fn is_full(view: &View, last: Uid) -> bool {
    view.uid_next().is_none_or(|next| next > last)
}
