//! SEARCH (RFC 3501 section 6.4.4) and its family: SORT and THREAD (RFC 5256), ESEARCH (RFC 7377).
//!
//! | rule | from |
//! |--|--|
//! | `search = "SEARCH" [SP "RETURN" SP options] SP program` | RFC 4731, RFC 9051 |
//! | `program = ["CHARSET" SP charset SP] search-key *(SP search-key)` | RFC 4466 |
//! | `sort = "SORT" [SP "RETURN" SP options] SP criteria SP charset 1*(SP search-key)` | RFC 5267 |
//! | `thread = "THREAD" SP algorithm SP charset 1*(SP search-key)` | RFC 5256 |
//! | `esearch = "ESEARCH" [SP "IN" SP sources] [SP "RETURN" SP options] SP program` | RFC 7377 |

mod options;

use engine::flags::{Keyword, SystemFlags};
use engine::ids::{EmailId, ThreadId};

use self::options::{return_options, sort_criteria, sources};
use crate::codec::SequenceSet;
use crate::codec::command::{
    Command, DayTest, Numbers, SearchField, SearchKey, SearchRequest, ThreadAlgorithm,
};
use crate::codec::cursor::{Cursor, SyntaxError};
use crate::codec::date;
use crate::codec::sequence_set::Bound;

pub(super) use self::options::mailboxes;
pub(crate) use self::options::partial_range;

/// Tags of one CANCELUPDATE.
const TAGS_MAX: usize = 100;

/// SEARCH
pub(super) fn search(cursor: &mut Cursor<'_>, numbers: Numbers) -> Result<Command, SyntaxError> {
    let (returns, new_items) = return_options(cursor)?;
    let charset = optional_charset(cursor)?;
    let key = keys(cursor)?;
    let request = SearchRequest { numbers, returns, new_items, charset, key };
    refuse_relevancy(cursor, &request, false)?;
    Ok(Command::Search(request))
}

/// SORT
pub(super) fn sort(cursor: &mut Cursor<'_>, numbers: Numbers) -> Result<Command, SyntaxError> {
    let (returns, new_items) = return_options(cursor)?;
    cursor.space()?;
    let criteria = sort_criteria(cursor)?;
    let request = SearchRequest { numbers, returns, new_items, ..counted_by_charset(cursor)? };
    let by_relevancy =
        criteria.iter().any(|criterion| criterion.key == crate::codec::command::SortKey::Relevancy);
    refuse_relevancy(cursor, &request, by_relevancy)?;
    Ok(Command::Sort { criteria, request })
}

/// THREAD
pub(super) fn thread(cursor: &mut Cursor<'_>, numbers: Numbers) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let algorithm = if cursor.take_word("REFERENCES") {
        ThreadAlgorithm::References
    } else if cursor.take_word("ORDEREDSUBJECT") {
        ThreadAlgorithm::OrderedSubject
    } else {
        return cursor.expected("REFERENCES or ORDEREDSUBJECT");
    };
    let request = SearchRequest { numbers, ..counted_by_charset(cursor)? };
    Ok(Command::Thread { algorithm, request })
}

/// ESEARCH
pub(super) fn multi_search(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let sources = sources(cursor)?;
    let (returns, new_items) = return_options(cursor)?;
    let charset = optional_charset(cursor)?;
    let key = keys(cursor)?;
    let request = SearchRequest { numbers: Numbers::Uid, returns, new_items, charset, key };
    refuse_relevancy(cursor, &request, false)?;
    Ok(Command::MultiSearch { sources, request })
}

/// `"CANCELUPDATE" 1*(SP quoted)` (RFC 5267)
pub(super) fn cancel_update(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mut tags = Vec::new();
    while tags.is_empty() || !cursor.at_end() {
        if tags.len() >= TAGS_MAX {
            return cursor.expected("fewer tags");
        }
        cursor.space()?;
        tags.push(String::from_utf8_lossy(&cursor.string()?).into_owned());
    }
    Ok(Command::CancelUpdate(tags))
}

/// `["CHARSET" SP charset SP]`
fn optional_charset(cursor: &mut Cursor<'_>) -> Result<Option<Vec<u8>>, SyntaxError> {
    let mut ahead = cursor.clone();
    ahead.space()?;
    if !ahead.take_word("CHARSET") {
        return Ok(None);
    }
    ahead.space()?;
    let charset = ahead.astring()?.into_owned();
    *cursor = ahead;
    Ok(Some(charset))
}

/// `charset 1*(SP search-key)`, the end of SORT and THREAD.
fn counted_by_charset(cursor: &mut Cursor<'_>) -> Result<SearchRequest, SyntaxError> {
    cursor.space()?;
    let charset = Some(cursor.astring()?.into_owned());
    let key = keys(cursor)?;
    Ok(SearchRequest {
        numbers: Numbers::Sequence,
        returns: None,
        new_items: Vec::new(),
        charset,
        key,
    })
}

/// RFC 6203 section 4: RELEVANCY is asked for with FUZZY alone.
fn refuse_relevancy(
    cursor: &Cursor<'_>,
    request: &SearchRequest,
    by_relevancy: bool,
) -> Result<(), SyntaxError> {
    let asked = by_relevancy || request.returns.is_some_and(|options| options.relevancy);
    if asked && !request.key.any(|key| matches!(key, SearchKey::Fuzzy(_))) {
        return cursor.expected("a FUZZY key, without which there is no RELEVANCY,");
    }
    Ok(())
}

/// `1*(SP search-key)`
fn keys(cursor: &mut Cursor<'_>) -> Result<SearchKey, SyntaxError> {
    let (mut keys, mut left) = (Vec::new(), cursor.search_bounds().keys_max);
    while keys.is_empty() || !cursor.at_end() {
        cursor.space()?;
        keys.push(search_key(cursor, 0, &mut left)?);
    }
    Ok(SearchKey::And(keys))
}

/// `search-key`; `left` is how many more there may be.
fn search_key(
    cursor: &mut Cursor<'_>,
    depth: usize,
    left: &mut usize,
) -> Result<SearchKey, SyntaxError> {
    if depth > cursor.search_bounds().depth_max {
        return cursor.expected("a search that nests less deeply");
    }
    match left.checked_sub(1) {
        Some(fewer) => *left = fewer,
        None => return cursor.expected("fewer search keys"),
    }
    match cursor.peek() {
        Some(b'(') => {
            let start = cursor.clone();
            let keys = cursor.list(|cursor| search_key(cursor, depth + 1, left))?;
            if keys.is_empty() {
                return start.expected("a search key");
            }
            return Ok(SearchKey::And(keys));
        }
        Some(b'*' | b'$' | b'0'..=b'9') => {
            return SequenceSet::parse(cursor).map(SearchKey::Sequence);
        }
        _ => {}
    }
    let start = cursor.clone();
    let name = cursor.word()?.to_ascii_uppercase();
    let key = match name.as_slice() {
        b"NOT" => {
            cursor.space()?;
            negated(search_key(cursor, depth + 1, left)?)
        }
        b"FUZZY" => {
            cursor.space()?;
            SearchKey::Fuzzy(Box::new(search_key(cursor, depth + 1, left)?))
        }
        b"OR" => {
            cursor.space()?;
            let first = search_key(cursor, depth + 1, left)?;
            cursor.space()?;
            SearchKey::Or(Box::new(first), Box::new(search_key(cursor, depth + 1, left)?))
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
        // Every message of ours has a date of saving (RFC 8514 section 4.3).
        b"ALL" | b"OLD" | b"SAVEDATESUPPORTED" => SearchKey::All,
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
    let saved = |test| move |day| SearchKey::Saved(test, day);
    let field = |field| move |text: Vec<u8>| SearchKey::Field(field, text);
    Ok(Some(match name {
        b"BEFORE" => spaced_day(cursor).map(internal(DayTest::Before))?,
        b"ON" => spaced_day(cursor).map(internal(DayTest::On))?,
        b"SINCE" => spaced_day(cursor).map(internal(DayTest::Since))?,
        b"SENTBEFORE" => spaced_day(cursor).map(sent(DayTest::Before))?,
        b"SENTON" => spaced_day(cursor).map(sent(DayTest::On))?,
        b"SENTSINCE" => spaced_day(cursor).map(sent(DayTest::Since))?,
        b"SAVEDBEFORE" => spaced_day(cursor).map(saved(DayTest::Before))?,
        b"SAVEDON" => spaced_day(cursor).map(saved(DayTest::On))?,
        b"SAVEDSINCE" => spaced_day(cursor).map(saved(DayTest::Since))?,
        b"OLDER" => spaced_interval(cursor).map(SearchKey::Older)?,
        b"YOUNGER" => spaced_interval(cursor).map(SearchKey::Younger)?,
        b"EMAILID" => email_id(spaced_object_id(cursor)?),
        b"THREADID" => thread_id(spaced_object_id(cursor)?),
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
        b"MODSEQ" => mod_seq(cursor)?,
        b"UID" => {
            cursor.space()?;
            SearchKey::Uid(SequenceSet::parse(cursor)?)
        }
        // RFC 9738 section 3.5: never the last message in place of a range that is empty, as of
        // UID n:*.
        b"UIDAFTER" => match spaced_uid(cursor)?.checked_add(1) {
            Some(first) => uids_between(first, u32::MAX),
            None => SearchKey::Nothing,
        },
        b"UIDBEFORE" => match spaced_uid(cursor)? {
            1 => SearchKey::Nothing,
            uid => uids_between(1, uid - 1),
        },
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

/// `uniqueid = nz-number`
fn spaced_uid(cursor: &mut Cursor<'_>) -> Result<u32, SyntaxError> {
    cursor.space()?;
    cursor.nz_number()
}

fn uids_between(first: u32, last: u32) -> SearchKey {
    let ranges = vec![(Bound::Number(first), Bound::Number(last))];
    SearchKey::Uid(SequenceSet { ranges, is_saved_result: false })
}

fn spaced_number(cursor: &mut Cursor<'_>) -> Result<u64, SyntaxError> {
    cursor.space()?;
    cursor.number64()
}

/// `interval = nz-number` (RFC 5032)
fn spaced_interval(cursor: &mut Cursor<'_>) -> Result<u32, SyntaxError> {
    cursor.space()?;
    cursor.nz_number()
}

/// `search-modsequence = "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer` (RFC
/// 7162). Flags have no MODSEQ of their own here, so the entry is read and passed over, as section
/// 3.1.5 has it.
fn mod_seq(cursor: &mut Cursor<'_>) -> Result<SearchKey, SyntaxError> {
    cursor.space()?;
    if cursor.peek() == Some(b'"') {
        let start = cursor.clone();
        if !cursor.string()?.to_ascii_lowercase().starts_with(b"/flags/") {
            return start.expected("the name of a flag's entry such as \"/flags/\\\\Seen\"");
        }
        cursor.space()?;
        let known = ["priv", "shared", "all"].iter().any(|kind| cursor.take_word(kind));
        if !known {
            return cursor.expected("priv, shared or all");
        }
        cursor.space()?;
    }
    cursor.number64().map(SearchKey::ModSeq)
}

/// `objectid = 1*255(ALPHA / DIGIT / "_" / "-")` (RFC 8474)
fn spaced_object_id<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], SyntaxError> {
    cursor.space()?;
    let start = cursor.clone();
    let accept = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let id = cursor.run(accept, "an object's id")?;
    if id.len() > 255 { start.expected("an object's id of at most 255 characters") } else { Ok(id) }
}

/// An id that is none of ours finds nothing.
fn email_id(id: &[u8]) -> SearchKey {
    let parsed = <[u8; 32]>::try_from(id).ok().and_then(|digits| {
        let mut bytes = [0; 16];
        let (pairs, _) = digits.as_chunks::<2>();
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = hex(high)? << 4 | hex(low)?;
        }
        Some(EmailId(bytes))
    });
    parsed.map_or(SearchKey::Nothing, SearchKey::EmailId)
}

/// The same for threads, whose ids are a T and 16 digits.
fn thread_id(id: &[u8]) -> SearchKey {
    let digits = id.strip_prefix(b"T").filter(|digits| digits.len() == 16);
    let number = digits.and_then(|digits| {
        digits.iter().try_fold(0_u64, |number, &digit| Some(number << 4 | u64::from(hex(digit)?)))
    });
    number.map_or(SearchKey::Nothing, |number| SearchKey::ThreadId(ThreadId(number)))
}

/// The value of a digit as we write ids: in lower case.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// `flag-keyword`; one that no message can have finds none.
fn keyword(cursor: &mut Cursor<'_>) -> Result<SearchKey, SyntaxError> {
    cursor.space()?;
    let name = std::str::from_utf8(cursor.atom()?).ok().and_then(Keyword::new);
    Ok(name.map_or(SearchKey::Nothing, SearchKey::Keyword))
}
