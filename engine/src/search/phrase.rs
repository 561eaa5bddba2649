//! Finds the tokens and separators of a needle side by side.
//!
//! A needle is cut as texts are (`token.rs`). Within the needle its cuts are those of every text
//! that contains it; at its ends they may not be:
//!
//! ```text
//! needle   "oo bar, ba"       cut   …oo │ bar │ ", " │ ba…
//! text     "foo bar, baz"     cut   foo │ bar │ ", " │ baz     foo ends in "oo", "bar" is whole,
//!                                                              "baz" begins with "ba"
//! ```
//!
//! Where a needle begins with something between tokens, some separator ends so; where it ends with
//! such, some separator begins so. One joint may belong to a token as well: `@example.org` is found
//! within tokens and beside separators, two **ways** to stand in a text.
//!
//! Left to be asked: what ends with a lone blank, which the token behind it would tell, whichever
//! it is; needles that begin with a mark, which belongs to the letter before it; and the last few
//! messages, where to open them costs less than to go on.

use super::leaf::{Place, TermPlace};
use super::needle::Found;
use super::set::MessageSet;
use super::split::{Pattern, Split, Visit};
use super::texts::SEPARATOR;
use super::token::{Separator, Token, Tokens, begins_with_mark};
use super::{Class, Classes};
use crate::error::ReadError;
use crate::width::{u32_of, u64_of};

/// Terms of one part of a needle that are kept in memory; where there are more, they are gone
/// through anew. Tests have few terms.
const KEPT_TERMS_MAX: usize = if cfg!(test) { 3 } else { 1 << 16 };
/// With so many terms or fewer, it is worth knowing in which messages any of them is, before it is
/// looked where.
const UNITED_TERMS_MAX: usize = if cfg!(test) { 2 } else { 256 };
/// To go through so many terms takes as long as to open a message.
const TERMS_PER_MESSAGE: u64 = if cfg!(test) { 2 } else { 400 };
/// To begin with a term takes as long as to read so many bytes of its lists.
const TERM_COST: u64 = 64;
/// The last few messages that lack a needle of one token so far are asked.
const ASKED_MAX: u32 = if cfg!(test) { 1 } else { 64 };
/// Messages whose places are held at a time.
const PART_MESSAGES: u32 = if cfg!(test) { 2 } else { 1 << 15 };
/// Terms after which it is looked whether nearly every message is found already.
const LOOK_AFTER_TERMS: u32 = if cfg!(test) { 4 } else { 1024 };

/// A part of a needle, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Element {
    /// Places behind that of the first token.
    offset: u32,
    text: String,
    kind: ElementKind,
    /// Whether the separator before it has to be usual, or must not be.
    is_usual: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ElementKind {
    Exact,
    Prefix,
    Suffix,
    Inside,
    SeparatorSuffix,
    SeparatorInside,
}

impl Element {
    fn token(index: usize, text: &str, (begin, end): (End, End)) -> Element {
        let kind = match (begin, end) {
            (End::Part, End::Part) => ElementKind::Inside,
            (End::Part, End::Whole) => ElementKind::Suffix,
            (End::Whole, End::Part) => ElementKind::Prefix,
            (End::Whole, End::Whole) => ElementKind::Exact,
        };
        Element { offset: u32_of(index), text: text.to_owned(), kind, is_usual: None }
    }

    /// A separator, by its text as a term or a part of it.
    fn separator(index: usize, kind: ElementKind, text: &str) -> Element {
        let text = match kind {
            ElementKind::SeparatorSuffix | ElementKind::SeparatorInside => text.to_owned(),
            _ => format!("{SEPARATOR}{text}"),
        };
        Element { offset: u32_of(index), text, kind, is_usual: None }
    }

    fn pattern(&self) -> Pattern<'_> {
        let text = self.text.as_str();
        match self.kind {
            ElementKind::Exact => Pattern::Exact(text),
            ElementKind::Prefix => Pattern::Prefix(text),
            ElementKind::Suffix => Pattern::Suffix(text),
            ElementKind::Inside => Pattern::Inside(text),
            ElementKind::SeparatorSuffix => Pattern::SeparatorSuffix(text),
            ElementKind::SeparatorInside => Pattern::SeparatorInside(text),
        }
    }
}

/// Whether a token of a needle ends where that of the text does, or may be part of a longer one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Whole,
    Part,
}

/// How an end of a needle may stand in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edge<'a> {
    /// It is a token, or part of one.
    Token,
    /// This stands in a separator.
    Separator(&'a str),
    /// This joint belongs to the token.
    Joint(&'a str),
    /// It is a usual blank.
    Blank,
    /// It is where the text begins, or may be.
    Beginning,
}

impl<'a> Edge<'a> {
    /// Those of a separator; beside a wide token a blank is not usual.
    fn all(separator: &'a str, beside: Option<&Token<'_>>) -> Vec<Edge<'a>> {
        let is_wide = beside.is_some_and(Token::is_wide);
        match separator {
            "" => vec![Edge::Token],
            "_" | "." | "-" | "@" => vec![Edge::Separator(separator), Edge::Joint(separator)],
            " " if !is_wide => vec![Edge::Separator(separator), Edge::Blank],
            _ => vec![Edge::Separator(separator)],
        }
    }

    fn end(self) -> End {
        match self {
            Edge::Token | Edge::Joint(_) => End::Part,
            Edge::Separator(_) | Edge::Blank | Edge::Beginning => End::Whole,
        }
    }

    fn joint(self) -> &'a str {
        match self {
            Edge::Joint(joint) => joint,
            _ => "",
        }
    }
}

/// The ways in which a needle may stand in a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ways {
    /// What stands so contains the needle.
    sure: Vec<Vec<Element>>,
    /// What stands so may.
    ask: Vec<Vec<Element>>,
    /// Every text may.
    asks_all: bool,
}

impl Ways {
    /// Those of a needle, which is not empty.
    pub(super) fn of(needle: &str) -> Ways {
        let starts_with_mark = begins_with_mark(needle);
        let trimmed = if starts_with_mark {
            let mut rests = needle.char_indices().filter_map(|(at, _)| needle.get(at..));
            rests.find(|rest| !begins_with_mark(rest)).unwrap_or_default()
        } else {
            needle
        };
        let mut cutter = Tokens::of(trimmed);
        let tokens: Vec<Token<'_>> = cutter.by_ref().collect();
        let mut ways = match tokens.first() {
            None => Ways::of_separator(trimmed),
            Some(first) => {
                let begins = Edge::all(first.before.text(), Some(first));
                Ways::of_tokens(&begins, &tokens, cutter.rest())
            }
        };
        if starts_with_mark {
            ways.ask.append(&mut ways.sure);
        }
        ways
    }

    /// Those of whole tokens with what is usual between them.
    pub(super) fn of_whole(tokens: &[String]) -> Ways {
        let element = |(index, text): (usize, &String)| {
            let is_usual = (index > 0).then_some(true);
            Element { is_usual, ..Element::token(index, text, (End::Whole, End::Whole)) }
        };
        let way = tokens.iter().enumerate().map(element).collect();
        Ways { sure: vec![way], ..Ways::default() }
    }

    fn of_separator(needle: &str) -> Ways {
        let inside = |kind| {
            let text = needle.to_owned();
            vec![Element { offset: 0, text, kind, is_usual: None }]
        };
        let mut ways = Ways { asks_all: needle.is_empty(), ..Ways::default() };
        ways.sure.push(inside(ElementKind::SeparatorInside));
        for edge in Edge::all(needle, None) {
            match edge {
                Edge::Joint(_) => ways.sure.push(inside(ElementKind::Inside)),
                Edge::Blank => ways.asks_all = true,
                Edge::Token | Edge::Separator(_) | Edge::Beginning => {}
            }
        }
        ways
    }

    /// Those in which a text may begin with this, and some others.
    pub(super) fn of_beginning(needle: &str) -> Ways {
        let mut cutter = Tokens::of(needle);
        let tokens: Vec<Token<'_>> = cutter.by_ref().collect();
        match tokens.first().map(|first| first.before.text()) {
            Some("") => Ways::of_tokens(&[Edge::Beginning], &tokens, cutter.rest()),
            _ => Ways::of(needle),
        }
    }

    fn of_tokens(begins: &[Edge<'_>], tokens: &[Token<'_>], after: &str) -> Ways {
        let mut ways = Ways::default();
        for &begin in begins {
            for end in Edge::all(after, tokens.last()) {
                let elements = elements(begin, tokens, end);
                match end {
                    Edge::Blank => ways.ask.push(elements),
                    _ => ways.sure.push(elements),
                }
            }
        }
        ways
    }
}

fn elements(begin: Edge<'_>, tokens: &[Token<'_>], end: Edge<'_>) -> Vec<Element> {
    let last = tokens.len().saturating_sub(1);
    let mut elements = Vec::with_capacity(tokens.len() + 2);
    for (index, token) in tokens.iter().enumerate() {
        let (joint_before, from) =
            if index == 0 { (begin.joint(), begin.end()) } else { ("", End::Whole) };
        let (joint_after, to) =
            if index == last { (end.joint(), end.end()) } else { ("", End::Whole) };
        let text = [joint_before, token.text, joint_after].concat();
        let mut element = Element::token(index, &text, (from, to));
        element.is_usual = match (index, begin) {
            (0, Edge::Blank) => Some(true),
            (0, Edge::Beginning) => Some(false),
            (0, _) => None,
            _ => Some(token.before == Separator::Usual),
        };
        elements.push(element);
        if index > 0
            && let Separator::Other(text) = token.before
        {
            elements.push(Element::separator(index, ElementKind::Exact, text));
        }
    }
    if let Edge::Separator(text) = begin {
        elements.push(Element::separator(0, ElementKind::SeparatorSuffix, text));
    }
    if let Edge::Separator(text) = end {
        elements.push(Element::separator(tokens.len(), ElementKind::Prefix, text));
    }
    elements
}

/// An element, and the terms that it may stand for.
struct Step<'a> {
    element: &'a Element,
    /// `None` if there are more than are kept.
    terms: Option<Vec<TermPlace>>,
    /// How much there is to read, about.
    cost: u64,
}

impl<'a> Step<'a> {
    fn new(element: &'a Element, terms: Option<Vec<TermPlace>>) -> Step<'a> {
        let bytes = |place: &Place| place.end.saturating_sub(place.start);
        let of_term = |term: &TermPlace| TERM_COST + bytes(&term.lists) + bytes(&term.positions);
        let cost = terms.as_ref().map_or(u64::MAX, |terms| terms.iter().map(of_term).sum());
        Step { element, terms, cost }
    }

    /// Whether it is cheaper to open so many messages.
    fn costs_more_than(&self, message_count: u32) -> bool {
        let terms = self.terms.as_ref().map_or(KEPT_TERMS_MAX, Vec::len);
        u64::from(message_count) * TERMS_PER_MESSAGE < u64_of(terms)
    }
}

impl Split {
    /// Looks for a needle in all the ways in which it may stand, in these messages or in all.
    pub(super) fn find_ways(
        &self,
        ways: &Ways,
        (classes, among): (Classes, Option<&MessageSet>),
        found: &mut Found,
    ) -> Result<(), ReadError> {
        if ways.asks_all {
            found.ask = MessageSet::full(self.message_count());
        }
        for way in &ways.sure {
            self.find_way(way, (classes, among), found)?;
        }
        let mut asked = Found::empty(self.message_count());
        for way in &ways.ask {
            self.find_way(way, (classes, among), &mut asked)?;
        }
        found.ask.unite(&asked.sure);
        found.ask.unite(&asked.ask);
        Ok(())
    }

    fn find_way(
        &self,
        elements: &[Element],
        (classes, among): (Classes, Option<&MessageSet>),
        found: &mut Found,
    ) -> Result<(), ReadError> {
        if let [only] = elements
            && only.is_usual.is_none()
        {
            return self.find_one(only.pattern(), (classes, among), found);
        }
        let all = || MessageSet::full(self.message_count());
        let mut candidates = among.map_or_else(all, Clone::clone);
        let mut steps = Vec::with_capacity(elements.len());
        // Whole tokens first: they leave less to look for.
        let is_exact = |element: &&Element| element.kind == ElementKind::Exact;
        let others = elements.iter().filter(|element| !is_exact(element));
        for element in elements.iter().filter(is_exact).chain(others) {
            let terms = self.terms(element.pattern(), classes, KEPT_TERMS_MAX)?;
            if let Some(terms) = terms.as_ref().filter(|terms| terms.len() <= UNITED_TERMS_MAX) {
                let mut having = MessageSet::empty(self.message_count());
                for term in terms {
                    self.unite(term, (classes, among), &mut having)?;
                }
                candidates.intersect(&having);
                if candidates.is_empty() {
                    return Ok(());
                }
            }
            steps.push(Step::new(element, terms));
        }
        // What is cheap leaves less to read of what is dear.
        steps.sort_by_key(|step| step.cost);
        for class in Class::ALL.into_iter().filter(|class| classes.contains(*class)) {
            for part in candidates.parts(PART_MESSAGES) {
                self.find_steps(&steps, class, part, found)?;
            }
        }
        Ok(())
    }

    /// Messages that have any of the terms, wherever; the last few are asked.
    fn find_one(
        &self,
        pattern: Pattern<'_>,
        (classes, among): (Classes, Option<&MessageSet>),
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let all = among.map_or(self.message_count(), MessageSet::count);
        let (mut looked, mut left_out) = (0u32, false);
        self.try_each_term(pattern, classes, |term| {
            self.unite(term, (classes, among), &mut found.sure)?;
            looked = looked.wrapping_add(1);
            left_out = looked.is_multiple_of(LOOK_AFTER_TERMS)
                && all.saturating_sub(found.sure.count()) <= ASKED_MAX;
            Ok(if left_out { Visit::Stop } else { Visit::GoOn })
        })?;
        if left_out {
            found.ask = MessageSet::full(self.message_count());
        }
        Ok(())
    }

    /// Messages where the steps stand side by side in one class.
    ///
    /// A place where the needle may stand is told as message and the place of its first token, so
    /// each step leaves of the places before it those that it has too; the rarest comes first.
    fn find_steps(
        &self,
        steps: &[Step<'_>],
        class: Class,
        mut wanted: MessageSet,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let mut standing = Standing::default();
        for (number, step) in steps.iter().enumerate() {
            if number > 0 && step.costs_more_than(wanted.count()) {
                found.ask.unite(&wanted);
                return Ok(());
            }
            let offset = step.element.offset;
            self.each_place(step, class, &wanted, |message, places| match number {
                0 => standing.add(message, places.map(|place| place.checked_sub(offset))),
                _ => standing.mark(message, places.map(|place| place.checked_sub(offset))),
            })?;
            standing.keep(number > 0);
            if standing.places.is_empty() {
                return Ok(());
            }
            wanted = standing.messages(self.message_count());
        }
        found.sure.unite(&wanted);
        Ok(())
    }

    /// Hands the places of a step in wanted messages to `take`, of each term by itself.
    fn each_place(
        &self,
        step: &Step<'_>,
        class: Class,
        wanted: &MessageSet,
        mut take: impl FnMut(u32, &mut dyn Iterator<Item = u32>),
    ) -> Result<(), ReadError> {
        let is_usual = step.element.is_usual;
        let mut visit = |term: &TermPlace| {
            self.each_class(term, Classes::only(class), |list| {
                let read = |range| self.positions(term, range);
                list.visit(wanted, read, |posting, occurrences| {
                    let fitting = occurrences
                        .iter()
                        .filter(|one| is_usual.is_none_or(|is| is == one.is_usual()));
                    take(posting.message, &mut fitting.map(|one| one.place()));
                    Ok(())
                })
            })
        };
        match &step.terms {
            Some(terms) => terms.iter().try_for_each(visit),
            None => self.try_each_term(step.element.pattern(), Classes::only(class), |term| {
                visit(term).map(|()| Visit::GoOn)
            }),
        }
    }

    /// The terms that match and stand in one of the classes, until something fails.
    fn try_each_term(
        &self,
        pattern: Pattern<'_>,
        classes: Classes,
        mut take: impl FnMut(&TermPlace) -> Result<Visit, ReadError>,
    ) -> Result<(), ReadError> {
        let mut failed = None;
        self.each_term(pattern, classes, |_, place| {
            if !classes.meet(place.head) {
                return Visit::GoOn;
            }
            take(place).unwrap_or_else(|error| {
                failed = Some(error);
                Visit::Stop
            })
        })?;
        failed.map_or(Ok(()), Err)
    }
}

/// Places where a needle may stand.
#[derive(Default)]
struct Standing {
    /// Message << 32 | place of the first token, ascending.
    places: Vec<u64>,
    /// Which of them the step at hand has, too.
    marks: Vec<bool>,
    at: usize,
}

impl Standing {
    fn add(&mut self, message: u32, places: impl Iterator<Item = Option<u32>>) {
        self.places.extend(places.flatten().map(|place| key(message, place)));
    }

    fn mark(&mut self, message: u32, places: impl Iterator<Item = Option<u32>>) {
        self.marks.resize(self.places.len(), false);
        let first = key(message, 0);
        // Messages ascend, but begin anew with each term.
        let is_before = |at: usize| self.places.get(at).is_none_or(|place| *place < first);
        if self.at == 0 || is_before(self.at - 1) {
            const NEAR: usize = 8;
            let near = self.at + NEAR;
            while self.at < near.min(self.places.len()) && is_before(self.at) {
                self.at += 1;
            }
            if self.at == near {
                let rest = self.places.get(self.at..).unwrap_or_default();
                self.at += rest.partition_point(|place| *place < first);
            }
        } else {
            self.at = self.places.partition_point(|place| *place < first);
        }
        let mut at = self.at;
        for place in places.flatten() {
            let wanted = key(message, place);
            while self.places.get(at).is_some_and(|place| *place < wanted) {
                at += 1;
            }
            if self.places.get(at) == Some(&wanted)
                && let Some(mark) = self.marks.get_mut(at)
            {
                *mark = true;
            }
        }
    }

    /// Ends a step: what was added is put in order, or what was not marked goes.
    fn keep(&mut self, marked: bool) {
        if marked {
            self.marks.resize(self.places.len(), false);
            let mut marks = self.marks.iter();
            self.places.retain(|_| marks.next().copied().unwrap_or(false));
        } else {
            self.places.sort_unstable();
            self.places.dedup();
        }
        self.marks.clear();
        self.at = 0;
    }

    fn messages(&self, count: u32) -> MessageSet {
        let mut messages = MessageSet::empty(count);
        for place in &self.places {
            messages.insert(u32::try_from(place >> 32).unwrap_or(u32::MAX));
        }
        messages
    }
}

fn key(message: u32, place: u32) -> u64 {
    u64::from(message) << 32 | u64::from(place)
}
