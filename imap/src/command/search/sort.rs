//! The keys of SORT (RFC 5256, RFC 5957) and the order that they make.
//!
//! A table with a row per message and a column per criterion: eight bytes for a date or a size,
//! four for the number of a text. Texts are kept once each and ranked once, so that sorting
//! compares numbers only; 200,000 messages by subject and date take 4 MB and their texts.
//!
//! Everything comes from rows and summaries; no message is opened.

use std::cmp::Ordering;

use engine::error::ReadError;
use engine::ids::Lsn;
use engine::mailbox::Row;
use engine::message::text::put_casemap;
use engine::message::{AddressRef, StoredSummary, decode_words};
use engine::width::{u32_of, usize_of_u32};

use super::candidate::Candidate;
use super::results::Sorted;
use super::texts::Texts;
use crate::codec::command::{Numbers, SortCriterion, SortKey, SortOrder};

/// Bytes of a text by which messages are sorted; what is longer ties.
const KEY_BYTES_MAX: usize = 1024;

/// One criterion of every message.
enum Column {
    Numbers(Vec<i64>),
    Texts { of_rows: Vec<u32>, texts: Texts },
}

/// The keys of all messages that were found.
pub(super) struct SortTable {
    criteria: Vec<SortCriterion>,
    columns: Vec<Column>,
    uids: Vec<u32>,
    sequence: Vec<u32>,
    relevancy: Vec<u8>,
    modseq: Lsn,
    wants_summary: bool,
    /// The text of the criterion and message at hand.
    text: String,
}

impl SortTable {
    pub(super) fn new(criteria: &[SortCriterion]) -> SortTable {
        let column = |criterion: &SortCriterion| match criterion.key {
            SortKey::Arrival | SortKey::Date | SortKey::Size | SortKey::Relevancy => {
                Column::Numbers(Vec::new())
            }
            _ => Column::Texts { of_rows: Vec::new(), texts: Texts::default() },
        };
        SortTable {
            columns: criteria.iter().map(column).collect(),
            wants_summary: criteria.iter().any(|criterion| wants_summary(criterion.key)),
            text: String::new(),
            criteria: criteria.to_vec(),
            uids: Vec::new(),
            sequence: Vec::new(),
            relevancy: Vec::new(),
            modseq: Lsn::default(),
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let of_column = |column: &Column| match column {
            Column::Numbers(numbers) => numbers.capacity() * 8,
            Column::Texts { of_rows, texts } => of_rows.capacity() * 4 + texts.bytes(),
        };
        let columns: usize = self.columns.iter().map(of_column).sum();
        columns + self.uids.capacity() * 9
    }

    /// One more message; answers the index of its row.
    pub(super) fn add(
        &mut self,
        candidate: &mut Candidate<'_>,
        number: u32,
    ) -> Result<u32, ReadError> {
        let (row, relevancy) = (candidate.row, candidate.relevancy);
        let summary = match self.wants_summary {
            true => Some(candidate.summary()?),
            false => None,
        };
        // Nothing fails from here on, so that all columns stay of one length.
        for (column, criterion) in self.columns.iter_mut().zip(&self.criteria) {
            match column {
                Column::Numbers(numbers) => {
                    numbers.push(number_by(criterion.key, row, relevancy, summary));
                }
                Column::Texts { of_rows, texts } => {
                    self.text.clear();
                    if let Some(summary) = summary {
                        put_text_by(criterion.key, &mut self.text, summary);
                    }
                    of_rows.push(texts.number_of(self.text.as_bytes()));
                }
            }
        }
        self.uids.push(row.uid.0);
        self.sequence.push(number);
        self.relevancy.push(relevancy);
        self.modseq = self.modseq.max(row.modseq);
        Ok(u32_of(self.uids.len()) - 1)
    }

    /// The UID of a row.
    pub(super) fn uid(&self, row: u32) -> u32 {
        self.uids.get(usize_of_u32(row)).copied().unwrap_or(0)
    }

    /// Which of two rows comes first. Ties go by UID, which is the order of the mailbox.
    pub(super) fn compare(&self, a: u32, b: u32) -> Ordering {
        for (column, criterion) in self.columns.iter().zip(&self.criteria) {
            let order = match column {
                Column::Numbers(numbers) => at(numbers, a).cmp(&at(numbers, b)),
                Column::Texts { of_rows, texts } => {
                    let (a, b) = (at(of_rows, a), at(of_rows, b));
                    if a == b { Ordering::Equal } else { texts.text(a).cmp(texts.text(b)) }
                }
            };
            match directed(order, criterion.order) {
                Ordering::Equal => {}
                order => return order,
            }
        }
        self.uid(a).cmp(&self.uid(b))
    }

    /// All rows, sorted.
    pub(super) fn order(&self) -> Vec<u32> {
        let keys: Vec<Vec<i64>> = self
            .columns
            .iter()
            .zip(&self.criteria)
            .map(|(column, criterion)| column.ranked(criterion.order))
            .collect();
        let (first, others) = keys.split_first().unzip();
        let others = others.unwrap_or_default();
        let key_of = |row| first.map_or(0, |keys| at(keys, row));
        let mut order: Vec<(i64, u32)> =
            (0..u32_of(self.uids.len())).map(|row| (key_of(row), row)).collect();
        // Rows were added in the order of the mailbox, by which equals go.
        order.sort_unstable_by(|&(one, a), &(other, b)| {
            let by_others = || {
                let mut orders = others.iter().map(|keys| at(keys, a).cmp(&at(keys, b)));
                orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            };
            one.cmp(&other).then_with(by_others).then(a.cmp(&b))
        });
        order.into_iter().map(|(_, row)| row).collect()
    }

    /// What is told of rows in that order.
    pub(super) fn sorted(&self, order: &[u32], numbers: Numbers) -> Sorted {
        let pick = |column: &[u32]| order.iter().map(|&row| at(column, row)).collect();
        Sorted {
            uids: pick(&self.uids),
            sequence: match numbers {
                Numbers::Uid => Vec::new(),
                Numbers::Sequence => pick(&self.sequence),
            },
            relevancy: order.iter().map(|&row| at(&self.relevancy, row)).collect(),
            modseq: self.modseq,
        }
    }
}

impl Column {
    /// A number per row that compares as its value is to be sorted.
    fn ranked(&self, order: SortOrder) -> Vec<i64> {
        let mut keys: Vec<i64> = match self {
            Column::Numbers(numbers) => numbers.clone(),
            Column::Texts { of_rows, texts } => {
                let ranks = texts.ranks();
                of_rows.iter().map(|&number| i64::from(at(&ranks, number))).collect()
            }
        };
        if order == SortOrder::Descending {
            // Turns the order round, of all numbers.
            keys.iter_mut().for_each(|key| *key = !*key);
        }
        keys
    }
}

fn directed(order: Ordering, direction: SortOrder) -> Ordering {
    match direction {
        SortOrder::Ascending => order,
        SortOrder::Descending => order.reverse(),
    }
}

fn at<T: Copy + Default>(column: &[T], row: u32) -> T {
    column.get(usize_of_u32(row)).copied().unwrap_or_default()
}

/// When a message was sent (RFC 5256 section 2.2).
pub(super) fn sent(row: &Row, summary: &StoredSummary) -> i64 {
    summary.sent().unwrap_or(row.received.0)
}

/// Whether a key is found in the summary.
fn wants_summary(key: SortKey) -> bool {
    !matches!(key, SortKey::Arrival | SortKey::Size | SortKey::Relevancy)
}

fn number_by(key: SortKey, row: &Row, relevancy: u8, summary: Option<&StoredSummary>) -> i64 {
    match key {
        SortKey::Arrival => row.received.0,
        SortKey::Size => i64::from(row.size),
        // The best first.
        SortKey::Relevancy => -i64::from(relevancy),
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
