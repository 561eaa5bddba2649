//! What the clients of a pair know, and what its nodes must therefore show.
//!
//! Each message has a number, which its text tells: it can be followed through moves, merges and
//! copies.

use std::collections::{BTreeMap, BTreeSet};

use super::pair::numbered;
use crate::ids::Uid;
use crate::store::{Mailbox, Store};

pub(super) const ANNA: &str = "anna@example.org";
pub(super) const BOXES: [&str; 2] = ["INBOX", "Archive"];

/// Mailbox, UID, flags and number of each message.
pub(super) type Shown = Vec<(usize, u32, u8, u64)>;

/// What clients know.
#[derive(Default)]
pub(super) struct Known {
    pub(super) submitted: u64,
    pub(super) acknowledged: BTreeSet<u64>,
    /// Whoever asked for it was told so; or was told nothing.
    pub(super) expunged: BTreeSet<u64>,
    pub(super) maybe_expunged: BTreeSet<u64>,
    /// What every UID that was ever shown names.
    named: BTreeMap<(usize, u32), u64>,
}

pub(super) fn text(number: u64, large: bool) -> Vec<u8> {
    numbered(number, if large { 20_000 } else { 200 })
}

fn number_of(bytes: &[u8]) -> u64 {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap();
    let number = std::str::from_utf8(line).unwrap().strip_prefix("Subject: ").unwrap();
    let number = number.parse().unwrap();
    assert!(bytes == text(number, false) || bytes == text(number, true), "it was altered");
    number
}

pub(super) fn mailbox(store: &Store, name: &str) -> Mailbox {
    store.account(ANNA).unwrap().unwrap().mailbox(name).unwrap().unwrap()
}

pub(super) fn shown(store: &Store) -> Shown {
    let Some(account) = store.account(ANNA).unwrap() else { return Vec::new() };
    let mut all = Vec::new();
    for (place, name) in BOXES.iter().enumerate() {
        let Some(mailbox) = account.mailbox(name).unwrap() else { continue };
        let rows = mailbox.view().unwrap().unwrap().rows_from(Uid(1), usize::MAX).unwrap();
        all.extend(rows.into_iter().map(|row| {
            let bytes = account.message(&row).unwrap().read_all().unwrap();
            (place, row.uid.0, row.flags.0, number_of(&bytes))
        }));
    }
    all
}

impl Known {
    /// Somebody reads what a node shows.
    pub(super) fn note_shown(&mut self, shown: &Shown) {
        for &(place, uid, _, number) in shown {
            let named = *self.named.entry((place, uid)).or_insert(number);
            assert_eq!(named, number, "UID {uid} of {} named another message", BOXES[place]);
            assert!(number <= self.submitted, "nobody submitted {number}");
        }
    }

    /// A node shows what was acknowledged, once; and nothing that was acknowledged as expunged.
    pub(super) fn compare(&self, shown: &Shown) {
        if let Some(broken) = self.broken_by(shown) {
            panic!("{broken}");
        }
    }

    /// What is wrong with what a node shows, if anything is.
    pub(super) fn broken_by(&self, shown: &Shown) -> Option<String> {
        let Known { submitted, acknowledged, expunged, maybe_expunged, .. } = self;
        (1..=*submitted).find_map(|number| {
            let count = shown.iter().filter(|(.., found)| *found == number).count();
            let is_certain = acknowledged.contains(&number) && !maybe_expunged.contains(&number);
            let told = match expunged.contains(&number) && !maybe_expunged.contains(&number) {
                true if count > 0 => "and was acknowledged as expunged",
                false if is_certain && count != 1 => "and was acknowledged",
                _ if count > 1 => "",
                _ => return None,
            };
            Some(format!("message {number} is there {count} times {told}"))
        })
    }
    /// Nothing is on its way any more: what is there stays, what is not there does not come.
    pub(super) fn settle(&mut self, shown: &Shown) {
        let there: BTreeSet<u64> = shown.iter().map(|(.., number)| *number).collect();
        self.maybe_expunged.clear();
        self.expunged = (1..=self.submitted).filter(|number| !there.contains(number)).collect();
        self.acknowledged = there;
    }
}
