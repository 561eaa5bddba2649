//! What a split has of a query: terms of its dictionaries that resemble the words, and their lists.
//!
//! | of a word | are looked for |
//! |--|--|
//! | the word, its accents, stems and errors | terms with its first letter: one range |
//! | with a wrong first letter | terms that end as it does, by their grams; two letters swapped |
//! | as a later part of a token | terms that contain it behind a joint, by their grams |
//!
//! Each of them is compared with the word (`word.rs`), so what is found is what a text would say.
//! Only text that people write is looked at, so the largest dictionary, that of tokens in other
//! header fields, is never read.
//!
//! # Bounds
//! Terms that are the word itself are all taken; of others [`FORMS_MAX`] of one word in a split,
//! the most alike first. So in a split where more words are alike, the least alike of them are not
//! found, in messages that have no other.

use super::super::leaf::TermPlace;
use super::super::needle::Found;
use super::super::phrase::Ways;
use super::super::set::MessageSet;
use super::super::split::{Pattern, Split, Visit};
use super::super::{Class, Classes, broken};
use super::language::{Language, Languages};
use super::score::{Statistics, Tallies, Tally};
use super::word::{JOINTS, Likeness, Resemblance, Word};
use super::words::Words;
use crate::error::ReadError;
use crate::ids::BlobId;
use crate::width::usize_of_u32;

/// Terms of one word, beside the word itself, that are looked for in a split.
const FORMS_MAX: usize = 1024;

/// What a split has of a query.
#[derive(Default)]
pub(crate) struct SplitRanks {
    /// Messages that have all words.
    pub(super) messages: Vec<(BlobId, Tallies)>,
}

/// A term that resembles a word.
struct Form {
    place: TermPlace,
    resemblance: Resemblance,
}

impl Split {
    /// Looks for messages that have all words, and counts who has which of them. Of words that are
    /// sought where the index knows too little it finds nothing: see [`Words::has_classes`].
    pub(crate) fn rank(
        &self,
        words: &Words,
        statistics: &mut Statistics,
    ) -> Result<SplitRanks, ReadError> {
        let Some(classes) = words.classes() else { return Ok(SplitRanks::default()) };
        let count = self.message_count();
        let (mut all, mut forms, mut having) = (MessageSet::full(count), Vec::new(), Vec::new());
        for word in &words.words {
            let mut with = MessageSet::empty(count);
            let of_word = self.forms_of(word, classes)?;
            self.unite_word(word, &of_word, classes, &mut with)?;
            having.push(u64::from(with.count()));
            all.intersect(&with);
            forms.push(of_word);
        }
        statistics.add(self.lengths(), &having);
        let mut ranks = SplitRanks::default();
        if all.is_empty() {
            return Ok(ranks);
        }
        let found: Vec<u32> = all.iter().collect();
        let mut tallies = vec![Vec::with_capacity(forms.len()); found.len()];
        for (word, forms) in words.words.iter().zip(&forms) {
            let mut of_word = vec![Tally::default(); found.len()];
            self.count_word(word, forms, classes, (&found, &mut of_word))?;
            for (of_message, tally) in tallies.iter_mut().zip(of_word) {
                of_message.push(tally);
            }
        }
        let phrase = self.side_by_side(&words.phrase, classes)?;
        for (message, words) in found.into_iter().zip(tallies) {
            let Some(blob) = self.blob(message) else { continue };
            let has_phrase = phrase.contains(message);
            let length = self.lengths().get(usize_of_u32(message)).copied().unwrap_or(0);
            ranks.messages.push((blob, Tallies { words, has_phrase, length }));
        }
        Ok(ranks)
    }

    fn language(&self, message: u32) -> Language {
        Language(self.languages().get(usize_of_u32(message)).copied().unwrap_or(0))
    }

    /// The terms that resemble a word.
    fn forms_of(&self, word: &Word, classes: Classes) -> Result<Vec<Form>, ReadError> {
        let mut found: Vec<Form> = Vec::new();
        if !word.run().is_empty() {
            return Ok(found);
        }
        let mut look = |pattern: Pattern<'_>, is_new: &dyn Fn(&str) -> bool| {
            self.each_term(pattern, classes, |term, place| {
                let term = std::str::from_utf8(term).unwrap_or_default();
                if is_new(term) && classes.meet(place.head) {
                    let resemblance = word.resemblance(term, Languages::ALL);
                    if resemblance.greatest().is_some() {
                        found.push(Form { place: place.clone(), resemblance });
                    }
                }
                Visit::GoOn
            })
        };
        let first = word.first_letter();
        let has_first = |term: &str| term.chars().next() == first;
        let mut letter = [0; 4];
        if let Some(first) = first {
            look(Pattern::Prefix(first.encode_utf8(&mut letter)), &|_| true)?;
        }
        if let Some(rest) = word.without_first() {
            look(Pattern::Suffix(rest), &|term| !has_first(term))?;
        }
        if let (Some(swapped), Some(rest)) = (word.swapped(), word.without_first()) {
            look(Pattern::Exact(&swapped), &|term| !has_first(term) && !term.ends_with(rest))?;
        }
        for (index, joint) in JOINTS.iter().enumerate() {
            let part = format!("{joint}{}", word.text());
            let others = JOINTS.get(..index).unwrap_or_default();
            let ends = word.without_first();
            look(Pattern::Inside(&part), &|term| {
                let before = |other: &char| term.contains(&format!("{other}{}", word.text()));
                !has_first(term)
                    && !ends.is_some_and(|rest| term.ends_with(rest))
                    && !others.iter().any(before)
            })?;
        }
        let (mut forms, others): (Vec<Form>, Vec<Form>) = found
            .into_iter()
            .partition(|form| form.resemblance.greatest() == Some(Likeness::Exact));
        let mut others = others;
        // Stable, so that of equals those stay that come first in the dictionaries.
        others.sort_by_key(|form| std::cmp::Reverse(form.resemblance.greatest()));
        others.truncate(FORMS_MAX);
        forms.append(&mut others);
        Ok(forms)
    }

    /// Adds the messages that have a word.
    fn unite_word(
        &self,
        word: &Word,
        forms: &[Form],
        classes: Classes,
        out: &mut MessageSet,
    ) -> Result<(), ReadError> {
        if !word.run().is_empty() {
            out.unite(&self.side_by_side(word.run(), classes)?);
        }
        for form in forms {
            self.each_class(&form.place, classes, |list| {
                let mut postings = list.postings();
                while let Some(posting) = postings.next().map_err(broken)? {
                    let language = self.language(posting.message);
                    if form.resemblance.within(language).is_some() {
                        out.insert(posting.message);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Adds up how much of a word these messages have, which ascend.
    fn count_word(
        &self,
        word: &Word,
        forms: &[Form],
        classes: Classes,
        (messages, tallies): (&[u32], &mut [Tally]),
    ) -> Result<(), ReadError> {
        if !word.run().is_empty() {
            for class in Class::ALL.into_iter().filter(|class| classes.contains(*class)) {
                let having = self.side_by_side(word.run(), Classes::only(class))?;
                for (message, tally) in messages.iter().zip(tallies.iter_mut()) {
                    if having.contains(*message) {
                        tally.add(class, 1, 1.0);
                    }
                }
            }
        }
        for form in forms {
            self.each_class(&form.place, classes, |list| {
                let mut wanted = messages.iter().zip(tallies.iter_mut()).peekable();
                let mut postings = list.postings();
                while let Some(posting) = postings.next().map_err(broken)? {
                    while wanted.next_if(|(message, _)| **message < posting.message).is_some() {}
                    let Some((_, tally)) =
                        wanted.next_if(|(message, _)| **message == posting.message)
                    else {
                        continue;
                    };
                    let likeness = form.resemblance.within(self.language(posting.message));
                    if let Some(likeness) = likeness {
                        tally.add(list.class, posting.count, likeness.weight());
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Messages where these tokens stand side by side in one of the classes; none for no tokens.
    fn side_by_side(&self, tokens: &[String], classes: Classes) -> Result<MessageSet, ReadError> {
        let mut found = Found::empty(self.message_count());
        if !tokens.is_empty() {
            self.find_ways(&Ways::of_whole(tokens), (classes, None), &mut found)?;
        }
        Ok(found.sure)
    }
}
