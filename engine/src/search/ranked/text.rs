//! What a text has of a query: the definition, and how messages are matched that are in no split.

use super::super::directory::length_code;
use super::super::texts::each_text;
use super::super::token::{Separator, Token, Tokens, cut};
use super::super::{Class, Scope};
use super::language::{Language, Languages};
use super::score::{Tallies, Tally};
use super::words::Words;
use crate::message::text::SearchText;

impl Words {
    /// What a message has of the words, if it has all of them.
    pub(crate) fn in_text(&self, text: &SearchText) -> Option<Tallies> {
        let mut found = Found::new(self, Some(Language::of(text)));
        let mut token_count = 0;
        let classes = self.classes();
        each_text(text, |class, text| {
            let is_sought = classes.is_some_and(|classes| classes.contains(class));
            token_count += found.look(class, text, is_sought);
        });
        if let (None, Scope::Header(name)) = (classes, &self.scope) {
            for value in text.field_texts(name) {
                found.look(Class::Header, value, true);
            }
        }
        found.finish(length_code(token_count))
    }
}

impl Words {
    /// Whether a message may have all words, as far as its header tells in which all of them are
    /// sought: in whatever language its text is.
    pub fn may_be_in_header(&self, header: &SearchText) -> bool {
        let Scope::Header(name) = &self.scope else { return true };
        let mut found = Found::new(self, None);
        for value in header.field_texts(name) {
            found.look(Class::of_field(name), value, true);
        }
        found.finish(0).is_some()
    }
}

/// What was found so far.
struct Found<'a> {
    words: &'a Words,
    /// That of the text, if it is known.
    language: Option<Language>,
    among: Languages,
    tallies: Vec<Tally>,
    runs: Vec<Sequence<'a>>,
    phrase: Sequence<'a>,
}

impl<'a> Found<'a> {
    fn new(words: &'a Words, language: Option<Language>) -> Found<'a> {
        let mut among = Languages::default();
        match language {
            Some(language) => among.insert(language.of_stems()),
            None => among = Languages::ALL,
        }
        Found {
            words,
            language,
            among,
            tallies: vec![Tally::default(); words.words.len()],
            runs: words.words.iter().map(|word| Sequence::new(word.run())).collect(),
            phrase: Sequence::new(&words.phrase),
        }
    }

    /// Looks at one text; answers how many tokens it has.
    fn look(&mut self, class: Class, text: &str, is_sought: bool) -> u64 {
        if !is_sought {
            return Tokens::of(text).fold(0, |count, _| count + 1);
        }
        self.runs.iter_mut().chain([&mut self.phrase]).for_each(Sequence::begin_text);
        let mut token_count = 0;
        for token in Tokens::of(text) {
            token_count += 1;
            let token = Token { text: cut(token.text).0, before: token.before };
            self.phrase.push(&token, class);
            let runs = self.runs.iter_mut().zip(&mut self.tallies).zip(&self.words.words);
            for ((run, tally), word) in runs {
                if run.is_some() {
                    if run.push(&token, class) {
                        tally.add(class, 1, 1.0);
                    }
                    continue;
                }
                let resemblance = word.resemblance(token.text, self.among);
                let likeness = match self.language {
                    Some(language) => resemblance.within(language),
                    None => resemblance.greatest(),
                };
                if let Some(likeness) = likeness {
                    tally.add(class, 1, likeness.weight());
                }
            }
        }
        token_count
    }

    fn finish(self, length: u8) -> Option<Tallies> {
        let has_phrase = self.phrase.classes != 0;
        let is_found = self.tallies.iter().all(Tally::is_found);
        is_found.then_some(Tallies { words: self.tallies, has_phrase, length })
    }
}

/// Tokens that are sought side by side.
struct Sequence<'a> {
    tokens: &'a [String],
    /// How many of them stand before the next token, each a way to go on.
    standing: Vec<usize>,
    /// Bits of the classes in which they stand.
    classes: u8,
}

impl<'a> Sequence<'a> {
    fn new(tokens: &'a [String]) -> Sequence<'a> {
        Sequence { tokens, standing: Vec::new(), classes: 0 }
    }

    fn is_some(&self) -> bool {
        !self.tokens.is_empty()
    }

    fn begin_text(&mut self) {
        self.standing.clear();
    }

    /// One more token; says whether they stand in this class, the first time.
    fn push(&mut self, token: &Token<'_>, class: Class) -> bool {
        if self.tokens.is_empty() {
            return false;
        }
        let is_usual = token.before == Separator::Usual;
        let tokens = self.tokens;
        let is_next = |at: usize| tokens.get(at).is_some_and(|next| next == token.text);
        self.standing.retain_mut(|at| {
            let goes_on = is_usual && is_next(*at);
            *at += 1;
            goes_on
        });
        if is_next(0) {
            self.standing.push(1);
        }
        let whole = self.standing.iter().position(|at| *at == tokens.len());
        let Some(whole) = whole else { return false };
        self.standing.remove(whole);
        let is_first = self.classes & class.bit() == 0;
        self.classes |= class.bit();
        is_first
    }
}
