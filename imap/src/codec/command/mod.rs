//! Every command that we understand, as a type that cannot be wrong.
//!
//! New extensions add variants and fields here; the grammar fills them, `command/` carries them
//! out. What FETCH and SEARCH ask for has files of its own.

mod append;
mod fetch;
mod notify;
mod search;
mod sharing;

use engine::SpecialUse;
use engine::flags::{FlagChange, FlagList};
use engine::ids::Lsn;
use engine::seal::Secret;

use super::SequenceSet;
use super::mailbox_name::WireName;

pub use self::append::{AppendMessage, AppendPart, LiteralForm};
pub use self::fetch::{
    BinaryItem, FetchItem, FetchModifier, Section, SectionItem, SectionName, SectionText,
};
pub use self::notify::{EventFilter, EventGroup, Events, NotifyRequest, NotifySet};
pub use self::search::{
    CountedFrom, DayTest, PartialRange, ReturnOptions, SearchField, SearchKey, SearchRequest,
    SortCriterion, SortKey, SortOrder, Source, ThreadAlgorithm,
};
pub use self::sharing::{
    AclChange, Depth, EntryName, EntryValue, MetadataRequest, Sharing, Visibility,
};

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
    /// LANGUAGE (RFC 5255): ranges of languages, the dearest first; none asks what there is.
    Language(Vec<String>),
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
        /// What a client that was here before knows (RFC 7162).
        parameter: SelectParameter,
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
    /// REPLACE (RFC 8508)
    Replace {
        /// Whose numbers.
        numbers: Numbers,
        /// Which goes: one.
        old: SequenceSet,
        /// Where the new one comes to.
        mailbox: WireName,
        /// The new one.
        message: Box<AppendMessage>,
    },
    /// ACL, METADATA, QUOTA and NOTIFY.
    Sharing(Sharing),
    /// IDLE (RFC 2177)
    Idle,
    /// UIDBATCHES (RFC 10022)
    UidBatches {
        /// Of each batch, never 0.
        messages: u32,
        /// Numbers of the first and the last batch, in this order.
        wanted: Option<(u32, u32)>,
    },
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
    Search(SearchRequest),
    /// SORT (RFC 5256)
    Sort {
        /// At least one, the weightiest first.
        criteria: Vec<SortCriterion>,
        /// Which messages.
        request: SearchRequest,
    },
    /// THREAD (RFC 5256)
    Thread {
        /// How.
        algorithm: ThreadAlgorithm,
        /// Which messages.
        request: SearchRequest,
    },
    /// ESEARCH (RFC 7377)
    MultiSearch {
        /// Where; only the selected mailbox if none is named.
        sources: Vec<Source>,
        /// Which messages.
        request: SearchRequest,
    },
    /// CANCELUPDATE (RFC 5267): tags of searches.
    CancelUpdate(Vec<String>),
    /// FETCH
    Fetch {
        /// Whose numbers.
        numbers: Numbers,
        /// Which.
        set: SequenceSet,
        /// What; macros are spelled out.
        items: Vec<FetchItem>,
        /// Of which messages (RFC 7162).
        modifier: FetchModifier,
    },
    /// STORE
    Store {
        /// Whose numbers.
        numbers: Numbers,
        /// Which.
        set: SequenceSet,
        /// How.
        change: FlagChange,
        /// Only of messages that did not change after this (RFC 7162).
        unchanged_since: Option<Lsn>,
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

/// A parameter of SELECT (RFC 7162).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SelectParameter {
    /// None.
    #[default]
    None,
    /// CONDSTORE
    CondStore,
    /// QRESYNC, which enables CONDSTORE, too.
    Resync(Resync),
}

/// What a client knows of a mailbox that it was in before (RFC 7162 section 3.2.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resync {
    /// UIDVALIDITY
    pub uid_validity: u32,
    /// It knows all up to here.
    pub modseq: Lsn,
    /// The UIDs that it has; `None`: it does not say.
    pub known_uids: Option<SequenceSet>,
    /// Message numbers and the UIDs that they had.
    pub matches: Option<(SequenceSet, SequenceSet)>,
}

/// `FLAGS` or `FLAGS.SILENT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreAnswer {
    /// Untagged FETCH with the flags of each message.
    Flags,
    /// None.
    Silent,
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
    /// DELETED-STORAGE (RFC 9208)
    DeletedStorage,
    /// SIZE (RFC 8438)
    Size,
    /// HIGHESTMODSEQ (RFC 7162)
    HighestModSeq,
    /// MAILBOXID (RFC 8474)
    MailboxId,
    /// APPENDLIMIT (RFC 7889)
    AppendLimit,
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
        (StatusItem::DeletedStorage, "DELETED-STORAGE"),
        (StatusItem::Size, "SIZE"),
        (StatusItem::HighestModSeq, "HIGHESTMODSEQ"),
        (StatusItem::MailboxId, "MAILBOXID"),
        (StatusItem::AppendLimit, "APPENDLIMIT"),
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
    /// `RETURN (MYRIGHTS)` (RFC 8440)
    pub return_rights: bool,
    /// `RETURN (METADATA (…))` (RFC 9590)
    pub return_metadata: Vec<EntryName>,
    /// Whether the extended form was used: then an empty pattern is a pattern like any other.
    pub extended: bool,
}
