//! What SEARCH asks of a mailbox.

use engine::flags::{Keyword, SystemFlags};
use engine::ids::{EmailId, ThreadId};

use super::{FetchItem, Numbers};
use crate::codec::SequenceSet;
use crate::codec::date::Day;
use crate::codec::mailbox_name::WireName;

/// What SEARCH, SORT, THREAD and ESEARCH have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchRequest {
    /// What is answered.
    pub numbers: Numbers,
    /// `RETURN (…)` (RFC 4731); `None` where it was not given.
    pub returns: Option<ReturnOptions>,
    /// `UPDATE (…)` (RFC 5465 section 7): what is told of new messages that match.
    pub new_items: Vec<FetchItem>,
    /// As given.
    pub charset: Option<Vec<u8>>,
    /// What must hold.
    pub key: SearchKey,
}

/// `RETURN (…)`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReturnOptions {
    /// MIN
    pub min: bool,
    /// MAX
    pub max: bool,
    /// ALL
    pub all: bool,
    /// COUNT
    pub count: bool,
    /// SAVE (RFC 5182)
    pub save: bool,
    /// UPDATE (RFC 5267)
    pub update: bool,
    /// RELEVANCY (RFC 6203)
    pub relevancy: bool,
    /// PARTIAL (RFC 9394)
    pub partial: Option<PartialRange>,
}

impl ReturnOptions {
    /// Whether they ask for nothing that is told; ALL is what an empty list means.
    pub fn tells_nothing(&self) -> bool {
        !(self.min || self.max || self.all || self.count || self.relevancy)
            && self.partial.is_none()
    }
}

/// From which end PARTIAL counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CountedFrom {
    /// The first message is 1.
    First,
    /// The last message is -1.
    Last,
}

/// `partial-range` (RFC 9394): which of the messages found, by their places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartialRange {
    /// The end that is 1 or -1.
    pub from: CountedFrom,
    /// As written, without sign; never 0.
    pub first: u32,
    /// As written, without sign; never 0; may be the lower one.
    pub last: u32,
}

impl PartialRange {
    /// Which of `count` things are meant: the index of the first, and one past that of the last.
    pub fn within(&self, count: u64) -> (u64, u64) {
        let low = u64::from(self.first.min(self.last));
        let high = u64::from(self.first.max(self.last)).min(count);
        if low > high {
            return (0, 0);
        }
        match self.from {
            CountedFrom::First => (low.saturating_sub(1), high),
            CountedFrom::Last => (count.saturating_sub(high), count.saturating_sub(low - 1)),
        }
    }
}

impl std::fmt::Display for PartialRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.from {
            CountedFrom::First => write!(f, "{}:{}", self.first, self.last),
            CountedFrom::Last => write!(f, "-{}:-{}", self.first, self.last),
        }
    }
}

/// `sort-key` (RFC 5256, RFC 5957, RFC 6203)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SortKey {
    /// INTERNALDATE.
    Arrival,
    /// The first address of Cc: its local part.
    Cc,
    /// The Date field, or INTERNALDATE where it has none.
    Date,
    /// The first display name of From, or its address.
    DisplayFrom,
    /// The first display name of To, or its address.
    DisplayTo,
    /// The first address of From: its local part.
    From,
    /// How well FUZZY matches, the best first.
    Relevancy,
    /// RFC822.SIZE.
    Size,
    /// The base subject.
    Subject,
    /// The first address of To: its local part.
    To,
}

impl SortKey {
    /// Every key with its name.
    pub const ALL: &'static [(SortKey, &'static str)] = &[
        (SortKey::Arrival, "ARRIVAL"),
        (SortKey::Cc, "CC"),
        (SortKey::Date, "DATE"),
        (SortKey::DisplayFrom, "DISPLAYFROM"),
        (SortKey::DisplayTo, "DISPLAYTO"),
        (SortKey::From, "FROM"),
        (SortKey::Relevancy, "RELEVANCY"),
        (SortKey::Size, "SIZE"),
        (SortKey::Subject, "SUBJECT"),
        (SortKey::To, "TO"),
    ];
}

/// Ascending, or REVERSE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SortOrder {
    /// The lowest first.
    Ascending,
    /// REVERSE: the highest first.
    Descending,
}

/// `sort-criterion`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SortCriterion {
    /// By what.
    pub key: SortKey,
    /// In which order.
    pub order: SortOrder,
}

/// `thread-alg` (RFC 5256)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ThreadAlgorithm {
    /// ORDEREDSUBJECT
    OrderedSubject,
    /// REFERENCES
    References,
}

/// `filter-mailboxes` of ESEARCH (RFC 7377).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// selected
    Selected,
    /// inboxes: where mail is delivered.
    Inboxes,
    /// personal: all mailboxes of the user.
    Personal,
    /// subscribed
    Subscribed,
    /// subtree: these with all below them.
    Subtree(Vec<WireName>),
    /// subtree-one: these with their children.
    SubtreeOne(Vec<WireName>),
    /// mailboxes: these.
    Mailboxes(Vec<WireName>),
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
    /// UID, UIDAFTER, UIDBEFORE (RFC 9738)
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
    /// OLDER (RFC 5032): INTERNALDATE so many seconds ago or more.
    Older(u32),
    /// YOUNGER (RFC 5032): INTERNALDATE so many seconds ago or less.
    Younger(u32),
    /// SAVEDBEFORE, SAVEDON, SAVEDSINCE (RFC 8514)
    Saved(DayTest, Day),
    /// EMAILID (RFC 8474)
    EmailId(EmailId),
    /// THREADID (RFC 8474)
    ThreadId(ThreadId),
    /// FUZZY (RFC 6203)
    Fuzzy(Box<SearchKey>),
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

impl SearchKey {
    /// Whether it, or a key within it, is one of these.
    pub fn any(&self, wanted: fn(&SearchKey) -> bool) -> bool {
        if wanted(self) {
            return true;
        }
        match self {
            SearchKey::Not(key) | SearchKey::Fuzzy(key) => key.any(wanted),
            SearchKey::Or(a, b) => a.any(wanted) || b.any(wanted),
            SearchKey::And(keys) => keys.iter().any(|key| key.any(wanted)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_range_counts_from_either_end() {
        let range = |from, first, last| PartialRange { from, first, last };
        for (range, count, expected, reason) in [
            (range(CountedFrom::First, 1, 3), 10, (0, 3), "the first three"),
            (range(CountedFrom::First, 3, 1), 10, (0, 3), "in either order"),
            (range(CountedFrom::First, 9, 20), 10, (8, 10), "over the end"),
            (range(CountedFrom::First, 11, 20), 10, (0, 0), "behind the end"),
            (range(CountedFrom::Last, 1, 3), 10, (7, 10), "the last three"),
            (range(CountedFrom::Last, 20, 9), 10, (0, 2), "over the begin"),
            (range(CountedFrom::Last, 11, 20), 10, (0, 0), "before the begin"),
            (range(CountedFrom::Last, 1, u32::MAX), 0, (0, 0), "nothing there"),
        ] {
            assert_eq!(range.within(count), expected, "{reason}");
        }
    }
}
