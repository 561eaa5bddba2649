//! Searching an account by request.

use engine::Store;
use engine::search::Segment;
use imap::query::{Manner, Query, Shown, search_account};
use serde::{Deserialize, Serialize};

use super::operation::{Answer, find_account};
use crate::failure::{Exit, Failure};

/// Messages in one answer.
const HITS_MAX: usize = 10_000;

/// A message that was found.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HitLine {
    /// Its mailbox.
    pub(crate) mailbox: String,
    /// Its number there.
    pub(crate) uid: u32,
    /// INTERNALDATE in seconds since 1970 UTC.
    pub(crate) received: i64,
    /// The first author.
    pub(crate) from: String,
    /// The subject.
    pub(crate) subject: String,
    /// How well it was found beside the best, which has 100; where the best is told first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) relevancy: Option<u8>,
    /// The subject with what was sought marked, and a passage of the text; where they are shown.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) marked_subject: Vec<SegmentLine>,
    /// See `marked_subject`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) passage: Vec<SegmentLine>,
}

/// A piece of a text. Nothing in it is escaped: who puts it into HTML does that.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SegmentLine {
    /// What it says; without control characters.
    pub(crate) text: String,
    /// Whether it was sought.
    pub(crate) is_hit: bool,
}

impl From<Segment> for SegmentLine {
    fn from(Segment { text, is_hit }: Segment) -> SegmentLine {
        SegmentLine { text, is_hit }
    }
}

/// What was found.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FoundAnswer {
    /// The best or the newest of what was found.
    pub(crate) hits: Vec<HitLine>,
    /// How many were found.
    pub(crate) found_count: u64,
    /// How it was done.
    pub(crate) plan: Vec<String>,
}

/// What is sought, and how it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SearchAsked {
    /// Plain text, or keys of SEARCH in capitals.
    pub(crate) query: String,
    /// Plain text is sought to the letter, not by its words.
    #[serde(default)]
    pub(crate) exact: bool,
    /// Passages are shown where the newest comes first, too.
    #[serde(default)]
    pub(crate) passages: bool,
    /// So many messages are told at most.
    pub(crate) hits_max: usize,
}

/// Searches, and tells the best or the newest messages that were found.
pub(super) fn answer(store: &Store, name: &str, asked: &SearchAsked) -> Result<Answer, Failure> {
    let account = find_account(store, name)?;
    let manner = if asked.exact { Manner::Exact } else { Manner::Ranked };
    let query = Query::parse(&asked.query, manner)
        .map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
    let shows = asked.passages || query.is_ranked();
    let shown = if shows { Shown::Passage } else { Shown::Envelope };
    let found = search_account(&account, &query, (asked.hits_max.min(HITS_MAX), shown))?;
    let segments = |all: Vec<Segment>| all.into_iter().map(SegmentLine::from).collect();
    let line = |hit: imap::query::Hit| HitLine {
        mailbox: hit.mailbox,
        uid: hit.uid,
        received: hit.received,
        from: hit.from,
        subject: hit.subject,
        relevancy: hit.relevancy,
        marked_subject: segments(hit.marked_subject),
        passage: segments(hit.passage),
    };
    Ok(Answer::Found(FoundAnswer {
        hits: found.hits.into_iter().map(line).collect(),
        found_count: found.found_count,
        plan: found.plan,
    }))
}
