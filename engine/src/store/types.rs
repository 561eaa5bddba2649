//! What the façade takes and gives.

use super::PreparedMessage;
use crate::flags::FlagList;
use crate::ids::{AccountNumber, Lsn, MailboxId, Uid, UidValidity, UnixSeconds};
use crate::seal::Secret;
use crate::uid_set::UidSet;

/// What a mailbox is for (RFC 6154).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

/// One mailbox in a listing. Names are UTF-8, levels separated by `/`; INBOX is written so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxEntry {
    /// Its identity.
    pub id: MailboxId,
    /// Its full name.
    pub name: String,
    /// Its office, if it has one.
    pub special_use: Option<SpecialUse>,
}

/// All mailboxes and subscriptions of an account at one moment, sorted by name, INBOX first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The mailboxes. Levels above them that are no mailboxes themselves are not listed.
    pub mailboxes: Vec<MailboxEntry>,
    /// Subscribed names, of which some may not exist (RFC 9051 section 6.3.7), sorted.
    pub subscribed: Vec<String>,
}

/// One message to append.
pub struct NewMessage {
    /// From [`Store::prepare`](crate::Store::prepare).
    pub prepared: PreparedMessage,
    /// Its flags.
    pub flags: FlagList,
    /// INTERNALDATE.
    pub received: UnixSeconds,
}

/// Where one recipient's copy of a delivery goes.
#[derive(Clone, Debug)]
pub struct DeliverTo {
    /// The account.
    pub account: AccountNumber,
    /// A mailbox name; made if it does not exist.
    pub mailbox: String,
    /// Flags to set.
    pub flags: FlagList,
}

/// Where messages went: UIDs in the order of the messages (RFC 4315).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The mailbox's UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// One UID a message, ascending.
    pub uids: Vec<Uid>,
    /// At least the MODSEQ that each has from it, and below that of every later change.
    pub modseq: Lsn,
}

/// What COPY or MOVE did: `source[i]` became `destination[i]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The destination's UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// UIDs in the source that existed.
    pub source: Vec<Uid>,
    /// Their UIDs in the destination.
    pub destination: Vec<Uid>,
    /// At least the MODSEQ that each has there from it, and below that of every later change.
    pub modseq: Lsn,
}

/// What a change of flags did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagsStored {
    /// Messages whose flags are different now, with [`FlagsStored::modseq`].
    pub changed: UidSet,
    /// Messages left alone because their MODSEQ was above UNCHANGEDSINCE.
    pub modified: UidSet,
    /// Messages that no longer exist.
    pub gone: UidSet,
    /// The change's MODSEQ; `None` if nothing changed.
    pub modseq: Option<Lsn>,
}

/// The answer to "does anybody here take mail for this address?".
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// These accounts do; several for an alias with several targets. The detail is what followed
    /// `+`.
    Accounts {
        /// Each account once.
        accounts: Vec<AccountNumber>,
        /// `detail` of `user+detail@domain`.
        detail: Option<String>,
    },
    /// The domain is ours, but nobody in it has that name.
    NoSuchUser,
    /// The domain is not ours.
    NoSuchDomain,
}

/// An account to make.
pub struct NewAccount {
    /// Login name and first address, `user@domain`; the domain must exist.
    pub name: String,
    /// Its password, in the clear; kept only as Argon2id and SCRAM keys.
    pub password: Secret,
    /// Quota in bytes; `None`: no limit.
    pub quota_bytes: Option<u64>,
}

/// One line of `account list`.
#[derive(Clone, Debug)]
pub struct AccountEntry {
    /// Its number.
    pub number: AccountNumber,
    /// Its login name.
    pub name: String,
    /// Messages in all its mailboxes.
    pub message_count: u64,
    /// Bytes of them.
    pub message_bytes: u64,
    /// The limit.
    pub quota_bytes: Option<u64>,
}

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasEntry {
    /// `name@domain`, or `@domain` for a catch-all.
    pub address: String,
    /// Addresses here; resolved one after the other, at most 8 steps deep.
    pub targets: Vec<String>,
}
