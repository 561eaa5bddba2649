//! Reads a split: terms of its dictionary that match, and the messages in which they stand.

use super::block::{BlockSource, Bytes, Section, Sections};
use super::directory::{Dictionary, Directory, DocumentPlaces, Messages, StoredMessage};
use super::documents::DocumentCount;
use super::grams::{is_worth, read_leaves};
use super::leaf::{LeafReader, Place, TermPlace};
use super::lists::{ClassList, Lists};
use super::set::MessageSet;
use super::texts::separator_of;
use super::{Classes, Group, broken};
use crate::error::ReadError;
use crate::ids::BlobId;
use crate::width::{u64_of, usize_of_u32};

/// Which terms are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pattern<'a> {
    /// The term itself.
    Exact(&'a str),
    /// Terms that begin so.
    Prefix(&'a str),
    /// Terms that end so.
    Suffix(&'a str),
    /// Terms that contain it.
    Inside(&'a str),
    /// Separators that end so (`texts.rs`).
    SeparatorSuffix(&'a str),
    /// Separators that contain it.
    SeparatorInside(&'a str),
}

/// A pattern, ready to be compared with many terms.
struct Matcher<'a> {
    pattern: Pattern<'a>,
    /// Of what has to be contained.
    finder: memchr::memmem::Finder<'a>,
}

impl<'a> Matcher<'a> {
    fn new(pattern: Pattern<'a>) -> Matcher<'a> {
        let contained = match pattern {
            Pattern::Inside(text) | Pattern::SeparatorInside(text) => text,
            _ => "",
        };
        Matcher { pattern, finder: memchr::memmem::Finder::new(contained) }
    }

    fn matches(&self, term: &[u8]) -> bool {
        match self.pattern {
            Pattern::Exact(text) => term == text.as_bytes(),
            Pattern::Prefix(text) => term.starts_with(text.as_bytes()),
            Pattern::Suffix(text) => term.ends_with(text.as_bytes()),
            Pattern::Inside(_) => self.finder.find(term).is_some(),
            Pattern::SeparatorSuffix(text) => {
                separator_of(term).is_some_and(|separator| separator.ends_with(text.as_bytes()))
            }
            Pattern::SeparatorInside(_) => {
                separator_of(term).is_some_and(|separator| self.finder.find(separator).is_some())
            }
        }
    }
}

/// An open split.
pub(crate) struct Split {
    sections: Sections,
    directory: Directory,
    messages: Messages,
}

impl Split {
    /// Opens what was written.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read or is no split.
    pub(crate) fn open(source: Box<dyn BlockSource>) -> Result<Split, ReadError> {
        let (sections, directory) = Sections::open(source)?;
        let directory = Directory::decode(&directory).map_err(broken)?;
        let length = sections.map().length(Section::Messages);
        let messages = match directory.is_current() {
            true => sections.read(Section::Messages, 0..length)?.to_vec(),
            false => Vec::new(),
        };
        let messages = Messages::decode(&messages, directory.message_count).map_err(broken)?;
        Ok(Split { sections, directory, messages })
    }

    /// Whether it was made by the rules of today; else it has nothing, and is made anew.
    pub(crate) fn is_current(&self) -> bool {
        self.directory.is_current()
    }

    /// How many messages it has.
    pub(crate) fn message_count(&self) -> u32 {
        self.directory.message_count
    }

    /// Its messages by their blobs, in the order of their numbers.
    pub(crate) fn blobs(&self) -> &[u64] {
        &self.messages.blobs
    }

    /// The codes of its messages' lengths, in the same order.
    pub(crate) fn lengths(&self) -> &[u8] {
        &self.messages.lengths
    }

    /// The numbers of its messages' languages, in the same order.
    pub(crate) fn languages(&self) -> &[u8] {
        &self.messages.languages
    }

    /// Its messages as they are stored, in the same order.
    pub(crate) fn stored(&self) -> impl Iterator<Item = StoredMessage> + '_ {
        let Messages { blobs, lengths, languages } = &self.messages;
        let all = blobs.iter().zip(lengths).zip(languages);
        all.map(|((&blob, &length), &language)| StoredMessage { blob, length, language })
    }

    /// A message by its number.
    pub(crate) fn blob(&self, message: u32) -> Option<BlobId> {
        let bits = self.messages.blobs.get(usize_of_u32(message))?;
        crate::ids::Lsn::from_bits(*bits).map(BlobId)
    }

    /// Which of its messages have documents, and what their extractor was set to.
    pub(crate) fn document_places(&self) -> &DocumentPlaces {
        &self.directory.documents
    }

    /// The entry of a message's documents, and how many there are; `None` if it has none.
    pub(crate) fn documents(
        &self,
        message: u32,
    ) -> Result<Option<(DocumentCount, Vec<u8>)>, ReadError> {
        let Some((count, place)) = self.directory.documents.of(message) else { return Ok(None) };
        Ok(Some((count, self.sections.read(Section::Documents, place)?.to_vec())))
    }

    /// Bytes of memory that it takes while it is open.
    pub(crate) fn bytes(&self) -> usize {
        self.directory.bytes() + self.messages.blobs.len() * 10
    }

    /// Where the lists of the terms are that match and may stand in one of the classes; `None` if
    /// there are more than `limit`.
    pub(crate) fn terms(
        &self,
        pattern: Pattern<'_>,
        classes: Classes,
        limit: usize,
    ) -> Result<Option<Vec<TermPlace>>, ReadError> {
        let mut found = Vec::new();
        let mut is_over = false;
        self.each_term(pattern, classes, |_, place| {
            if !classes.meet(place.head) {
                return Visit::GoOn;
            }
            is_over = found.len() >= limit;
            found.push(place.clone());
            if is_over { Visit::Stop } else { Visit::GoOn }
        })?;
        Ok((!is_over).then_some(found))
    }

    /// Hands every term that matches, of the dictionaries that have terms of the classes, to
    /// `take`.
    pub(crate) fn each_term(
        &self,
        pattern: Pattern<'_>,
        classes: Classes,
        mut take: impl FnMut(&[u8], &TermPlace) -> Visit,
    ) -> Result<(), ReadError> {
        let matcher = Matcher::new(pattern);
        for group in Group::ALL.into_iter().filter(|group| classes.reach(*group)) {
            let Some(dictionary) = self.directory.of(group) else { continue };
            for leaf in self.leaves(group, dictionary, pattern)? {
                let Some(Leaf { bytes, at }) = self.leaf(group, leaf)? else { break };
                let visited = visit_leaf(LeafReader::new(group, &bytes, at), &matcher, &mut take)?;
                match visited {
                    Visited::All => {}
                    Visited::Beyond => break,
                    Visited::Stopped => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// A leaf's bytes, and where its first lists and positions are.
    fn leaf(&self, group: Group, leaf: usize) -> Result<Option<Leaf>, ReadError> {
        let place = self.directory.of(group).and_then(|one| one.leaves.place(leaf));
        let Some(place) = place else { return Ok(None) };
        let bytes = self.sections.read(Section::Terms(group), place.terms)?;
        Ok(Some(Leaf { bytes, at: (place.lists, place.positions) }))
    }

    /// The leaves of a dictionary that may have terms which match.
    fn leaves(
        &self,
        group: Group,
        dictionary: &Dictionary,
        pattern: Pattern<'_>,
    ) -> Result<Box<dyn Iterator<Item = usize>>, ReadError> {
        let leaves = &dictionary.leaves;
        let (needle, ends) = match pattern {
            Pattern::Exact(text) | Pattern::Prefix(text) => {
                let first = leaves.of_term(text.as_bytes());
                return Ok(Box::new(first..leaves.count()));
            }
            Pattern::Suffix(text) | Pattern::SeparatorSuffix(text) => (text, 2),
            Pattern::Inside(text) | Pattern::SeparatorInside(text) => (text, 0),
        };
        if needle.is_empty() {
            return Ok(Box::new(0..leaves.count()));
        }
        let Some(lists) = dictionary.grams.of_needle(needle.as_bytes(), ends) else {
            return Ok(Box::new(std::iter::empty()));
        };
        let length = |places: &Vec<Place>| -> u64 {
            places.iter().map(|place| place.end.saturating_sub(place.start)).sum()
        };
        let mut lists: Vec<(u64, Vec<Place>)> =
            lists.into_iter().map(|places| (length(&places), places)).collect();
        lists.sort_unstable_by_key(|(length, _)| *length);
        let mut found: Option<Vec<u32>> = None;
        for (length, places) in lists {
            if found.is_some() && !is_worth(length, leaves.count()) {
                break;
            }
            let mut next = Vec::new();
            for place in places {
                let bytes = self.sections.read(Section::Grams(group), place)?;
                read_leaves(&bytes, &mut next).map_err(broken)?;
            }
            next.sort_unstable();
            next.dedup();
            found = Some(match found {
                None => next,
                Some(mut before) => {
                    before.retain(|leaf| next.binary_search(leaf).is_ok());
                    before
                }
            });
        }
        Ok(Box::new(found.unwrap_or_default().into_iter().map(usize_of_u32)))
    }

    /// Adds the messages in which a term stands in one of the classes, those of these or all.
    pub(crate) fn unite(
        &self,
        term: &TermPlace,
        (classes, among): (Classes, Option<&MessageSet>),
        out: &mut MessageSet,
    ) -> Result<(), ReadError> {
        self.each_class(term, classes, |list| {
            if let Some(among) = among {
                return list.each_message(among, |message| out.insert(message));
            }
            let mut postings = list.postings();
            while let Some(posting) = postings.next().map_err(broken)? {
                out.insert(posting.message);
            }
            Ok(())
        })
    }

    /// Hands a term's lists in some classes to `take`.
    pub(crate) fn each_class(
        &self,
        term: &TermPlace,
        classes: Classes,
        mut take: impl FnMut(&ClassList<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if !classes.meet(term.head) {
            return Ok(());
        }
        let bytes = self.sections.read(Section::Lists(term.group), term.lists.clone())?;
        let mut lists = Lists::new(term.head, &bytes).map_err(broken)?;
        while let Some(list) = lists.next().map_err(broken)? {
            if classes.contains(list.class) {
                take(&list)?;
            }
        }
        Ok(())
    }

    /// Reads a range of a term's positions.
    pub(crate) fn positions(
        &self,
        term: &TermPlace,
        range: std::ops::Range<usize>,
    ) -> Result<Bytes, ReadError> {
        let base = term.positions.start;
        let at = |offset: usize| base.saturating_add(u64_of(offset));
        let place = at(range.start)..at(range.end);
        if place.end > term.positions.end {
            return Err(broken("places end early"));
        }
        self.sections.read(Section::Positions(term.group), place)
    }

    /// The terms of one of its dictionaries in order, with their lists, for a merge.
    pub(crate) fn cursor(&self, group: Group) -> TermCursor<'_> {
        TermCursor { split: self, group, next_leaf: 0, terms: Vec::new().into_iter() }
    }
}

/// How far a leaf was gone through.
enum Visited {
    All,
    /// Up to terms beyond all that match.
    Beyond,
    /// Until nobody wanted more.
    Stopped,
}

fn visit_leaf(
    mut leaf: LeafReader<'_>,
    matcher: &Matcher<'_>,
    take: &mut impl FnMut(&[u8], &TermPlace) -> Visit,
) -> Result<Visited, ReadError> {
    while let Some((term, place)) = leaf.next().map_err(broken)? {
        if matcher.matches(term) {
            if take(term, place) == Visit::Stop {
                return Ok(Visited::Stopped);
            }
        } else if let Pattern::Exact(text) | Pattern::Prefix(text) = matcher.pattern
            && term > text.as_bytes()
        {
            return Ok(Visited::Beyond);
        }
    }
    Ok(Visited::All)
}

/// A leaf as it is stored.
struct Leaf {
    bytes: Bytes,
    /// Where its first lists and positions are.
    at: (u64, u64),
}

/// Whether a visit goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Visit {
    GoOn,
    Stop,
}

/// Goes through a split's terms.
pub(crate) struct TermCursor<'a> {
    split: &'a Split,
    group: Group,
    next_leaf: usize,
    terms: std::vec::IntoIter<(Vec<u8>, TermPlace)>,
}

impl TermCursor<'_> {
    /// The next term.
    pub(crate) fn next(&mut self) -> Result<Option<(Vec<u8>, TermPlace)>, ReadError> {
        loop {
            if let Some(term) = self.terms.next() {
                return Ok(Some(term));
            }
            let Some(Leaf { bytes, at }) = self.split.leaf(self.group, self.next_leaf)? else {
                return Ok(None);
            };
            self.next_leaf += 1;
            let mut reader = LeafReader::new(self.group, &bytes, at);
            let mut terms = Vec::new();
            while let Some((term, place)) = reader.next().map_err(broken)? {
                terms.push((term.to_vec(), place.clone()));
            }
            self.terms = terms.into_iter();
        }
    }
}
