//! What stands before the keys of a search: RETURN, the criteria of SORT, the sources of ESEARCH.

use crate::codec::command::{
    CountedFrom, FetchItem, PartialRange, ReturnOptions, SortCriterion, SortKey, SortOrder, Source,
};
use crate::codec::cursor::{Cursor, SyntaxError};
use crate::codec::grammar::fetch::listed_items;
use crate::codec::grammar::mailbox;
use crate::codec::mailbox_name::WireName;

/// Criteria of one SORT: more than there are keys decide nothing.
const CRITERIA_MAX: usize = 32;
/// Sources of one ESEARCH, and mailboxes of one source.
const SOURCES_MAX: usize = 1000;

/// `[SP "RETURN" SP "(" [option *(SP option)] ")"]` (RFC 4466), and what UPDATE asks of new
/// messages.
pub(super) fn return_options(
    cursor: &mut Cursor<'_>,
) -> Result<(Option<ReturnOptions>, Vec<FetchItem>), SyntaxError> {
    let mut ahead = cursor.clone();
    ahead.space()?;
    if !ahead.take_word("RETURN") {
        return Ok((None, Vec::new()));
    }
    ahead.space()?;
    let start = ahead.clone();
    let mut options = ReturnOptions::default();
    let mut new_items = Vec::new();
    ahead.list(|cursor| {
        let had_update = options.update;
        return_option(cursor, &mut options)?;
        // `"UPDATE" [SP "(" fetch-att *(SP fetch-att) ")"]` (RFC 5465 section 8)
        let has_items = cursor.peek() == Some(b' ') && cursor.peek_second() == Some(b'(');
        if options.update && !had_update && has_items {
            cursor.space()?;
            new_items = listed_items(cursor)?;
        }
        Ok(())
    })?;
    if options.all && options.partial.is_some() {
        return start.expected("either ALL or PARTIAL");
    }
    // CONTEXT and UPDATE ask for no answer, and alone get that of an empty list.
    options.all |= options.tells_nothing() && !options.save;
    *cursor = ahead;
    Ok((Some(options), new_items))
}

/// `search-return-opt`
fn return_option(cursor: &mut Cursor<'_>, options: &mut ReturnOptions) -> Result<(), SyntaxError> {
    let start = cursor.clone();
    match cursor.word()?.to_ascii_uppercase().as_slice() {
        b"MIN" => options.min = true,
        b"MAX" => options.max = true,
        b"ALL" => options.all = true,
        b"COUNT" => options.count = true,
        b"SAVE" => options.save = true,
        b"UPDATE" => options.update = true,
        b"RELEVANCY" => options.relevancy = true,
        // A hint that the same will be asked again; what is asked is in memory anyway.
        b"CONTEXT" => {}
        b"PARTIAL" if options.partial.is_none() => {
            cursor.space()?;
            options.partial = Some(partial_range(cursor)?);
        }
        b"PARTIAL" => return start.expected("PARTIAL once"),
        _ => return start.expected("a return option such as MIN, ALL or COUNT"),
    }
    Ok(())
}

/// `partial-range = nz-number ":" nz-number / "-" nz-number ":" "-" nz-number` (RFC 9394)
pub(crate) fn partial_range(cursor: &mut Cursor<'_>) -> Result<PartialRange, SyntaxError> {
    let from = if cursor.take(b'-') { CountedFrom::Last } else { CountedFrom::First };
    let first = cursor.nz_number()?;
    cursor.expect(b':', "a colon")?;
    if from == CountedFrom::Last {
        cursor.expect(b'-', "a minus sign on both sides")?;
    }
    Ok(PartialRange { from, first, last: cursor.nz_number()? })
}

/// `sort-criteria = "(" sort-criterion *(SP sort-criterion) ")"`
pub(super) fn sort_criteria(cursor: &mut Cursor<'_>) -> Result<Vec<SortCriterion>, SyntaxError> {
    let start = cursor.clone();
    let criteria = cursor.list(sort_criterion)?;
    match criteria.len() {
        0 => start.expected("at least one sort key"),
        1..=CRITERIA_MAX => Ok(criteria),
        _ => start.expected("fewer sort keys"),
    }
}

/// `sort-criterion = ["REVERSE" SP] sort-key`
fn sort_criterion(cursor: &mut Cursor<'_>) -> Result<SortCriterion, SyntaxError> {
    let mut order = SortOrder::Ascending;
    if cursor.take_word("REVERSE") {
        cursor.space()?;
        order = SortOrder::Descending;
    }
    let start = cursor.clone();
    let name = cursor.word()?;
    match SortKey::ALL.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes())) {
        Some(&(key, _)) => Ok(SortCriterion { key, order }),
        None => start.expected("a sort key such as DATE or SUBJECT"),
    }
}

/// `[SP "IN" SP "(" filter-mailboxes *(SP filter-mailboxes) ")"]` (RFC 7377). Options behind the
/// mailboxes are for extensions of which there is none.
pub(super) fn sources(cursor: &mut Cursor<'_>) -> Result<Vec<Source>, SyntaxError> {
    let mut ahead = cursor.clone();
    ahead.space()?;
    if !ahead.take_word("IN") {
        return Ok(Vec::new());
    }
    ahead.space()?;
    let start = ahead.clone();
    let sources = ahead.list(source)?;
    if sources.is_empty() || sources.len() > SOURCES_MAX {
        return start.expected("at least one source, and not thousands");
    }
    *cursor = ahead;
    Ok(sources)
}

/// `filter-mailboxes` (RFC 5465 section 6, as RFC 7377 section 2.2 changes it)
fn source(cursor: &mut Cursor<'_>) -> Result<Source, SyntaxError> {
    let start = cursor.clone();
    Ok(match cursor.word()?.to_ascii_uppercase().as_slice() {
        b"SELECTED" => Source::Selected,
        b"INBOXES" => Source::Inboxes,
        b"PERSONAL" => Source::Personal,
        b"SUBSCRIBED" => Source::Subscribed,
        b"SUBTREE" => Source::Subtree(mailboxes(cursor)?),
        b"SUBTREE-ONE" => Source::SubtreeOne(mailboxes(cursor)?),
        b"MAILBOXES" => Source::Mailboxes(mailboxes(cursor)?),
        _ => return start.expected("a source such as personal or mailboxes"),
    })
}

/// `one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"`
pub(in crate::codec::grammar) fn mailboxes(
    cursor: &mut Cursor<'_>,
) -> Result<Vec<WireName>, SyntaxError> {
    cursor.space()?;
    if cursor.peek() != Some(b'(') {
        return Ok(vec![mailbox(cursor)?]);
    }
    let start = cursor.clone();
    let names = cursor.list(mailbox)?;
    match names.len() {
        0 => start.expected("at least one mailbox"),
        1..=SOURCES_MAX => Ok(names),
        _ => start.expected("fewer mailboxes"),
    }
}
