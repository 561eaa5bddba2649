//! Pages of summaries, each summary compared with the one in its message's blob.
//!
//! They are a cache: what is wrong with one costs nobody anything, and whoever reads one that does
//! not open has it made again. That one says something else than its message, or has a message that
//! is gone, is a fault of ours.

use super::finding::{Loss, Problem};
use super::mail::Check;
use super::state::words;
use crate::ids::{BlobId, Uid};
use crate::mailbox::{PageKey, SummaryPage, View};
use crate::message::StoredSummary;
use crate::state::Table;

impl Check<'_> {
    /// Reads every page.
    pub(super) fn summary_pages(&mut self) {
        let saved = self.saved;
        let (mut doubts, mut count) = (Vec::new(), 0);
        let scanned = saved.tables.scan_prefix(Table::Summary, &[], &mut |key, sealed| {
            count += 1;
            if self.flaw_of_page(key, sealed).is_some() {
                doubts.push(key.to_vec());
            }
            Ok(doubts.len() < 1000)
        });
        self.report.row_count += count;
        if let Err(error) = scanned {
            self.table_problem(Table::Summary, &error);
        }
        if doubts.is_empty() {
            return;
        }
        // Messages may have gone meanwhile.
        (self.settle)();
        for key in doubts {
            let Ok(Some(sealed)) = saved.tables.get(Table::Summary, &key) else { continue };
            let Some(what) = self.flaw_of_page(&key, &sealed) else { continue };
            let of = PageKey::from_bytes(&key);
            let about = of.and_then(|of| self.words_of(of.account, Some(of.mailbox)));
            let about = about.unwrap_or_else(|| words(Table::Summary));
            let uid = of.map(|of| of.first_uid);
            if !self.is_unsettled {
                self.report.add(Problem { about, uid, what, loss: Loss::Nothing });
            }
        }
    }

    /// What is wrong with a page, if something is.
    fn flaw_of_page(&self, key: &[u8], sealed: &[u8]) -> Option<String> {
        let Some(run) = PageKey::from_bytes(key) else {
            return Some("a page of summaries has a key of another length".to_owned());
        };
        let PageKey { account, mailbox, .. } = run;
        if !self.saved.values.has_account(account) {
            return None;
        }
        let opened = self.saved.values.open(Table::Summary, key, account, sealed);
        let page = match opened.and_then(|bytes| SummaryPage::decode(&bytes)) {
            Ok(page) => page,
            Err(error) => {
                return Some(format!(
                    "a page of summaries does not open ({error}); it is made again when it is read"
                ));
            }
        };
        let cell = self.setup.committed.cell((account, mailbox)).ok()?;
        let Some(view) = cell.and_then(|cell| cell.view()) else {
            return Some("a page of summaries of a mailbox that does not exist".to_owned());
        };
        let wrong = page.messages().find_map(|message| self.wrong_summary(run, &view, message));
        wrong.map(|(uid, why)| format!("the page of summaries from here on: UID {uid} {why}"))
    }

    fn wrong_summary(
        &self,
        run: PageKey,
        view: &View,
        (uid, blob, paged): (Uid, BlobId, &StoredSummary),
    ) -> Option<(Uid, &'static str)> {
        let row = view.row(uid).ok()?;
        if row.is_none_or(|row| row.blob != blob) {
            return Some((uid, "is gone"));
        }
        // A message that cannot be read is reported as such.
        let stored = (self.setup.summary)(run.account, blob).ok()?;
        let own = StoredSummary::of(&stored);
        let is_same = own.is_ok_and(|own| own.without_preview() == paged.bytes());
        (!is_same).then_some((uid, "has another summary in its message"))
    }
}
