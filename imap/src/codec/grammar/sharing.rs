//! ACL (RFC 4314 section 6), METADATA (RFC 5464 section 5) and QUOTA (RFC 9208 section 7).

use super::spaced_mailbox;
use crate::codec::command::{
    AclChange, Command, Depth, EntryName, EntryValue, MetadataRequest, Sharing,
};
use crate::codec::cursor::{Cursor, SyntaxError};

/// `identifier = astring`
fn identifier(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, SyntaxError> {
    cursor.space()?;
    Ok(cursor.astring()?.into_owned())
}

/// `setacl = "SETACL" SP mailbox SP identifier SP mod-rights`
pub(super) fn set_acl(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    let identifier = identifier(cursor)?;
    cursor.space()?;
    let change = Some(AclChange::parse(&cursor.astring()?));
    Ok(Command::Sharing(Sharing::SetAcl { mailbox, identifier, change }))
}

/// `deleteacl = "DELETEACL" SP mailbox SP identifier`
pub(super) fn delete_acl(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    Ok(Command::Sharing(Sharing::SetAcl { mailbox, identifier: identifier(cursor)?, change: None }))
}

/// `listrights = "LISTRIGHTS" SP mailbox SP identifier`
pub(super) fn list_rights(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    Ok(Command::Sharing(Sharing::ListRights { mailbox, identifier: identifier(cursor)? }))
}

/// `getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries`; the options are
/// also taken behind the mailbox, where examples of the RFC have them.
pub(super) fn get_metadata(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mut request = MetadataRequest::default();
    let before = cursor.clone();
    cursor.space()?;
    let mut has_options = cursor.peek() == Some(b'(');
    if has_options {
        options(cursor, &mut request)?;
    } else {
        *cursor = before;
    }
    let mailbox = spaced_mailbox(cursor)?;
    cursor.space()?;
    let start = cursor.clone();
    if !has_options && cursor.peek() == Some(b'(') {
        has_options = options(cursor, &mut request).is_ok() && cursor.space().is_ok();
        if !has_options {
            *cursor = start;
            (request.bytes_max, request.depth) = (None, Depth::Zero);
        }
    }
    request.entries = entries(cursor)?;
    Ok(Command::Sharing(Sharing::GetMetadata { mailbox, request }))
}

/// `getmetadata-options = "(" getmetadata-option *(SP getmetadata-option) ")"`
fn options(cursor: &mut Cursor<'_>, request: &mut MetadataRequest) -> Result<(), SyntaxError> {
    cursor.list(|cursor| {
        if cursor.take_word("MAXSIZE") {
            cursor.space()?;
            request.bytes_max = Some(cursor.number64()?);
        } else if cursor.take_word("DEPTH") {
            cursor.space()?;
            let depths = [("0", Depth::Zero), ("1", Depth::One), ("infinity", Depth::Infinity)];
            let found = depths.into_iter().find(|(word, _)| cursor.take_word(word));
            let Some((_, depth)) = found else { return cursor.expected("0, 1 or infinity") };
            request.depth = depth;
        } else {
            return cursor.expected("MAXSIZE or DEPTH");
        }
        Ok(())
    })?;
    Ok(())
}

/// Entries that one command may name, so that a LIST of many mailboxes comes to an end.
const ENTRIES_MAX: usize = 100;

/// `entries = entry / "(" entry *(SP entry) ")"`
pub(super) fn entries(cursor: &mut Cursor<'_>) -> Result<Vec<EntryName>, SyntaxError> {
    if cursor.peek() != Some(b'(') {
        return Ok(vec![entry(cursor)?]);
    }
    let start = cursor.clone();
    let mut names: Vec<EntryName> = Vec::new();
    cursor.list(|cursor| {
        // Each once: an answer is then bounded by what there is.
        let start = cursor.clone();
        let name = entry(cursor)?;
        if names.len() == ENTRIES_MAX {
            return start.expected("at most 100 entries");
        }
        if !names.contains(&name) {
            names.push(name);
        }
        Ok(())
    })?;
    if names.is_empty() { start.expected("at least one entry") } else { Ok(names) }
}

/// `entry = astring`, beginning with `/private` or `/shared`
fn entry(cursor: &mut Cursor<'_>) -> Result<EntryName, SyntaxError> {
    let start = cursor.clone();
    match EntryName::parse(&cursor.astring()?) {
        Some(name) => Ok(name),
        None => start.expected("an entry such as /private/comment"),
    }
}

/// `setmetadata = "SETMETADATA" SP mailbox SP entry-values`
pub(super) fn set_metadata(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    cursor.space()?;
    let start = cursor.clone();
    let values = cursor.list(|cursor| {
        let start = cursor.clone();
        let name = entry(cursor)?;
        if name.rest.is_empty() {
            return start.expected("an entry such as /private/comment");
        }
        cursor.space()?;
        Ok(EntryValue { name, value: cursor.nstring8()? })
    })?;
    if values.is_empty() {
        return start.expected("at least one entry");
    }
    Ok(Command::Sharing(Sharing::SetMetadata { mailbox, values }))
}

/// `getquota = "GETQUOTA" SP quota-root-name`
pub(super) fn get_quota(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    Ok(Command::Sharing(Sharing::GetQuota(identifier(cursor)?)))
}

/// `setquota = "SETQUOTA" SP quota-root-name SP setquota-list`
pub(super) fn set_quota(cursor: &mut Cursor<'_>) -> Result<Command, SyntaxError> {
    let root = identifier(cursor)?;
    cursor.space()?;
    cursor.list(|cursor| {
        cursor.atom()?;
        cursor.space()?;
        cursor.number64()
    })?;
    Ok(Command::Sharing(Sharing::SetQuota(root)))
}
