//! What can go wrong, one enum per verb, and what a caller does about it.
//!
//! Callers decide by [`Remedy`], not by looking into variants; the protocol crates map it to NO,
//! BAD, 4xx or 5xx in one table each. `Display` is one sentence for a person, with what to do about
//! it.

use std::path::PathBuf;

use crate::ids::{AccountNumber, BlobId, KeyTableVersion, Lsn, Uid, VolumeId};
use crate::log::format::FormatError;

/// What the caller does about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// The request can never succeed as it is: NO, 5xx.
    Refuse,
    /// The same request may succeed later: NO `[UNAVAILABLE]` or `[INUSE]`, 4xx.
    Retry,
    /// This part of the store takes no more writes until an operator acts: NO `[UNAVAILABLE]`, 4xx.
    Stop,
}

/// A call to the disk that failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{call} of {} {}failed: {cause}",
    .path.display(),
    .offset.map(|offset| format!("at offset {offset} ")).unwrap_or_default()
)]
pub struct DiskError {
    /// The call, as the manual page names it.
    pub call: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub offset: Option<u64>,
    /// What the system said.
    #[source]
    pub cause: std::io::Error,
}

/// Bytes on disk that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damage in {} at offset {offset}: {what}", .file.display())]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// What was expected and what was found.
    pub what: String,
}

/// Why a text cannot be a password. Says nothing about which characters it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnfitPassword {
    /// Nothing is left of it.
    #[error("the password is empty")]
    Empty,
    /// It has characters that SASLprep prohibits. Among them are those that Unicode 3.2 did not
    /// have: how they are prepared depends on the age of the client.
    #[error(
        "the password has characters that mail programs may send in different ways: control \
         characters, emoji and others newer than Unicode 3.2, or letters of both writing \
         directions; choose another (RFC 4013)"
    )]
    Prohibited,
}

/// Groups that a follower does not take.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Bytes that are no group, or not one as it was written.
    #[error("what the other node sent behind {behind} is no whole group: {why}")]
    Malformed {
        /// Up to where groups were good.
        behind: Lsn,
        /// What is wrong.
        why: FormatError,
    },
    /// Groups of another volume.
    #[error("the other node sent a group of volume {found}, which is not the one that is here")]
    OtherVolume {
        /// Its volume.
        found: VolumeId,
    },
    /// Groups that do not continue the log.
    #[error("the group at {found} does not continue the log here, which ends at {behind}")]
    NotNext {
        /// Where the log ends.
        behind: Lsn,
        /// Where the group begins.
        found: Lsn,
    },
    /// Groups that need keys which are not here.
    #[error("the key table here is older than version {} that a group needs", .needed.0)]
    OlderKeys {
        /// The version that it needs.
        needed: KeyTableVersion,
    },
    /// Groups with records that this version does not read.
    #[error(
        "the other node writes format level {level} and this version reads up to {known}; upgrade \
         this node first"
    )]
    NewerFormat {
        /// Of the records.
        level: u32,
        /// The newest that is known.
        known: u32,
    },
    /// A record that does not open with its key.
    #[error("the record at {lsn} does not open: {what}")]
    Unreadable {
        /// Its position.
        lsn: Lsn,
        /// What is wrong.
        what: String,
    },
    /// Too little room.
    #[error("the disk has no room for more of the log; make room, it goes on by itself")]
    DiskFull,
    /// The volume takes nothing any more.
    #[error("the volume takes nothing more: {reason}")]
    Stopped {
        /// What happened.
        reason: String,
    },
    /// This node is not the follower.
    #[error("this node does not follow")]
    NotFollower,
}

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The mailbox was deleted, or never was.
    #[error("there is no mailbox of that name")]
    NoSuchMailbox,
    /// The account was deleted, or never was.
    #[error("there is no such account")]
    NoSuchAccount,
    /// The name is taken.
    #[error("{what} exists already")]
    AlreadyExists {
        /// The mailbox, account, domain or address.
        what: String,
    },
    /// A domain or alias that never was, or is gone.
    #[error("there is no {what}")]
    NotFound {
        /// Kind and name.
        what: String,
    },
    /// The name cannot be a mailbox's, account's, domain's or address's.
    #[error("{name:?} is not a valid name: {why}")]
    BadName {
        /// As given.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// The password cannot be one.
    #[error(transparent)]
    UnfitPassword(#[from] UnfitPassword),
    /// INBOX, or a mailbox with an office, stays.
    #[error("{what}")]
    NotPermitted {
        /// A sentence that says what is not permitted.
        what: &'static str,
    },
    /// Some messages named were expunged meanwhile, and the command is all or nothing.
    #[error("some of the messages no longer exist")]
    MessagesGone,
    /// The account's quota.
    #[error("the account is over its quota of {limit_bytes} bytes")]
    OverQuota {
        /// The limit.
        limit_bytes: u64,
    },
    /// The account's limit of messages.
    #[error("the account is over its quota of {limit} messages")]
    TooManyMessages {
        /// The limit.
        limit: u64,
    },
    /// Entries of metadata, or of an access control list.
    #[error("there can be no more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// A bound of [`crate::limits`] or of the configuration.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// What the message has in common with another one was removed with it, a moment ago.
    #[error("the store is busy removing what this message shares with another; try again")]
    PartGone,
    /// UIDs of the mailbox are used up.
    #[error("the mailbox has no UIDs left; recreate it")]
    OutOfUids,
    /// Too much is waiting for the committer.
    #[error("the store is busy; try again")]
    QueueFull,
    /// The reserve that deleting needs is all that is left.
    #[error("the disk is full; delete mail or add space")]
    DiskFull,
    /// A flush failed before, so the volume takes no writes.
    #[error("the volume {volume} is read-only since {reason}")]
    ReadOnly {
        /// The volume's name.
        volume: String,
        /// What happened.
        reason: String,
    },
    /// Whoever numbers messages itself does not know what the mailbox has given.
    #[error(
        "the mailbox gives UID {found} next, not {expected}: mail came in that was not brought, or \
         the store goes on after a failover"
    )]
    OtherNumbers {
        /// What it was taken to give next.
        expected: Uid,
        /// What it gives next.
        found: Uid,
    },
    /// A page that the change needs could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change went to the other node, which is the primary and could not make it or say so.
    #[error("the primary node could not do it: {words}")]
    Primary {
        /// What it said.
        words: String,
    },
}

impl CommitError {
    /// What the caller does about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            CommitError::QueueFull
            | CommitError::DiskFull
            | CommitError::PartGone
            | CommitError::OverQuota { .. }
            | CommitError::TooManyMessages { .. } => Remedy::Retry,
            CommitError::ReadOnly { .. } | CommitError::Primary { .. } => Remedy::Stop,
            CommitError::Read(error) => error.remedy(),
            CommitError::NoSuchMailbox
            | CommitError::NoSuchAccount
            | CommitError::AlreadyExists { .. }
            | CommitError::NotFound { .. }
            | CommitError::BadName { .. }
            | CommitError::UnfitPassword(_)
            | CommitError::NotPermitted { .. }
            | CommitError::MessagesGone
            | CommitError::TooLarge { .. }
            | CommitError::TooManyEntries { .. }
            | CommitError::OtherNumbers { .. }
            | CommitError::OutOfUids => Remedy::Refuse,
        }
    }
}

/// Something stored that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bytes are not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A sealed object did not open.
    #[error("{what} of account {account} did not open: {why}; run 'pillarbox check'")]
    Sealed {
        /// What kind of object.
        what: &'static str,
        /// Whose.
        account: AccountNumber,
        /// Wrong key, or altered bytes.
        why: String,
    },
    /// A reference leads nowhere.
    #[error("{what} {blob} is referenced but has no place; run 'pillarbox check'")]
    Missing {
        /// Chunk or blob.
        what: &'static str,
        /// Which blob.
        blob: BlobId,
    },
    /// A stored value that does not decode.
    #[error("a stored {what} does not decode ({why}); run 'pillarbox check'")]
    Undecodable {
        /// Page, row, summary, record.
        what: &'static str,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// Written by a newer version.
    #[error(
        "{what} has format {found}, but this version of Pillarbox reads up to {known}; install a \
         newer one"
    )]
    NewerFormat {
        /// What, and where.
        what: String,
        /// Its format.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// The table store said no.
    #[error("the state's tables failed: {0}")]
    Table(String),
    /// Not read: whoever asked wanted nothing that is not in memory ([`crate::mailbox::at_hand`]).
    #[error("a page that is not in memory was to be read where nothing may be waited for")]
    NotAtHand,
}

impl ReadError {
    /// What the caller does about it.
    pub fn remedy(&self) -> Remedy {
        Remedy::Stop
    }
}

/// A login that was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No such name, or a wrong password: never said which.
    #[error("the name or the password is wrong")]
    Refused,
    /// Not decided, because something stored could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A store that was not opened or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory holds no store.
    #[error("{} is not a Pillarbox data directory; make one with 'pillarbox init'", .0.display())]
    NotAStore(PathBuf),
    /// `init` would overwrite something.
    #[error("{} is not empty; 'pillarbox init' wants a new or empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// Another process has it.
    #[error("{} is in use by process {process}; stop it first", .directory.display())]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// The process id that its lock file names.
        process: String,
    },
    /// Written by a newer version.
    #[error(
        "{what} has format {found}, but this version of Pillarbox reads up to {known}; install a \
         newer one"
    )]
    NewerFormat {
        /// Which file or volume.
        what: String,
        /// Its format.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// The key given does not open the root key.
    #[error("{0}")]
    Key(#[from] crate::seal::KeyError),
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// io_uring was asked for and does not work: many containers forbid it.
    #[error("io_uring does not work here ({0}); set io = \"auto\" in [store]")]
    NoUring(DiskError),
    /// A file that is not as it should be.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// State could not be read.
    #[error(transparent)]
    Read(ReadError),
    /// The configuration of the store itself.
    #[error("{0}")]
    Invalid(String),
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> OpenError {
        match error {
            ReadError::NewerFormat { what, found, known } => {
                OpenError::NewerFormat { what, found, known }
            }
            other => OpenError::Read(other),
        }
    }
}
