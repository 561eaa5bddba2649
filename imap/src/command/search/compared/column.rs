//! One criterion of SORT, of many messages: eight bytes for a date or a size, four for the number
//! of a text.
//!
//! ```text
//! rows      7   8   9   12           texts   "ann" "bob" "carl"     of_rows   1 0 0 2
//!           bob ann ann carl         ranks    0     1     2
//! ```
//! Texts are kept once each and ranked once, so that sorting compares numbers only. They are shared
//! with what is kept for the next time, and copied where a new one comes while they are. Ranks are
//! those of the first of the texts; what came behind them finds its place among these.

use std::cmp::Ordering;
use std::sync::Arc;

use engine::mailbox::Row;
use engine::width::usize_of_u32;

use super::super::texts::{Texts, shared_number_of};
use super::roster::{Merge, Pick, Roster};
use crate::codec::command::{SortKey, SortOrder};

/// One criterion of every message.
#[derive(Clone)]
pub(in crate::command::search) enum Column {
    Numbers(Vec<i64>),
    Texts { of_rows: Vec<u32>, texts: Arc<Texts>, ranks: Arc<[u32]> },
}

/// What is kept of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::command::search) enum Known {
    Number(i64),
    /// The number of a text.
    Text(u32),
}

/// What is kept of one criterion.
pub(in crate::command::search) struct KeptColumn {
    roster: Arc<Roster>,
    column: Column,
}

impl Column {
    /// With no row.
    pub(in crate::command::search) fn of_key(key: SortKey) -> Column {
        match key {
            SortKey::Arrival | SortKey::Date | SortKey::Size | SortKey::Relevancy => {
                Column::Numbers(Vec::new())
            }
            _ => {
                Column::Texts { of_rows: Vec::new(), texts: Arc::default(), ranks: Arc::default() }
            }
        }
    }

    /// With no row, but with room for so many and the texts of another.
    fn emptied(&self, count: usize) -> Column {
        match self {
            Column::Numbers(_) => Column::Numbers(Vec::with_capacity(count)),
            Column::Texts { texts, ranks, .. } => Column::Texts {
                of_rows: Vec::with_capacity(count),
                texts: Arc::clone(texts),
                ranks: Arc::clone(ranks),
            },
        }
    }

    /// Bytes of memory that it takes.
    pub(in crate::command::search) fn bytes(&self) -> usize {
        match self {
            Column::Numbers(numbers) => numbers.capacity() * 8,
            Column::Texts { of_rows, texts, ranks } => {
                of_rows.capacity() * 4 + texts.bytes() + ranks.len() * 4
            }
        }
    }

    fn get(&self, row: usize) -> Option<Known> {
        match self {
            Column::Numbers(numbers) => numbers.get(row).copied().map(Known::Number),
            Column::Texts { of_rows, .. } => of_rows.get(row).copied().map(Known::Text),
        }
    }

    /// One more row, of which this is known.
    pub(in crate::command::search) fn push(&mut self, known: Known) {
        match (self, known) {
            (Column::Numbers(numbers), Known::Number(number)) => numbers.push(number),
            (Column::Texts { of_rows, .. }, Known::Text(number)) => of_rows.push(number),
            (_, _) => unreachable!("a column and what is kept of it are of one kind"),
        }
    }

    /// One more row with this text.
    pub(in crate::command::search) fn push_text(&mut self, text: &[u8]) {
        if let Column::Texts { of_rows, texts, .. } = self {
            of_rows.push(shared_number_of(texts, text));
        }
    }

    /// Whether rows have texts.
    pub(in crate::command::search) fn has_texts(&self) -> bool {
        matches!(self, Column::Texts { .. })
    }

    /// Which of two rows comes first.
    pub(in crate::command::search) fn compare(&self, a: u32, b: u32) -> Ordering {
        match self {
            Column::Numbers(numbers) => at(numbers, a).cmp(&at(numbers, b)),
            Column::Texts { of_rows, texts, .. } => {
                let (a, b) = (at(of_rows, a), at(of_rows, b));
                if a == b { Ordering::Equal } else { texts.text(a).cmp(texts.text(b)) }
            }
        }
    }

    /// Gives every text its rank.
    pub(in crate::command::search) fn rank(&mut self) {
        if let Column::Texts { texts, ranks, .. } = self
            && ranks.len() != usize_of_u32(texts.count())
        {
            *ranks = texts.ranks_after(ranks).into();
            if let Some(own) = Arc::get_mut(texts) {
                own.shrink();
            }
        }
    }

    /// Leaves all texts that are not those of its rows.
    pub(in crate::command::search) fn keep_own_texts(&mut self) {
        let Column::Texts { of_rows, texts, ranks } = self else { return };
        let mut own = Texts::default();
        for number in of_rows {
            *number = own.number_of(texts.text(*number));
        }
        *texts = Arc::new(own);
        *ranks = Arc::default();
    }

    /// A number per row that compares as its value is to be sorted; all texts have ranks.
    pub(in crate::command::search) fn ranked(&self, order: SortOrder) -> Vec<i64> {
        let mut keys: Vec<i64> = match self {
            Column::Numbers(numbers) => numbers.clone(),
            Column::Texts { of_rows, ranks, .. } => {
                of_rows.iter().map(|&number| i64::from(at(ranks, number))).collect()
            }
        };
        if order == SortOrder::Descending {
            // Turns the order round, of all numbers.
            keys.iter_mut().for_each(|key| *key = !*key);
        }
        keys
    }
}

/// The value of a row.
pub(in crate::command::search) fn at<T: Copy + Default>(column: &[T], row: u32) -> T {
    column.get(usize_of_u32(row)).copied().unwrap_or_default()
}

impl KeptColumn {
    /// Of these messages.
    pub(in crate::command::search) fn new(roster: Arc<Roster>, column: Column) -> KeptColumn {
        KeptColumn { roster, column }
    }

    /// Which messages it is of.
    pub(in crate::command::search) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Bytes of memory that it takes, as if it shared nothing.
    pub(in crate::command::search) fn bytes(&self) -> usize {
        size_of::<KeptColumn>() + self.roster.bytes() + self.column.bytes()
    }
}

/// What is known of one criterion before a search, and how much of that it found.
pub(in crate::command::search) struct Before {
    kept: Option<Arc<KeptColumn>>,
    at: usize,
    found: usize,
}

impl Before {
    pub(in crate::command::search) fn new(kept: Option<Arc<KeptColumn>>) -> Before {
        Before { kept, at: 0, found: 0 }
    }

    /// Whether something is known.
    pub(in crate::command::search) fn has_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// A column that goes on from what is known.
    pub(in crate::command::search) fn column(&self, key: SortKey) -> Column {
        self.kept.as_ref().map_or_else(|| Column::of_key(key), |kept| kept.column.emptied(0))
    }

    /// What is known of a message; they are asked for in the order of their UIDs.
    #[inline]
    pub(in crate::command::search) fn find(&mut self, row: &Row) -> Option<Known> {
        let kept = self.kept.as_ref()?;
        let index = kept.roster.find(&mut self.at, row.uid.0, row.blob)?;
        self.found += 1;
        kept.column.get(index)
    }

    /// What is to be kept after a search in a mailbox of so many messages: its rows have ranks.
    pub(in crate::command::search) fn kept_after(
        &self,
        found: &Arc<Roster>,
        column: &Column,
        message_count: usize,
    ) -> Option<KeptColumn> {
        let before = self.kept.as_ref().map(|kept| kept.roster());
        let new = found.count() - self.found;
        match (Roster::merge(before, found.count(), new, message_count), &self.kept) {
            (Merge::Nothing, _) => None,
            (Merge::Both, Some(kept)) => {
                let (roster, picks) = kept.roster.with(found);
                let mut both = column.emptied(picks.len());
                for pick in picks {
                    let known = match pick {
                        Pick::Before(index) => kept.column.get(index),
                        Pick::Found(index) => column.get(index),
                    };
                    both.push(known?);
                }
                Some(KeptColumn::new(Arc::new(roster), both))
            }
            (Merge::Found | Merge::Both, _) => {
                let roster = match before {
                    None => Arc::clone(found),
                    _ => Arc::new(Roster::clone(found).instead_of(before, self.found)),
                };
                Some(KeptColumn::new(roster, column.clone()))
            }
        }
    }
}
