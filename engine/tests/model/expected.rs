//! What accounts should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::RetentionSetting;
use engine::ids::{AccountNumber, MailboxId};
use engine::rights::Rights;

/// For how long something is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Keep {
    /// As the store says; of an account only.
    #[default]
    Store,
    Off,
    /// It is over time at once, and goes at some moment.
    Moment,
    /// Beyond the end of every run.
    Years,
    /// Of an account only.
    Hold,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) text: Arc<Vec<u8>>,
    pub(crate) seen: bool,
    pub(crate) deleted: bool,
    pub(crate) keyword: bool,
    /// As last seen; 0 before.
    pub(crate) modseq: u64,
    /// It must have risen when it is seen next.
    pub(crate) is_changed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    pub(crate) id: MailboxId,
    pub(crate) uid_next: u32,
    pub(crate) highest_modseq: u64,
    pub(crate) messages: BTreeMap<u32, Message>,
    /// By name, and by the account that sees it alone.
    pub(crate) metadata: BTreeMap<(Option<AccountNumber>, String), Vec<u8>>,
    /// By the account that it names; `None` is everybody.
    pub(crate) rights: BTreeMap<Option<String>, Rights>,
    /// What some clients know, some from long ago.
    pub(crate) clients: Vec<Client>,
}

/// A client's cache of a mailbox, as of a MODSEQ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Client {
    pub(crate) modseq: u64,
    /// UID, and its flags in some form.
    pub(crate) flags: BTreeMap<u32, (bool, bool, bool)>,
}

/// A message that is kept after it was expunged.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) mailbox: MailboxId,
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) message: Message,
    /// What held when it was expunged.
    pub(crate) under: Keep,
}

#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) number: AccountNumber,
    pub(crate) password: String,
    pub(crate) quota: Option<u64>,
    pub(crate) message_limit: Option<u64>,
    pub(crate) mailboxes: BTreeMap<String, Mailbox>,
    pub(crate) subscribed: BTreeSet<String>,
    pub(crate) keep: Keep,
    pub(crate) kept: Vec<Kept>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) domains: BTreeSet<String>,
    pub(crate) aliases: BTreeMap<String, Vec<String>>,
    pub(crate) keep: Keep,
    /// Who had which name with which UIDVALIDITY, ever.
    pub(crate) validities: BTreeMap<(u64, String, u32), MailboxId>,
}

impl Keep {
    pub(crate) fn setting(self) -> RetentionSetting {
        match self {
            Keep::Store => RetentionSetting::Volume,
            Keep::Off => RetentionSetting::Off,
            Keep::Moment => RetentionSetting::Seconds(0),
            Keep::Years => RetentionSetting::Seconds(1 << 40),
            Keep::Hold => RetentionSetting::Hold,
        }
    }

    /// With what the store says.
    pub(crate) fn or(self, store: Keep) -> Keep {
        if self == Keep::Store { store } else { self }
    }
}

impl Kept {
    /// Whether it may go, as its account keeps now.
    pub(crate) fn is_over(&self, now: Keep) -> bool {
        match (now, self.under) {
            (Keep::Hold, _) => false,
            (Keep::Moment | Keep::Off, Keep::Hold) => true,
            (_, under) => under == Keep::Moment,
        }
    }
}

impl Message {
    pub(crate) fn new(text: &Arc<Vec<u8>>) -> Message {
        Message {
            text: Arc::clone(text),
            seen: false,
            deleted: false,
            keyword: false,
            modseq: 0,
            is_changed: true,
        }
    }

    pub(crate) fn flags(&self) -> (bool, bool, bool) {
        (self.seen, self.deleted, self.keyword)
    }

    pub(crate) fn size(&self) -> u64 {
        self.text.len() as u64
    }
}

impl Mailbox {
    pub(crate) fn new(id: MailboxId) -> Mailbox {
        Mailbox {
            id,
            uid_next: 1,
            highest_modseq: 0,
            messages: BTreeMap::new(),
            clients: Vec::new(),
            metadata: BTreeMap::new(),
            rights: BTreeMap::new(),
        }
    }

    /// The UID that the message gets.
    pub(crate) fn add(&mut self, message: Message) -> u32 {
        let uid = self.uid_next;
        self.uid_next += 1;
        // As another message, it is new here.
        self.messages.insert(uid, Message { modseq: 0, is_changed: true, ..message });
        uid
    }

    /// Every fourth message or so, by the bits of `pick`.
    pub(crate) fn picked(&self, pick: u32) -> Vec<u32> {
        self.messages.keys().copied().filter(|uid| pick.rotate_left(*uid) & 3 == 0).collect()
    }
}

impl Account {
    pub(crate) fn usage(&self) -> u64 {
        let messages = self.mailboxes.values().flat_map(|mailbox| mailbox.messages.values());
        messages.map(Message::size).sum()
    }

    pub(crate) fn fits(&self, more: u64) -> bool {
        self.quota.is_none_or(|limit| self.usage() + more <= limit)
    }

    pub(crate) fn by_id(&self, id: MailboxId) -> Option<&String> {
        self.mailboxes.iter().find(|(_, mailbox)| mailbox.id == id).map(|(name, _)| name)
    }

    /// Messages leave a mailbox: kept or gone.
    pub(crate) fn let_go(&mut self, name: &str, messages: BTreeMap<u32, Message>, under: Keep) {
        if under == Keep::Off {
            return;
        }
        let mailbox = self.mailboxes[name].id;
        self.kept.extend(messages.into_iter().map(|(uid, message)| Kept {
            mailbox,
            name: name.to_owned(),
            uid,
            message,
            under,
        }));
    }

    /// What renaming makes of each name that changes; `None` if it is refused. Not for INBOX.
    pub(crate) fn renames(&self, from: &str, to: &str) -> Option<Vec<(String, String)>> {
        let below = format!("{from}/");
        let new_name = |name: &String| {
            let changes = name == from || name.starts_with(&below);
            changes.then(|| (name.clone(), format!("{to}{}", &name[from.len()..])))
        };
        let renames: Vec<(String, String)> = self.mailboxes.keys().filter_map(new_name).collect();
        let is_taken = renames.iter().any(|(_, new)| self.mailboxes.contains_key(new));
        (!renames.is_empty() && !is_taken && !to.starts_with(&below)).then_some(renames)
    }
}
