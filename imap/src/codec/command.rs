//! Every command that we understand, as a type that cannot be wrong.
//!
//! New extensions add variants and fields here; the grammar fills them, `command/` carries them
//! out.

use engine::SpecialUse;
use engine::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use engine::ids::UnixSeconds;
use engine::seal::Secret;

use super::SequenceSet;
use super::date::Day;
use super::mailbox_name::WireName;

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
    pub const ALL: [(StatusItem, &'static str); 9] = [
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

/// An item of FETCH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchItem {
    /// FLAGS
    Flags,
    /// UID
    Uid,
    /// INTERNALDATE
    InternalDate,
    /// RFC822.SIZE
    Size,
    /// MODSEQ (RFC 7162)
    ModSeq,
    /// EMAILID (RFC 8474)
    EmailId,
    /// THREADID (RFC 8474)
    ThreadId,
    /// ENVELOPE
    Envelope,
    /// BODYSTRUCTURE
    BodyStructure,
    /// BODY
    Body,
    /// BODY[…] and the three forms of RFC822
    Section(SectionItem),
}

/// Some bytes of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectionItem {
    /// Which bytes.
    pub section: Section,
    /// Offset and length of what is wanted of them.
    pub partial: Option<(u32, u32)>,
    /// Whether `\Seen` is left alone.
    pub peek: bool,
    /// How the answer names them.
    pub name: SectionName,
}

/// How FETCH answers name a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionName {
    /// `BODY[…]`
    Body,
    /// `RFC822`
    Rfc822,
    /// `RFC822.HEADER`
    Rfc822Header,
    /// `RFC822.TEXT`
    Rfc822Text,
}

/// `section-spec`: a part and what of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    /// Part numbers from the root; empty is the message itself.
    pub path: Vec<u32>,
    /// What of the part.
    pub text: SectionText,
}

/// `section-text`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SectionText {
    /// All of a message, the body of a part.
    #[default]
    Whole,
    /// HEADER
    Header,
    /// HEADER.FIELDS
    HeaderFields(Vec<Vec<u8>>),
    /// HEADER.FIELDS.NOT
    HeaderFieldsNot(Vec<Vec<u8>>),
    /// TEXT
    Text,
    /// MIME
    Mime,
}

/// On which side of a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DayTest {
    /// Earlier than the day.
    Before,
    /// Within it.
    On,
    /// Within it or later.
    Since,
}

impl DayTest {
    /// Whether a day passes.
    pub fn holds(self, day: Day, given: Day) -> bool {
        match self {
            DayTest::Before => day < given,
            DayTest::On => day == given,
            DayTest::Since => day >= given,
        }
    }
}

/// A header field that SEARCH knows by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SearchField {
    /// FROM
    From,
    /// TO
    To,
    /// CC
    Cc,
    /// BCC
    Bcc,
    /// SUBJECT
    Subject,
}

impl SearchField {
    /// The field's name.
    pub fn name(self) -> &'static str {
        match self {
            SearchField::From => "from",
            SearchField::To => "to",
            SearchField::Cc => "cc",
            SearchField::Bcc => "bcc",
            SearchField::Subject => "subject",
        }
    }
}

/// `search-key`; texts are bytes in the command's charset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SearchKey {
    /// ALL, OLD: every message (none of ours is recent).
    All,
    /// NEW, RECENT: none of ours.
    Nothing,
    /// SEEN, ANSWERED, …
    Flag(SystemFlags),
    /// KEYWORD
    Keyword(Keyword),
    /// Sequence numbers.
    Sequence(SequenceSet),
    /// UID
    Uid(SequenceSet),
    /// BEFORE, ON, SINCE
    Internal(DayTest, Day),
    /// SENTBEFORE, SENTON, SENTSINCE
    Sent(DayTest, Day),
    /// LARGER
    Larger(u64),
    /// SMALLER
    Smaller(u64),
    /// MODSEQ (RFC 7162): at least.
    ModSeq(u64),
    /// FROM, TO, CC, BCC, SUBJECT
    Field(SearchField, Vec<u8>),
    /// HEADER: a field's name and text; an empty text: the field exists.
    Header(Vec<u8>, Vec<u8>),
    /// BODY
    Body(Vec<u8>),
    /// TEXT
    Text(Vec<u8>),
    /// NOT
    Not(Box<SearchKey>),
    /// OR
    Or(Box<SearchKey>, Box<SearchKey>),
    /// Several keys: all of them.
    And(Vec<SearchKey>),
}
