//! The keys of SORT (RFC 5256, RFC 5957) and the order that they make.
//!
//! A table with a row per message and a column per criterion (`compared/column.rs`): 200,000
//! messages by subject and date take 4 MB and their texts.
//!
//! Everything comes from rows, from what was compared before (`compared`), and for what was not
//! from summaries; no message is opened.

use std::cmp::Ordering;
use std::sync::Arc;

use engine::error::ReadError;
use engine::ids::{BlobId, Lsn};
use engine::mailbox::Row;
use engine::message::text::put_casemap;
use engine::message::{AddressRef, StoredSummary, decode_words};
use engine::search::Score;
use engine::width::{u32_of, usize_of_u32};

use super::candidate::Candidate;
use super::compared::{Before, Column, Compared, Known, Roster, at};
use super::like::relevancies;
use super::results::Sorted;
use super::scan::Scope;
use crate::codec::command::{Numbers, SortCriterion, SortKey, SortOrder};

/// Bytes of a text by which messages are sorted; what is longer ties.
const KEY_BYTES_MAX: usize = 1024;

/// The keys of all messages that were found.
pub(super) struct SortTable {
    criteria: Vec<SortCriterion>,
    columns: Vec<Column>,
    uids: Vec<u32>,
    sequence: Vec<u32>,
    /// Of the first rows; empty until a FUZZY key has judged one.
    scores: Vec<Option<Score>>,
    modseq: Lsn,
    /// What is known of each criterion that is found in summaries.
    before: Vec<Option<Before>>,
    /// Of all messages, where what is compared will be kept.
    blobs: Vec<BlobId>,
    /// What is known of each criterion of the message at hand.
    known: Vec<Option<Known>>,
    /// The text of the criterion and message at hand.
    text: String,
}

impl SortTable {
    /// For a search in a mailbox, of which something may be kept; or for one that keeps nothing.
    pub(super) fn new(criteria: &[SortCriterion], kept: Option<(&Compared, &Scope)>) -> SortTable {
        let before_of = |criterion: &SortCriterion| {
            let (compared, scope) = kept.filter(|_| wants_summary(criterion.key))?;
            Some(Before::new(compared.column(scope, criterion.key)))
        };
        let before: Vec<Option<Before>> = criteria.iter().map(before_of).collect();
        let column = |(criterion, before): (&SortCriterion, &Option<Before>)| match before {
            Some(before) => before.column(criterion.key),
            None => Column::of_key(criterion.key),
        };
        SortTable {
            columns: criteria.iter().zip(&before).map(column).collect(),
            before,
            blobs: Vec::new(),
            known: Vec::new(),
            text: String::new(),
            criteria: criteria.to_vec(),
            uids: Vec::new(),
            sequence: Vec::new(),
            scores: Vec::new(),
            modseq: Lsn::default(),
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::bytes).sum();
        let scores = self.scores.capacity() * size_of::<Option<Score>>();
        columns + scores + self.uids.capacity() * 9 + self.blobs.capacity() * size_of::<BlobId>()
    }

    /// Whether it has begun with texts from before.
    pub(super) fn has_kept(&self) -> bool {
        self.before.iter().flatten().any(Before::has_kept)
    }

    /// Leaves all texts that are not those of its rows.
    pub(super) fn keep_own_texts(&mut self) {
        self.columns.iter_mut().for_each(Column::keep_own_texts);
    }

    /// One more message; answers the index of its row.
    pub(super) fn add(
        &mut self,
        candidate: &mut Candidate<'_>,
        number: u32,
    ) -> Result<u32, ReadError> {
        let (row, score) = (candidate.row, candidate.score);
        let mut reads = false;
        self.known.clear();
        for (criterion, before) in self.criteria.iter().zip(&mut self.before) {
            let known = before.as_mut().and_then(|before| before.find(row));
            reads |= known.is_none() && wants_summary(criterion.key);
            self.known.push(known);
        }
        let summary = if reads { Some(candidate.summary()?) } else { None };
        // Nothing fails from here on, so that all columns stay of one length.
        let columns = self.columns.iter_mut().zip(&self.criteria).zip(&self.known);
        for ((column, criterion), known) in columns {
            match known {
                Some(known) => column.push(*known),
                None if column.has_texts() => {
                    self.text.clear();
                    if let Some(summary) = summary {
                        put_text_by(criterion.key, &mut self.text, summary);
                    }
                    column.push_text(self.text.as_bytes());
                }
                None => {
                    let number = number_by(criterion.key, row, score, summary);
                    column.push(Known::Number(number));
                }
            }
        }
        if self.before.iter().any(Option::is_some) {
            self.blobs.push(row.blob);
        }
        self.uids.push(row.uid.0);
        self.sequence.push(number);
        if score.is_some() || !self.scores.is_empty() {
            self.scores.resize(self.uids.len() - 1, None);
            self.scores.push(score);
        }
        self.modseq = self.modseq.max(row.modseq);
        Ok(u32_of(self.uids.len()) - 1)
    }

    /// All is added of what a search of the mailbox found: keeps what is worth it. What comes later
    /// is looked up nowhere.
    pub(super) fn keep(&mut self, compared: &Compared, scope: &Scope) {
        let before: Vec<Option<Before>> = self.before.iter_mut().map(Option::take).collect();
        let blobs = std::mem::take(&mut self.blobs);
        self.columns.iter_mut().for_each(Column::rank);
        if before.iter().all(Option::is_none) {
            return;
        }
        let message_count = usize_of_u32(scope.view.message_count());
        let found = Arc::new(Roster::new(self.uids.clone(), blobs));
        let columns = before.iter().zip(&self.columns).zip(&self.criteria);
        for ((before, column), criterion) in columns {
            let Some(before) = before else { continue };
            if let Some(kept) = before.kept_after(&found, column, message_count) {
                compared.keep_column(scope, criterion.key, kept);
            }
        }
    }

    /// The UID of a row.
    pub(super) fn uid(&self, row: u32) -> u32 {
        at(&self.uids, row)
    }

    /// Which of two rows comes first. Ties go by UID, which is the order of the mailbox.
    pub(super) fn compare(&self, a: u32, b: u32) -> Ordering {
        for (column, criterion) in self.columns.iter().zip(&self.criteria) {
            match directed(column.compare(a, b), criterion.order) {
                Ordering::Equal => {}
                order => return order,
            }
        }
        self.uid(a).cmp(&self.uid(b))
    }

    /// All rows, sorted: by the last criterion, then by the one before it, and so on, each of which
    /// leaves those in their order that it calls equal.
    pub(super) fn order(&mut self) -> Vec<u32> {
        self.columns.iter_mut().for_each(Column::rank);
        // Rows were added in the order of the mailbox, by which equals go.
        let mut order: Vec<u32> = (0..u32_of(self.uids.len())).collect();
        for (column, criterion) in self.columns.iter().zip(&self.criteria).rev() {
            order = column.sorted(&order, criterion.order);
        }
        order
    }

    /// What is told of rows in that order.
    pub(super) fn sorted(&self, order: &[u32], numbers: Numbers) -> Sorted {
        let pick = |column: &[u32]| order.iter().map(|&row| at(column, row)).collect();
        let score = |&row| self.scores.get(usize_of_u32(row)).copied().flatten();
        let scores: Vec<Option<Score>> = order.iter().map(score).collect();
        Sorted {
            uids: pick(&self.uids),
            sequence: match numbers {
                Numbers::Uid => Vec::new(),
                Numbers::Sequence => pick(&self.sequence),
            },
            relevancy: relevancies(&scores),
            modseq: self.modseq,
        }
    }
}

fn directed(order: Ordering, direction: SortOrder) -> Ordering {
    match direction {
        SortOrder::Ascending => order,
        SortOrder::Descending => order.reverse(),
    }
}

/// When a message was sent (RFC 5256 section 2.2).
pub(super) fn sent(row: &Row, summary: &StoredSummary) -> i64 {
    summary.sent().unwrap_or(row.received.0)
}

/// Whether a key is found in the summary.
fn wants_summary(key: SortKey) -> bool {
    !matches!(key, SortKey::Arrival | SortKey::Size | SortKey::Relevancy)
}

fn number_by(
    key: SortKey,
    row: &Row,
    score: Option<Score>,
    summary: Option<&StoredSummary>,
) -> i64 {
    match key {
        SortKey::Arrival => row.received.0,
        SortKey::Size => i64::from(row.size),
        // The best first; what no FUZZY key has judged is as good as can be.
        SortKey::Relevancy => score.map_or(i64::MIN, |Score(score)| -i64::from(score)),
        SortKey::Date => summary.map_or(0, |summary| sent(row, summary)),
        // The others are texts.
        _ => 0,
    }
}

fn put_text_by(key: SortKey, text: &mut String, summary: &StoredSummary) {
    let envelope = || summary.envelope();
    match key {
        SortKey::Subject => put_collated(text, summary.base_subject()),
        SortKey::Cc => put_mailbox(text, envelope().addresses().cc.next()),
        SortKey::From => put_mailbox(text, envelope().from().next()),
        SortKey::To => put_mailbox(text, envelope().addresses().to.next()),
        SortKey::DisplayFrom => put_displayed(text, envelope().from().next()),
        SortKey::DisplayTo => put_displayed(text, envelope().addresses().to.next()),
        // The others are numbers.
        _ => {}
    }
}

/// Appends to nothing a text as i;unicode-casemap compares it (RFC 5051), cut where it is very
/// long.
pub(super) fn put_collated(collated: &mut String, text: &str) {
    put_casemap(collated, text);
    if collated.len() > KEY_BYTES_MAX {
        let mut end = KEY_BYTES_MAX;
        while !collated.is_char_boundary(end) {
            end -= 1;
        }
        collated.truncate(end);
    }
}

/// The local part of the first address (RFC 5256 section 3).
fn put_mailbox(text: &mut String, first: Option<AddressRef<'_>>) {
    let mailbox = first.and_then(|address| address.mailbox).unwrap_or_default();
    put_collated(text, &String::from_utf8_lossy(mailbox));
}

/// The display name of the first address, else the address (RFC 5957 section 3); the name of a
/// group where one begins.
fn put_displayed(text: &mut String, first: Option<AddressRef<'_>>) {
    let Some(address) = first else { return };
    let name = address.name.map(decode_words).unwrap_or_default();
    if !name.trim().is_empty() {
        return put_collated(text, &name);
    }
    let mut shown = Vec::new();
    shown.extend_from_slice(address.mailbox.unwrap_or_default());
    if let Some(host) = address.host {
        shown.push(b'@');
        shown.extend_from_slice(host);
    }
    put_collated(text, &String::from_utf8_lossy(&shown));
}
