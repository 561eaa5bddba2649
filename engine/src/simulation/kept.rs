//! What is kept after it was expunged: in the model, and as clients of the store see it.

use std::collections::BTreeSet;

use super::clients::{keyword_number, number_of};
use super::model::{DELETED, ModelAccount, ModelMailbox, ModelMessage, Operation, Outcome, size};
use crate::disk::simulated::Dice;
use crate::error::ReadError;
use crate::ids::MailboxId;
use crate::state::RetentionSetting;
use crate::store::{Account, RetainedEntry, RetainedKey, Store};

/// For how long. Times that lie between, no model could tell: it has no clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Keep {
    #[default]
    Off,
    /// It is over time at once, and yet kept until it is purged.
    Moment,
    /// Beyond the end of every run.
    Years,
    Hold,
}

/// A kept message.
#[derive(Clone)]
pub(super) struct ModelKept {
    /// Its mailbox; `None`: that was deleted before its identity was known.
    mailbox: Option<MailboxId>,
    name: String,
    uid: u32,
    message: ModelMessage,
    /// The setting when it was expunged.
    under: Keep,
}

/// Mailbox name, UID, message.
pub(super) type SeenKept = (String, u32, ModelMessage);

impl Keep {
    pub(super) fn setting(self) -> RetentionSetting {
        match self {
            Keep::Off => RetentionSetting::Off,
            Keep::Moment => RetentionSetting::Seconds(0),
            Keep::Years => RetentionSetting::Seconds(1 << 40),
            Keep::Hold => RetentionSetting::Hold,
        }
    }

    fn of(setting: RetentionSetting) -> Keep {
        match setting {
            RetentionSetting::Volume | RetentionSetting::Off => Keep::Off,
            RetentionSetting::Seconds(0) => Keep::Moment,
            RetentionSetting::Seconds(_) => Keep::Years,
            RetentionSetting::Hold => Keep::Hold,
        }
    }
}

impl ModelAccount {
    pub(super) fn expunge(&mut self, mailbox: MailboxId, uids: &[u32]) -> Outcome {
        let Some(mailbox) = self.by_id(mailbox) else { return Outcome::Refused };
        let goes = |uid: &&u32| {
            mailbox.messages.get(uid).is_some_and(|message| message.flags & DELETED != 0)
        };
        let gone: Vec<u32> = uids.iter().filter(goes).copied().collect();
        if let Some(id) = mailbox.id {
            self.remove(id, &gone);
        }
        Outcome::Uids(gone)
    }

    /// Messages leave a mailbox, whatever flags they have.
    pub(super) fn remove(&mut self, mailbox: MailboxId, uids: &[u32]) {
        let Some(mailbox) = self.by_id(mailbox) else { return };
        let (id, name) = (mailbox.id, mailbox.name.clone());
        let taken = uids.iter().filter_map(|uid| mailbox.messages.remove_entry(uid));
        let taken: Vec<(u32, ModelMessage)> = taken.collect();
        self.keep(id, &name, taken);
    }

    pub(super) fn delete(&mut self, name: &str) -> Outcome {
        let is_it = |mailbox: &ModelMailbox| mailbox.name == name && name != "INBOX";
        let Some(place) = self.mailboxes.iter().position(is_it) else {
            return Outcome::Refused;
        };
        let ModelMailbox { id, messages, .. } = self.mailboxes.remove(place);
        self.keep(id, name, messages);
        Outcome::Done
    }

    /// Messages leave a mailbox.
    fn keep(
        &mut self,
        mailbox: Option<MailboxId>,
        name: &str,
        messages: impl IntoIterator<Item = (u32, ModelMessage)>,
    ) {
        if self.keep == Keep::Off {
            return;
        }
        let under = self.keep;
        let name = name.to_owned();
        self.kept.extend(messages.into_iter().map(|(uid, message)| ModelKept {
            mailbox,
            name: name.clone(),
            uid,
            message,
            under,
        }));
    }

    pub(super) fn undelete(&mut self, mailbox: MailboxId, uids: &[u32]) -> Outcome {
        let is_it = |kept: &ModelKept, uid: u32| kept.mailbox == Some(mailbox) && kept.uid == uid;
        let find = |uid: &u32| self.kept.iter().find(|kept| is_it(kept, *uid)).cloned();
        let found: Vec<ModelKept> = uids.iter().filter_map(find).collect();
        let Some(first) = found.first() else { return Outcome::Uids(Vec::new()) };
        if !self.fits(found.iter().map(|kept| size(kept.message.text)).sum()) {
            return Outcome::Refused;
        }
        let name = match self.by_id(mailbox) {
            Some(there) => there.name.clone(),
            None => first.name.clone(),
        };
        self.create(&name);
        let Some(target) = self.by_name(&name) else { return Outcome::Refused };
        let mut given = Vec::new();
        for kept in &found {
            let mut message = kept.message.clone();
            message.flags &= !DELETED;
            given.push(target.add(message));
        }
        self.kept.retain(|kept| !uids.iter().any(|uid| is_it(kept, *uid)));
        Outcome::Uids(given)
    }

    pub(super) fn purge(&mut self, mailbox: MailboxId, uids: &[u32]) -> Outcome {
        let before = self.kept.len();
        let now = self.keep;
        self.kept.retain(|kept| {
            let is_over = match (now, kept.under) {
                (Keep::Hold, _) => false,
                (Keep::Moment | Keep::Off, Keep::Hold) | (_, Keep::Moment) => true,
                _ => false,
            };
            !(is_over && kept.mailbox == Some(mailbox) && uids.contains(&kept.uid))
        });
        Outcome::Count(u64::try_from(before - self.kept.len()).unwrap())
    }

    pub(super) fn seen_kept(&self) -> Vec<SeenKept> {
        let seen = |kept: &ModelKept| (kept.name.clone(), kept.uid, kept.message.clone());
        let mut all: Vec<SeenKept> = self.kept.iter().map(seen).collect();
        all.sort();
        all
    }
}

/// Draws a setting, an undelete or a purge; most of the time something is kept.
pub(super) fn draw(dice: &mut Dice, account: String, state: &ModelAccount) -> Operation {
    let some = dice.next();
    let count = u64::try_from(state.kept.len()).unwrap();
    let chosen = usize::try_from(dice.below(count.max(1))).unwrap();
    let mailbox = state.kept.get(chosen).and_then(|kept| kept.mailbox);
    let (Some(mailbox), 1..) = (mailbox, some % 4) else {
        let keep = match some >> 8 & 7 {
            0 => Keep::Off,
            1 | 2 => Keep::Moment,
            3 => Keep::Hold,
            _ => Keep::Years,
        };
        return Operation::Keep { account, keep };
    };
    let of_mailbox = state.kept.iter().filter(|kept| kept.mailbox == Some(mailbox));
    let mut uids: Vec<u32> = of_mailbox.map(|kept| kept.uid).collect();
    uids.retain(|uid| some.rotate_left(*uid) & 3 != 0);
    uids.sort_unstable();
    if some % 4 == 1 {
        Operation::Purge { account, mailbox, uids }
    } else {
        Operation::Undelete { account, mailbox, uids }
    }
}

/// The names of kept messages of a mailbox, in the order of `uids`.
pub(super) fn keys(account: &Account, mailbox: MailboxId, uids: &[u32]) -> Vec<RetainedKey> {
    let kept = account.retained(RetainedKey::FIRST, usize::MAX).unwrap();
    let is_it =
        |entry: &&RetainedEntry, uid: u32| entry.mailbox_id == mailbox && entry.uid.0 == uid;
    let find = |uid: &u32| kept.iter().find(|entry| is_it(entry, *uid)).map(|entry| entry.key);
    uids.iter().filter_map(find).collect()
}

/// What the store keeps of an account, each message read to its last byte.
pub(super) fn seen(store: &Store, account: &Account) -> Result<(Keep, Vec<SeenKept>), ReadError> {
    let (own, _) = store.account_retention(account.number()).expect("it was just listed");
    let mut seen = Vec::new();
    let mut bytes = 0;
    for entry in account.retained(RetainedKey::FIRST, usize::MAX)? {
        let text = account.retained_message(&entry)?.read_all()?;
        let keywords = entry.flags.keywords.iter().map(|keyword| keyword_number(keyword.as_str()));
        let keywords: BTreeSet<u8> = keywords.collect();
        let flags = entry.flags.system.0;
        bytes += u64::from(entry.size);
        let message = ModelMessage { text: number_of(&text), flags, keywords };
        seen.push((entry.mailbox.clone(), entry.uid.0, message));
    }
    seen.sort();
    let count = u64::try_from(seen.len()).unwrap();
    assert_eq!(account.retained_usage(), (count, bytes), "counters of what is kept");
    Ok((Keep::of(own), seen))
}
