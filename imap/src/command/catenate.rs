//! Messages that are put together (CATENATE, RFC 4469), and those that come in one piece.
//!
//! A message is a *draft* first: all parts are found, so that its size is known and judged before
//! any byte of stored mail is read. Then it is read under the budget that APPEND has for spooled
//! messages, one draft at a time, stored parts chunk by chunk.

use engine::Account;
use engine::error::ReadError;
use engine::ids::{Uid, UnixSeconds};
use engine::mailbox::{Row, View};
use engine::message::section;
use engine::width::{u64_of, usize_of};

use super::answer::printable;
use super::fetch::{HEADER_BYTES_HELD_MAX, part_and_fields, read_range};
use super::rights::Deed;
use super::{Answer, Talk};
use crate::codec::command::{AppendMessage, AppendPart, LiteralForm, SectionText};
use crate::codec::url::MessageUrl;
use crate::stream::blocking;

/// A message whose parts have been found.
pub(super) struct Draft {
    pub(super) flags: engine::flags::FlagList,
    pub(super) received: Option<UnixSeconds>,
    parts: Vec<Found>,
    byte_count: u64,
}

enum Found {
    /// A literal of the command.
    Literal { number: usize, form: LiteralForm },
    /// Bytes at hand.
    Bytes(Vec<u8>),
    /// Bytes of a stored message.
    Stored(Box<Stored>),
}

struct Stored {
    owner: Account,
    row: Row,
    begin: u64,
    length: u64,
    url: Vec<u8>,
}

impl Draft {
    /// Finds all parts of a message.
    pub(super) fn find(
        talk: &Talk,
        message: AppendMessage,
        literals: &[Vec<u8>],
    ) -> Result<Draft, Answer> {
        let AppendMessage { flags, received, parts } = message;
        let mut draft = Draft { flags, received, parts: Vec::new(), byte_count: 0 };
        for part in parts {
            let (found, byte_count) = match part {
                AppendPart::Text { literal: number, form } => {
                    let held = literals.get(number).map_or(0, |bytes| u64_of(bytes.len()));
                    let byte_count = talk.incoming.spooled_byte_count(number).unwrap_or(held);
                    (Found::Literal { number, form }, byte_count)
                }
                AppendPart::Url(url) => blocking(|| find_stored(talk, url))?,
            };
            draft.parts.push(found);
            draft.byte_count = draft.byte_count.saturating_add(byte_count);
        }
        let limit = talk.session.config.limits.append_bytes_max;
        if draft.byte_count > limit {
            return Err(Answer::no("TOOBIG", format!("A message may have {limit} bytes")));
        }
        Ok(draft)
    }

    /// Bytes that reading it takes in memory, besides literals that are there already.
    pub(super) fn bytes_to_read(&self, talk: &Talk) -> u64 {
        match self.parts.as_slice() {
            [Found::Literal { number, .. }] => {
                talk.incoming.spooled_byte_count(*number).unwrap_or(0)
            }
            _ => self.byte_count,
        }
    }

    /// The whole message. Its literals are taken out of `literals`.
    pub(super) fn read(&self, talk: &Talk, literals: &mut [Vec<u8>]) -> Result<Vec<u8>, Answer> {
        let mut message = Vec::new();
        for part in &self.parts {
            match part {
                Found::Literal { number, form } => {
                    let bytes = literals.get_mut(*number).map(std::mem::take).unwrap_or_default();
                    let bytes = blocking(|| talk.incoming.read(*number, bytes))
                        .map_err(|error| Answer::unreadable(&talk.session, &error))?;
                    if *form == LiteralForm::Plain && bytes.contains(&0) {
                        return Err(Answer::bad("A message holds NUL; nothing was appended"));
                    }
                    if message.is_empty() {
                        message = bytes;
                    } else {
                        message.extend_from_slice(&bytes);
                    }
                }
                Found::Bytes(bytes) => message.extend_from_slice(bytes),
                Found::Stored(stored) => {
                    message.reserve(usize_of(stored.length));
                    blocking(|| stored.append_to(talk, &mut message))?;
                }
            }
        }
        Ok(message)
    }
}

impl Stored {
    fn append_to(&self, talk: &Talk, message: &mut Vec<u8>) -> Result<(), Answer> {
        let read = self.owner.message(&self.row).and_then(|mut reader| {
            let end = self.begin.saturating_add(self.length);
            let mut position = self.begin;
            while position < end {
                let count = reader.append_from(position, end - position, message)?;
                if count == 0 {
                    let why = "it is shorter than its size";
                    return Err(ReadError::Undecodable { what: "message", why });
                }
                position = position.saturating_add(count);
            }
            Ok(())
        });
        read.map_err(|error| unreadable(talk, &self.url, &error))
    }
}

/// Finds what a URL names, and how many bytes it has.
fn find_stored(talk: &Talk, url: Vec<u8>) -> Result<(Found, u64), Answer> {
    let Some(parsed) = MessageUrl::parse(&url) else { return Err(bad_url(&url)) };
    let (account, row) = find_row(talk, &parsed)?.ok_or_else(|| bad_url(&url))?;
    let (offset, count) = match parsed.partial {
        Some((offset, count)) => (u64::from(offset), count.map_or(u64::MAX, u64::from)),
        None => (0, u64::MAX),
    };
    let is_whole = parsed.section.path.is_empty() && parsed.section.text == SectionText::Whole;
    let (begin, length) = if is_whole {
        (0, u64::from(row.size))
    } else {
        let summary = account.summary(&row).map_err(|error| unreadable(talk, &url, &error))?;
        let (text, fields) = part_and_fields(&parsed.section.text);
        let range = section::section(summary.structure(), &parsed.section.path, text)
            .ok_or_else(|| bad_url(&url))?;
        let (begin, end) = (u64::from(range.start), u64::from(range.end));
        let length = end.saturating_sub(begin);
        if let Some(fields) = fields {
            if length > HEADER_BYTES_HELD_MAX {
                return Err(Answer::no("LIMIT", "That header is too long to choose fields of it"));
            }
            let header = account
                .message(&row)
                .and_then(|mut reader| read_range(&mut reader, begin, length))
                .map_err(|error| unreadable(talk, &url, &error))?;
            let mut chosen = section::header_fields(&header, fields.names, fields.choice);
            let mut rest = chosen.split_off(usize_of(offset).min(chosen.len()));
            rest.truncate(usize_of(count));
            let byte_count = u64_of(rest.len());
            return Ok((Found::Bytes(rest), byte_count));
        }
        (begin, length)
    };
    let offset = offset.min(length);
    let length = count.min(length - offset);
    let stored = Stored { owner: account, row, begin: begin.saturating_add(offset), length, url };
    Ok((Found::Stored(Box::new(stored)), length))
}

/// The message that a URL names, and whose it is; of the selected mailbox only one that the client
/// may know, of others only what it may read.
fn find_row(talk: &Talk, url: &MessageUrl) -> Result<Option<(Account, Row)>, Answer> {
    let row_of = |owner: &Account, view: &View| match url.uid_validity {
        Some(validity) if validity != view.uid_validity().0 => Ok(None),
        _ => Ok(view.row(Uid(url.uid))?.map(|row| (owner.clone(), row))),
    };
    let unreadable = |error: ReadError| Answer::unreadable(&talk.session, &error);
    let Some(name) = &url.mailbox else {
        return match &talk.session.selected {
            Some(selected) => row_of(&selected.owner, &selected.view).map_err(unreadable),
            None => Ok(None),
        };
    };
    let Some(place) = talk.place_named(name)? else { return Ok(None) };
    let Ok(found) = talk.find_at(place, Deed::Read, Answer::no_mailbox) else { return Ok(None) };
    match found.mailbox.view().map_err(unreadable)? {
        Some(view) => row_of(&found.place.owner, &view).map_err(unreadable),
        None => Ok(None),
    }
}

/// Stored bytes could not be read: the message is gone, or it is damaged.
fn unreadable(talk: &Talk, url: &[u8], error: &ReadError) -> Answer {
    let newest = MessageUrl::parse(url).map(|mut url| {
        if let (None, Some(selected)) = (&url.mailbox, &talk.session.selected) {
            url.mailbox = Some(selected.name.clone());
        }
        find_row(talk, &url)
    });
    match newest {
        Some(Ok(None)) => bad_url(url),
        _ => Answer::unreadable(&talk.session, error),
    }
}

/// `BADURL` (RFC 4469 section 4): nothing is appended.
fn bad_url(url: &[u8]) -> Answer {
    let shown = printable(&String::from_utf8_lossy(url)).replace(']', "?");
    Answer::no(format!("BADURL {shown}"), "The URL names no message here; nothing was appended")
}
