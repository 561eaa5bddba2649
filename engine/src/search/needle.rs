//! What a split says about a needle: messages that contain it, and messages that have to be asked.
//!
//! A needle is cut as texts are (`token.rs`). Within the needle its cuts are those of every text
//! that contains it; at its ends they may not be:
//!
//! ```text
//! needle   "oo bar, ba"       tokens   …oo │ bar │ ba…
//! text     "foo bar, baz"     tokens   foo │ bar │ baz     foo ends in "oo", "bar" is whole,
//!                                                          "baz" begins with "ba", side by side
//! ```
//!
//! Separators are known only as usual or other: a needle with another one is found where the tokens
//! stand and their separators are not usual, and then the text is asked. So is a needle that begins
//! or ends with a separator.
//!
//! # Invariants
//! `sure ∪ ask` has every message of the split whose text contains the needle, and `sure` has no
//! other: both are compared with the text of the corpus in `tests.rs`.

use super::leaf::TermPlace;
use super::set::MessageSet;
use super::split::{Pattern, Split, Visit};
use super::texts::{FIELD, ODD_ADDRESS, PART_FIELD, UNSURE};
use super::token::{Separator, TOKEN_BYTES_MAX, Token, Tokens, begins_with_mark};
use super::{Class, Classes};
use crate::error::ReadError;
use crate::width::u32_of;

/// Terms that a token at the end of a needle may stand for; with more, it is left out, and the text
/// is asked. Tests have few terms.
const END_TERMS_MAX: usize = if cfg!(test) { 3 } else { 1 << 16 };

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

/// Whether what is found has to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Certainty {
    Sure,
    Ask,
}

impl Certainty {
    fn and(self, holds: bool) -> Certainty {
        if holds { self } else { Certainty::Ask }
    }
}

/// A needle's first or last token reaches a separator of the needle, or may be part of a longer
/// one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Whole,
    Part,
}

/// A needle cut into tokens.
pub(super) struct Parts<'a> {
    tokens: Vec<Token<'a>>,
    begin: End,
    end: End,
    certainty: Certainty,
}

impl<'a> Parts<'a> {
    fn of(needle: &'a str) -> Parts<'a> {
        let begins_with_mark = begins_with_mark(needle);
        let trimmed = if begins_with_mark {
            let mut rests = needle.char_indices().filter_map(|(at, _)| needle.get(at..));
            rests.find(|rest| !super::token::begins_with_mark(rest)).unwrap_or_default()
        } else {
            needle
        };
        let mut cutter = Tokens::of(trimmed);
        let tokens: Vec<Token<'a>> = cutter.by_ref().collect();
        let before = match tokens.first().map(|token| token.before) {
            Some(Separator::Other(text)) => text,
            _ => "",
        };
        let after = if tokens.is_empty() { "" } else { cutter.rest() };
        let is_plain = before.is_empty() && after.is_empty() && !begins_with_mark;
        Parts {
            begin: if begins_with_mark { End::Part } else { end_at(before) },
            end: end_at(after),
            certainty: Certainty::Sure.and(is_plain),
            tokens,
        }
    }

    /// Of whole tokens with the usual between them.
    pub(super) fn of_whole(tokens: &'a [String]) -> Parts<'a> {
        let token = |text: &'a String| Token { text, before: Separator::Usual };
        Parts {
            tokens: tokens.iter().map(token).collect(),
            begin: End::Whole,
            end: End::Whole,
            certainty: Certainty::Sure,
        }
    }

    /// What the token at `index` may stand for.
    fn pattern(&self, index: usize) -> Pattern<'a> {
        let text = self.tokens.get(index).map_or("", |token| token.text);
        let is_first = index == 0 && self.begin == End::Part;
        let is_last = index + 1 == self.tokens.len() && self.end == End::Part;
        match (is_first, is_last) {
            (true, true) => Pattern::Inside(text),
            (true, false) => Pattern::Suffix(text),
            (false, true) => Pattern::Prefix(text),
            (false, false) => Pattern::Exact(text),
        }
    }
}

/// A separator at an end of a needle keeps its token apart from what stands beyond, unless it is
/// one joint, which may belong to a token.
fn end_at(separator: &str) -> End {
    match separator {
        "" | "_" | "." | "-" | "@" => End::Part,
        _ => End::Whole,
    }
}

impl Split {
    /// Looks for a needle.
    ///
    /// # Errors
    /// [`ReadError`] if the split cannot be read.
    pub(crate) fn find(&self, needle: &Needle) -> Result<Found, ReadError> {
        let count = self.message_count();
        let mut found = Found { sure: MessageSet::empty(count), ask: MessageSet::empty(count) };
        let classes = match &needle.scope {
            Scope::Body => Classes::only(Class::Body),
            Scope::Text => Classes::ALL,
            Scope::Header(name) => Classes::only(Class::of_field(name)),
        };
        if needle.text.is_empty() && !matches!(needle.scope, Scope::Header(_)) {
            found.sure = MessageSet::full(count);
            return Ok(found);
        }
        let parts = Parts::of(&needle.text);
        let certainty = self.find_parts(&parts, classes, &mut found)?;
        if certainty == Certainty::Ask {
            let sure = std::mem::replace(&mut found.sure, MessageSet::empty(count));
            found.ask.unite(&sure);
        }
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
            self.unite(&term, Classes::ALL, out)?;
        }
        Ok(())
    }

    /// Keeps messages that have the field; with an empty needle that is all that is asked.
    fn keep_with_field(
        &self,
        name: &str,
        needle: &Needle,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let (name, is_long) = super::token::cut(name);
        let mut with = MessageSet::empty(self.message_count());
        self.mark(&format!("{FIELD}{name}"), &mut with)?;
        if needle.text.is_empty() && !is_long {
            found.ask = MessageSet::empty(self.message_count());
            found.sure = with;
            return Ok(());
        }
        // The class of a field of the header is that of all of them.
        if Class::of_field(name) == Class::Header {
            found.ask.unite(&found.sure);
            found.sure = MessageSet::empty(self.message_count());
        }
        found.sure.intersect(&with);
        found.ask.intersect(&with);
        Ok(())
    }

    /// A needle in TEXT that spans the end of a field's name and its value: "ject: hello".
    fn find_across_names(&self, needle: &str, ask: &mut MessageSet) -> Result<(), ReadError> {
        let Some((name, value)) = needle.split_once(':') else { return Ok(()) };
        if !value.is_empty() && !value.starts_with(' ') {
            return Ok(());
        }
        let count = self.message_count();
        let mut named = MessageSet::empty(count);
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
                self.unite(&place, Classes::ALL, &mut named)?;
            }
        }
        let parts = Parts::of(value);
        let mut found = Found { sure: MessageSet::empty(count), ask: MessageSet::empty(count) };
        self.find_parts(&parts, Classes::HEADERS, &mut found)?;
        found.ask.unite(&found.sure);
        named.intersect(&found.ask);
        ask.unite(&named);
        Ok(())
    }

    /// Finds tokens next to each other; what is found goes to `sure`, and is sure as the answer
    /// says.
    fn find_parts(
        &self,
        parts: &Parts<'_>,
        classes: Classes,
        found: &mut Found,
    ) -> Result<Certainty, ReadError> {
        let count = self.message_count();
        if parts.tokens.iter().any(|token| token.text.len() > TOKEN_BYTES_MAX) {
            // No dictionary has it; whoever has such a token is asked anyway.
            return Ok(Certainty::Ask);
        }
        match parts.tokens.len() {
            0 => {
                found.sure = MessageSet::full(count);
                Ok(Certainty::Ask)
            }
            1 => {
                for term in self.terms(parts.pattern(0), classes, usize::MAX)?.unwrap_or_default() {
                    self.unite(&term, classes, &mut found.sure)?;
                }
                Ok(parts.certainty)
            }
            _ => self.find_phrase(parts, classes, found),
        }
    }

    /// Finds several tokens next to each other.
    pub(super) fn find_phrase(
        &self,
        parts: &Parts<'_>,
        classes: Classes,
        found: &mut Found,
    ) -> Result<Certainty, ReadError> {
        let mut certainty = parts.certainty;
        let last = parts.tokens.len() - 1;
        let mut steps: Vec<Step> = Vec::with_capacity(parts.tokens.len());
        let mut candidates = MessageSet::full(self.message_count());
        // Whole tokens first: they leave less to look for.
        let order = (1..last).chain([0, last]);
        for index in order {
            let is_usual = parts.tokens.get(index).map(|token| token.before);
            let is_usual = is_usual == Some(Separator::Usual);
            certainty = certainty.and(index == 0 || is_usual);
            let Some(terms) = self.terms(parts.pattern(index), classes, END_TERMS_MAX)? else {
                certainty = Certainty::Ask;
                continue;
            };
            let mut having = MessageSet::empty(self.message_count());
            for term in &terms {
                self.unite(term, classes, &mut having)?;
            }
            candidates.intersect(&having);
            if candidates.is_empty() {
                return Ok(certainty);
            }
            steps.push(Step { index, terms, is_usual, count: having.count() });
        }
        steps.sort_unstable_by_key(|step| step.count);
        for class in Class::ALL.into_iter().filter(|class| classes.contains(*class)) {
            self.find_steps(&steps, class, &candidates, &mut found.sure)?;
        }
        Ok(certainty)
    }

    /// Messages where the steps stand side by side in one class.
    ///
    /// A place where the needle may stand is told as message and the place of its first token, so
    /// each step leaves of the places before it those that it has too; the rarest comes first.
    fn find_steps(
        &self,
        steps: &[Step],
        class: Class,
        candidates: &MessageSet,
        out: &mut MessageSet,
    ) -> Result<(), ReadError> {
        let mut wanted = candidates.clone();
        let mut standing: Option<Vec<u64>> = None;
        for step in steps {
            let mut places = Vec::new();
            let back = u32_of(step.index);
            for term in &step.terms {
                self.each_class(term, Classes::only(class), |list| {
                    let read = |range| self.positions(term, range);
                    list.visit(&wanted, read, |posting, occurrences| {
                        let fitting = occurrences.iter().filter(|occurrence| {
                            step.index == 0 || occurrence.is_usual() == step.is_usual
                        });
                        places.extend(fitting.filter_map(|occurrence| {
                            let first = occurrence.place().checked_sub(back)?;
                            Some(u64::from(posting.message) << 32 | u64::from(first))
                        }));
                        Ok(())
                    })
                })?;
            }
            places.sort_unstable();
            let places = match standing.take() {
                None => places,
                Some(mut before) => {
                    keep_those_in(&mut before, &places);
                    before
                }
            };
            if places.is_empty() {
                return Ok(());
            }
            wanted = MessageSet::empty(self.message_count());
            for place in &places {
                wanted.insert(u32::try_from(place >> 32).unwrap_or(u32::MAX));
            }
            standing = Some(places);
        }
        out.unite(&wanted);
        Ok(())
    }
}

/// Keeps of a sorted list what is in another sorted one.
fn keep_those_in(list: &mut Vec<u64>, other: &[u64]) {
    let mut others = other.iter().peekable();
    list.retain(|place| {
        while others.next_if(|other| *other < place).is_some() {}
        others.peek() == Some(&place)
    });
}

/// A token of a phrase, and the terms that it may stand for.
struct Step {
    index: usize,
    terms: Vec<TermPlace>,
    /// Whether the separator before it is usual.
    is_usual: bool,
    /// Messages that have it.
    count: u32,
}
