//! Searching an account by request.

use engine::Store;
use imap::query::{Query, search_account};
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
}

/// What was found.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FoundAnswer {
    /// The newest of what was found.
    pub(crate) hits: Vec<HitLine>,
    /// How many were found.
    pub(crate) found_count: u64,
    /// How it was done.
    pub(crate) plan: Vec<String>,
}

/// Searches, and tells the newest messages that were found.
pub(super) fn answer(
    store: &Store,
    name: &str,
    query: &str,
    hits_max: usize,
) -> Result<Answer, Failure> {
    let account = find_account(store, name)?;
    let query = Query::parse(query).map_err(|why| Failure::new(Exit::Usage, why.to_string()))?;
    let found = search_account(&account, &query, hits_max.min(HITS_MAX))?;
    let line = |hit: imap::query::Hit| HitLine {
        mailbox: hit.mailbox,
        uid: hit.uid,
        received: hit.received,
        from: hit.from,
        subject: hit.subject,
    };
    Ok(Answer::Found(FoundAnswer {
        hits: found.hits.into_iter().map(line).collect(),
        found_count: found.found_count,
        plan: found.plan,
    }))
}
