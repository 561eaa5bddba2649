//! SEARCH (RFC 3501 section 6.4.4).

use engine::flags::{Keyword, SystemFlags};

use crate::codec::SequenceSet;
use crate::codec::command::{Command, DayTest, Numbers, SearchField, SearchKey};
use crate::codec::cursor::{Cursor, SyntaxError};
use crate::codec::date;

/// How deep NOT, OR and parentheses may nest.
const DEPTH_MAX: usize = 100;

/// `search = "SEARCH" [SP "CHARSET" SP astring] 1*(SP search-key)`
pub(super) fn search(cursor: &mut Cursor<'_>, numbers: Numbers) -> Result<Command, SyntaxError> {
    let mut ahead = cursor.clone();
    let mut charset = None;
    ahead.space()?;
    if ahead.take_word("CHARSET") {
        ahead.space()?;
        charset = Some(ahead.astring()?.into_owned());
        *cursor = ahead;
    }
    let mut keys = Vec::new();
    while keys.is_empty() || !cursor.at_end() {
        cursor.space()?;
        keys.push(search_key(cursor, 0)?);
    }
    Ok(Command::Search { numbers, charset, key: SearchKey::And(keys) })
}

/// `search-key`
fn search_key(cursor: &mut Cursor<'_>, depth: usize) -> Result<SearchKey, SyntaxError> {
    if depth > DEPTH_MAX {
        return cursor.expected("a search that nests less deeply");
    }
    match cursor.peek() {
        Some(b'(') => {
            let start = cursor.clone();
            let keys = cursor.list(|cursor| search_key(cursor, depth + 1))?;
            if keys.is_empty() {
                return start.expected("a search key");
            }
            return Ok(SearchKey::And(keys));
        }
        Some(b'*' | b'0'..=b'9') => return SequenceSet::parse(cursor).map(SearchKey::Sequence),
        _ => {}
    }
    let start = cursor.clone();
    let name = cursor.word()?.to_ascii_uppercase();
    let key = match name.as_slice() {
        b"NOT" => {
            cursor.space()?;
            negated(search_key(cursor, depth + 1)?)
        }
        b"OR" => {
            cursor.space()?;
            let first = search_key(cursor, depth + 1)?;
            cursor.space()?;
            SearchKey::Or(Box::new(first), Box::new(search_key(cursor, depth + 1)?))
        }
        name => match simple_key(name) {
            Some(key) => key,
            None => match key_with_value(cursor, name)? {
                Some(key) => key,
                None => return start.expected("a search key such as ALL or FROM"),
            },
        },
    };
    Ok(key)
}

fn negated(key: SearchKey) -> SearchKey {
    SearchKey::Not(Box::new(key))
}

/// Keys that are one word.
fn simple_key(name: &[u8]) -> Option<SearchKey> {
    let flag = SearchKey::Flag;
    Some(match name {
        b"ALL" | b"OLD" => SearchKey::All,
        b"NEW" | b"RECENT" => SearchKey::Nothing,
        b"ANSWERED" => flag(SystemFlags::ANSWERED),
        b"DELETED" => flag(SystemFlags::DELETED),
        b"DRAFT" => flag(SystemFlags::DRAFT),
        b"FLAGGED" => flag(SystemFlags::FLAGGED),
        b"SEEN" => flag(SystemFlags::SEEN),
        b"UNANSWERED" => negated(flag(SystemFlags::ANSWERED)),
        b"UNDELETED" => negated(flag(SystemFlags::DELETED)),
        b"UNDRAFT" => negated(flag(SystemFlags::DRAFT)),
        b"UNFLAGGED" => negated(flag(SystemFlags::FLAGGED)),
        b"UNSEEN" => negated(flag(SystemFlags::SEEN)),
        _ => return None,
    })
}

/// Keys with something after them.
fn key_with_value(cursor: &mut Cursor<'_>, name: &[u8]) -> Result<Option<SearchKey>, SyntaxError> {
    let internal = |test| move |day| SearchKey::Internal(test, day);
    let sent = |test| move |day| SearchKey::Sent(test, day);
    let field = |field| move |text: Vec<u8>| SearchKey::Field(field, text);
    Ok(Some(match name {
        b"BEFORE" => spaced_day(cursor).map(internal(DayTest::Before))?,
        b"ON" => spaced_day(cursor).map(internal(DayTest::On))?,
        b"SINCE" => spaced_day(cursor).map(internal(DayTest::Since))?,
        b"SENTBEFORE" => spaced_day(cursor).map(sent(DayTest::Before))?,
        b"SENTON" => spaced_day(cursor).map(sent(DayTest::On))?,
        b"SENTSINCE" => spaced_day(cursor).map(sent(DayTest::Since))?,
        b"FROM" => spaced_text(cursor).map(field(SearchField::From))?,
        b"TO" => spaced_text(cursor).map(field(SearchField::To))?,
        b"CC" => spaced_text(cursor).map(field(SearchField::Cc))?,
        b"BCC" => spaced_text(cursor).map(field(SearchField::Bcc))?,
        b"SUBJECT" => spaced_text(cursor).map(field(SearchField::Subject))?,
        b"BODY" => spaced_text(cursor).map(SearchKey::Body)?,
        b"TEXT" => spaced_text(cursor).map(SearchKey::Text)?,
        b"HEADER" => SearchKey::Header(spaced_text(cursor)?, spaced_text(cursor)?),
        b"KEYWORD" => keyword(cursor)?,
        b"UNKEYWORD" => negated(keyword(cursor)?),
        b"LARGER" => spaced_number(cursor).map(SearchKey::Larger)?,
        b"SMALLER" => spaced_number(cursor).map(SearchKey::Smaller)?,
        b"MODSEQ" => spaced_number(cursor).map(SearchKey::ModSeq)?,
        b"UID" => {
            cursor.space()?;
            SearchKey::Uid(SequenceSet::parse(cursor)?)
        }
        _ => return Ok(None),
    }))
}

fn spaced_day(cursor: &mut Cursor<'_>) -> Result<date::Day, SyntaxError> {
    cursor.space()?;
    date::parse_day(cursor)
}

fn spaced_text(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, SyntaxError> {
    cursor.space()?;
    Ok(cursor.astring()?.into_owned())
}

fn spaced_number(cursor: &mut Cursor<'_>) -> Result<u64, SyntaxError> {
    cursor.space()?;
    cursor.number64()
}

/// `flag-keyword`; one that no message can have finds none.
fn keyword(cursor: &mut Cursor<'_>) -> Result<SearchKey, SyntaxError> {
    cursor.space()?;
    let name = std::str::from_utf8(cursor.atom()?).ok().and_then(Keyword::new);
    Ok(name.map_or(SearchKey::Nothing, SearchKey::Keyword))
}
