//! APPEND (RFC 3501 section 6.3.11) with MULTIAPPEND (RFC 3502), CATENATE (RFC 4469), UTF8 (RFC
//! 6855), and REPLACE (RFC 8508).

use engine::flags::FlagList;

use super::{flag_list, spaced_mailbox};
use crate::codec::SequenceSet;
use crate::codec::command::{AppendMessage, AppendPart, Command, LiteralForm, Numbers};
use crate::codec::cursor::{Cursor, SyntaxError};
use crate::codec::date;
use crate::codec::mailbox_name::{NameEncoding, WireName};

/// Parts of one message: each may open stored mail.
const PARTS_MAX: usize = 256;

/// `append = "APPEND" SP mailbox 1*append-message`
pub(super) fn append(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    let mut messages = Vec::new();
    while messages.is_empty() || !cursor.at_end() {
        messages.push(message(cursor)?);
    }
    Ok(Command::Append { mailbox, messages })
}

/// `replace = "REPLACE" SP seq-number SP mailbox append-message` (RFC 8508 section 5)
pub(super) fn replace(cursor: &mut Cursor<'_>, numbers: Numbers) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let start = cursor.clone();
    let old = SequenceSet::parse(cursor)?;
    if !old.is_one() {
        return start.expected("one message number");
    }
    let mailbox = spaced_mailbox(cursor)?;
    Ok(Command::Replace { numbers, old, mailbox, message: Box::new(message(cursor)?) })
}

/// `append-message = [SP flag-list] [SP date-time] SP append-data`
///
/// `append-data = literal / literal8 / append-data-ext / "CATENATE" SP "(" cat-part *(SP cat-part)
/// ")"`
fn message(cursor: &mut Cursor<'_>) -> Result<AppendMessage, SyntaxError> {
    cursor.space()?;
    let mut flags = FlagList::default();
    if cursor.peek() == Some(b'(') {
        flags = flag_list(cursor)?;
        cursor.space()?;
    }
    let mut received = None;
    if cursor.peek() == Some(b'"') {
        received = Some(date::parse_date_time(cursor)?);
        cursor.space()?;
    }
    let start = cursor.clone();
    let parts = if cursor.take_word("CATENATE") {
        cursor.space()?;
        cursor.list(cat_part)?
    } else if cursor.take_word("UTF8") {
        vec![utf8(cursor)?]
    } else {
        vec![literal(cursor)?]
    };
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return start.expected("1 to 256 parts");
    }
    Ok(AppendMessage { flags, received, parts })
}

/// `cat-part = "URL" SP astring / "TEXT" SP literal / "UTF8" SP "(" literal8 ")"`
fn cat_part(cursor: &mut Cursor<'_>) -> Result<AppendPart, SyntaxError> {
    if cursor.take_word("URL") {
        cursor.space()?;
        return Ok(AppendPart::Url(cursor.astring()?.into_owned()));
    }
    if cursor.take_word("UTF8") {
        return utf8(cursor);
    }
    if !cursor.take_word("TEXT") {
        return cursor.expected("URL, TEXT or UTF8");
    }
    cursor.space()?;
    literal(cursor)
}

/// `"UTF8" SP "(" literal8 ")"` (RFC 6855 section 4)
fn utf8(cursor: &mut Cursor<'_>) -> Result<AppendPart, SyntaxError> {
    cursor.space()?;
    cursor.expect(b'(', "a literal8 in parentheses")?;
    if cursor.peek() != Some(b'~') {
        return cursor.expected("a literal8");
    }
    let text = literal(cursor)?;
    cursor.expect(b')', "a closing parenthesis")?;
    Ok(text)
}

fn literal(cursor: &mut Cursor<'_>) -> Result<AppendPart, SyntaxError> {
    let form = match cursor.peek() {
        Some(b'~') => LiteralForm::Binary,
        _ => LiteralForm::Plain,
    };
    Ok(AppendPart::Text { literal: cursor.literal_number()?, form })
}

/// The mailbox for whose message a literal is that has not come yet; `None` if the command puts no
/// message anywhere, or the literal is something else in it.
pub(crate) fn destination(
    line: &[u8],
    literals: &[Vec<u8>],
    names: NameEncoding,
) -> Option<WireName> {
    let (_, cursor) = super::split_tag(line, literals)?;
    let mut cursor = cursor.with_names(names);
    if !cursor.take_word("APPEND") {
        if cursor.take_word("UID") {
            cursor.space().ok()?;
        }
        if !cursor.take_word("REPLACE") {
            return None;
        }
        cursor.space().ok()?;
        SequenceSet::parse(&mut cursor).ok()?;
    }
    let mailbox = spaced_mailbox(&mut cursor).ok()?;
    (!announces_url(cursor.rest())).then_some(mailbox)
}

/// Whether the literal at the end of what follows the mailbox is a URL.
fn announces_url(rest: &[u8]) -> bool {
    let open = rest.iter().rposition(|&byte| byte == b'{').unwrap_or(0);
    let before = rest.get(..open).unwrap_or_default();
    let is_url = before.last_chunk().is_some_and(|end: &[u8; 4]| end.eq_ignore_ascii_case(b"URL "));
    let catenate = b"CATENATE";
    is_url && rest.windows(catenate.len()).any(|word| word.eq_ignore_ascii_case(catenate))
}
