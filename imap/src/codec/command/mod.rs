//! Every command that we understand, as a type that cannot be wrong.
//!
//! New extensions add variants and fields here; the grammar fills them, `command/` carries them
//! out. What FETCH and SEARCH ask for has files of its own.

mod fetch;
mod search;

use engine::SpecialUse;
use engine::flags::{FlagChange, FlagList};
use engine::ids::UnixSeconds;
use engine::seal::Secret;

use super::SequenceSet;
use super::mailbox_name::WireName;

pub use self::fetch::{FetchItem, Section, SectionItem, SectionName, SectionText};
pub use self::search::{DayTest, SearchField, SearchKey};

/// A command with its tag.
#[derive(Debug)]
pub struct Request {
    /// The client's name for this command; printable, never empty.
    pub tag: String,
    /// What it wants.
    pub command: Command,
}

/// Whether message numbers of a command are UIDs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbers {
    /// Sequence numbers.
    Sequence,
    /// UIDs: the command began with `UID`.
    Uid,
}

/// A command of RFC 3501 or of one of the extensions in `extension.rs`.
#[derive(Debug)]
pub enum Command {
    /// CAPABILITY
    Capability,
    /// NOOP
    Noop,
    /// LOGOUT
    Logout,
    /// ID (RFC 2971): names and values, at most as many as the line holds.
    Id(Vec<IdField>),
    /// STARTTLS
    StartTls,
    /// AUTHENTICATE; the initial response is still base64, `=` stands for an empty one (RFC 4959).
    Authenticate {
        /// In capitals.
        mechanism: String,
        /// From SASL-IR.
        initial: Option<Vec<u8>>,
    },
    /// LOGIN
    Login {
        /// As given.
        name: Vec<u8>,
        /// As given; `None` if it is not UTF-8, which no password of ours is.
        password: Option<Secret>,
    },
    /// UNAUTHENTICATE (RFC 8437)
    Unauthenticate,
    /// COMPRESS DEFLATE (RFC 4978)
    Compress,
    /// ENABLE (RFC 5161): names in capitals.
    Enable(Vec<String>),
    /// SELECT and EXAMINE
    Select {
        /// Which.
        mailbox: WireName,
        /// Read only for EXAMINE.
        access: Access,
    },
    /// CREATE, with RFC 6154's USE.
    Create {
        /// Which.
        mailbox: WireName,
        /// Its office; `Err` names one that we do not know.
        special_use: Result<Option<SpecialUse>, String>,
    },
    /// DELETE
    Delete(WireName),
    /// RENAME
    Rename {
        /// Old name.
        from: WireName,
        /// New name.
        to: WireName,
    },
    /// SUBSCRIBE
    Subscribe(WireName),
    /// UNSUBSCRIBE
    Unsubscribe(WireName),
    /// LIST, with LIST-EXTENDED, SPECIAL-USE and LIST-STATUS.
    List(ListRequest),
    /// LSUB
    Lsub {
        /// Put before the pattern.
        reference: WireName,
        /// With `%` and `*`.
        pattern: WireName,
    },
    /// NAMESPACE (RFC 2342)
    Namespace,
    /// STATUS
    Status {
        /// Which.
        mailbox: WireName,
        /// What.
        items: Vec<StatusItem>,
    },
    /// APPEND and MULTIAPPEND
    Append {
        /// Where to.
        mailbox: WireName,
        /// At least one.
        messages: Vec<AppendMessage>,
    },
    /// IDLE (RFC 2177)
    Idle,
    /// CHECK
    Check,
    /// CLOSE
    Close,
    /// UNSELECT (RFC 3691)
    Unselect,
    /// EXPUNGE
    Expunge,
    /// UID EXPUNGE (RFC 4315)
    UidExpunge(SequenceSet),
    /// SEARCH
    Search {
        /// What is answered.
        numbers: Numbers,
        /// As given.
        charset: Option<Vec<u8>>,
        /// All of them must hold.
        key: SearchKey,
    },
    /// FETCH
    Fetch {
        /// Whose numbers.
        numbers: Numbers,
        /// Which.
        set: SequenceSet,
        /// What; macros are spelled out.
        items: Vec<FetchItem>,
    },
    /// STORE
    Store {
        /// Whose numbers.
        numbers: Numbers,
        /// Which.
        set: SequenceSet,
        /// How.
        change: FlagChange,
        /// Whether the new flags are answered.
        answer: StoreAnswer,
        /// What.
        flags: FlagList,
    },
    /// COPY and MOVE
    Transfer {
        /// Whether the source keeps them.
        kind: TransferKind,
        /// Whose numbers.
        numbers: Numbers,
        /// Which.
        set: SequenceSet,
        /// Where to.
        mailbox: WireName,
    },
}

/// One pair of ID (RFC 2971).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdField {
    /// Such as `name`.
    pub name: Vec<u8>,
    /// `None` for NIL.
    pub value: Option<Vec<u8>>,
}

/// COPY or MOVE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferKind {
    /// COPY
    Copy,
    /// MOVE (RFC 6851)
    Move,
}

/// SELECT or EXAMINE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// SELECT
    ReadWrite,
    /// EXAMINE
    ReadOnly,
}

/// `FLAGS` or `FLAGS.SILENT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreAnswer {
    /// Untagged FETCH with the flags of each message.
    Flags,
    /// None.
    Silent,
}

/// One message of APPEND.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendMessage {
    /// Flags to set.
    pub flags: FlagList,
    /// INTERNALDATE, if given.
    pub received: Option<UnixSeconds>,
    /// The number of its literal in the command.
    pub literal: usize,
}

/// An item of STATUS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusItem {
    /// MESSAGES
    Messages,
    /// RECENT
    Recent,
    /// UIDNEXT
    UidNext,
    /// UIDVALIDITY
    UidValidity,
    /// UNSEEN
    Unseen,
    /// DELETED (RFC 9051)
    Deleted,
    /// SIZE (RFC 8438)
    Size,
    /// HIGHESTMODSEQ (RFC 7162)
    HighestModSeq,
    /// MAILBOXID (RFC 8474)
    MailboxId,
}

impl StatusItem {
    /// Every item with its name.
    pub const ALL: &'static [(StatusItem, &'static str)] = &[
        (StatusItem::Messages, "MESSAGES"),
        (StatusItem::Recent, "RECENT"),
        (StatusItem::UidNext, "UIDNEXT"),
        (StatusItem::UidValidity, "UIDVALIDITY"),
        (StatusItem::Unseen, "UNSEEN"),
        (StatusItem::Deleted, "DELETED"),
        (StatusItem::Size, "SIZE"),
        (StatusItem::HighestModSeq, "HIGHESTMODSEQ"),
        (StatusItem::MailboxId, "MAILBOXID"),
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(item, _)| *item == self).map_or("", |(_, name)| name)
    }
}

/// LIST with all its options.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListRequest {
    /// Put before the patterns.
    pub reference: WireName,
    /// At least one, with `%` and `*`.
    pub patterns: Vec<WireName>,
    /// `(SUBSCRIBED)`: only subscribed names.
    pub select_subscribed: bool,
    /// `(SPECIAL-USE)`: only mailboxes with an office.
    pub select_special_use: bool,
    /// `(RECURSIVEMATCH)`: parents of what matches, too.
    pub recursive_match: bool,
    /// `RETURN (SUBSCRIBED)`
    pub return_subscribed: bool,
    /// `RETURN (STATUS (…))` (RFC 5819)
    pub return_status: Vec<StatusItem>,
    /// Whether the extended form was used: then an empty pattern is a pattern like any other.
    pub extended: bool,
}
