//! What was asked of the server and what it acknowledged, kept outside of it.
//!
//! An operation is *pending* from before its first byte is sent until its answer has been read.
//! After a crash an acknowledged operation must be there, and a pending one wholly or not at all;
//! the ledger then adopts what it found. A message lies at most once in a mailbox, so (mailbox,
//! message) is a key.
//!
//! # Invariants checked
//! 1. Every acknowledged message is in its mailbox once, with its bytes, flags and UID.
//! 2. Nothing else is there.
//! 3. A pending operation happened to all of its messages or to none.
//! 4. What another session was shown before the crash is still there.
//! 5. UIDs ascend, are at least the UIDNEXT told before, and never come to mean another message.
//! 6. UIDVALIDITY stays; UIDNEXT and HIGHESTMODSEQ do not fall.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::imap::Selected;
use crate::support::random::Random;

/// The header field that says which message it is.
pub(crate) const FIELD: &str = "X-Ledger";

/// A mailbox of one of the users.
pub(crate) type Place = (usize, usize);

/// A message in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) message: u64,
}

/// How it lies there. The UID is unknown until the server tells it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    pub(crate) uid: Option<u32>,
    pub(crate) flags: BTreeSet<String>,
}

/// One key before and after an operation; `None`: not there.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: Key,
    pub(crate) before: Option<Entry>,
    pub(crate) after: Option<Entry>,
}

/// Whether an operation may be found half done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// All of its messages or none.
    Together,
    /// Each of its messages wholly.
    Each,
}

/// Something asked of the server.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) what: &'static str,
    pub(crate) whole: Whole,
    pub(crate) changes: Vec<Change>,
}

/// What a mailbox was found to hold.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) selected: Selected,
    /// In the order of the server.
    pub(crate) messages: Vec<FoundMessage>,
}

/// One message found.
pub(crate) struct FoundMessage {
    pub(crate) uid: u32,
    pub(crate) flags: BTreeSet<String>,
    pub(crate) body: Vec<u8>,
}

/// The ledger.
pub(crate) struct Ledger {
    seed: u64,
    next_message: u64,
    next_operation: u64,
    pub(crate) entries: BTreeMap<Key, Entry>,
    pending: BTreeMap<u64, Operation>,
    witnessed: BTreeSet<Key>,
    /// Which message a UID has ever meant.
    meanings: BTreeMap<(Place, u32), u64>,
    told: BTreeMap<Place, Selected>,
    /// Acknowledged operations by kind.
    pub(crate) acknowledged: BTreeMap<&'static str, u64>,
    /// Operations that a crash cut short: found done, found not done.
    pub(crate) cut_short: (u64, u64),
    /// What should not have been said.
    pub(crate) complaints: Vec<String>,
}

impl Ledger {
    pub(crate) fn new(seed: u64) -> Ledger {
        Ledger {
            seed,
            next_message: 0,
            next_operation: 0,
            entries: BTreeMap::new(),
            pending: BTreeMap::new(),
            witnessed: BTreeSet::new(),
            meanings: BTreeMap::new(),
            told: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            cut_short: (0, 0),
            complaints: Vec::new(),
        }
    }

    /// A message that was never submitted before.
    pub(crate) fn new_message(&mut self) -> (u64, Vec<u8>) {
        self.next_message += 1;
        (self.next_message, message_bytes(self.seed, self.next_message))
    }

    /// Notes what is about to be asked for.
    pub(crate) fn begin(&mut self, operation: Operation) -> u64 {
        self.next_operation += 1;
        self.pending.insert(self.next_operation, operation);
        self.next_operation
    }

    /// Notes an OK. `uids`: what the server told, one per change that adds a message.
    pub(crate) fn acknowledge(&mut self, number: u64, uids: Option<Vec<u32>>) {
        let operation = self.pending.remove(&number).expect("begun before");
        *self.acknowledged.entry(operation.what).or_default() += 1;
        let mut uids = uids.map(Vec::into_iter);
        for change in operation.changes {
            let Some(mut entry) = change.after else {
                self.entries.remove(&change.key);
                // It may come back here, and be on its way when the next kill comes.
                self.witnessed.remove(&change.key);
                continue;
            };
            if let (None, Some(uids)) = (entry.uid, &mut uids) {
                entry.uid = uids.next();
                if entry.uid.is_none() {
                    self.complaints.push(format!("{}: too few UIDs told", operation.what));
                }
            }
            if let Some(uid) = entry.uid {
                self.mean(change.key, uid);
            }
            self.entries.insert(change.key, entry);
        }
    }

    /// Notes an answer that refuses: nothing may have happened.
    pub(crate) fn refuse(&mut self, number: u64, answer: &str) {
        let operation = self.pending.remove(&number).expect("begun before");
        self.complaints.push(format!("{} was refused: {answer}", operation.what));
    }

    /// Notes that another session was shown this message.
    pub(crate) fn witness(&mut self, key: Key, uid: u32) {
        self.witnessed.insert(key);
        self.mean(key, uid);
    }

    fn mean(&mut self, key: Key, uid: u32) {
        let meaning = *self.meanings.entry((key.place, uid)).or_insert(key.message);
        if meaning != key.message {
            let message = key.message;
            self.complaints.push(format!(
                "UID {uid} in {:?} meant message {meaning} and now means {message}",
                key.place
            ));
        }
    }

    /// Compares with what was found after a restart, and adopts it. Answers everything wrong.
    pub(crate) fn check(&mut self, found: BTreeMap<Place, Found>) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.complaints);
        let mut actual = BTreeMap::new();
        for (place, found) in found {
            self.check_mailbox(place, &found, &mut wrong);
            for message in found.messages {
                let Some(number) = self.identify(&message.body, &mut wrong) else { continue };
                let key = Key { place, message: number };
                self.mean(key, message.uid);
                let entry = Entry { uid: Some(message.uid), flags: message.flags };
                if actual.insert(key, entry).is_some() {
                    wrong.push(format!("{key:?} is there twice"));
                }
            }
        }
        for operation in std::mem::take(&mut self.pending).into_values() {
            self.settle(&operation, &actual, &mut wrong);
        }
        for (key, entry) in &self.entries {
            match actual.get(key) {
                None => wrong.push(format!("acknowledged, but gone: {key:?} {entry:?}")),
                Some(found) if !agrees(entry, found) => {
                    wrong.push(format!("{key:?}: acknowledged {entry:?}, found {found:?}"));
                }
                Some(_) => {}
            }
        }
        for (key, entry) in &actual {
            if !self.entries.contains_key(key) {
                wrong.push(format!("nobody put this there, or it was removed: {key:?} {entry:?}"));
            }
        }
        wrong.append(&mut self.complaints);
        self.witnessed.clear();
        self.entries = actual;
        wrong
    }

    fn check_mailbox(&mut self, place: Place, found: &Found, wrong: &mut Vec<String>) {
        let now = &found.selected;
        let uids: Vec<u32> = found.messages.iter().map(|message| message.uid).collect();
        if !uids.is_sorted_by(|one, next| one < next) {
            wrong.push(format!("{place:?}: UIDs do not ascend: {uids:?}"));
        }
        if uids.last().is_some_and(|&last| last >= now.uid_next) {
            wrong.push(format!("{place:?}: UIDNEXT {} is in use", now.uid_next));
        }
        if now.exists as usize != uids.len() {
            wrong.push(format!("{place:?}: EXISTS {}, but {} came", now.exists, uids.len()));
        }
        if let Some(before) = self.told.get(&place) {
            let fell = now.uid_validity != before.uid_validity
                || now.uid_next < before.uid_next
                || now.highest_modseq < before.highest_modseq;
            if fell {
                wrong.push(format!("{place:?}: told {before:?}, and now {now:?}"));
            }
            let known = |uid: &u32| self.meanings.contains_key(&(place, *uid));
            for uid in uids.iter().filter(|uid| **uid < before.uid_next && !known(uid)) {
                wrong.push(format!("{place:?}: new UID {uid} below UIDNEXT {}", before.uid_next));
            }
        }
        self.told.insert(place, now.clone());
    }

    /// Which message that is; its bytes must be those submitted, behind trace fields if any.
    fn identify(&self, body: &[u8], wrong: &mut Vec<String>) -> Option<u64> {
        let Some(number) = message_number(body) else {
            let begin = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            wrong.push(format!("a message that was never submitted: {begin:?}"));
            return None;
        };
        let submitted = message_bytes(self.seed, number);
        let trace = body.strip_suffix(submitted.as_slice());
        let is_trace = trace.is_some_and(|trace| {
            trace.is_empty() || (trace.ends_with(b"\r\n") && !trace.windows(4).any(is_blank_line))
        });
        if number > self.next_message || !is_trace {
            wrong.push(format!("message {number} has other bytes than were submitted"));
        }
        Some(number)
    }

    /// Decides whether a pending operation happened.
    fn settle(
        &mut self,
        operation: &Operation,
        actual: &BTreeMap<Key, Entry>,
        wrong: &mut Vec<String>,
    ) {
        let matches = |state: &Option<Entry>, key: &Key| match (state, actual.get(key)) {
            (None, None) => true,
            (Some(expected), Some(found)) => agrees(expected, found),
            _ => false,
        };
        let mut done = Vec::new();
        for change in &operation.changes {
            let after = matches(&change.after, &change.key);
            let before = matches(&change.before, &change.key);
            if !after && !before {
                let found = actual.get(&change.key);
                wrong.push(format!("{} is half done: {change:?}, {found:?}", operation.what));
            }
            let was_shown = change.before.is_none() && self.witnessed.contains(&change.key);
            if was_shown && !after {
                let (what, key) = (operation.what, change.key);
                wrong.push(format!("{what}: was shown before the crash, and is gone: {key:?}"));
            }
            // A change that makes no difference fits both.
            if before != after {
                done.push(after);
            }
            match actual.get(&change.key) {
                Some(entry) => self.entries.insert(change.key, entry.clone()),
                None => self.entries.remove(&change.key),
            };
        }
        let count = done.iter().filter(|done| **done).count();
        if operation.whole == Whole::Together && count != 0 && count != done.len() {
            wrong.push(format!("{}: {count} of {}: {operation:?}", operation.what, done.len()));
        }
        if count > 0 {
            self.cut_short.0 += 1;
        } else {
            self.cut_short.1 += 1;
        }
    }
}

fn agrees(expected: &Entry, found: &Entry) -> bool {
    expected.flags == found.flags && (expected.uid.is_none() || expected.uid == found.uid)
}

fn is_blank_line(window: &[u8]) -> bool {
    window == b"\r\n\r\n"
}

/// The number in the ledger's header field.
pub(crate) fn message_number(bytes: &[u8]) -> Option<u64> {
    let field = format!("{FIELD}: ");
    let at = bytes.windows(field.len()).position(|window| window == field.as_bytes())?;
    let digits = &bytes[at + field.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// A message follows from its number: mostly small, one in sixty large enough to enter in chunks.
pub(crate) fn message_bytes(seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(seed ^ number.wrapping_mul(0x0001_0000_01b3));
    let mut text = format!(
        "{FIELD}: {number}\r\nFrom: ledger@example.com\r\nSubject: entry {number}\r\n\
         Message-ID: <{number}.{seed}@ledger.example.com>\r\n\r\n"
    );
    let size = match random.below(60) {
        // About half of them are above 1 MiB when sealed, and enter over several groups.
        0 => 1_100_000 + random.below(2_000_000),
        1..10 => random.below(40_000),
        _ => random.below(3000),
    };
    while text.len() < size {
        let line = match random.below(12) {
            0 => ".".to_owned(),
            1 => "zwölf Boxkämpfer jagen Viktor".to_owned(),
            2 => String::new(),
            _ => format!("{:016x} {:016x}", random.next(), random.next()),
        };
        text += &line;
        text += "\r\n";
    }
    text.into_bytes()
}
