//! The texts of a message by class, and the marks of what the index alone cannot answer.
//!
//! Terms that begin with a control character are no tokens (no token has one):
//!
//! ```text
//! 01 name   the message's own header has a field of this name
//! 02        it has a token that is longer than a dictionary holds; it is asked whatever is sought
//! 03        an address of it is written otherwise in its header than it is read; it is asked where
//!           addresses are sought
//! 04 name   a part of it has a field of this name
//! 05 text   a separator that is not usual (`token.rs`), or the end of a text: it stands where the
//!           token behind it does, so that a needle with punctuation is found as others are
//! ```

use super::Class;
use super::token::{Separator, Token, Tokens, cut};
use crate::message::StoredSummary;
use crate::message::text::{SearchText, fold};

pub(crate) const FIELD: char = '\u{1}';
pub(crate) const UNSURE: &str = "\u{2}";
pub(crate) const ODD_ADDRESS: &str = "\u{3}";
pub(crate) const PART_FIELD: char = '\u{4}';
pub(crate) const SEPARATOR: char = '\u{5}';

/// The separator that a term is, if it is one.
pub(crate) fn separator_of(term: &[u8]) -> Option<&[u8]> {
    term.split_first().filter(|(first, _)| char::from(**first) == SEPARATOR).map(|(_, rest)| rest)
}

/// What of a message is indexed.
pub(crate) struct Texts<'a> {
    pub(crate) text: &'a SearchText,
    /// Whether [`ODD_ADDRESS`] holds.
    pub(crate) odd_address: bool,
}

impl<'a> Texts<'a> {
    /// Of a message's text and summary.
    pub(crate) fn of(text: &'a SearchText, summary: &StoredSummary) -> Texts<'a> {
        Texts { text, odd_address: has_odd_address(text, summary) }
    }

    /// Hands each text with its class to `take`.
    pub(crate) fn each(&self, take: impl FnMut(Class, &str)) {
        each_text(self.text, take);
    }

    /// Hands each term that is no token to `take`.
    pub(crate) fn each_mark(&self, mut take: impl FnMut(&str)) {
        let mut unsure = false;
        let mut term = String::new();
        let own = self.text.own_fields().map(|(name, _)| (FIELD, name));
        let parts = self.text.part_fields().map(|(name, _)| (PART_FIELD, name));
        for (mark, name) in own.chain(parts) {
            let (name, is_long) = cut(name);
            unsure |= is_long;
            term.clear();
            term.push(mark);
            term += name;
            take(&term);
        }
        self.each(|_, text| {
            unsure |= text.len() > super::token::TOKEN_BYTES_MAX && has_long(text);
        });
        if unsure {
            take(UNSURE);
        }
        if self.odd_address {
            take(ODD_ADDRESS);
        }
    }
}

/// Whether a token or a separator is longer than a dictionary holds.
fn has_long(text: &str) -> bool {
    let mut tokens = Tokens::of(text);
    let any = tokens.by_ref().any(|Token { text, before }| {
        cut(text).1 || matches!(before, Separator::Other(text) if cut(text).1)
    });
    any || cut(tokens.rest()).1
}

/// Hands each text of a message with its class to `take`.
pub(crate) fn each_text(text: &SearchText, mut take: impl FnMut(Class, &str)) {
    for body in text.body_texts() {
        take(Class::Body, body);
    }
    for (name, value) in text.own_fields() {
        take(Class::of_field(name), value);
    }
    for (_, value) in text.part_fields() {
        take(Class::Header, value);
    }
    // Names are marks, which are found as wholes; what spans tokens of one is found as text.
    for (name, _) in text.own_fields().chain(text.part_fields()) {
        if !is_plain(name) {
            take(Class::Header, name);
        }
    }
}

/// Whether a name is one token, or nothing.
fn is_plain(name: &str) -> bool {
    name.is_empty() || Tokens::of(name).next().is_some_and(|token| token.text == name)
}

/// Whether FROM, TO, CC or BCC find an address of the envelope that is not in the field's text.
fn has_odd_address(text: &SearchText, summary: &StoredSummary) -> bool {
    let addresses = summary.envelope().addresses();
    let lists = [
        ("from", addresses.from),
        ("to", addresses.to),
        ("cc", addresses.cc),
        ("bcc", addresses.bcc),
    ];
    lists.into_iter().any(|(name, mut list)| {
        list.any(|address| {
            let (Some(mailbox), Some(host)) = (address.mailbox, address.host) else {
                return false;
            };
            let whole = [mailbox, b"@", host].concat();
            let whole = fold(&String::from_utf8_lossy(&whole));
            !text.field_texts(name).any(|value| value.contains(&whole))
        })
    })
}
