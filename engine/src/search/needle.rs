//! What a split says about a needle: messages that contain it, and messages that have to be asked.
//!
//! Tokens and separators of the needle are found by `phrase.rs`. What is asked in the end: messages
//! that the index does not know whole (`texts.rs`), needles that span the name of a field and its
//! value, other header fields than those with a class of their own, and a few needles of which
//! `phrase.rs` tells.
//!
//! # Invariants
//! `sure ∪ ask` has every message of the split whose text contains the needle, and `sure` has no
//! other: both are compared with the text of the corpus in `tests.rs`.

use super::phrase::Ways;
use super::set::MessageSet;
use super::split::{Pattern, Split, Visit};
use super::texts::{FIELD, ODD_ADDRESS, PART_FIELD, UNSURE};
use super::{Class, Classes};
use crate::error::ReadError;

/// Where a needle is sought.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// BODY.
    Body,
    /// TEXT.
    Text,
    /// HEADER with the name of a field, in small letters: FROM, TO, CC, BCC and SUBJECT too.
    Header(String),
}

/// What is sought, and where.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Needle {
    /// Folded.
    pub text: String,
    /// Where.
    pub scope: Scope,
    /// Whether an address as it is read counts as text of its field, as in FROM (and not in
    /// HEADER).
    pub reads_addresses: bool,
}

/// Messages of a split.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Contain the needle.
    pub(crate) sure: MessageSet,
    /// May contain it: their text has to be asked.
    pub(crate) ask: MessageSet,
}

impl Found {
    /// Nothing, among so many messages.
    pub(super) fn empty(count: u32) -> Found {
        Found { sure: MessageSet::empty(count), ask: MessageSet::empty(count) }
    }
}

impl Split {
    /// Looks for a needle.
    ///
    /// # Errors
    /// [`ReadError`] if the split cannot be read.
    pub(crate) fn find(&self, needle: &Needle) -> Result<Found, ReadError> {
        self.find_among(needle, None)
    }

    /// The same among some of its messages; what it says of others says nothing.
    ///
    /// # Errors
    /// [`ReadError`] if the split cannot be read.
    pub(crate) fn find_among(
        &self,
        needle: &Needle,
        among: Option<&MessageSet>,
    ) -> Result<Found, ReadError> {
        let count = self.message_count();
        let mut found = Found::empty(count);
        let classes = match &needle.scope {
            Scope::Body => Classes::only(Class::Body),
            Scope::Text => Classes::ALL,
            Scope::Header(name) => Classes::only(Class::of_field(name)),
        };
        if needle.text.is_empty() && !matches!(needle.scope, Scope::Header(_)) {
            found.sure = MessageSet::full(count);
            return Ok(found);
        }
        self.find_ways(&Ways::of(&needle.text), (classes, among), &mut found)?;
        match &needle.scope {
            Scope::Body => {}
            Scope::Text => self.find_across_names(&needle.text, &mut found.ask)?,
            Scope::Header(name) => self.keep_with_field(name, needle, &mut found)?,
        }
        self.mark(UNSURE, &mut found.ask)?;
        if needle.reads_addresses {
            self.mark(ODD_ADDRESS, &mut found.ask)?;
        }
        found.ask.subtract(&found.sure);
        Ok(found)
    }

    /// Adds the messages with a mark.
    fn mark(&self, mark: &str, out: &mut MessageSet) -> Result<(), ReadError> {
        for term in self.terms(Pattern::Exact(mark), Classes::ALL, 1)?.unwrap_or_default() {
            self.unite(&term, (Classes::ALL, None), out)?;
        }
        Ok(())
    }

    /// Keeps messages that have the field, which what stands in a class of its own proves; with an
    /// empty needle that is all that is asked.
    fn keep_with_field(
        &self,
        name: &str,
        needle: &Needle,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let is_class = Class::of_field(name) != Class::Header;
        if is_class && !needle.text.is_empty() {
            return Ok(());
        }
        let (name, is_long) = super::token::cut(name);
        let mut with = MessageSet::empty(self.message_count());
        self.mark(&format!("{FIELD}{name}"), &mut with)?;
        if needle.text.is_empty() && !is_long {
            found.ask = MessageSet::empty(self.message_count());
            found.sure = with;
            return Ok(());
        }
        // The class of a field of the header is that of all of them.
        found.ask.unite(&found.sure);
        found.sure = MessageSet::empty(self.message_count());
        found.ask.intersect(&with);
        Ok(())
    }

    /// A needle in TEXT that spans the end of a field's name and its value: "ject: hello"; or
    /// begins with the blank between them.
    fn find_across_names(&self, needle: &str, ask: &mut MessageSet) -> Result<(), ReadError> {
        if let Some(value) = needle.strip_prefix(' ') {
            ask.unite(&self.with_value(value)?);
        }
        let Some((name, value)) = needle.split_once(':') else { return Ok(()) };
        if !value.is_empty() && !value.starts_with(' ') {
            return Ok(());
        }
        let mut named = MessageSet::empty(self.message_count());
        for mark in [FIELD, PART_FIELD] {
            let mut places = Vec::new();
            let mut text = [0; 4];
            let pattern = Pattern::Prefix(mark.encode_utf8(&mut text));
            self.each_term(pattern, Classes::HEADERS, |term, place| {
                if term.get(1..).is_some_and(|found| found.ends_with(name.as_bytes())) {
                    places.push(place.clone());
                }
                Visit::GoOn
            })?;
            for place in places {
                self.unite(&place, (Classes::ALL, None), &mut named)?;
            }
        }
        named.intersect(&self.with_value(value.strip_prefix(' ').unwrap_or(value))?);
        ask.unite(&named);
        Ok(())
    }

    /// Messages in which the value of a field may begin so.
    fn with_value(&self, value: &str) -> Result<MessageSet, ReadError> {
        let mut found = Found::empty(self.message_count());
        if value.is_empty() {
            return Ok(MessageSet::full(self.message_count()));
        }
        self.find_ways(&Ways::of_beginning(value), (Classes::HEADERS, None), &mut found)?;
        found.ask.unite(&found.sure);
        Ok(found.ask)
    }
}
