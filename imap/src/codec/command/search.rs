//! What SEARCH asks of a mailbox.

use engine::flags::{Keyword, SystemFlags};

use crate::codec::SequenceSet;
use crate::codec::date::Day;

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
