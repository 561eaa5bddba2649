//! What the worker was told to do, what it answered, and what must be there accordingly.
//!
//! One order is under way at a time. After a kill, what is found is what had been acknowledged, or
//! that with the order that was under way done wholly.
//!
//! | order | answer, beside one line a mailbox |
//! |--|--|
//! | `append ACCOUNT MAILBOX NUMBER FLAGS` | its UID |
//! | `deliver NUMBER` to the INBOXes of both users | both UIDs |
//! | `flags ACCOUNT MAILBOX UID FLAGS` in place of those before | |
//! | `churn ACCOUNT MAILBOX UID FLAGS` the same often, and back in between | |
//! | `expunge ACCOUNT MAILBOX` what is marked as deleted | |
//! | `copy` or `move` `ACCOUNT MAILBOX UID MAILBOX` | the UID there |
//! | `create ACCOUNT MAILBOX`, `delete ACCOUNT MAILBOX`, `rename ACCOUNT MAILBOX MAILBOX` | |
//! | `enlist`, `dismiss` an account | |
//! | `checkpoint`, `reclaim`, `index`, `close` | |

use std::collections::BTreeMap;

use super::worker::{GUEST, USERS};
use crate::disk::simulated::Dice;
use crate::flags::SystemFlags;

/// An account and a mailbox.
pub(super) type Place = (String, String);
/// All that a store shows.
pub(super) type Seen = BTreeMap<Place, Shelf>;

/// More messages than this: some go.
const MESSAGES_MAX: usize = 40;
/// Names of mailboxes that come and go.
const NAMES: [&str; 4] = ["Bills", "Letters", "Lists", "Orders"];

/// A mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Shelf {
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) highest_modseq: u64,
    /// By UID: which message it is, and its flags.
    pub(super) messages: BTreeMap<u32, (u64, u8)>,
}

/// The ledger.
pub(super) struct Ledger {
    dice: Dice,
    told: Seen,
    pending: Option<String>,
    next_number: u64,
    /// Which message a UID has ever meant.
    meanings: BTreeMap<(Place, u32, u32), u64>,
}

pub(super) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn place(account: &str, mailbox: &str) -> Place {
    (account.to_owned(), mailbox.to_owned())
}

/// Where an order brings messages to.
fn targets(order: &[&str]) -> Vec<Place> {
    match order {
        ["append", account, mailbox, ..] => vec![place(account, mailbox)],
        ["deliver", _] => USERS.map(|user| place(user, "INBOX")).to_vec(),
        ["copy" | "move", account, _, _, to] => vec![place(account, to)],
        _ => Vec::new(),
    }
}

/// What is there after an order, which gave these UIDs.
fn after(seen: &Seen, order: &[&str], uids: &[u32]) -> Seen {
    let mut after = seen.clone();
    let mut messages = Vec::new();
    match order {
        ["append", _, _, number, flags] => {
            messages.push((number.parse().unwrap(), flags.parse().unwrap()));
        }
        ["deliver", number] => messages = vec![(number.parse().unwrap(), 0); 2],
        ["flags" | "churn", account, mailbox, uid, flags] => {
            let shelf = after.get_mut(&place(account, mailbox)).unwrap();
            let message = shelf.messages.get_mut(&uid.parse().unwrap()).unwrap();
            message.1 = flags.parse().unwrap();
        }
        ["expunge", account, mailbox] => {
            let shelf = after.get_mut(&place(account, mailbox)).unwrap();
            shelf.messages.retain(|_, (_, flags)| *flags & SystemFlags::DELETED.0 == 0);
        }
        [verb @ ("copy" | "move"), account, from, uid, _] => {
            let shelf = after.get_mut(&place(account, from)).unwrap();
            let uid = uid.parse().unwrap();
            messages.push(*shelf.messages.get(&uid).unwrap());
            if *verb == "move" {
                shelf.messages.remove(&uid);
            }
        }
        ["create", account, mailbox] => {
            after.insert(place(account, mailbox), Shelf::default());
        }
        ["delete", account, mailbox] => {
            after.remove(&place(account, mailbox)).unwrap();
        }
        ["rename", account, from, to] => {
            let shelf = after.remove(&place(account, from)).unwrap();
            after.insert(place(account, to), shelf);
        }
        ["dismiss"] => after.retain(|(account, _), _| account != GUEST),
        _ => {}
    }
    for ((place, message), uid) in targets(order).into_iter().zip(messages).zip(uids) {
        after.get_mut(&place).unwrap().messages.insert(*uid, message);
    }
    after
}

/// Whether that may be found where this was told.
fn fits(told: &Seen, found: &Seen) -> bool {
    let fits = |(place, told): (&Place, &Shelf)| {
        found.get(place).is_some_and(|found| {
            // Of what was just made, nothing was told yet.
            let is_same = told.uid_validity == found.uid_validity || told.uid_validity == 0;
            is_same
                && told.messages == found.messages
                && told.uid_next <= found.uid_next
                && told.highest_modseq <= found.highest_modseq
        })
    };
    told.len() == found.len() && told.iter().all(fits)
}

impl Ledger {
    pub(super) fn new(seed: u64, told: Seen) -> Ledger {
        let dice = Dice::new(seed);
        Ledger { dice, told, pending: None, next_number: 1, meanings: BTreeMap::new() }
    }

    /// Something to do, which is under way from now on.
    pub(super) fn next_order(&mut self) -> String {
        let order = loop {
            if let Some(order) = self.draw() {
                break order;
            }
        };
        self.pending = Some(order.clone());
        order
    }

    fn pick<T: Clone>(&mut self, all: Vec<T>) -> Option<T> {
        let choice = self.dice.next().checked_rem(all.len() as u64)?;
        all.get(choice as usize).cloned()
    }

    fn draw(&mut self) -> Option<String> {
        let (account, mailbox) = self.pick(self.told.keys().cloned().collect())?;
        let count: usize = self.told.values().map(|shelf| shelf.messages.len()).sum();
        let choice = self.dice.below(if count > MESSAGES_MAX { 6 } else { 21 });
        let shelf = self.told.get(&(account.clone(), mailbox.clone()))?.clone();
        let uids: Vec<u32> = shelf.messages.keys().copied().collect();
        let is_free = |name: &&str| !self.told.contains_key(&place(&account, name));
        let free: Vec<&str> = NAMES.into_iter().filter(is_free).collect();
        let is_ours = NAMES.contains(&mailbox.as_str());
        match choice {
            0..=2 => {
                let (uid, flags) = (self.pick(uids)?, SystemFlags::DELETED.0);
                Some(format!("flags {account} {mailbox} {uid} {flags}"))
            }
            3..=5 => {
                let mut flags = shelf.messages.values().map(|(_, flags)| flags);
                let is_deleted = flags.any(|flags| flags & SystemFlags::DELETED.0 != 0);
                is_deleted.then(|| format!("expunge {account} {mailbox}"))
            }
            6..=9 => {
                self.next_number += 1;
                let (number, flags) = (self.next_number, self.dice.below(32));
                Some(format!("append {account} {mailbox} {number} {flags}"))
            }
            10 => {
                self.next_number += 1;
                Some(format!("deliver {}", self.next_number))
            }
            11 => {
                let (uid, flags) = (self.pick(uids)?, self.dice.below(32));
                Some(format!("flags {account} {mailbox} {uid} {flags}"))
            }
            12 | 13 => {
                let others = self.told.keys().filter(|other| other.0 == account);
                let others = others.map(|other| other.1.clone()).filter(|other| *other != mailbox);
                let to = self.pick(others.collect())?;
                let verb = if choice == 12 { "copy" } else { "move" };
                Some(format!("{verb} {account} {mailbox} {} {to}", self.pick(uids)?))
            }
            14 => Some(format!("create {account} {}", self.pick(free)?)),
            15 if is_ours => match self.dice.below(2) {
                0 => Some(format!("delete {account} {mailbox}")),
                _ => Some(format!("rename {account} {mailbox} {}", self.pick(free)?)),
            },
            16 if self.dice.below(2) == 0 => {
                let is_there = self.told.keys().any(|(account, _)| account == GUEST);
                Some(if is_there { "dismiss" } else { "enlist" }.to_owned())
            }
            17 => Some("checkpoint".to_owned()),
            20 => Some("index".to_owned()),
            18 if self.dice.below(2) == 0 => Some("reclaim".to_owned()),
            19 => {
                let (uid, flags) = (self.pick(uids)?, self.dice.below(32));
                Some(format!("churn {account} {mailbox} {uid} {flags}"))
            }
            _ => None,
        }
    }

    /// The order that was under way is done.
    pub(super) fn acknowledge(&mut self, answer: &[String]) {
        let order = self.pending.take().unwrap_or_default();
        let order = words(&order);
        let mut uids = Vec::new();
        let mut shelves: BTreeMap<Place, (u32, u32, u64)> = BTreeMap::new();
        for line in answer {
            match words(line)[..] {
                ["done", ref given @ ..] => {
                    uids = given.iter().map(|uid| uid.parse().unwrap()).collect();
                }
                ["box", account, mailbox, validity, next, modseq] => {
                    let figures = (validity.parse().unwrap(), next.parse().unwrap());
                    let figures = (figures.0, figures.1, modseq.parse().unwrap());
                    shelves.insert(place(account, mailbox), figures);
                }
                _ => {}
            }
        }
        let places = targets(&order);
        assert_eq!(places.len(), uids.len(), "{order:?}: {answer:?}");
        for (place, uid) in places.iter().zip(&uids) {
            assert!(*uid >= self.told[place].uid_next, "{order:?}: UID {uid} was promised");
        }
        self.told = after(&self.told, &order, &uids);
        for (place, (validity, next, modseq)) in shelves.clone() {
            if order == ["enlist"] {
                self.told.entry(place.clone()).or_default();
            }
            let shelf = self.told.get_mut(&place).unwrap_or_else(|| panic!("{order:?}: {place:?}"));
            assert!(shelf.uid_validity == validity || shelf.uid_validity == 0, "{order:?}");
            assert!(shelf.uid_next <= next && shelf.highest_modseq <= modseq, "{order:?}");
            (shelf.uid_validity, shelf.uid_next, shelf.highest_modseq) = (validity, next, modseq);
        }
        assert!(self.told.keys().eq(shelves.keys()), "{order:?}: {shelves:?}");
        self.note_meanings().unwrap();
    }

    fn note_meanings(&mut self) -> Result<(), String> {
        for (place, shelf) in &self.told {
            for (uid, (number, _)) in &shelf.messages {
                let key = (place.clone(), shelf.uid_validity, *uid);
                let meaning = *self.meanings.entry(key).or_insert(*number);
                if meaning != *number {
                    return Err(format!(
                        "UID {uid} in {place:?} meant message {meaning} and now {number}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether that may be found now.
    pub(super) fn judge(&self, found: &Seen) -> Result<(), String> {
        if fits(&self.told, found) {
            return Ok(());
        }
        let order = self.pending.clone().unwrap_or_default();
        let order = words(&order);
        let mut uids = Vec::new();
        for place in targets(&order) {
            let next = self.told[&place].uid_next;
            let shelf = found.get(&place).ok_or(format!("{place:?} is gone"))?;
            uids.extend(shelf.messages.keys().filter(|uid| **uid >= next));
        }
        let mut done = after(&self.told, &order, &uids);
        if order == ["enlist"] {
            let guests = found.keys().filter(|(account, _)| account == GUEST);
            done.extend(guests.map(|place| (place.clone(), Shelf::default())));
        }
        if fits(&done, found) {
            return Ok(());
        }
        let differ = |(place, shelf): (&Place, &Shelf)| found.get(place) != Some(shelf);
        let told: Vec<_> = self.told.iter().filter(|shelf| differ(*shelf)).collect();
        let other = |(place, shelf): &(&Place, &Shelf)| self.told.get(*place) != Some(*shelf);
        let found: Vec<_> = found.iter().filter(other).collect();
        Err(format!("told {told:?}, under way {order:?}, found {found:?}"))
    }

    /// What was found is what there is now.
    pub(super) fn adopt(&mut self, found: Seen) {
        self.told = found;
        self.pending = None;
        self.note_meanings().unwrap();
    }
}
