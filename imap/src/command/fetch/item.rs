//! What FETCH answers from a row and its summary.

use engine::error::ReadError;
use engine::flags::SystemFlags;
use engine::mailbox::Row;
use engine::message::StoredSummary;
use engine::{Account, Summaries};

use super::Plan;
use super::columns::{put_received, put_size, put_uid};
use super::section::is_whole_message;
use crate::codec::command::FetchItem;
use crate::codec::envelope::put_envelope;
use crate::codec::structure::{StructureForm, put_structure};
use crate::codec::{date, put};
use crate::session::{Dialect, Selected, put_head, put_modseq};

/// A message and what is asked of it.
pub(super) struct RowAnswer<'a> {
    pub(super) account: &'a Account,
    pub(super) selected: &'a Selected,
    pub(super) dialect: Dialect,
    pub(super) plan: &'a Plan,
    pub(super) row: &'a Row,
    pub(super) rank: u32,
}

impl RowAnswer<'_> {
    /// Its flags, as this command leaves them.
    fn flags(&self) -> SystemFlags {
        if self.is_newly_seen() { self.row.flags.union(SystemFlags::SEEN) } else { self.row.flags }
    }

    fn is_newly_seen(&self) -> bool {
        self.plan.newly_seen.contains(self.row.uid)
    }

    /// `* n FETCH (`
    pub(super) fn put_head(&self, out: &mut Vec<u8>) {
        let number = self.selected.number_at(self.rank, self.row.uid);
        put_head(out, self.dialect, number, self.row.uid);
    }

    /// FLAGS where the command changed them but did not ask, and the end of the answer.
    pub(super) fn put_tail(&self, out: &mut Vec<u8>) {
        if self.is_newly_seen() && !self.plan.items.contains(&FetchItem::Flags) {
            out.push(b' ');
            self.put_flags(out);
        }
        out.extend_from_slice(b")\r\n");
    }

    fn put_flags(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"FLAGS ");
        put::row_flags(out, self.flags(), self.row, self.selected.view.keywords());
    }
}

/// What a command needs of its messages' summaries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SummaryUse {
    Nothing,
    /// What summary pages have: all but previews.
    Paged,
    Whole,
}

impl SummaryUse {
    pub(super) fn of(items: &[FetchItem]) -> SummaryUse {
        let is_paged = |item: &FetchItem| match item {
            FetchItem::Section(item) => !is_whole_message(&item.section),
            FetchItem::Binary(_) | FetchItem::BinarySize(_) => true,
            FetchItem::Envelope | FetchItem::BodyStructure | FetchItem::Body => true,
            _ => false,
        };
        if items.contains(&FetchItem::Preview) {
            SummaryUse::Whole
        } else if items.iter().any(is_paged) {
            SummaryUse::Paged
        } else {
            SummaryUse::Nothing
        }
    }
}

impl RowAnswer<'_> {
    /// The summary, if the command needs it.
    pub(super) fn summary(
        &self,
        summaries: &mut Summaries,
    ) -> Result<Option<StoredSummary>, ReadError> {
        match self.plan.summaries {
            SummaryUse::Nothing => Ok(None),
            SummaryUse::Paged => summaries.of(self.row).map(Some),
            SummaryUse::Whole => self.account.summary(self.row).map(Some),
        }
    }
}

/// `* n FETCH (…)` without sections.
pub(super) fn put_row(
    out: &mut Vec<u8>,
    answer: &RowAnswer<'_>,
    summaries: &mut Summaries,
) -> Result<(), ReadError> {
    let summary = answer.summary(summaries)?;
    answer.put_head(out);
    for (index, item) in answer.plan.items.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        put_item(out, answer, item, summary.as_ref())?;
    }
    answer.put_tail(out);
    Ok(())
}

/// One item that is no section, with its name.
pub(super) fn put_item(
    out: &mut Vec<u8>,
    answer: &RowAnswer<'_>,
    item: &FetchItem,
    summary: Option<&StoredSummary>,
) -> Result<(), ReadError> {
    let row = answer.row;
    match (item, summary) {
        (FetchItem::Flags, _) => answer.put_flags(out),
        (FetchItem::Uid, _) => {
            put_uid(out, row.uid);
        }
        (FetchItem::InternalDate, _) => {
            put_received(out, row.received);
        }
        (FetchItem::Size, _) => {
            put_size(out, row.size);
        }
        (FetchItem::ModSeq, _) => {
            put_modseq(out, answer.selected.history.told(row.modseq));
        }
        (FetchItem::EmailId, _) => match answer.selected.view.ids(row.uid)? {
            Some(ids) => out.extend_from_slice(format!("EMAILID ({})", ids.email).as_bytes()),
            None => out.extend_from_slice(b"EMAILID NIL"),
        },
        (FetchItem::ThreadId, _) => {
            out.extend_from_slice(format!("THREADID (T{:016x})", row.thread.0).as_bytes());
        }
        (FetchItem::SaveDate, _) => {
            out.extend_from_slice(b"SAVEDATE ");
            date::put_date_time(out, row.saved);
        }
        (FetchItem::Preview, Some(summary)) => {
            out.extend_from_slice(b"PREVIEW ");
            put::string(out, summary.preview().as_bytes());
        }
        (FetchItem::Envelope, Some(summary)) => {
            out.extend_from_slice(b"ENVELOPE ");
            put_envelope(out, &summary.envelope());
        }
        (FetchItem::BodyStructure, Some(summary)) => {
            out.extend_from_slice(b"BODYSTRUCTURE ");
            put_structure(out, summary.structure(), StructureForm::Extended);
        }
        (FetchItem::Body, Some(summary)) => {
            out.extend_from_slice(b"BODY ");
            put_structure(out, summary.structure(), StructureForm::Short);
        }
        // Sections are put by their own file; the summary is there wherever [`SummaryUse`] says so.
        (
            FetchItem::Section(_)
            | FetchItem::Binary(_)
            | FetchItem::BinarySize(_)
            | FetchItem::Preview
            | FetchItem::Envelope
            | FetchItem::BodyStructure
            | FetchItem::Body,
            _,
        ) => {}
    }
    Ok(())
}
