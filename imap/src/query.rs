//! SEARCH without a session: through all mailboxes of an account, for commands on the machine.
//!
//! Keys are those of IMAP; which messages are found is decided by the same code as for clients.
//!
//! | the query | finds | in which order |
//! |--|--|--|
//! | plain text | messages that have all its words, give or take: FUZZY TEXT | the best first |
//! | the same, exact | messages that contain it: TEXT | the newest first |
//! | keys in capitals | what they find | the best first if FUZZY is among them, else the newest |
//!
//! Passages are shown of the hits that are told, and only these are opened for it.

use std::time::{SystemTime, UNIX_EPOCH};

use engine::Account;
use engine::error::ReadError;
use engine::ids::UnixSeconds;
use engine::message::text::SearchText;
use engine::message::{StoredSummary, decode_words, shown_text};
use engine::search::{Scope, Score, Segment, Words, marked, snippet};
use engine::width::u64_of;

use crate::codec::command::{Access, SearchKey};
use crate::codec::{Command, grammar};
use crate::command::search::{self, Answers, CompileError};
use crate::session::{Reach, Selected};

/// What is sought.
#[derive(Clone, Debug)]
pub struct Query {
    key: SearchKey,
    /// What is marked in what is shown.
    words: Option<Words>,
}

/// How plain text is sought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// By its words, the best first.
    Ranked,
    /// To the letter, the newest first.
    Exact,
}

/// What is told of each hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Its envelope.
    Envelope,
    /// A passage of its text, too.
    Passage,
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
    pub fn parse(query: &str, manner: Manner) -> Result<Query, QueryError> {
        let key = Query::key(query, manner)?;
        let mut texts = Vec::new();
        sought_texts(&key, &mut texts);
        let texts: Vec<_> = texts.into_iter().map(String::from_utf8_lossy).collect();
        Ok(Query { words: Words::new(&texts.join(" "), Scope::Text), key })
    }

    /// Whether the best is told first.
    pub fn is_ranked(&self) -> bool {
        self.key.any(|key| matches!(key, SearchKey::Fuzzy(_)))
    }

    fn key(query: &str, manner: Manner) -> Result<SearchKey, QueryError> {
        let query = query.trim();
        let first = query.trim_start_matches('(').split([' ', ')']).next().unwrap_or_default();
        let is_key = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_uppercase());
        if !is_key {
            let text = SearchKey::Text(query.as_bytes().to_vec());
            return Ok(match manner {
                Manner::Ranked => SearchKey::Fuzzy(Box::new(text)),
                Manner::Exact => text,
            });
        }
        let (keys, literals) = with_literals(query);
        let line = [b"q UID SEARCH CHARSET UTF-8 ", keys.as_slice()].concat();
        match grammar::parse(&line, &literals).map(|request| request.command) {
            Ok(Command::Search(request)) => Ok(request.key),
            _ => Err(QueryError),
        }
    }
}

/// The texts that messages have which are found. Depth is that of the key, which the grammar
/// bounds.
fn sought_texts<'a>(key: &'a SearchKey, out: &mut Vec<&'a [u8]>) {
    match key {
        SearchKey::Body(text) | SearchKey::Text(text) => out.push(text),
        SearchKey::Field(_, text) | SearchKey::Header(_, text) => out.push(text),
        SearchKey::Fuzzy(key) => sought_texts(key, out),
        SearchKey::Or(a, b) => [a, b].into_iter().for_each(|key| sought_texts(key, out)),
        SearchKey::And(keys) => keys.iter().for_each(|key| sought_texts(key, out)),
        _ => {}
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
    /// How well it was found beside the best, which has 100; where the best is told first.
    pub relevancy: Option<u8>,
    /// Its subject and a passage of its text, with what was sought marked; empty where neither is
    /// shown.
    pub marked_subject: Vec<Segment>,
    /// See [`Hit::marked_subject`].
    pub passage: Vec<Segment>,
}

/// What a query found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Searched {
    /// The best or the newest of what was found.
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
    (hits_max, shown): (usize, Shown),
) -> Result<Searched, ReadError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = UnixSeconds(i64::try_from(now).unwrap_or(i64::MAX));
    let places = places(account)?;
    let mut answers = Answers::shared();
    let mut found: Vec<(Option<Score>, i64, usize, u32)> = Vec::new();
    let (mut message_count, mut opened) = (0, 0);
    for (index, place) in places.iter().enumerate() {
        message_count += u64::from(place.view.message_count());
        let looked = search::in_mailbox(&query.key, place, now, &mut answers, |row, score| {
            found.push((score, row.received.0, index, row.uid.0));
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
    let scores: Vec<Option<Score>> = found.iter().map(|(score, ..)| *score).collect();
    let relevancies = search::relevancies(&scores);
    let words = query.words.as_ref().filter(|_| shown == Shown::Passage);
    let mut hits = Vec::new();
    for ((_, _, index, uid), relevancy) in found.into_iter().zip(relevancies).take(hits_max) {
        let Some(place) = places.get(index) else { continue };
        let Some(mut hit) = hit(account, place, uid, words)? else { continue };
        hit.relevancy = query.is_ranked().then_some(relevancy);
        hits.push(hit);
    }
    let mut plan = answers.words();
    plan.push(format!(
        "{message_count} messages in {} mailboxes: {found_count} found, {opened} of them opened",
        places.len()
    ));
    Ok(Searched { hits, found_count, plan })
}

/// All own mailboxes of an account as they are now. All views first: the index knows of what was
/// committed before it is asked.
fn places(account: &Account) -> Result<Vec<Selected>, ReadError> {
    let mut places = Vec::new();
    for entry in &account.listing()?.mailboxes {
        let Some(mailbox) = account.mailbox_by_id(entry.id)? else { continue };
        let Some(view) = mailbox.view()? else { continue };
        let reach = Reach { owner: account.clone(), viewer: account.number() };
        let name = entry.name.clone();
        places.push(Selected::new((mailbox, reach), name, Access::ReadOnly, view));
    }
    Ok(places)
}

/// A message that was found; with a passage of its text, if words are marked in it.
fn hit(
    account: &Account,
    place: &Selected,
    uid: u32,
    words: Option<&Words>,
) -> Result<Option<Hit>, ReadError> {
    let Some(row) = place.view.row(engine::ids::Uid(uid))? else { return Ok(None) };
    let summary = account.summaries_of_some(place.view.mailbox()).of(&row)?;
    let (from, subject) = envelope_shown(&summary);
    let (mut marked_subject, mut passage) = (Vec::new(), Vec::new());
    if let Some(words) = words {
        let structure = summary.structure_tree();
        let message = account.message(&row)?.read_all()?;
        let text = SearchText::new(&message, &structure);
        marked_subject = marked(words, &text, &subject);
        passage = snippet(words, &text, &shown_text(&message, &structure));
    }
    Ok(Some(Hit {
        mailbox: place.name.clone(),
        uid,
        received: row.received.0,
        from,
        subject,
        relevancy: None,
        marked_subject,
        passage,
    }))
}

fn envelope_shown(summary: &StoredSummary) -> (String, String) {
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
        let key = |query: &str, manner| Query::parse(query, manner).unwrap().key;
        let text = |query: &str| match key(query, Manner::Exact) {
            SearchKey::Text(text) => Some(String::from_utf8(text).unwrap()),
            _ => None,
        };
        let ranked = SearchKey::Fuzzy(Box::new(SearchKey::Text(b"hello world".to_vec())));
        assert_eq!(key("hello world", Manner::Ranked), ranked);
        assert!(Query::parse("FUZZY SUBJECT hello", Manner::Exact).unwrap().is_ranked());
        assert!(!Query::parse("SUBJECT hello", Manner::Ranked).unwrap().is_ranked());
        let marks = Query::parse("FROM ann NOT BODY bob OR BODY x SUBJECT y", Manner::Ranked);
        assert_eq!(marks.unwrap().words.unwrap().texts(), ["ann", "x", "y"]);
        assert_eq!(text("hello world").as_deref(), Some("hello world"));
        assert_eq!(text("from ann").as_deref(), Some("from ann"));
        assert_eq!(text("ünï").as_deref(), Some("ünï"));
        assert!(text("FROM ann SINCE 1-Jan-2026").is_none());
        assert!(text("(OR FROM ann BODY \"two words\")").is_none());
        let key = key("SUBJECT grüße BODY \"süße \\\"x\\\"\"", Manner::Ranked);
        let expected = SearchKey::And(vec![
            SearchKey::Field(SearchField::Subject, "grüße".into()),
            SearchKey::Body("süße \"x\"".into()),
        ]);
        assert_eq!(key, expected, "words beyond ASCII, quoted or not");
        for wrong in ["FORM ann", "SINCE yesterday", "FROM", "BODY \"open"] {
            assert!(Query::parse(wrong, Manner::Ranked).is_err(), "{wrong}");
        }
    }
}
