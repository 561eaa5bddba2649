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
use engine::message::text::casemap;
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

/// What a candidate has to be sorted by.
enum Value {
    Number(i64),
    Text(String),
}

/// The keys of all messages that were found.
pub(super) struct SortTable {
    criteria: Vec<SortCriterion>,
    columns: Vec<Column>,
    uids: Vec<u32>,
    sequence: Vec<u32>,
    relevancy: Vec<u8>,
    modseq: Lsn,
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
        let mut values = Vec::with_capacity(self.criteria.len());
        for criterion in &self.criteria {
            values.push(value(candidate, criterion.key)?);
        }
        for (column, value) in self.columns.iter_mut().zip(values) {
            match (column, value) {
                (Column::Numbers(numbers), Value::Number(number)) => numbers.push(number),
                (Column::Texts { of_rows, texts }, Value::Text(text)) => {
                    of_rows.push(texts.number_of(text.as_bytes()));
                }
                // Columns are made from the same keys.
                (Column::Numbers(numbers), Value::Text(_)) => numbers.push(0),
                (Column::Texts { of_rows, texts }, Value::Number(_)) => {
                    of_rows.push(texts.number_of(b""));
                }
            }
        }
        self.uids.push(candidate.row.uid.0);
        self.sequence.push(number);
        self.relevancy.push(candidate.relevancy);
        self.modseq = self.modseq.max(candidate.row.modseq);
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
        let keys: Vec<(Vec<i64>, SortOrder)> = self
            .columns
            .iter()
            .zip(&self.criteria)
            .map(|(column, criterion)| (column.ranked(), criterion.order))
            .collect();
        let mut order: Vec<u32> = (0..u32_of(self.uids.len())).collect();
        // Rows were added in the order of the mailbox, and a stable sort keeps it among equals.
        order.sort_by(|&a, &b| {
            let mut orders = keys
                .iter()
                .map(|(keys, direction)| directed(at(keys, a).cmp(&at(keys, b)), *direction));
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        order
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
    /// A number per row that compares as its value does.
    fn ranked(&self) -> Vec<i64> {
        match self {
            Column::Numbers(numbers) => numbers.clone(),
            Column::Texts { of_rows, texts } => {
                let ranks = texts.ranks();
                of_rows.iter().map(|&number| i64::from(at(&ranks, number))).collect()
            }
        }
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

fn value(candidate: &mut Candidate<'_>, key: SortKey) -> Result<Value, ReadError> {
    let of_address = |first: Option<AddressRef<'_>>| {
        let mailbox = first.and_then(|address| address.mailbox);
        collated(&String::from_utf8_lossy(mailbox.unwrap_or_default()))
    };
    let row = candidate.row;
    Ok(match key {
        SortKey::Arrival => Value::Number(row.received.0),
        SortKey::Size => Value::Number(i64::from(row.size)),
        // The best first.
        SortKey::Relevancy => Value::Number(-i64::from(candidate.relevancy)),
        SortKey::Date => Value::Number(sent(row, candidate.summary()?)),
        SortKey::Subject => Value::Text(collated(candidate.summary()?.base_subject())),
        SortKey::Cc => {
            Value::Text(of_address(candidate.summary()?.envelope().addresses().cc.next()))
        }
        SortKey::From => Value::Text(of_address(candidate.summary()?.envelope().from().next())),
        SortKey::To => {
            Value::Text(of_address(candidate.summary()?.envelope().addresses().to.next()))
        }
        SortKey::DisplayFrom => {
            Value::Text(displayed(candidate.summary()?.envelope().from().next()))
        }
        SortKey::DisplayTo => {
            Value::Text(displayed(candidate.summary()?.envelope().addresses().to.next()))
        }
    })
}

/// A text as i;unicode-casemap compares it (RFC 5051), cut where it is very long.
pub(super) fn collated(text: &str) -> String {
    let mut collated = casemap(text);
    if collated.len() > KEY_BYTES_MAX {
        let mut end = KEY_BYTES_MAX;
        while !collated.is_char_boundary(end) {
            end -= 1;
        }
        collated.truncate(end);
    }
    collated
}

/// The display name of the first address, else the address (RFC 5957 section 3); the name of a
/// group where one begins.
fn displayed(first: Option<AddressRef<'_>>) -> String {
    let Some(address) = first else { return String::new() };
    let name = address.name.map(decode_words).unwrap_or_default();
    if !name.trim().is_empty() {
        return collated(&name);
    }
    let mut shown = Vec::new();
    shown.extend_from_slice(address.mailbox.unwrap_or_default());
    if let Some(host) = address.host {
        shown.push(b'@');
        shown.extend_from_slice(host);
    }
    collated(&String::from_utf8_lossy(&shown))
}
