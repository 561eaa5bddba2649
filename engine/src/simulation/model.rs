//! What accounts should hold: a small map beside the store, and what each operation does to it.

use std::collections::{BTreeMap, BTreeSet};

use super::kept::{Keep, ModelKept, SeenKept};
use crate::flags::FlagChange;
use crate::ids::MailboxId;
use crate::rights::Rights;

/// All accounts, by name.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) accounts: BTreeMap<String, ModelAccount>,
}

/// One account.
#[derive(Clone, Default)]
pub(super) struct ModelAccount {
    pub(super) mailboxes: Vec<ModelMailbox>,
    pub(super) subscribed: BTreeSet<String>,
    pub(super) quota: Option<u64>,
    pub(super) keep: Keep,
    pub(super) kept: Vec<ModelKept>,
}

/// One mailbox.
#[derive(Clone)]
pub(super) struct ModelMailbox {
    /// `None` until the store has told it.
    pub(super) id: Option<MailboxId>,
    pub(super) name: String,
    pub(super) uid_next: u32,
    pub(super) messages: BTreeMap<u32, ModelMessage>,
    pub(super) beside: Beside,
}

/// What stands beside a mailbox: values of metadata, and what everybody may.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Beside {
    pub(super) metadata: BTreeMap<String, Vec<u8>>,
    pub(super) anyone: Option<Rights>,
}

/// One message: its text follows from a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ModelMessage {
    pub(super) text: u64,
    pub(super) flags: u8,
    pub(super) keywords: BTreeSet<u8>,
}

/// What a reader can see of one mailbox; compared with the store's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    pub(super) uid_next: u32,
    pub(super) messages: BTreeMap<u32, ModelMessage>,
    pub(super) beside: Beside,
}

/// What a reader can see of everything, by account.
pub(super) type Sight = BTreeMap<String, SeenAccount>;

/// What a reader can see of one account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SeenAccount {
    pub(super) mailboxes: BTreeMap<String, Shown>,
    pub(super) subscribed: BTreeSet<String>,
    pub(super) quota: Option<u64>,
    pub(super) keep: Keep,
    pub(super) kept: Vec<SeenKept>,
}

/// Something that a client or an operator asks for.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// One text to several: account, mailbox name.
    Deliver {
        to: Vec<(String, String)>,
        text: u64,
    },
    /// All or none.
    Append {
        account: String,
        mailbox: MailboxId,
        texts: Vec<u64>,
        flags: u8,
    },
    Transfer {
        moves: Moves,
        account: String,
        from: MailboxId,
        to: MailboxId,
        uids: Vec<u32>,
    },
    Flags {
        account: String,
        mailbox: MailboxId,
        uids: Vec<u32>,
        change: FlagChange,
        flags: u8,
        keywords: BTreeSet<u8>,
    },
    Expunge {
        account: String,
        mailbox: MailboxId,
        uids: Vec<u32>,
    },
    Replace {
        account: String,
        from: MailboxId,
        uid: u32,
        to: MailboxId,
        text: u64,
    },
    Create {
        account: String,
        name: String,
    },
    Rename {
        account: String,
        from: String,
        to: String,
    },
    Delete {
        account: String,
        name: String,
    },
    Subscribe {
        account: String,
        name: String,
        subscribed: bool,
    },
    Annotate {
        account: String,
        mailbox: MailboxId,
        entry: String,
        value: Option<Vec<u8>>,
    },
    Share {
        account: String,
        mailbox: MailboxId,
        anyone: Option<Rights>,
    },
    Quota {
        account: String,
        limit: Option<u64>,
    },
    Keep {
        account: String,
        keep: Keep,
    },
    Undelete {
        account: String,
        mailbox: MailboxId,
        uids: Vec<u32>,
    },
    Purge {
        account: String,
        mailbox: MailboxId,
        uids: Vec<u32>,
    },
    AddAccount {
        account: String,
    },
    DeleteAccount {
        account: String,
    },
}

/// Whether a transfer leaves the messages where they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moves {
    Copy,
    Move,
}

/// How the model says that an operation ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Done,
    /// The UIDs given, or changed, or gone.
    Uids(Vec<u32>),
    Refused,
    /// How many.
    Count(u64),
    /// One for each recipient.
    Each(Vec<Outcome>),
}

/// A text of that number, up to some kilobytes, most of them short.
pub(super) fn text(number: u64) -> Vec<u8> {
    let key = blake3::hash(&number.to_le_bytes());
    let length = match number % 16 {
        0 => 9_000,
        1..3 => 3_000,
        other => usize::try_from(other).unwrap() * 20,
    };
    let mut noise = vec![0; length];
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut noise);
    let mut bytes =
        format!("Subject: mail {number}\r\nMessage-Id: <{number}@x>\r\n\r\n").into_bytes();
    // A part in base64, which is stored decoded.
    if number % 16 == 2 {
        for line in noise.chunks(76) {
            bytes.extend(line.iter().map(|byte| b'A' + byte % 26));
            bytes.extend(b"\r\n");
        }
        return bytes;
    }
    bytes.extend(noise);
    if number % 8 == 5 {
        attach(&mut bytes, u8::try_from(number / 8 % 16).unwrap());
    }
    if number % 64 == 33 {
        // Several chunks, which compress to little: it enters over several groups.
        bytes.extend(b"the same again\r\n".iter().cycle().take(600_000));
    }
    bytes
}

/// Appends one of few attachments, which messages have in common and the store keeps once; one of
/// them is of several chunks, which compress to little.
fn attach(bytes: &mut Vec<u8>, kind: u8) {
    let (seed, length, times) = if kind == 0 { (9, 700, 500) } else { (kind % 3, 17_001, 1) };
    let mut attachment = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut attachment);
    let attachment = attachment.repeat(times);
    bytes.extend(b"\r\n");
    for line in attachment.chunks(57) {
        bytes.extend(crate::seal::base64_for_tests(line));
        bytes.extend(b"\r\n");
    }
}

pub(super) fn size(number: u64) -> u64 {
    u64::try_from(text(number).len()).unwrap()
}

pub(super) const DELETED: u8 = 8;
const FIRST_MAILBOXES: [&str; 6] = ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"];

impl ModelMessage {
    /// Changes flags; answers whether that made a difference.
    fn change(&mut self, change: FlagChange, flags: u8, keywords: &BTreeSet<u8>) -> bool {
        let before = self.clone();
        match change {
            FlagChange::Add => {
                self.flags |= flags;
                self.keywords.extend(keywords);
            }
            FlagChange::Remove => {
                self.flags &= !flags;
                self.keywords.retain(|keyword| !keywords.contains(keyword));
            }
            FlagChange::Replace => {
                self.flags = flags;
                self.keywords.clone_from(keywords);
            }
        }
        *self != before
    }
}

impl ModelMailbox {
    fn new(name: &str) -> ModelMailbox {
        let (name, messages) = (name.to_owned(), BTreeMap::new());
        ModelMailbox { id: None, name, uid_next: 1, messages, beside: Beside::default() }
    }

    pub(super) fn add(&mut self, message: ModelMessage) -> u32 {
        let uid = self.uid_next;
        self.uid_next += 1;
        self.messages.insert(uid, message);
        uid
    }
}

impl ModelAccount {
    fn usage(&self) -> u64 {
        let messages = self.mailboxes.iter().flat_map(|mailbox| mailbox.messages.values());
        messages.map(|message| size(message.text)).sum()
    }

    pub(super) fn fits(&self, more: u64) -> bool {
        self.quota.is_none_or(|limit| self.usage() + more <= limit)
    }

    pub(super) fn by_id(&mut self, id: MailboxId) -> Option<&mut ModelMailbox> {
        self.mailboxes.iter_mut().find(|mailbox| mailbox.id == Some(id))
    }

    pub(super) fn by_name(&mut self, name: &str) -> Option<&mut ModelMailbox> {
        self.mailboxes.iter_mut().find(|mailbox| mailbox.name == name)
    }

    pub(super) fn create(&mut self, name: &str) -> Outcome {
        if self.by_name(name).is_some() {
            return Outcome::Refused;
        }
        // It is shared as the one above it.
        let mut levels = name.rmatch_indices('/').map(|(at, _)| &name[..at]);
        let above = levels.find_map(|above| self.mailboxes.iter().find(|own| own.name == above));
        let anyone = above.and_then(|above| above.beside.anyone);
        let mut new = ModelMailbox::new(name);
        new.beside.anyone = anyone;
        self.mailboxes.push(new);
        Outcome::Done
    }

    fn rename(&mut self, from: &str, to: &str) -> Outcome {
        if self.by_name(to).is_some() {
            return Outcome::Refused;
        }
        if from == "INBOX" {
            self.create(to);
            let moved = match self.by_name("INBOX") {
                Some(inbox) => std::mem::take(&mut inbox.messages),
                None => return Outcome::Refused,
            };
            if let Some(target) = self.by_name(to) {
                for message in moved.into_values() {
                    target.add(message);
                }
            }
            return Outcome::Done;
        }
        let below = format!("{from}/");
        if to.starts_with(&below) {
            return Outcome::Refused;
        }
        let new_name = |name: &str| {
            (name == from || name.starts_with(&below))
                .then(|| format!("{to}{}", &name[from.len()..]))
        };
        let renames: Vec<String> =
            self.mailboxes.iter().filter_map(|mailbox| new_name(&mailbox.name)).collect();
        if renames.is_empty() || renames.iter().any(|name| self.by_name(name).is_some()) {
            return Outcome::Refused;
        }
        for mailbox in &mut self.mailboxes {
            if let Some(name) = new_name(&mailbox.name) {
                mailbox.name = name;
            }
        }
        Outcome::Done
    }

    fn transfer(&mut self, moves: Moves, from: MailboxId, to: MailboxId, uids: &[u32]) -> Outcome {
        if self.by_id(to).is_none() {
            return Outcome::Refused;
        }
        let Some(source) = self.by_id(from) else { return Outcome::Refused };
        let found: Vec<(u32, ModelMessage)> = uids
            .iter()
            .filter_map(|uid| source.messages.get(uid).map(|message| (*uid, message.clone())))
            .collect();
        let more = found.iter().map(|(_, message)| size(message.text)).sum();
        if moves == Moves::Copy && !found.is_empty() && !self.fits(more) {
            return Outcome::Refused;
        }
        let mut given = Vec::new();
        for (_, message) in &found {
            given.extend(self.by_id(to).map(|target| target.add(message.clone())));
        }
        if moves == Moves::Move
            && let Some(source) = self.by_id(from)
        {
            found.iter().for_each(|(uid, _)| drop(source.messages.remove(uid)));
        }
        Outcome::Uids(given)
    }
}

impl ModelAccount {
    fn replace(&mut self, (from, uid): (MailboxId, u32), to: MailboxId, text: u64) -> Outcome {
        let find = |source: &mut ModelMailbox| source.messages.get(&uid).map(|old| old.text);
        let Some(old) = self.by_id(from).and_then(find) else { return Outcome::Refused };
        let more = size(text).saturating_sub(size(old));
        if more > 0 && !self.fits(more) {
            return Outcome::Refused;
        }
        let new = ModelMessage { text, flags: 0, keywords: BTreeSet::new() };
        let Some(given) = self.by_id(to).map(|target| target.add(new)) else {
            return Outcome::Refused;
        };
        self.remove(from, &[uid]);
        Outcome::Uids(vec![given])
    }
}

impl Model {
    /// Does an operation, and says how it ends.
    pub(super) fn apply(&mut self, operation: &Operation) -> Outcome {
        if let Operation::Deliver { to, text } = operation {
            return self.deliver(to, *text);
        }
        if let Operation::AddAccount { account } = operation {
            if self.accounts.contains_key(account) {
                return Outcome::Refused;
            }
            let mailboxes = FIRST_MAILBOXES.map(ModelMailbox::new).to_vec();
            let subscribed = FIRST_MAILBOXES.map(str::to_owned).into();
            let new = ModelAccount { mailboxes, subscribed, ..ModelAccount::default() };
            self.accounts.insert(account.clone(), new);
            return Outcome::Done;
        }
        if let Operation::DeleteAccount { account } = operation {
            if self.accounts.get(account).is_some_and(|account| account.keep == Keep::Hold) {
                return Outcome::Refused;
            }
            let gone = self.accounts.remove(account);
            return if gone.is_some() { Outcome::Done } else { Outcome::Refused };
        }
        let Some(account) = self.accounts.get_mut(operation.account()) else {
            return Outcome::Refused;
        };
        account.apply(operation)
    }

    fn deliver(&mut self, to: &[(String, String)], text: u64) -> Outcome {
        let deliver = |(name, mailbox): &(String, String)| {
            let Some(account) = self.accounts.get_mut(name) else { return Outcome::Refused };
            if !account.fits(size(text)) {
                return Outcome::Refused;
            }
            account.create(mailbox);
            let message = ModelMessage { text, flags: 0, keywords: BTreeSet::new() };
            match account.by_name(mailbox) {
                Some(mailbox) => Outcome::Uids(vec![mailbox.add(message)]),
                None => Outcome::Refused,
            }
        };
        Outcome::Each(to.iter().map(deliver).collect())
    }

    /// What a reader sees.
    pub(super) fn sight(&self) -> Sight {
        let shown = |mailbox: &ModelMailbox| {
            let ModelMailbox { name, uid_next, messages, beside, .. } = mailbox.clone();
            (name, Shown { uid_next, messages, beside })
        };
        let account = |(name, account): (&String, &ModelAccount)| {
            let mailboxes = account.mailboxes.iter().map(shown).collect();
            let (subscribed, quota) = (account.subscribed.clone(), account.quota);
            let (keep, kept) = (account.keep, account.seen_kept());
            (name.clone(), SeenAccount { mailboxes, subscribed, quota, keep, kept })
        };
        self.accounts.iter().map(account).collect()
    }
}

impl ModelAccount {
    fn append(&mut self, mailbox: MailboxId, texts: &[u64], flags: u8) -> Outcome {
        let fits = self.fits(texts.iter().map(|text| size(*text)).sum());
        let Some(mailbox) = self.by_id(mailbox).filter(|_| fits) else { return Outcome::Refused };
        let new = |text: &u64| ModelMessage { text: *text, flags, keywords: BTreeSet::new() };
        Outcome::Uids(texts.iter().map(|text| mailbox.add(new(text))).collect())
    }

    fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Append { mailbox, texts, flags, .. } => self.append(*mailbox, texts, *flags),
            Operation::Transfer { moves, from, to, uids, .. } => {
                self.transfer(*moves, *from, *to, uids)
            }
            Operation::Flags { mailbox, uids, change, flags, keywords, .. } => {
                let Some(mailbox) = self.by_id(*mailbox) else { return Outcome::Refused };
                let mut changed = Vec::new();
                for uid in uids {
                    let Some(message) = mailbox.messages.get_mut(uid) else { continue };
                    if message.change(*change, *flags, keywords) {
                        changed.push(*uid);
                    }
                }
                Outcome::Uids(changed)
            }
            Operation::Expunge { mailbox, uids, .. } => self.expunge(*mailbox, uids),
            Operation::Replace { from, uid, to, text, .. } => {
                self.replace((*from, *uid), *to, *text)
            }
            Operation::Create { name, .. } => self.create(name),
            Operation::Rename { from, to, .. } => self.rename(from, to),
            Operation::Delete { name, .. } => self.delete(name),
            Operation::Subscribe { name, subscribed, .. } => {
                if *subscribed {
                    self.subscribed.insert(name.clone());
                } else {
                    self.subscribed.remove(name);
                }
                Outcome::Done
            }
            Operation::Annotate { mailbox, entry, value, .. } => {
                let Some(mailbox) = self.by_id(*mailbox) else { return Outcome::Refused };
                match value {
                    Some(value) => mailbox.beside.metadata.insert(entry.clone(), value.clone()),
                    None => mailbox.beside.metadata.remove(entry),
                };
                Outcome::Done
            }
            Operation::Share { mailbox, anyone, .. } => {
                let Some(mailbox) = self.by_id(*mailbox) else { return Outcome::Refused };
                mailbox.beside.anyone = *anyone;
                Outcome::Done
            }
            Operation::Quota { limit, .. } => {
                self.quota = *limit;
                Outcome::Done
            }
            Operation::Keep { keep, .. } => {
                self.keep = *keep;
                Outcome::Done
            }
            Operation::Undelete { mailbox, uids, .. } => self.undelete(*mailbox, uids),
            Operation::Purge { mailbox, uids, .. } => self.purge(*mailbox, uids),
            Operation::Deliver { .. }
            | Operation::AddAccount { .. }
            | Operation::DeleteAccount { .. } => Outcome::Refused,
        }
    }
}

impl Operation {
    /// The account that it is about; of a delivery, none.
    pub(super) fn account(&self) -> &str {
        match self {
            Operation::Deliver { .. } => "",
            Operation::Append { account, .. }
            | Operation::Transfer { account, .. }
            | Operation::Flags { account, .. }
            | Operation::Expunge { account, .. }
            | Operation::Replace { account, .. }
            | Operation::Create { account, .. }
            | Operation::Rename { account, .. }
            | Operation::Delete { account, .. }
            | Operation::Subscribe { account, .. }
            | Operation::Annotate { account, .. }
            | Operation::Share { account, .. }
            | Operation::Quota { account, .. }
            | Operation::Keep { account, .. }
            | Operation::Undelete { account, .. }
            | Operation::Purge { account, .. }
            | Operation::AddAccount { account }
            | Operation::DeleteAccount { account } => account,
        }
    }
}
