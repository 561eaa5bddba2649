//! FETCH (RFC 3501 section 6.4.5, RFC 3516, 8514, 8970).

use crate::codec::SequenceSet;
use crate::codec::command::{
    BinaryItem, Command, FetchItem, Numbers, Section, SectionItem, SectionName, SectionText,
};
use crate::codec::cursor::{Cursor, SyntaxError};

/// Part numbers in one section: deeper parts than the parser makes do not exist anyway.
const PATH_LENGTH_MAX: usize = 256;

/// `fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att … ")")`
pub(super) fn fetch(cursor: &mut Cursor<'_>, numbers: Numbers) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let set = SequenceSet::parse(cursor)?;
    cursor.space()?;
    let mut items = Vec::new();
    if cursor.peek() == Some(b'(') {
        items = listed_items(cursor)?;
    } else {
        items.extend(item(cursor)?);
    }
    if numbers == Numbers::Uid && !items.contains(&FetchItem::Uid) {
        items.insert(0, FetchItem::Uid);
    }
    let mut seen = each_once(items);
    let modifier = super::select::fetch_modifier(cursor)?;
    if modifier.changed_since.is_some() && !seen.contains(&FetchItem::ModSeq) {
        seen.push(FetchItem::ModSeq);
    }
    Ok(Command::Fetch { numbers, set, items: seen, modifier })
}

/// `"(" fetch-att *(SP fetch-att) ")"`, each once.
pub(in crate::codec::grammar) fn listed_items(
    cursor: &mut Cursor<'_>,
) -> Result<Vec<FetchItem>, SyntaxError> {
    let start = cursor.clone();
    let items: Vec<FetchItem> = cursor.list(item)?.into_iter().flatten().collect();
    match items.is_empty() {
        true => start.expected("at least one item to fetch"),
        false => Ok(each_once(items)),
    }
}

fn each_once(items: Vec<FetchItem>) -> Vec<FetchItem> {
    let mut seen: Vec<FetchItem> = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// `fetch-att`, or a macro; macros inside parentheses are taken, too.
fn item(cursor: &mut Cursor<'_>) -> Result<Vec<FetchItem>, SyntaxError> {
    let start = cursor.clone();
    let name = cursor.word()?.to_ascii_uppercase();
    let one = match name.as_slice() {
        b"ALL" | b"FULL" | b"FAST" => {
            let mut items = vec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size];
            if name != b"FAST" {
                items.push(FetchItem::Envelope);
            }
            if name == b"FULL" {
                items.push(FetchItem::Body);
            }
            return Ok(items);
        }
        b"FLAGS" => FetchItem::Flags,
        b"UID" => FetchItem::Uid,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"RFC822.SIZE" => FetchItem::Size,
        b"MODSEQ" => FetchItem::ModSeq,
        b"EMAILID" => FetchItem::EmailId,
        b"THREADID" => FetchItem::ThreadId,
        b"SAVEDATE" => FetchItem::SaveDate,
        b"PREVIEW" => preview(cursor)?,
        b"ENVELOPE" => FetchItem::Envelope,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"RFC822" => whole(SectionName::Rfc822, SectionText::Whole, false),
        b"RFC822.HEADER" => whole(SectionName::Rfc822Header, SectionText::Header, true),
        b"RFC822.TEXT" => whole(SectionName::Rfc822Text, SectionText::Text, false),
        b"BODY" if cursor.peek() != Some(b'[') => FetchItem::Body,
        b"BODY" => body(cursor, false)?,
        b"BODY.PEEK" => body(cursor, true)?,
        b"BINARY" => binary(cursor, false)?,
        b"BINARY.PEEK" => binary(cursor, true)?,
        b"BINARY.SIZE" => FetchItem::BinarySize(section_binary(cursor)?),
        _ => return start.expected("an item to fetch, such as FLAGS or BODY[]"),
    };
    Ok(vec![one])
}

fn whole(name: SectionName, text: SectionText, peek: bool) -> FetchItem {
    let section = Section { path: Vec::new(), text };
    FetchItem::Section(SectionItem { section, partial: None, peek, name })
}

/// `section ["<" number "." nz-number ">"]`
fn body(cursor: &mut Cursor<'_>, peek: bool) -> Result<FetchItem, SyntaxError> {
    cursor.expect(b'[', "a section")?;
    let section = section_spec(cursor)?;
    cursor.expect(b']', "the end of a section")?;
    let partial = partial(cursor)?;
    Ok(FetchItem::Section(SectionItem { section, partial, peek, name: SectionName::Body }))
}

/// `["<" number "." nz-number ">"]`
fn partial(cursor: &mut Cursor<'_>) -> Result<Option<(u32, u32)>, SyntaxError> {
    if !cursor.take(b'<') {
        return Ok(None);
    }
    let offset = cursor.number()?;
    cursor.expect(b'.', "a dot between offset and length")?;
    let length = cursor.nz_number()?;
    cursor.expect(b'>', "the end of a partial range")?;
    Ok(Some((offset, length)))
}

/// `"PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"]` (RFC 8970)
fn preview(cursor: &mut Cursor<'_>) -> Result<FetchItem, SyntaxError> {
    if cursor.peek() == Some(b' ') && cursor.peek_second() == Some(b'(') {
        cursor.space()?;
        let start = cursor.clone();
        let modifiers =
            cursor.list(
                |cursor| {
                    if cursor.take_word("LAZY") { Ok(()) } else { cursor.expected("LAZY") }
                },
            )?;
        if modifiers.is_empty() {
            return start.expected("LAZY in parentheses");
        }
    }
    Ok(FetchItem::Preview)
}

/// `"BINARY" [".PEEK"] section-binary [partial]` (RFC 9051 section 9)
fn binary(cursor: &mut Cursor<'_>, peek: bool) -> Result<FetchItem, SyntaxError> {
    let path = section_binary(cursor)?;
    let partial = partial(cursor)?;
    Ok(FetchItem::Binary(BinaryItem { path, partial, peek }))
}

/// `section-binary = "[" [section-part] "]"`
fn section_binary(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, SyntaxError> {
    cursor.expect(b'[', "a section")?;
    let mut path = Vec::new();
    while path.is_empty() && cursor.peek() != Some(b']') || cursor.take(b'.') {
        path.push(cursor.nz_number()?);
        if path.len() > PATH_LENGTH_MAX {
            return cursor.expected("fewer part numbers");
        }
    }
    cursor.expect(b']', "part numbers and the end of a section")?;
    Ok(path)
}

/// A section without its brackets, and nothing behind it: as URLs have it.
pub(in crate::codec) fn section(cursor: &mut Cursor<'_>) -> Result<Section, SyntaxError> {
    let section = section_spec(cursor)?;
    cursor.end()?;
    Ok(section)
}

/// `section-spec = section-msgtext / (section-part ["." section-text])`
fn section_spec(cursor: &mut Cursor<'_>) -> Result<Section, SyntaxError> {
    let mut path = Vec::new();
    while cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        path.push(cursor.nz_number()?);
        if path.len() > PATH_LENGTH_MAX {
            return cursor.expected("fewer part numbers");
        }
        if !cursor.take(b'.') {
            return Ok(Section { path, text: SectionText::Whole });
        }
    }
    if path.is_empty() && matches!(cursor.peek(), Some(b']') | None) {
        return Ok(Section { path, text: SectionText::Whole });
    }
    let start = cursor.clone();
    let text = match cursor.word()?.to_ascii_uppercase().as_slice() {
        b"HEADER" => SectionText::Header,
        b"TEXT" => SectionText::Text,
        b"MIME" if !path.is_empty() => SectionText::Mime,
        b"HEADER.FIELDS" => SectionText::HeaderFields(field_names(cursor)?),
        b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(field_names(cursor)?),
        _ => return start.expected("HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME"),
    };
    Ok(Section { path, text })
}

/// `header-list = "(" header-fld-name *(SP header-fld-name) ")"`
fn field_names(cursor: &mut Cursor<'_>) -> Result<Vec<Vec<u8>>, SyntaxError> {
    cursor.space()?;
    let start = cursor.clone();
    let names = cursor.list(|cursor| Ok(cursor.astring()?.into_owned()))?;
    if names.is_empty() {
        return start.expected("at least one field name");
    }
    Ok(names)
}
