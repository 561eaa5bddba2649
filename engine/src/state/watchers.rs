//! Who wants to know that names, subscriptions, metadata or rights of an account changed.
//!
//! Beside the watchers of a mailbox, which hear of its messages. Whoever an account shares
//! something with hears of its changes, too, also when it is given the first right or loses the
//! last.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use super::committed::Watcher;
use crate::ids::AccountNumber;
use crate::rights::Grantee;

/// The watchers of all accounts.
#[derive(Default)]
pub(crate) struct AccountWatchers {
    of: Mutex<HashMap<AccountNumber, Vec<(u64, Watcher)>>>,
}

impl AccountWatchers {
    /// Registers one under a number that nobody else has.
    pub(crate) fn add(&self, account: AccountNumber, number: u64, watcher: Watcher) {
        self.of.lock().entry(account).or_default().push((number, watcher));
    }

    /// Ends a watch.
    pub(crate) fn remove(&self, account: AccountNumber, number: u64) {
        let mut of = self.of.lock();
        if let Some(watchers) = of.get_mut(&account) {
            watchers.retain(|(watcher, _)| *watcher != number);
            if watchers.is_empty() {
                of.remove(&account);
            }
        }
    }

    /// Calls those who watch one of these accounts, each once.
    pub(crate) fn call(&self, who: &BTreeSet<Grantee>) {
        if who.is_empty() {
            return;
        }
        let of = self.of.lock();
        let mut called: Vec<Watcher> = Vec::new();
        let mut take = |watchers: &Vec<(u64, Watcher)>| {
            called.extend(watchers.iter().map(|(_, watcher)| Watcher::clone(watcher)));
        };
        if who.contains(&Grantee::Anyone) {
            of.values().for_each(take);
        } else {
            for grantee in who {
                if let Grantee::Account(account) = grantee
                    && let Some(watchers) = of.get(account)
                {
                    take(watchers);
                }
            }
        }
        drop(of);
        called.iter().for_each(|watcher| watcher());
    }
}
