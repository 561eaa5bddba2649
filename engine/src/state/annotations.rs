//! What stands beside a mailbox: metadata and its access control list; and beside an account, under
//! the mailbox of all zeros: its own metadata, and a limit.
//!
//! ```text
//! annotations value   format 1, list(of u64, entry, value), list(identifier, rights u16),
//!                     option(messages)
//! ```
//! All of it is in memory, as names of mailboxes are; a row is written when it changes.
//!
//! # Invariants
//! 1. No mailbox has a row that does not exist, and none has an empty row.
//! 2. What belongs to an account is bounded by `limits.rs` where it is assigned.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::saved::FORMAT;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{AccountNumber, MailboxId};
use crate::record::{EntryChange, SharingBody};
use crate::rights::{Grantee, Identifier, Rights, Sign};

/// The mailbox that stands for the account itself.
pub(crate) const ACCOUNT_ITSELF: MailboxId = MailboxId([0; 16]);

/// Of one mailbox, or of the account itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Annotations {
    /// By whose private entry it is (0: everybody's) and name.
    pub(crate) entries: BTreeMap<(AccountNumber, String), Vec<u8>>,
    pub(crate) rights: BTreeMap<Identifier, Rights>,
    /// How many messages the account may have.
    pub(crate) message_limit: Option<u64>,
}

/// An entry of metadata: by whose it is and its name, its value.
pub(crate) type Entry<'a> = (&'a (AccountNumber, String), &'a Vec<u8>);

/// What an entry takes beside its text, and a right.
const ENTRY_BYTES: usize = 16;

fn entry_bytes(((_, name), value): Entry<'_>) -> usize {
    name.len() + value.len() + ENTRY_BYTES
}

/// Of all mailboxes of an account that have any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct AccountAnnotations {
    of: BTreeMap<MailboxId, Arc<Annotations>>,
}

impl Annotations {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.count(self.entries.len());
        for ((of, name), value) in &self.entries {
            out.u64(of.0);
            out.text(name);
            out.blob(value);
        }
        out.count(self.rights.len());
        for (identifier, rights) in &self.rights {
            identifier.encode(&mut out);
            rights.encode(&mut out);
        }
        out.option(self.message_limit, Encoder::varint);
        out.bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Annotations, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let entries = from.list(|from| {
            let key = (AccountNumber(from.u64()?), from.text()?.to_owned());
            Ok((key, from.blob()?.to_vec()))
        })?;
        let rights = from.list(|from| Ok((Identifier::decode(from)?, Rights::decode(from)?)))?;
        let message_limit = from.option(Decoder::varint)?;
        from.end()?;
        Ok(Annotations {
            entries: entries.into_iter().collect(),
            rights: rights.into_iter().collect(),
            message_limit,
        })
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.iter().map(entry_bytes).sum::<usize>() + self.rights.len() * ENTRY_BYTES
    }

    /// Private entries of others than the owner.
    pub(crate) fn guest_entries(&self, owner: AccountNumber) -> impl Iterator<Item = Entry<'_>> {
        let is_guest = move |of: AccountNumber| of != AccountNumber::VOLUME && of != owner;
        self.entries.iter().filter(move |((of, _), _)| is_guest(*of))
    }

    /// About how many bytes these take.
    pub(crate) fn guest_bytes(&self, owner: AccountNumber) -> usize {
        self.guest_entries(owner).map(entry_bytes).sum()
    }

    /// After changes of metadata.
    pub(crate) fn set_entries(&mut self, changes: &[EntryChange]) {
        for EntryChange { of, name, value } in changes {
            match value {
                Some(value) => self.entries.insert((*of, name.clone()), value.clone()),
                None => self.entries.remove(&(*of, name.clone())),
            };
        }
    }

    /// After changes of rights.
    pub(crate) fn set_rights(&mut self, changes: &[(Identifier, Option<Rights>)]) {
        for (identifier, rights) in changes {
            match rights {
                Some(rights) => self.rights.insert(*identifier, *rights),
                None => self.rights.remove(identifier),
            };
        }
    }

    /// What an account may do that does not own the mailbox.
    pub(crate) fn rights_of(&self, account: AccountNumber) -> Rights {
        let of = |sign| {
            let grantees = [Grantee::Anyone, Grantee::Account(account)];
            let found = grantees.map(|grantee| self.rights.get(&Identifier { grantee, sign }));
            found.into_iter().flatten().fold(Rights::NONE, |all, more| all.with(*more))
        };
        of(Sign::Positive).without(of(Sign::Negative))
    }
}

impl AccountAnnotations {
    /// Those of a mailbox; `None` if it has none.
    pub(crate) fn of(&self, mailbox: MailboxId) -> Option<&Annotations> {
        self.of.get(&mailbox).map(Arc::as_ref)
    }

    /// Mailboxes whose annotations are not what they were.
    pub(crate) fn changed_since(&self, older: &AccountAnnotations) -> Vec<MailboxId> {
        let is_same = |mailbox: &&MailboxId| match (self.of.get(mailbox), older.of.get(mailbox)) {
            (Some(now), Some(before)) => Arc::ptr_eq(now, before),
            (None, None) => true,
            _ => false,
        };
        let all: BTreeSet<&MailboxId> = self.of.keys().chain(older.of.keys()).collect();
        all.into_iter().filter(|mailbox| !is_same(mailbox)).copied().collect()
    }

    /// Those of the account itself.
    pub(crate) fn message_limit(&self) -> Option<u64> {
        self.of(ACCOUNT_ITSELF).and_then(|own| own.message_limit)
    }

    /// Takes a row of the tables.
    pub(crate) fn insert(&mut self, mailbox: MailboxId, annotations: Annotations) {
        if annotations == Annotations::default() {
            self.of.remove(&mailbox);
        } else {
            self.of.insert(mailbox, Arc::new(annotations));
        }
    }

    /// What a record changes; answers the mailbox.
    pub(crate) fn apply(&mut self, body: &SharingBody) -> MailboxId {
        let mailbox = match body {
            SharingBody::Metadata { mailbox, .. } | SharingBody::Rights { mailbox, .. } => *mailbox,
            SharingBody::Limits { .. } => ACCOUNT_ITSELF,
        };
        let mut changed = self.of(mailbox).cloned().unwrap_or_default();
        match body {
            SharingBody::Metadata { entries, .. } => changed.set_entries(entries),
            SharingBody::Rights { entries, .. } => changed.set_rights(entries),
            SharingBody::Limits { messages } => changed.message_limit = *messages,
        }
        self.insert(mailbox, changed);
        mailbox
    }

    /// Forgets those of a mailbox; answers whether there were any.
    pub(crate) fn remove(&mut self, mailbox: MailboxId) -> bool {
        self.of.remove(&mailbox).is_some()
    }

    /// About how many bytes all of them take.
    pub(crate) fn bytes(&self) -> usize {
        self.of.values().map(|annotations| annotations.bytes()).sum()
    }

    /// About how many bytes the private entries of others than the owner take.
    pub(crate) fn guest_bytes(&self, owner: AccountNumber) -> usize {
        self.of.values().map(|annotations| annotations.guest_bytes(owner)).sum()
    }

    /// Who is named by a list of one of the mailboxes.
    fn grantees(&self) -> BTreeSet<Grantee> {
        let lists = self.of.values().flat_map(|annotations| annotations.rights.keys());
        lists.filter(|who| who.sign == Sign::Positive).map(|who| who.grantee).collect()
    }
}

/// Which accounts give something to whom: so that nobody's list of mailboxes walks all accounts.
#[derive(Default)]
pub(crate) struct SharingIndex {
    by_owner: HashMap<AccountNumber, BTreeSet<Grantee>>,
    by_grantee: HashMap<Grantee, BTreeSet<AccountNumber>>,
}

impl SharingIndex {
    /// What an account gives now; `None` if it is gone.
    pub(crate) fn set(&mut self, owner: AccountNumber, now: Option<&AccountAnnotations>) {
        let now = now.map(AccountAnnotations::grantees).unwrap_or_default();
        let before = match now.is_empty() {
            true => self.by_owner.remove(&owner),
            false => self.by_owner.insert(owner, now.clone()),
        };
        for gone in before.iter().flatten().filter(|grantee| !now.contains(grantee)) {
            if let Some(owners) = self.by_grantee.get_mut(gone) {
                owners.remove(&owner);
                if owners.is_empty() {
                    self.by_grantee.remove(gone);
                }
            }
        }
        for grantee in now {
            self.by_grantee.entry(grantee).or_default().insert(owner);
        }
    }

    /// Whom an account gives something.
    pub(crate) fn grantees(&self, owner: AccountNumber) -> BTreeSet<Grantee> {
        self.by_owner.get(&owner).cloned().unwrap_or_default()
    }

    /// Who may give something to that account.
    pub(crate) fn owners(&self, account: AccountNumber) -> BTreeSet<AccountNumber> {
        let of = |grantee| self.by_grantee.get(&grantee).into_iter().flatten().copied();
        let all = of(Grantee::Anyone).chain(of(Grantee::Account(account)));
        all.filter(|owner| *owner != account).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: AccountNumber = AccountNumber(1);
    const BERT: AccountNumber = AccountNumber(2);

    fn rights(letters: &str) -> Rights {
        Rights::from_letters(letters).unwrap()
    }

    #[test]
    fn what_is_taken_away_wins_over_what_is_given() {
        let mut list = Annotations::default();
        let taken = Identifier { grantee: Grantee::Account(BERT), sign: Sign::Negative };
        list.set_rights(&[
            (Identifier::ANYONE, Some(rights("lr"))),
            (Identifier::account(ANNA), Some(rights("iw"))),
            (taken, Some(rights("r"))),
        ]);
        assert_eq!(list.rights_of(ANNA), rights("lriw"));
        assert_eq!(list.rights_of(BERT), rights("l"));
        assert_eq!(Annotations::decode(&list.encode()), Ok(list));
    }

    #[test]
    fn the_index_knows_who_gives_what_to_whom_as_it_changes() {
        let mut index = SharingIndex::default();
        let mut own = AccountAnnotations::default();
        let mailbox = MailboxId([7; 16]);
        let give = |identifier, given: Option<Rights>| SharingBody::Rights {
            mailbox,
            entries: vec![(identifier, given)],
        };
        own.apply(&give(Identifier::account(BERT), Some(rights("l"))));
        index.set(ANNA, Some(&own));
        assert_eq!(index.owners(BERT), BTreeSet::from([ANNA]));
        assert_eq!(index.owners(AccountNumber(3)), BTreeSet::new());
        own.apply(&give(Identifier::ANYONE, Some(rights("l"))));
        own.apply(&give(Identifier::account(BERT), None));
        index.set(ANNA, Some(&own));
        assert_eq!(index.owners(AccountNumber(3)), BTreeSet::from([ANNA]));
        assert_eq!(index.owners(ANNA), BTreeSet::new(), "one's own is not shared with oneself");
        index.set(ANNA, None);
        assert!(index.by_grantee.is_empty() && index.by_owner.is_empty());
    }
}
