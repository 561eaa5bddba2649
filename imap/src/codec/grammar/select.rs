//! SELECT and what RFC 7162 adds to it, to FETCH and to STORE.

use engine::ids::Lsn;

use super::search::partial_range;
use super::spaced_mailbox;
use crate::codec::SequenceSet;
use crate::codec::command::{Access, Command, FetchModifier, Resync, SelectParameter};
use crate::codec::cursor::{Cursor, SyntaxError};

/// `select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]`
pub(super) fn select(cursor: &mut Cursor<'_>, access: Access) -> Result<Command, SyntaxError> {
    let mailbox = spaced_mailbox(cursor)?;
    let mut parameter = SelectParameter::None;
    if !cursor.at_end() {
        cursor.space()?;
        let start = cursor.clone();
        let found = cursor.list(select_parameter)?;
        if found.is_empty() {
            return start.expected("CONDSTORE or QRESYNC");
        }
        let resync = |found: &SelectParameter| matches!(found, SelectParameter::Resync(_));
        let resync = found.iter().find(|found| resync(found));
        parameter = resync.cloned().unwrap_or(SelectParameter::CondStore);
    }
    Ok(Command::Select { mailbox, access, parameter })
}

/// `select-param`: `CONDSTORE`, or `QRESYNC SP "(" uidvalidity SP mod-sequence-value [SP
/// known-uids] [SP seq-match-data] ")"`
fn select_parameter(cursor: &mut Cursor<'_>) -> Result<SelectParameter, SyntaxError> {
    if cursor.take_word("CONDSTORE") {
        return Ok(SelectParameter::CondStore);
    }
    if !cursor.take_word("QRESYNC") {
        return cursor.expected("CONDSTORE or QRESYNC");
    }
    cursor.space()?;
    cursor.expect(b'(', "what is known of the mailbox, in parentheses")?;
    let uid_validity = cursor.nz_number()?;
    cursor.space()?;
    let mut resync =
        Resync { uid_validity, modseq: modseq(cursor)?, known_uids: None, matches: None };
    while !cursor.take(b')') {
        cursor.space()?;
        if resync.matches.is_none() && cursor.take(b'(') {
            let numbers = known(cursor)?;
            cursor.space()?;
            resync.matches = Some((numbers, known(cursor)?));
            cursor.expect(b')', "a closing parenthesis")?;
        } else if resync.known_uids.is_none() && resync.matches.is_none() {
            resync.known_uids = Some(known(cursor)?);
        } else {
            return cursor.expected("a closing parenthesis");
        }
    }
    Ok(SelectParameter::Resync(resync))
}

/// `known-sequence-set = sequence-set ; without "*"`
fn known(cursor: &mut Cursor<'_>) -> Result<SequenceSet, SyntaxError> {
    let start = cursor.clone();
    let set = SequenceSet::parse(cursor)?;
    match set.names_highest() || set.is_saved_result {
        true => start.expected("a set without '*' and '$'"),
        false => Ok(set),
    }
}

/// `mod-sequence-valzer`: 63 bits.
fn modseq(cursor: &mut Cursor<'_>) -> Result<Lsn, SyntaxError> {
    let start = cursor.clone();
    match Lsn::from_bits(cursor.number64()?) {
        Some(modseq) => Ok(modseq),
        None => start.expected("a modification sequence below 2^63"),
    }
}

/// `fetch-modifiers = SP "(" fetch-modifier *(SP fetch-modifier) ")"`: CHANGEDSINCE, VANISHED,
/// PARTIAL
pub(super) fn fetch_modifier(cursor: &mut Cursor<'_>) -> Result<FetchModifier, SyntaxError> {
    let mut modifier = FetchModifier::default();
    if cursor.at_end() {
        return Ok(modifier);
    }
    cursor.space()?;
    let start = cursor.clone();
    cursor.list(|cursor| {
        if cursor.take_word("CHANGEDSINCE") {
            cursor.space()?;
            modifier.changed_since = Some(modseq(cursor)?);
        } else if cursor.take_word("VANISHED") {
            modifier.vanished = true;
        } else if cursor.take_word("PARTIAL") {
            cursor.space()?;
            modifier.partial = Some(partial_range(cursor)?);
        } else {
            return cursor.expected("CHANGEDSINCE, VANISHED or PARTIAL");
        }
        Ok(())
    })?;
    if modifier.changed_since.is_none() && (modifier.vanished || modifier.partial.is_none()) {
        return start.expected("CHANGEDSINCE");
    }
    Ok(modifier)
}

/// `store-modifiers = "(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")" SP`, where there are any.
pub(super) fn unchanged_since(cursor: &mut Cursor<'_>) -> Result<Option<Lsn>, SyntaxError> {
    if !cursor.take(b'(') {
        return Ok(None);
    }
    if !cursor.take_word("UNCHANGEDSINCE") {
        return cursor.expected("UNCHANGEDSINCE");
    }
    cursor.space()?;
    let since = modseq(cursor)?;
    cursor.expect(b')', "a closing parenthesis")?;
    cursor.space()?;
    Ok(Some(since))
}
