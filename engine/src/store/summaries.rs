//! Summaries of many messages of a mailbox: a run at a time, from their pages.
//!
//! ```text
//!   many rows of a run ──► its page: cache ─► made a moment ago ─► table Summary
//!                             └─ none, or not readable: the maker is told (summary_maker.rs)
//!   few rows, and what no page has ──► one by one: cache ─► blob (read.rs)
//! ```
//! A page is a cache: what is wrong with one costs time, and nobody an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Account, Inner};
use crate::error::ReadError;
use crate::format_level;
use crate::ids::{AccountNumber, MailboxId, Uid};
use crate::mailbox::{PageKey, Row, SummaryPage, ranges_within};
use crate::message::StoredSummary;
use crate::uid_set::UidSet;
use crate::width::usize_of_u32;

/// Of a run of which nobody said how many messages are asked for, so many are read one by one.
const ONE_BY_ONE: usize = 4;

/// Summaries of messages of one mailbox.
pub struct Summaries {
    inner: Arc<Inner>,
    account: AccountNumber,
    mailbox: MailboxId,
    /// What is known to be asked for.
    known: UidSet,
    /// That of the message asked for last.
    open: Option<OpenRun>,
}

struct OpenRun {
    run: Uid,
    /// Messages of it that were asked for.
    asked: usize,
    /// That many of it are asked for is known, or is to be thought after the run before it.
    is_worth: bool,
    /// Whether its page was looked for.
    is_looked_for: bool,
    page: Option<Arc<SummaryPage>>,
}

impl Account {
    /// What was parsed of these messages of a mailbox: cheaper than one by one, and without their
    /// previews, which [`Account::summary`] has.
    pub fn summaries(&self, mailbox: MailboxId, uids: &UidSet) -> Summaries {
        Summaries { known: uids.clone(), ..self.summaries_of_some(mailbox) }
    }

    /// The same for messages of a mailbox of which it is not known yet how many will be asked for.
    pub fn summaries_of_some(&self, mailbox: MailboxId) -> Summaries {
        let (inner, known) = (Arc::clone(&self.inner), UidSet::new());
        Summaries { inner, account: self.number, mailbox, known, open: None }
    }
}

impl Summaries {
    /// The summary of one of them; quickest in order.
    ///
    /// # Errors
    /// [`ReadError`], if the message is damaged or cannot be read.
    pub fn of(&mut self, row: &Row) -> Result<StoredSummary, ReadError> {
        match self.page(row.uid).and_then(|page| page.find(row.uid, row.blob)) {
            Some(summary) => Ok(summary.clone()),
            None => self.inner.summary(self.account, row.blob),
        }
    }

    /// The page that may have a message, if there is one and it is worth opening.
    fn page(&mut self, uid: Uid) -> Option<&Arc<SummaryPage>> {
        let run = self.inner.committed.summary_pages.run_of(uid);
        let key = PageKey { account: self.account, mailbox: self.mailbox, first_uid: run };
        if self.open.as_ref().is_none_or(|open| open.run != run) {
            let is_worth = self.is_worth(run);
            // What is open already costs nothing.
            let page = if is_worth { None } else { self.inner.summaries.find_page(key) };
            let is_looked_for = page.is_some();
            self.open = Some(OpenRun { run, asked: 0, is_worth, is_looked_for, page });
        }
        let open = self.open.as_mut()?;
        open.asked += 1;
        if !open.is_looked_for && (open.is_worth || open.asked > ONE_BY_ONE) {
            open.page = self.inner.summary_page(key);
            open.is_looked_for = true;
        }
        open.page.as_ref()
    }

    /// Whether enough of a run will be asked for.
    fn is_worth(&self, run: Uid) -> bool {
        let pages = &self.inner.committed.summary_pages;
        let known = ranges_within(&self.known, run, pages.last_of(run));
        let count: u32 = known.map(|(first, last)| last - first + 1).sum();
        pages.is_worth(usize_of_u32(count))
            || self.open.as_ref().is_some_and(|before| pages.is_worth(before.asked))
    }
}

impl Inner {
    /// The page of a run; where there is none to be read, one is made.
    fn summary_page(&self, run: PageKey) -> Option<Arc<SummaryPage>> {
        if let Some(page) = self.summaries.find_page(run) {
            return Some(page);
        }
        if self.committed.format_level() < format_level::SUMMARY_PAGES {
            return None;
        }
        match self.open_summary_page(run) {
            Ok(Some(page)) => {
                let page = Arc::new(page);
                self.summaries.opened().page_count.fetch_add(1, Ordering::Relaxed);
                self.summaries.keep_page(run, Arc::clone(&page));
                Some(page)
            }
            Ok(None) => {
                self.committed.summary_pages.want(run, false);
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a summary page is made again from its messages");
                self.committed.summary_pages.want(run, true);
                None
            }
        }
    }

    fn open_summary_page(&self, run: PageKey) -> Result<Option<SummaryPage>, ReadError> {
        let stored = match self.committed.summary_pages.find(run) {
            Some(made) => return SummaryPage::decode(&made).map(Some),
            None => self.saved.summary_page(run)?,
        };
        stored.map(|bytes| SummaryPage::decode(&bytes)).transpose()
    }
}
