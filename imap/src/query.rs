//! SEARCH without a session: through all mailboxes of an account, for commands on the machine.
//!
//! Keys are those of IMAP; which messages are found is decided by the same code as for clients.

use std::time::{SystemTime, UNIX_EPOCH};

use engine::Account;
use engine::error::ReadError;
use engine::ids::UnixSeconds;
use engine::message::{StoredSummary, decode_words};
use engine::width::u64_of;

use crate::codec::command::{Access, SearchKey};
use crate::codec::{Command, grammar};
use crate::command::search::{self, Answers, CompileError};
use crate::session::{Reach, Selected};

/// What is sought.
#[derive(Clone, Debug)]
pub struct Query {
    key: SearchKey,
}

/// A query that is not understood, in words for who wrote it.
#[derive(Debug, thiserror::Error)]
#[error(
    "the query is not understood: write keys of IMAP's SEARCH in capitals, such as \
     'FROM ann SINCE 1-Jan-2026 BODY \"two words\"', or plain text to look for in everything"
)]
pub struct QueryError;

impl Query {
    /// Keys of SEARCH (RFC 9051 section 6.4.4) where the first word is in capitals; else a text
    /// that is looked for in all of a message.
    ///
    /// # Errors
    /// [`QueryError`] if keys are not understood.
    pub fn parse(query: &str) -> Result<Query, QueryError> {
        let query = query.trim();
        let first = query.trim_start_matches('(').split([' ', ')']).next().unwrap_or_default();
        let is_key = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_uppercase());
        if !is_key {
            return Ok(Query { key: SearchKey::Text(query.as_bytes().to_vec()) });
        }
        let (keys, literals) = with_literals(query);
        let line = [b"q UID SEARCH CHARSET UTF-8 ", keys.as_slice()].concat();
        match grammar::parse(&line, &literals).map(|request| request.command) {
            Ok(Command::Search(request)) => Ok(Query { key: request.key }),
            _ => Err(QueryError),
        }
    }
}

/// Words beyond ASCII as literals, which the grammar wants them to be; quoted ones keep their
/// blanks.
fn with_literals(query: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut line, mut literals) = (Vec::new(), Vec::new());
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let (word, text, after) = match first {
            '"' => quoted(rest),
            _ => {
                let end = rest.find([' ', '(', ')']).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end.max(first.len_utf8()));
                (word, word.to_owned(), after)
            }
        };
        if word.is_ascii() {
            line.extend_from_slice(word.as_bytes());
        } else {
            line.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
            literals.push(text.into_bytes());
        }
        rest = after;
    }
    (line, literals)
}

/// A quoted string at the beginning: as it is written, what it means, and what follows it.
fn quoted(from: &str) -> (&str, String, &str) {
    let mut text = String::new();
    let mut characters = from.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let (word, after) = from.split_at(at + 1);
                return (word, text, after);
            }
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            other => text.push(other),
        }
    }
    (from, text, "")
}

/// A message that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hit {
    /// Name of its mailbox.
    pub mailbox: String,
    /// Its UID there.
    pub uid: u32,
    /// INTERNALDATE in seconds since 1970 UTC.
    pub received: i64,
    /// The first author, as people read it; empty without one.
    pub from: String,
    /// As people read it.
    pub subject: String,
}

/// What a query found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Searched {
    /// The newest of what was found.
    pub hits: Vec<Hit>,
    /// How many were found.
    pub found_count: u64,
    /// How it was done, a line a step.
    pub plan: Vec<String>,
}

/// Searches all of an account's own mailboxes; tells at most `hits_max` messages.
///
/// # Errors
/// [`ReadError`] if something could not be read: any answer would claim that it does not match.
pub fn search_account(
    account: &Account,
    query: &Query,
    hits_max: usize,
) -> Result<Searched, ReadError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = UnixSeconds(i64::try_from(now).unwrap_or(i64::MAX));
    // All views first: the index knows of what was committed before it is asked.
    let mut places = Vec::new();
    for entry in &account.listing()?.mailboxes {
        let Some(mailbox) = account.mailbox_by_id(entry.id)? else { continue };
        let Some(view) = mailbox.view()? else { continue };
        let reach = Reach { owner: account.clone(), viewer: account.number() };
        let name = entry.name.clone();
        places.push(Selected::new((mailbox, reach), name, Access::ReadOnly, view));
    }
    let mut answers = Answers::default();
    let mut found: Vec<(i64, usize, u32)> = Vec::new();
    let (mut message_count, mut opened) = (0, 0);
    for (index, place) in places.iter().enumerate() {
        message_count += u64::from(place.view.message_count());
        let looked = search::in_mailbox(&query.key, place, now, &mut answers, |row| {
            found.push((row.received.0, index, row.uid.0));
        });
        match looked {
            Ok(looked) => opened += looked.opened,
            Err(CompileError::Read(error)) => return Err(error),
            // A query is text of a command line, which is UTF-8.
            Err(CompileError::NotUtf8) => {}
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    let found_count = u64_of(found.len());
    let mut hits = Vec::new();
    for (_, index, uid) in found.into_iter().take(hits_max) {
        let Some(place) = places.get(index) else { continue };
        hits.extend(hit(account, place, uid)?);
    }
    let mut plan = answers.words();
    plan.push(format!(
        "{message_count} messages in {} mailboxes: {found_count} found, {opened} of them opened",
        places.len()
    ));
    Ok(Searched { hits, found_count, plan })
}

fn hit(account: &Account, place: &Selected, uid: u32) -> Result<Option<Hit>, ReadError> {
    let Some(row) = place.view.row(engine::ids::Uid(uid))? else { return Ok(None) };
    let summary = account.summaries_of_some(place.view.mailbox()).of(&row)?;
    let (from, subject) = shown(&summary);
    let mailbox = place.name.clone();
    Ok(Some(Hit { mailbox, uid, received: row.received.0, from, subject }))
}

fn shown(summary: &StoredSummary) -> (String, String) {
    let envelope = summary.envelope();
    let subject = decode_words(envelope.subject.unwrap_or_default());
    let from = envelope.addresses().from.next().map(|first| {
        let text = |bytes: Option<&[u8]>| decode_words(bytes.unwrap_or_default());
        match (first.name, first.host) {
            (Some(name), _) if !name.is_empty() => decode_words(name),
            (_, Some(_)) => format!("{}@{}", text(first.mailbox), text(first.host)),
            _ => text(first.mailbox),
        }
    });
    (from.unwrap_or_default(), subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::SearchField;

    #[test]
    fn keys_are_in_capitals_and_all_else_is_text() {
        let text = |query: &str| match Query::parse(query).unwrap().key {
            SearchKey::Text(text) => Some(String::from_utf8(text).unwrap()),
            _ => None,
        };
        assert_eq!(text("hello world").as_deref(), Some("hello world"));
        assert_eq!(text("from ann").as_deref(), Some("from ann"));
        assert_eq!(text("ünï").as_deref(), Some("ünï"));
        assert!(text("FROM ann SINCE 1-Jan-2026").is_none());
        assert!(text("(OR FROM ann BODY \"two words\")").is_none());
        let key = Query::parse("SUBJECT grüße BODY \"süße \\\"x\\\"\"").unwrap().key;
        let expected = SearchKey::And(vec![
            SearchKey::Field(SearchField::Subject, "grüße".into()),
            SearchKey::Body("süße \"x\"".into()),
        ]);
        assert_eq!(key, expected, "words beyond ASCII, quoted or not");
        for wrong in ["FORM ann", "SINCE yesterday", "FROM", "BODY \"open"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
    }
}
