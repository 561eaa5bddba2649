//! LIST with its extensions (RFC 3501 section 6.3.8, RFC 5258, RFC 5819, RFC 6154), and LSUB.

use super::{mailbox, status_items};
use crate::codec::command::{Command, ListRequest};
use crate::codec::cursor::{Cursor, SyntaxError};
use crate::codec::mailbox_name::WireName;

/// `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`
pub(super) fn list(cursor: &mut Cursor<'_>) -> Result<ListRequest, SyntaxError> {
    let mut request = ListRequest::default();
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        select_options(cursor, &mut request)?;
        cursor.space()?;
    }
    request.reference = mailbox(cursor)?;
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        request.extended = true;
        let start = cursor.clone();
        request.patterns = cursor.list(pattern)?;
        if request.patterns.is_empty() {
            return start.expected("at least one pattern");
        }
    } else {
        request.patterns.push(pattern(cursor)?);
    }
    if !cursor.at_end() {
        cursor.space()?;
        if !cursor.take_word("RETURN") {
            return cursor.expected("RETURN");
        }
        cursor.space()?;
        return_options(cursor, &mut request)?;
    }
    Ok(request)
}

fn pattern(cursor: &mut Cursor<'_>) -> Result<WireName, SyntaxError> {
    cursor.pattern()
}

/// `lsub = "LSUB" SP mailbox SP list-mailbox`
pub(super) fn lsub(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    cursor.space()?;
    let reference = mailbox(cursor)?;
    cursor.space()?;
    Ok(Command::Lsub { reference, pattern: pattern(cursor)? })
}

/// `list-select-opts`; REMOTE selects nothing more, because we have no remote mailboxes.
fn select_options(cursor: &mut Cursor<'_>, request: &mut ListRequest) -> Result<(), SyntaxError> {
    request.extended = true;
    let start = cursor.clone();
    cursor.list(|cursor| {
        if cursor.take_word("SUBSCRIBED") {
            request.select_subscribed = true;
        } else if cursor.take_word("SPECIAL-USE") {
            request.select_special_use = true;
        } else if cursor.take_word("RECURSIVEMATCH") {
            request.recursive_match = true;
        } else if !cursor.take_word("REMOTE") {
            return cursor.expected("SUBSCRIBED, SPECIAL-USE, REMOTE or RECURSIVEMATCH");
        }
        Ok(())
    })?;
    if request.recursive_match && !request.select_subscribed && !request.select_special_use {
        return start.expected("something for RECURSIVEMATCH to select");
    }
    Ok(())
}

/// `list-return-opts`; CHILDREN and SPECIAL-USE are always answered.
fn return_options(cursor: &mut Cursor<'_>, request: &mut ListRequest) -> Result<(), SyntaxError> {
    request.extended = true;
    cursor.list(|cursor| {
        if cursor.take_word("SUBSCRIBED") {
            request.return_subscribed = true;
        } else if cursor.take_word("STATUS") {
            cursor.space()?;
            request.return_status = status_items(cursor)?;
        } else if cursor.take_word("MYRIGHTS") {
            request.return_rights = true;
        } else if cursor.take_word("METADATA") {
            cursor.space()?;
            request.return_metadata = super::sharing::entries(cursor)?;
        } else if !cursor.take_word("CHILDREN") && !cursor.take_word("SPECIAL-USE") {
            return cursor.expected("a return option such as CHILDREN or STATUS");
        }
        Ok(())
    })?;
    Ok(())
}
