//! Passwords that were right a short while ago, so that a client that logs in again and again (a
//! web mailer does so with every page) costs a keyed hash instead of Argon2id.
//!
//! Kept is a BLAKE3 hash of the password and of what is stored of it, under a key that this process
//! draws when it starts and tells nobody; never the password. Why that is good enough is in
//! decision 0032.
//!
//! # Invariants
//! 1. Only a right password is found here: a wrong one, and any of a name that does not exist, is
//!    hashed with Argon2id as ever, so guessing is not faster.
//! 2. What is found is a password of the account as it is stored now: changing it, or deleting the
//!    account, makes what is kept worthless at once.
//! 3. Nothing is kept longer than the bound, and of no more accounts than [`ACCOUNTS_MAX`].

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::ids::AccountNumber;
use crate::seal::{PreparedPassword, Randomness, StoredPassword, SystemRandom};

/// Accounts of which one is kept.
const ACCOUNTS_MAX: usize = 65_536;
const HASH_BYTES: usize = 32;

/// Right passwords of the last minutes.
pub(super) struct RecentPasswords {
    key: Zeroizing<[u8; HASH_BYTES]>,
    kept_for: Duration,
    kept: Mutex<HashMap<AccountNumber, Kept>>,
}

struct Kept {
    hash: Zeroizing<[u8; HASH_BYTES]>,
    /// By the clock that never goes back.
    since: Duration,
}

impl RecentPasswords {
    /// None yet; `kept_for` zero keeps none.
    pub(super) fn new(kept_for: Duration) -> RecentPasswords {
        // Of the system also in a simulation: nothing that is stored depends on it.
        let mut key = Zeroizing::new([0; HASH_BYTES]);
        SystemRandom.fill(key.as_mut_slice());
        RecentPasswords { key, kept_for, kept: Mutex::default() }
    }

    /// Whether this password of the account was right a short while ago and still is.
    pub(super) fn has(
        &self,
        account: AccountNumber,
        (stored, password): (&StoredPassword, &PreparedPassword),
        now: Duration,
    ) -> bool {
        let kept = self.kept.lock();
        let Some(kept) = kept.get(&account).filter(|kept| self.is_fresh(kept, now)) else {
            return false;
        };
        let hash = stored.keyed_hash(password, &self.key);
        verify_slices_are_equal(hash.as_slice(), kept.hash.as_slice()).is_ok()
    }

    /// Keeps a password that has just been found right.
    pub(super) fn keep(
        &self,
        account: AccountNumber,
        (stored, password): (&StoredPassword, &PreparedPassword),
        now: Duration,
    ) {
        if self.kept_for.is_zero() {
            return;
        }
        let hash = stored.keyed_hash(password, &self.key);
        let mut kept = self.kept.lock();
        if kept.len() >= ACCOUNTS_MAX && !kept.contains_key(&account) {
            kept.retain(|_, kept| self.is_fresh(kept, now));
            if kept.len() >= ACCOUNTS_MAX {
                return;
            }
        }
        kept.insert(account, Kept { hash, since: now });
    }

    fn is_fresh(&self, kept: &Kept, now: Duration) -> bool {
        now.saturating_sub(kept.since) < self.kept_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Argon2Cost, Sealer, Secret};

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn prepared(password: &str) -> PreparedPassword {
        PreparedPassword::new(&Secret::new(password.into())).unwrap()
    }

    fn stored(password: &str) -> StoredPassword {
        StoredPassword::make(&Sealer::system(), &prepared(password), Argon2Cost::CHEAP).unwrap()
    }

    #[test]
    fn the_same_password_is_known_for_a_while_and_no_other() {
        let recent = RecentPasswords::new(10 * MINUTE);
        let (account, stored) = (AccountNumber(5), stored("right"));
        let has = |account, password, now| recent.has(account, (&stored, &prepared(password)), now);
        assert!(!has(account, "right", HOUR), "nobody has come in yet");
        recent.keep(account, (&stored, &prepared("right")), HOUR);
        assert!(has(account, "right", HOUR + 9 * MINUTE));
        assert!(!has(account, "wrong", HOUR), "another password");
        assert!(!has(AccountNumber(6), "right", HOUR), "another account");
        assert!(!has(account, "right", HOUR + 10 * MINUTE), "too long ago");
    }

    #[test]
    fn a_password_that_was_set_anew_is_not_known() {
        let recent = RecentPasswords::new(10 * MINUTE);
        let (account, old, new) = (AccountNumber(5), stored("same"), stored("same"));
        recent.keep(account, (&old, &prepared("same")), HOUR);
        assert!(recent.has(account, (&old, &prepared("same")), HOUR));
        assert!(!recent.has(account, (&new, &prepared("same")), HOUR));
    }

    #[test]
    fn nothing_is_kept_where_the_operator_says_so() {
        let recent = RecentPasswords::new(Duration::ZERO);
        let (account, stored) = (AccountNumber(5), stored("right"));
        recent.keep(account, (&stored, &prepared("right")), HOUR);
        assert!(!recent.has(account, (&stored, &prepared("right")), HOUR));
        assert!(recent.kept.lock().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let recent = RecentPasswords::new(10 * MINUTE);
        let (stored, password) = (stored("right"), prepared("right"));
        for number in 0..u64::try_from(ACCOUNTS_MAX).unwrap() + 5 {
            recent.keep(AccountNumber(number), (&stored, &password), HOUR);
        }
        assert_eq!(recent.kept.lock().len(), ACCOUNTS_MAX);
        recent.keep(AccountNumber(u64::MAX), (&stored, &password), HOUR + 10 * MINUTE);
        assert_eq!(recent.kept.lock().len(), 1, "what is too old makes room");
    }
}
