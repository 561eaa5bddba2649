//! An account as state keeps it: profile, mailbox names, subscriptions, usage.
//!
//! Cheap to clone: the parts are shared and copied on write, so the committer's working copy, the
//! committed one and every reader's hold the same parts.
//!
//! ```text
//! account value   format 1, name, credentials, option(quota), last uidvalidity,
//!                 list(mailbox 16, name, special use u8), list(subscribed name)
//! usage value     format 1, messages, bytes
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::annotations::AccountAnnotations;
use super::retained::AccountRetention;
use super::saved::FORMAT;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{AccountNumber, MailboxId, UidValidity};
use crate::record::{AccountUpdate, special_use_number, special_use_of};
use crate::store::{Listing, MailboxEntry, SpecialUse};

/// The mailbox that every account has.
pub(crate) const INBOX: &str = "INBOX";

/// An account.
#[derive(Clone, Debug)]
pub(crate) struct AccountState {
    pub(crate) number: AccountNumber,
    pub(crate) profile: Arc<AccountUpdate>,
    pub(crate) names: Arc<MailboxNames>,
    pub(crate) usage: Usage,
    /// What is kept of what it expunged; with a row of its own.
    pub(crate) retention: AccountRetention,
    /// Metadata and rights of its mailboxes; with rows of their own.
    pub(crate) annotations: Arc<AccountAnnotations>,
    /// The highest UIDVALIDITY given so far; the next is above it.
    pub(crate) last_uid_validity: UidValidity,
}

/// What an account's mail takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) message_count: u64,
    pub(crate) message_bytes: u64,
}

/// Names of mailboxes and subscriptions.
#[derive(Clone, Debug, Default)]
pub(crate) struct MailboxNames {
    by_name: BTreeMap<String, (MailboxId, Option<SpecialUse>)>,
    by_id: HashMap<MailboxId, String>,
    subscribed: BTreeSet<String>,
}

impl AccountState {
    /// An account of which nothing is known but its number.
    pub(crate) fn new(number: AccountNumber) -> AccountState {
        AccountState {
            number,
            profile: Arc::new(AccountUpdate {
                name: String::new(),
                credentials: Vec::new(),
                quota_bytes: None,
            }),
            names: Arc::default(),
            usage: Usage::default(),
            retention: AccountRetention::default(),
            annotations: Arc::default(),
            last_uid_validity: UidValidity(0),
        }
    }

    /// The account value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.text(&self.profile.name);
        out.blob(&self.profile.credentials);
        out.option(self.profile.quota_bytes, Encoder::varint);
        out.varint(u64::from(self.last_uid_validity.0));
        out.count(self.names.by_name.len());
        for (name, (mailbox, special_use)) in &self.names.by_name {
            out.raw(&mailbox.0);
            out.text(name);
            out.u8(special_use_number(*special_use));
        }
        out.count(self.names.subscribed.len());
        self.names.subscribed.iter().for_each(|name| out.text(name));
        out.bytes
    }

    /// From the account value; usage comes from its own.
    pub(crate) fn decode(number: AccountNumber, value: &[u8]) -> Result<AccountState, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let profile = AccountUpdate {
            name: from.text()?.to_owned(),
            credentials: from.blob()?.to_vec(),
            quota_bytes: from.option(Decoder::varint)?,
        };
        let last_uid_validity = UidValidity(from.u32()?);
        let mut names = MailboxNames::default();
        for (mailbox, name, special_use) in from.list(|from| {
            let mailbox = MailboxId(from.array()?);
            Ok((mailbox, from.text()?.to_owned(), special_use_of(from.u8()?)?))
        })? {
            names.insert(mailbox, name, special_use);
        }
        names.subscribed = from.list(|from| Ok(from.text()?.to_owned()))?.into_iter().collect();
        from.end()?;
        Ok(AccountState {
            number,
            profile: Arc::new(profile),
            names: Arc::new(names),
            usage: Usage::default(),
            retention: AccountRetention::default(),
            annotations: Arc::default(),
            last_uid_validity,
        })
    }
}

impl Usage {
    /// The usage value.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.varint(self.message_count);
        out.varint(self.message_bytes);
        out.bytes
    }

    /// From the usage value.
    pub(crate) fn decode(value: &[u8]) -> Result<Usage, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let usage = Usage { message_count: from.varint()?, message_bytes: from.varint()? };
        from.end()?;
        Ok(usage)
    }

    /// With messages more.
    pub(crate) fn plus(self, count: u64, bytes: u64) -> Usage {
        Usage {
            message_count: self.message_count.saturating_add(count),
            message_bytes: self.message_bytes.saturating_add(bytes),
        }
    }

    /// With messages fewer.
    pub(crate) fn minus(self, count: u64, bytes: u64) -> Usage {
        Usage {
            message_count: self.message_count.saturating_sub(count),
            message_bytes: self.message_bytes.saturating_sub(bytes),
        }
    }
}

impl MailboxNames {
    /// The mailbox of that name, INBOX in any case.
    pub(crate) fn id_of(&self, name: &str) -> Option<MailboxId> {
        self.by_name.get(canonical(name)).map(|(mailbox, _)| *mailbox)
    }

    /// The name of that mailbox.
    pub(crate) fn name_of(&self, mailbox: MailboxId) -> Option<&str> {
        self.by_id.get(&mailbox).map(String::as_str)
    }

    /// How many mailboxes there are.
    pub(crate) fn count(&self) -> usize {
        self.by_name.len()
    }

    /// Mailboxes below that name, with their names.
    pub(crate) fn below<'a>(
        &'a self,
        name: &str,
    ) -> impl Iterator<Item = (&'a str, MailboxId)> + use<'a> {
        let prefix = format!("{}/", canonical(name));
        self.by_name
            .range(prefix.clone()..)
            .take_while(move |(name, _)| name.starts_with(&prefix))
            .map(|(name, (mailbox, _))| (name.as_str(), *mailbox))
    }

    /// Every mailbox.
    pub(crate) fn ids(&self) -> impl Iterator<Item = MailboxId> + '_ {
        self.by_id.keys().copied()
    }

    /// The mailbox with that office.
    pub(crate) fn with_special_use(&self, special_use: SpecialUse) -> Option<MailboxId> {
        self.by_name
            .values()
            .find(|(_, office)| *office == Some(special_use))
            .map(|(mailbox, _)| *mailbox)
    }

    pub(crate) fn insert(
        &mut self,
        mailbox: MailboxId,
        name: String,
        special_use: Option<SpecialUse>,
    ) {
        self.remove(mailbox);
        self.by_id.insert(mailbox, name.clone());
        self.by_name.insert(name, (mailbox, special_use));
    }

    pub(crate) fn remove(&mut self, mailbox: MailboxId) -> Option<Option<SpecialUse>> {
        let name = self.by_id.remove(&mailbox)?;
        self.by_name.remove(&name).map(|(_, special_use)| special_use)
    }

    /// Gives several mailboxes new names at once, so that names may be exchanged.
    pub(crate) fn rename(&mut self, renames: &[(MailboxId, String)]) {
        let moved: Vec<_> = renames
            .iter()
            .filter_map(|(mailbox, name)| Some((*mailbox, name.clone(), self.remove(*mailbox)?)))
            .collect();
        for (mailbox, name, special_use) in moved {
            self.insert(mailbox, name, special_use);
        }
    }

    pub(crate) fn subscribe(&mut self, name: &str, subscribed: bool) {
        if subscribed {
            self.subscribed.insert(canonical(name).to_owned());
        } else {
            self.subscribed.remove(canonical(name));
        }
    }

    /// Those in which messages wait to be moved together, by their names.
    pub(crate) fn staging(&self) -> impl Iterator<Item = (&str, MailboxId)> {
        let all = self.by_name.iter().map(|(name, (mailbox, _))| (name.as_str(), *mailbox));
        all.filter(|(name, _)| is_staging(name))
    }

    /// As the façade shows it.
    pub(crate) fn listing(&self) -> Listing {
        let mut mailboxes: Vec<MailboxEntry> = self
            .by_name
            .iter()
            .filter(|(name, _)| !is_staging(name))
            .map(|(name, (id, special_use))| MailboxEntry {
                id: *id,
                name: name.clone(),
                special_use: *special_use,
            })
            .collect();
        mailboxes.sort_by(|a, b| (a.name != INBOX, &a.name).cmp(&(b.name != INBOX, &b.name)));
        Listing { mailboxes, subscribed: self.subscribed.iter().cloned().collect() }
    }
}

/// INBOX is one mailbox in any case (RFC 9051 section 5.1); other names are as written.
pub(crate) fn canonical(name: &str) -> &str {
    if name.eq_ignore_ascii_case(INBOX) { INBOX } else { name }
}

/// What the names of mailboxes begin with that nobody sees: no name that a client gives has a
/// control character.
const STAGING: char = '\u{1}';

/// A name for a mailbox that nobody sees.
pub(crate) fn staging_name(mailbox: MailboxId) -> String {
    format!("{STAGING}{mailbox}")
}

/// Whether a mailbox of that name is seen by nobody.
pub(crate) fn is_staging(name: &str) -> bool {
    name.starts_with(STAGING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_inbox_is_first_in_any_case() {
        let mut account = AccountState::new(AccountNumber(5));
        let names = Arc::make_mut(&mut account.names);
        names.insert(MailboxId([2; 16]), "Archive".into(), Some(SpecialUse::Archive));
        names.insert(MailboxId([1; 16]), "INBOX".into(), None);
        names.insert(MailboxId([3; 16]), "Archive/2024".into(), None);
        names.subscribe("inbox", true);
        let back = AccountState::decode(AccountNumber(5), &account.encode()).unwrap();
        let listing = back.names.listing();
        assert_eq!(listing.mailboxes[0].name, "INBOX");
        assert_eq!(listing.subscribed, ["INBOX"]);
        assert_eq!(back.names.id_of("iNbOx"), Some(MailboxId([1; 16])));
        assert_eq!(back.names.below("Archive").count(), 1);
    }

    #[test]
    fn two_names_can_be_exchanged() {
        let mut names = MailboxNames::default();
        names.insert(MailboxId([1; 16]), "a".into(), None);
        names.insert(MailboxId([2; 16]), "b".into(), Some(SpecialUse::Junk));
        names.rename(&[(MailboxId([1; 16]), "b".into()), (MailboxId([2; 16]), "a".into())]);
        assert_eq!(names.id_of("a"), Some(MailboxId([2; 16])));
        assert_eq!(names.id_of("b"), Some(MailboxId([1; 16])));
        assert_eq!(names.with_special_use(SpecialUse::Junk), Some(MailboxId([2; 16])));
    }
}
