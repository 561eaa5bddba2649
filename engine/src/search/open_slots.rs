//! Which accounts' indexes are open, and what they take: whoever looks need not walk over all.
//!
//! # Invariants
//! 1. `total_bytes` is the sum over `of`, and `by_use` names each of these once.

use std::collections::{BTreeMap, HashMap};

use crate::ids::AccountNumber;

/// The open ones.
#[derive(Default)]
pub(super) struct OpenSlots {
    of: HashMap<AccountNumber, Open>,
    /// By when they were used, the longest unused first.
    by_use: BTreeMap<u64, AccountNumber>,
    total_bytes: u64,
    uses: u64,
}

#[derive(Clone, Copy)]
struct Open {
    used: u64,
    bytes: u64,
}

impl OpenSlots {
    /// An account's index is used now, and takes so much.
    pub(super) fn note_use(&mut self, account: AccountNumber, bytes: u64) {
        self.remove(account);
        self.uses += 1;
        self.of.insert(account, Open { used: self.uses, bytes });
        self.by_use.insert(self.uses, account);
        self.total_bytes += bytes;
    }

    /// It is closed.
    pub(super) fn remove(&mut self, account: AccountNumber) {
        if let Some(open) = self.of.remove(&account) {
            self.by_use.remove(&open.used);
            self.total_bytes -= open.bytes;
        }
    }

    /// Which one is closed next, if all together take more than `bytes_max`.
    pub(super) fn next_to_close(
        &self,
        bytes_max: u64,
        but: AccountNumber,
    ) -> Option<AccountNumber> {
        if self.total_bytes <= bytes_max {
            return None;
        }
        self.by_use.values().copied().find(|account| *account != but)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_is_closed_first_and_never_whoever_asks() {
        let [a, b, c] = [1, 2, 3].map(AccountNumber);
        let mut open = OpenSlots::default();
        [a, b, c].into_iter().for_each(|account| open.note_use(account, 10));
        assert_eq!(open.next_to_close(30, a), None, "there is room");
        assert_eq!(open.next_to_close(29, c), Some(a));
        assert_eq!(open.next_to_close(29, a), Some(b), "it is needed now");
        open.note_use(a, 5);
        assert_eq!(open.total_bytes, 25, "it takes less now");
        assert_eq!(open.next_to_close(24, c), Some(b));
        open.remove(b);
        open.remove(b);
        assert_eq!(open.next_to_close(15, c), None);
        assert_eq!(open.next_to_close(0, c), Some(a));
        open.remove(a);
        assert_eq!(open.next_to_close(0, c), None, "nobody else is open");
    }
}
