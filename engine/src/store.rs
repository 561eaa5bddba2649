//! The façade: `Store` → `Account` → `Mailbox`, in the words of mail.
//!
//! Reads are plain calls that may touch the disk. Changes are prepared on the caller's thread (parsed,
//! compressed, sealed) and hand back a [`Ticket`] that is answered once the change is committed.

use std::sync::Arc;

use crate::error::{AuthError, CommitError, ReadError};
use crate::flags::{FlagChange, FlagList};
use crate::ids::{AccountNumber, EmailId, Lsn, MailboxId, Uid, UidValidity, UnixSeconds};
use crate::mailbox::{Row, View};
use crate::message::Summary;
use crate::seal::Secret;
use crate::ticket::Ticket;
use crate::uid_set::UidSet;

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

/// An account of an open store. Cheap to clone.
#[derive(Clone)]
pub struct Account {}

/// A mailbox of an account. Cheap to clone; stays usable after a rename, and answers
/// [`CommitError::NoSuchMailbox`] after a deletion.
#[derive(Clone)]
pub struct Mailbox {}

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
#[derive(Clone, Debug)]
pub struct MailboxEntry {
    /// Its identity.
    pub id: MailboxId,
    /// Its full name.
    pub name: String,
    /// Its office, if it has one.
    pub special_use: Option<SpecialUse>,
}

/// All mailboxes and subscriptions of an account at one moment, sorted by name, INBOX first.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The mailboxes. Levels above them that are no mailboxes themselves are not listed.
    pub mailboxes: Vec<MailboxEntry>,
    /// Subscribed names, of which some may not exist (RFC 9051 section 6.3.7), sorted.
    pub subscribed: Vec<String>,
}

/// Mail at rest in memory, parsed, compressed and sealed, ready to be committed.
pub struct PreparedMessage {}

/// One message to append.
pub struct NewMessage {
    /// From [`Store::prepare`].
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
    /// These accounts do; several for an alias with several targets. The detail is what followed `+`.
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

/// Keeps a callback alive; dropping it ends it.
pub struct Subscription {}

/// A stored message, opened part by part.
pub struct MessageReader {}

impl Store {
    /// Parses, compresses and seals a message, as received (CRLF), for the accounts that will have it.
    /// Takes the caller's CPU: call it outside of an async executor's threads, or with `block_in_place`.
    pub fn prepare(
        &self,
        _message: &[u8],
        _accounts: &[AccountNumber],
    ) -> Result<PreparedMessage, CommitError> {
        todo!()
    }

    /// Commits one message to several recipients, in one commit. Answers one result a recipient, in order.
    pub fn deliver(
        &self,
        _prepared: PreparedMessage,
        _received: UnixSeconds,
        _recipients: Vec<DeliverTo>,
    ) -> Ticket<Vec<Result<Appended, CommitError>>> {
        todo!()
    }

    /// Who takes mail for `local@domain` (or an IP literal's or postmaster's special case).
    pub fn resolve(&self, _address: &str) -> Result<Resolution, ReadError> {
        todo!()
    }

    /// Checks a password (Argon2id: tens of milliseconds of CPU; call it where blocking is allowed).
    pub fn authenticate(&self, _name: &str, _password: &Secret) -> Result<Account, AuthError> {
        todo!()
    }

    /// The account of that login name.
    pub fn account(&self, _name: &str) -> Result<Option<Account>, ReadError> {
        todo!()
    }

    /// The account of that number.
    pub fn account_by_number(&self, _number: AccountNumber) -> Result<Option<Account>, ReadError> {
        todo!()
    }

    /// Makes an account with INBOX, Drafts, Sent, Junk, Trash and Archive.
    pub fn create_account(&self, _new: NewAccount) -> Result<AccountNumber, CommitError> {
        todo!()
    }

    /// Every account, by name.
    pub fn accounts(&self) -> Result<Vec<AccountEntry>, ReadError> {
        todo!()
    }

    /// Replaces a password.
    pub fn set_password(
        &self,
        _number: AccountNumber,
        _password: &Secret,
    ) -> Result<(), CommitError> {
        todo!()
    }

    /// Deletes an account: record, then key, then certificate. Its mail is unreadable when this returns.
    pub fn delete_account(&self, _number: AccountNumber) -> Result<(), CommitError> {
        todo!()
    }

    /// Makes a domain that mail is taken for.
    pub fn add_domain(&self, _domain: &str) -> Result<(), CommitError> {
        todo!()
    }

    /// Every domain, sorted.
    pub fn domains(&self) -> Result<Vec<String>, ReadError> {
        todo!()
    }

    /// Removes a domain that has neither accounts nor aliases.
    pub fn delete_domain(&self, _domain: &str) -> Result<(), CommitError> {
        todo!()
    }

    /// Makes or replaces an alias, or a catch-all (`@domain`).
    pub fn add_alias(&self, _alias: AliasEntry) -> Result<(), CommitError> {
        todo!()
    }

    /// Every alias, sorted.
    pub fn aliases(&self) -> Result<Vec<AliasEntry>, ReadError> {
        todo!()
    }

    /// Removes an alias.
    pub fn delete_alias(&self, _address: &str) -> Result<(), CommitError> {
        todo!()
    }
}

impl Account {
    /// Its number.
    pub fn number(&self) -> AccountNumber {
        todo!()
    }

    /// Its login name.
    pub fn name(&self) -> String {
        todo!()
    }

    /// Its mailboxes and subscriptions now.
    pub fn listing(&self) -> Result<Arc<Listing>, ReadError> {
        todo!()
    }

    /// The mailbox of that name (`inbox` in any case is INBOX).
    pub fn mailbox(&self, _name: &str) -> Result<Option<Mailbox>, ReadError> {
        todo!()
    }

    /// Makes a mailbox. Levels above it are not made.
    pub fn create_mailbox(
        &self,
        _name: &str,
        _special_use: Option<SpecialUse>,
    ) -> Ticket<Result<MailboxId, CommitError>> {
        todo!()
    }

    /// Renames a mailbox with all below it. INBOX: its messages move to the new name (RFC 9051 section 6.3.6).
    pub fn rename_mailbox(&self, _from: &str, _to: &str) -> Ticket<Result<(), CommitError>> {
        todo!()
    }

    /// Deletes a mailbox and its messages; mailboxes below it stay. INBOX is refused.
    pub fn delete_mailbox(&self, _name: &str) -> Ticket<Result<(), CommitError>> {
        todo!()
    }

    /// Adds to the subscriptions; the name need not exist.
    pub fn subscribe(&self, _name: &str) -> Ticket<Result<(), CommitError>> {
        todo!()
    }

    /// Takes from the subscriptions; a name that is not subscribed is no error.
    pub fn unsubscribe(&self, _name: &str) -> Ticket<Result<(), CommitError>> {
        todo!()
    }

    /// Quota: `(bytes used, limit)`.
    pub fn quota(&self) -> Result<(u64, Option<u64>), ReadError> {
        todo!()
    }

    /// What was parsed of a message when it came in.
    pub fn summary(&self, _row: &Row) -> Result<Arc<Summary>, ReadError> {
        todo!()
    }

    /// Opens a message for reading; reads nothing yet.
    pub fn message(&self, _row: &Row) -> Result<MessageReader, ReadError> {
        todo!()
    }
}

impl Mailbox {
    /// Its identity.
    pub fn id(&self) -> MailboxId {
        todo!()
    }

    /// Its content as last committed: immutable, cheap to take and to keep. `None` after its deletion.
    pub fn view(&self) -> Result<Option<Arc<View>>, ReadError> {
        todo!()
    }

    /// Appends messages, all or none (RFC 3502).
    pub fn append(&self, _messages: Vec<NewMessage>) -> Ticket<Result<Appended, CommitError>> {
        todo!()
    }

    /// Copies messages of this mailbox to another of the same account, all or none; ignores UIDs that do not exist.
    pub fn copy(
        &self,
        _uids: &UidSet,
        _destination: &Mailbox,
    ) -> Ticket<Result<Copied, CommitError>> {
        todo!()
    }

    /// Moves messages, each of them wholly (RFC 6851); ignores UIDs that do not exist.
    pub fn move_to(
        &self,
        _uids: &UidSet,
        _destination: &Mailbox,
    ) -> Ticket<Result<Copied, CommitError>> {
        todo!()
    }

    /// Changes flags; with `unchanged_since`, only of messages whose MODSEQ is not above it (RFC 7162).
    pub fn store_flags(
        &self,
        _uids: &UidSet,
        _change: FlagChange,
        _flags: &FlagList,
        _unchanged_since: Option<Lsn>,
    ) -> Ticket<Result<FlagsStored, CommitError>> {
        todo!()
    }

    /// Removes the messages among `uids` that have `\Deleted`; answers which.
    pub fn expunge(&self, _uids: &UidSet) -> Ticket<Result<UidSet, CommitError>> {
        todo!()
    }

    /// Calls back after every committed change of this mailbox; must return at once and not call the store.
    pub fn on_change(&self, _callback: Arc<dyn Fn() + Send + Sync>) -> Subscription {
        todo!()
    }
}

impl PreparedMessage {
    /// Its EMAILID.
    pub fn email_id(&self) -> EmailId {
        todo!()
    }

    /// Bytes as received.
    pub fn message_bytes(&self) -> u64 {
        todo!()
    }
}

impl MessageReader {
    /// RFC822.SIZE.
    pub fn byte_count(&self) -> u64 {
        todo!()
    }

    /// Bytes from `offset`, at least one and at most to the end of the chunk that holds it; empty at the end.
    /// Call it again to stream a message without holding it whole.
    pub fn read_from(&mut self, _offset: u64) -> Result<&[u8], ReadError> {
        todo!()
    }

    /// The whole message. Only where a whole message is needed.
    pub fn read_all(&mut self) -> Result<Vec<u8>, ReadError> {
        todo!()
    }
}
