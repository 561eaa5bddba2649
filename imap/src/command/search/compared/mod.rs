//! What SORT and THREAD compared of a mailbox's messages, kept for the next time they are asked.
//!
//! ```text
//!            ┌─ what is kept of the mailbox ◄──────────────────┐
//! each row ──┤                                                 │ kept again, with what was new
//!            └─ none of it: its summary ──► a row of the table ┴─► order, trees ──► answer
//! ```
//! What a UID means never changes, and neither does its blob's summary: so what was compared once
//! is compared again without a look at the summary (decision 0033). A message is known by UID and
//! blob together. Whether it is found by the search, and what its number is, is asked each time.
//!
//! | kept | bytes a message |
//! |--|--|
//! | which messages it is of | 12 |
//! | SORT by Date | 8 |
//! | SORT by a text | 4, and each different text with some 25 bytes beside it |
//! | THREAD | 24, 4 a reference, 12 for the trees; each different subject and id as above |
//!
//! # Invariants
//! 1. All that is kept, of all mailboxes, takes at most the bytes that the operator gives for it;
//!    what was not used for the longest time goes first.
//! 2. An answer is the same whatever is kept, also where it is that the keys take too much memory:
//!    a search that reaches this bound with what is kept is done again without.
//!
//! Kept in memory alone: who restarts reads summaries. What is kept of a mailbox that is gone is
//! never asked for, and goes in its turn.

mod column;
mod roster;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine::ids::{AccountNumber, MailboxId};
use parking_lot::Mutex;

use super::scan::Scope;
use super::thread::KeptThreads;
use crate::codec::command::{SortKey, ThreadAlgorithm};

pub(super) use self::column::{Before, Column, KeptColumn, Known, at};
pub(super) use self::roster::{Merge, Pick, Roster};

/// What is kept of a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum What {
    Column(SortKey),
    Threads(ThreadAlgorithm),
}

type Key = (AccountNumber, MailboxId, What);

#[derive(Clone)]
enum Kept {
    Column(Arc<KeptColumn>),
    Threads(Arc<KeptThreads>),
}

impl Kept {
    fn bytes(&self) -> usize {
        /// Its places in the tables, and what allocations take beside what was asked for.
        const BESIDE_BYTES: usize = 512;
        BESIDE_BYTES
            + match self {
                Kept::Column(column) => column.bytes(),
                Kept::Threads(threads) => threads.bytes(),
            }
    }
}

/// What was compared, of all mailboxes.
pub(crate) struct Compared {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<Key, Slot>,
    /// By when they were used last.
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

struct Slot {
    kept: Kept,
    bytes: usize,
    used: u64,
}

impl Compared {
    /// Keeps at most so many bytes; nothing with 0.
    pub(crate) fn new(bytes_max: usize) -> Compared {
        Compared { bytes_max, inner: Mutex::default() }
    }

    /// What is known of a criterion in a mailbox.
    pub(super) fn column(&self, scope: &Scope, key: SortKey) -> Option<Arc<KeptColumn>> {
        match self.find(key_of(scope, What::Column(key)))? {
            Kept::Column(column) if is_of_use(column.roster(), scope) => Some(column),
            _ => None,
        }
    }

    /// Keeps what is known of a criterion in a mailbox.
    pub(super) fn keep_column(&self, scope: &Scope, key: SortKey, column: KeptColumn) {
        self.keep(key_of(scope, What::Column(key)), Kept::Column(Arc::new(column)));
    }

    /// What is known of the threads of a mailbox.
    pub(super) fn threads(
        &self,
        scope: &Scope,
        algorithm: ThreadAlgorithm,
    ) -> Option<Arc<KeptThreads>> {
        match self.find(key_of(scope, What::Threads(algorithm)))? {
            Kept::Threads(threads) if is_of_use(threads.roster(), scope) => Some(threads),
            _ => None,
        }
    }

    /// Keeps what is known of the threads of a mailbox.
    pub(super) fn keep_threads(
        &self,
        scope: &Scope,
        algorithm: ThreadAlgorithm,
        threads: KeptThreads,
    ) {
        self.keep(key_of(scope, What::Threads(algorithm)), Kept::Threads(Arc::new(threads)));
    }

    fn find(&self, key: Key) -> Option<Kept> {
        self.inner.lock().find(key)
    }

    fn keep(&self, key: Key, kept: Kept) {
        let bytes = kept.bytes();
        let mut gone = Vec::new();
        let mut inner = self.inner.lock();
        gone.extend(inner.remove(key));
        if bytes <= self.bytes_max {
            inner.insert(key, kept, bytes);
        }
        while inner.bytes > self.bytes_max {
            let Some((_, oldest)) = inner.order.first_key_value() else { break };
            let oldest = *oldest;
            gone.extend(inner.remove(oldest));
        }
        // Giving back megabytes takes its time, in which others may look for theirs.
        drop(inner);
        drop(gone);
    }
}

fn key_of(scope: &Scope, what: What) -> Key {
    (scope.account.number(), scope.view.mailbox(), what)
}

/// Whether most of what it is of may still be there, so that who reads it is not held up by what
/// is gone.
fn is_of_use(roster: &Roster, scope: &Scope) -> bool {
    let count = engine::width::usize_of_u32(scope.view.message_count());
    roster.is_of_use(count)
}

impl Inner {
    fn find(&mut self, key: Key) -> Option<Kept> {
        let slot = self.slots.get_mut(&key)?;
        self.uses += 1;
        self.order.remove(&slot.used);
        slot.used = self.uses;
        self.order.insert(slot.used, key);
        Some(slot.kept.clone())
    }

    fn insert(&mut self, key: Key, kept: Kept, bytes: usize) {
        self.uses += 1;
        self.bytes += bytes;
        self.order.insert(self.uses, key);
        self.slots.insert(key, Slot { kept, bytes, used: self.uses });
    }

    fn remove(&mut self, key: Key) -> Option<Kept> {
        let slot = self.slots.remove(&key)?;
        self.bytes -= slot.bytes;
        self.order.remove(&slot.used);
        Some(slot.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        (AccountNumber(number), MailboxId([0; 16]), What::Column(SortKey::Subject))
    }

    /// A column of so many messages takes 20 bytes of each.
    fn column(messages: u32) -> Kept {
        let mut roster = Roster::default();
        let mut column = Column::of_key(SortKey::Date);
        for uid in 0..messages {
            roster.push(uid + 1, engine::ids::BlobId::default());
            column.push(Known::Number(0));
        }
        Kept::Column(Arc::new(KeptColumn::new(Arc::new(roster), column)))
    }

    #[test]
    fn what_was_not_used_for_longest_goes_and_the_budget_holds() {
        let one = column(1000).bytes();
        let compared = Compared::new(3 * one);
        (1..=3).for_each(|number| compared.keep(key(number), column(1000)));
        assert!(compared.find(key(1)).is_some());
        compared.keep(key(4), column(1000));
        let there = |number| compared.inner.lock().slots.contains_key(&key(number));
        assert_eq!([1, 2, 3, 4].map(there), [true, false, true, true]);
        assert_eq!(compared.inner.lock().bytes, 3 * one);
        // The same again takes its own place.
        compared.keep(key(4), column(1000));
        assert_eq!([1, 2, 3, 4].map(there), [true, false, true, true]);
        // What is too large for the budget is not kept, and pushes nobody out but itself.
        compared.keep(key(4), column(5000));
        assert_eq!([1, 2, 3, 4].map(there), [true, false, true, false]);
        assert_eq!(compared.inner.lock().order.len(), 2);
        assert_eq!(compared.inner.lock().bytes, 2 * one);
    }

    #[test]
    fn a_budget_of_nothing_keeps_nothing() {
        let compared = Compared::new(0);
        compared.keep(key(1), column(1000));
        assert!(compared.find(key(1)).is_none());
    }
}
