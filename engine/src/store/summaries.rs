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
use crate::ids::{AccountNumber, MailboxId, Uid};
use crate::mailbox::{PageKey, Row, SummaryPage};
use crate::message::StoredSummary;

/// Of a run of which nobody said how many messages are asked for, so many are read one by one.
const ONE_BY_ONE: usize = 4;

/// Summaries of messages of one mailbox.
pub struct Summaries {
    inner: Arc<Inner>,
    account: AccountNumber,
    mailbox: MailboxId,
    /// Of what is known to be asked for, how many messages there are in each run that has some,
    /// ascending.
    runs: Vec<(Uid, usize)>,
    /// That of the message asked for last.
    open: Option<OpenRun>,
}

struct OpenRun {
    run: Uid,
    /// Messages of it that were asked for.
    asked: usize,
    /// It is read as the run before it was, of which many were asked for.
    goes_on: bool,
    /// Whether its page was looked for.
    is_looked_for: bool,
    page: Option<Arc<SummaryPage>>,
}

impl Account {
    /// What was parsed of these messages of a mailbox, ascending: cheaper than one by one, and
    /// without their previews, which [`Account::summary`] has.
    pub fn summaries(&self, mailbox: MailboxId, rows: &[Row]) -> Summaries {
        let pages = &self.inner.committed.summary_pages;
        let mut runs: Vec<(Uid, usize)> = Vec::new();
        for run in rows.iter().map(|row| pages.run_of(row.uid)) {
            match runs.last_mut() {
                Some((last, count)) if *last == run => *count += 1,
                _ => runs.push((run, 1)),
            }
        }
        Summaries { runs, ..self.summaries_of_some(mailbox) }
    }

    /// The same for messages of a mailbox of which it is not known yet how many will be asked for.
    pub fn summaries_of_some(&self, mailbox: MailboxId) -> Summaries {
        let (inner, runs) = (Arc::clone(&self.inner), Vec::new());
        Summaries { inner, account: self.number, mailbox, runs, open: None }
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
        let pages = &self.inner.committed.summary_pages;
        let run = pages.run_of(uid);
        let is_next = self.open.as_ref().is_none_or(|open| open.run != run);
        if is_next {
            let goes_on = self.open.as_ref().is_some_and(|open| pages.is_worth(open.asked));
            let open = OpenRun { run, asked: 0, goes_on, is_looked_for: false, page: None };
            self.open = Some(open);
        }
        let known = self.runs.binary_search_by_key(&run, |(run, _)| *run).ok();
        let known = known.and_then(|at| self.runs.get(at)).map_or(0, |(_, count)| *count);
        let open = self.open.as_mut()?;
        open.asked += 1;
        if !open.is_looked_for {
            let key = PageKey { account: self.account, mailbox: self.mailbox, first_uid: run };
            if open.goes_on || open.asked > ONE_BY_ONE || pages.is_worth(known) {
                open.page = self.inner.summary_page(key);
                open.is_looked_for = true;
            } else if is_next {
                open.page = self.inner.summaries.find_page(key);
                open.is_looked_for = open.page.is_some();
            }
        }
        open.page.as_ref()
    }
}

impl Inner {
    /// The page of a run; where there is none to be read, one is made.
    fn summary_page(&self, run: PageKey) -> Option<Arc<SummaryPage>> {
        if let Some(page) = self.summaries.find_page(run) {
            return Some(page);
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
