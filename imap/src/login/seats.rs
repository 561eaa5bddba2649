//! Connections of one account, counted, so that a client that has gone wild takes no other's place.

use std::collections::HashMap;
use std::sync::Arc;

use engine::ids::AccountNumber;
use parking_lot::Mutex;

/// Accounts with a connection; bounded by the connections.
#[derive(Default)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<AccountNumber, u32>>>,
}

/// One connection's place; dropping it makes room.
pub(crate) struct Seat {
    taken: Arc<Mutex<HashMap<AccountNumber, u32>>>,
    account: AccountNumber,
}

impl Seats {
    /// A place, unless the account has that many.
    pub(super) fn take(&self, account: AccountNumber, bound: u32) -> Option<Seat> {
        let mut taken = self.taken.lock();
        let count = taken.get(&account).copied().unwrap_or(0);
        if count >= bound {
            return None;
        }
        taken.insert(account, count.saturating_add(1));
        Some(Seat { taken: Arc::clone(&self.taken), account })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        match taken.get_mut(&self.account) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_gets_its_places_and_gives_them_back() {
        let seats = Seats::default();
        let (one, other) = (AccountNumber(1), AccountNumber(2));
        let first = seats.take(one, 2).unwrap();
        let _second = seats.take(one, 2).unwrap();
        assert!(seats.take(one, 2).is_none());
        assert!(seats.take(other, 2).is_some(), "another account's places are its own");
        drop(first);
        assert!(seats.take(one, 2).is_some());
        assert_eq!(seats.taken.lock().len(), 1, "the table holds who is there");
    }
}
