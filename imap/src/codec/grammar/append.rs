//! APPEND (RFC 3501 section 6.3.11) and MULTIAPPEND (RFC 3502).

use engine::flags::FlagList;

use super::{flag_list, spaced_mailbox};
use crate::codec::command::{AppendMessage, Command};
use crate::codec::cursor::{Cursor, SyntaxError};
use crate::codec::date;
use crate::codec::mailbox_name::{NameEncoding, WireName};

/// `append = "APPEND" SP mailbox 1*append-message`
pub(super) fn append(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    let mut messages = Vec::new();
    while messages.is_empty() || !cursor.at_end() {
        messages.push(message(cursor)?);
    }
    Ok(Command::Append { mailbox, messages })
}

/// `append-message = [SP flag-list] [SP date-time] SP literal`
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
    Ok(AppendMessage { flags, received, literal: cursor.literal_number()? })
}

/// The mailbox that an APPEND names, read while its first literal has not come yet.
pub(crate) fn destination(
    line: &[u8],
    literals: &[Vec<u8>],
    names: NameEncoding,
) -> Option<WireName> {
    let (_, cursor) = super::split_tag(line, literals)?;
    let mut cursor = cursor.with_names(names);
    if !cursor.take_word("APPEND") {
        return None;
    }
    spaced_mailbox(&mut cursor).ok()
}
