//! Errors of a commit as bytes, so that a client hears the same on either node.
//!
//! ```text
//! error   u8, and what belongs to it:
//!    1 no such mailbox        2 no such account       3 exists already: text
//!    4 not found: text        5 bad name: name, why   6 unfit password: u8
//!    7 not permitted: text    8 messages gone         9 over quota: bytes
//!   10 too many messages: n  11 too many entries: n  12 too large: text, limit
//!   13 part gone             14 out of UIDs          15 queue full
//!   16 disk full             17 read-only: volume, reason
//!   18 the primary could not: its words               19 other numbers: expected, found
//! ```
//! What the primary could not read is its operator's affair: only the words travel.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::{CommitError, UnfitPassword};
use crate::ids::Uid;

/// Bytes of a text that travel; a longer one is cut.
const TEXT_BYTES_MAX: usize = 800;
/// Sentences of the other node's binary that are kept.
const SENTENCES_MAX: usize = 512;

pub(super) fn encode_error(error: &CommitError, out: &mut Encoder) {
    match error {
        CommitError::NoSuchMailbox => out.u8(1),
        CommitError::NoSuchAccount => out.u8(2),
        CommitError::AlreadyExists { what } => texts(3, &[what], out),
        CommitError::NotFound { what } => texts(4, &[what], out),
        CommitError::BadName { name, why } => texts(5, &[name, why], out),
        CommitError::UnfitPassword(why) => {
            out.u8(6);
            out.u8(match why {
                UnfitPassword::Empty => 0,
                UnfitPassword::Prohibited => 1,
            });
        }
        CommitError::NotPermitted { what } => texts(7, &[what], out),
        CommitError::MessagesGone => out.u8(8),
        CommitError::OverQuota { limit_bytes } => number(9, *limit_bytes, out),
        CommitError::TooManyMessages { limit } => number(10, *limit, out),
        CommitError::TooManyEntries { limit } => number(11, *limit, out),
        CommitError::TooLarge { what, limit } => {
            texts(12, &[what], out);
            out.varint(*limit);
        }
        CommitError::PartGone => out.u8(13),
        CommitError::OutOfUids => out.u8(14),
        CommitError::QueueFull => out.u8(15),
        CommitError::DiskFull => out.u8(16),
        CommitError::ReadOnly { volume, reason } => texts(17, &[volume, reason], out),
        CommitError::Primary { words } => texts(18, &[words], out),
        CommitError::OtherNumbers { expected, found } => {
            number(19, u64::from(expected.0), out);
            out.varint(u64::from(found.0));
        }
        CommitError::Read(error) => texts(18, &[&error.to_string()], out),
    }
}

fn texts(kind: u8, texts: &[&str], out: &mut Encoder) {
    out.u8(kind);
    texts.iter().for_each(|text| out.text(cut(text)));
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default()
}

fn number(kind: u8, number: u64, out: &mut Encoder) {
    out.u8(kind);
    out.varint(number);
}

pub(super) fn decode_error(from: &mut Decoder<'_>) -> Result<CommitError, Broken> {
    Ok(match from.u8()? {
        1 => CommitError::NoSuchMailbox,
        2 => CommitError::NoSuchAccount,
        3 => CommitError::AlreadyExists { what: text(from)? },
        4 => CommitError::NotFound { what: text(from)? },
        5 => CommitError::BadName { name: text(from)?, why: sentence(&text(from)?) },
        6 => CommitError::UnfitPassword(match from.u8()? {
            0 => UnfitPassword::Empty,
            1 => UnfitPassword::Prohibited,
            _ => return Err("a password is unfit for no known reason"),
        }),
        7 => CommitError::NotPermitted { what: sentence(&text(from)?) },
        8 => CommitError::MessagesGone,
        9 => CommitError::OverQuota { limit_bytes: from.varint()? },
        10 => CommitError::TooManyMessages { limit: from.varint()? },
        11 => CommitError::TooManyEntries { limit: from.varint()? },
        12 => CommitError::TooLarge { what: sentence(&text(from)?), limit: from.varint()? },
        13 => CommitError::PartGone,
        14 => CommitError::OutOfUids,
        15 => CommitError::QueueFull,
        16 => CommitError::DiskFull,
        17 => CommitError::ReadOnly { volume: text(from)?, reason: text(from)? },
        18 => CommitError::Primary { words: text(from)? },
        19 => CommitError::OtherNumbers { expected: Uid(from.u32()?), found: Uid(from.u32()?) },
        _ => return Err("an error is of no known kind"),
    })
}

fn text(from: &mut Decoder<'_>) -> Result<String, Broken> {
    match from.text()? {
        text if text.len() <= TEXT_BYTES_MAX => Ok(text.to_owned()),
        _ => Err("a text of an error is too long"),
    }
}

/// Sentences that are constants in the other node's binary, as such here. They are kept for ever,
/// which is why they are bounded; a binary has some dozens.
struct Sentences(Mutex<BTreeSet<&'static str>>);

impl Sentences {
    const fn new() -> Sentences {
        Sentences(Mutex::new(BTreeSet::new()))
    }

    fn keep(&self, text: &str) -> &'static str {
        let mut known = self.0.lock();
        if let Some(sentence) = known.get(text) {
            return sentence;
        }
        if known.len() >= SENTENCES_MAX {
            return "the other node gave a reason that this one does not know";
        }
        let sentence: &'static str = Box::leak(Box::from(text));
        known.insert(sentence);
        sentence
    }
}

fn sentence(text: &str) -> &'static str {
    static KNOWN: Sentences = Sentences::new();
    KNOWN.keep(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_bounded_whatever_the_other_node_says() {
        let known = Sentences::new();
        let first = known.keep("INBOX cannot be deleted");
        assert!(std::ptr::eq(first, known.keep("INBOX cannot be deleted")), "kept once");
        for number in 0..2 * SENTENCES_MAX {
            known.keep(&format!("sentence {number}"));
        }
        assert!(known.keep("one more").contains("does not know"));
        assert_eq!(known.keep("INBOX cannot be deleted"), "INBOX cannot be deleted");
    }

    #[test]
    fn a_long_text_is_cut_where_a_character_ends() {
        let mut out = Encoder::default();
        encode_error(&CommitError::NotFound { what: "ü".repeat(1000) }, &mut out);
        let back = decode_error(&mut Decoder::new(&out.bytes)).unwrap();
        assert_eq!(back.to_string(), format!("there is no {}", "ü".repeat(400)));
    }
}
