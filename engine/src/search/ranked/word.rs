//! A word that is sought, and what resembles it: the definition by which splits and texts match.
//!
//! | a token, or the part of it before the first `.`, `-`, `_` or `@`, is | likeness | weight |
//! |--|--|--|
//! | the word; also where it is a later part of a token | exact | 1 |
//! | the word, but for accents | accent | 0.9 |
//! | of the same stem in the message's language, and begins as the stem does | stem | 0.7 |
//! | the word with one typing error, if it has four letters or more | one error | 0.35 |
//! | the word with two, if it has eight or more | two errors | 0.2 |
//!
//! An error is a letter too many, too few or wrong, or two neighbours in the wrong order; accents
//! are no errors. With errors the first letter is right, or is all that is wrong of a whole token.
//!
//! A word in a script without blanks has as many tokens as letters: these stand side by side, and
//! nothing is forgiven.

use snowball_stemmers_rs::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;

use super::super::token::is_wide_token;
use super::language::{Language, Languages};

/// Letters of a word of which anything is forgiven.
const LETTERS_MAX: usize = 64;

/// How much like the word that is sought something is: the more, the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Likeness {
    TwoErrors,
    OneError,
    Stem,
    Accent,
    Exact,
}

impl Likeness {
    /// What it counts for.
    pub(crate) fn weight(self) -> f64 {
        match self {
            Likeness::Exact => 1.0,
            Likeness::Accent => 0.9,
            Likeness::Stem => 0.7,
            Likeness::OneError => 0.35,
            Likeness::TwoErrors => 0.2,
        }
    }
}

/// How a token resembles a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Resemblance {
    /// In messages of any language.
    anywhere: Option<Likeness>,
    /// In messages of these it has the same stem.
    stems: Languages,
}

impl Resemblance {
    /// In a message of this language.
    pub(crate) fn within(&self, language: Language) -> Option<Likeness> {
        let stem = self.stems.contains(language.of_stems()).then_some(Likeness::Stem);
        self.anywhere.max(stem)
    }

    /// In messages of the language where it is the greatest.
    pub(crate) fn greatest(&self) -> Option<Likeness> {
        let stem = (!self.stems.is_empty()).then_some(Likeness::Stem);
        self.anywhere.max(stem)
    }
}

/// A word that is sought.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Word {
    /// Folded.
    text: String,
    /// Its tokens, where they are several.
    run: Vec<String>,
    /// Its letters without accents.
    bare: Vec<char>,
    errors_max: usize,
    stems: Vec<Stem>,
}

/// What a word's stem is in a language.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Stem {
    language: Language,
    stem: String,
    /// What words of this stem begin with.
    root: Vec<char>,
}

/// Parts of a token, as joints divide it.
pub(crate) fn pieces(token: &str) -> impl Iterator<Item = &str> {
    token.split(JOINTS)
}

/// What joins parts to a token (`token.rs`).
pub(crate) const JOINTS: [char; 4] = ['_', '.', '-', '@'];

impl Word {
    /// Of a part of a token.
    pub(crate) fn new(text: &str) -> Word {
        let begins_bare = letters(text).next() == text.chars().next();
        let is_long = text.chars().nth(LETTERS_MAX).is_some();
        let is_bounded = begins_bare && !is_long && !is_wide_token(text);
        // So the first letter is the word's, whatever it begins with.
        let bare: Vec<char> =
            if begins_bare { letters(text).collect() } else { text.chars().collect() };
        let errors_max = match bare.len() {
            _ if !is_bounded => 0,
            0..=3 => 0,
            4..=7 => 1,
            _ => 2,
        };
        let languages = Language::all().filter(|_| is_bounded);
        let stems = languages.filter_map(|language| Stem::of(text, &bare, language)).collect();
        Word { text: text.to_owned(), run: Vec::new(), bare, errors_max, stems }
    }

    /// Of tokens that stand side by side.
    pub(crate) fn of_run(run: Vec<String>) -> Word {
        let text = run.concat();
        Word { text, run, bare: Vec::new(), errors_max: 0, stems: Vec::new() }
    }

    /// Its tokens, if they are several.
    pub(crate) fn run(&self) -> &[String] {
        &self.run
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What every token begins with whose first part resembles it, unless its first letter is
    /// wrong.
    pub(crate) fn first_letter(&self) -> Option<char> {
        self.bare.first().copied()
    }

    /// Without its first letter, where that may be wrong.
    pub(crate) fn without_first(&self) -> Option<&str> {
        let mut letters = self.text.chars();
        letters.next();
        (self.errors_max > 0).then_some(letters.as_str())
    }

    /// With its first two letters in the wrong order, where that is forgiven.
    pub(crate) fn swapped(&self) -> Option<String> {
        let mut letters = self.text.chars();
        let (first, second) = (letters.next()?, letters.next()?);
        (self.errors_max > 0).then(|| [second, first].into_iter().chain(letters).collect())
    }

    /// How a token resembles it, where stems count in messages of these languages.
    pub(crate) fn resemblance(&self, token: &str, among: Languages) -> Resemblance {
        let mut found = Resemblance::default();
        if !self.run.is_empty() {
            return found;
        }
        for (index, piece) in pieces(token).enumerate() {
            if piece == self.text {
                found.anywhere = Some(Likeness::Exact);
                return found;
            }
            if index == 0 {
                self.compare(piece, among, &mut found);
            }
        }
        let is_whole = !token.contains(JOINTS);
        if found.anywhere.is_none() && is_whole && self.is_but_for_first(token) {
            found.anywhere = Some(Likeness::OneError);
        }
        found
    }

    /// Compares a token's first part with it.
    fn compare(&self, piece: &str, among: Languages, found: &mut Resemblance) {
        let begins = piece.chars().next() == self.first_letter();
        if !begins || piece.len() > LETTERS_MAX * 4 {
            return;
        }
        let bare: Vec<char> = letters(piece).collect();
        if bare == self.bare {
            found.anywhere = Some(Likeness::Accent);
            return;
        }
        for stem in self.stems.iter().filter(|stem| among.contains(stem.language)) {
            if bare.starts_with(&stem.root) && stem_of(piece, stem.language) == stem.stem {
                found.stems.insert(stem.language);
            }
        }
        if bare.len().abs_diff(self.bare.len()) <= self.errors_max {
            found.anywhere = match distance(&self.bare, &bare) {
                1 if self.errors_max >= 1 => Some(Likeness::OneError),
                2 if self.errors_max >= 2 => Some(Likeness::TwoErrors),
                _ => None,
            };
        }
    }

    /// Whether a token is the word with its first letter missing, doubled by another, wrong, or
    /// behind its second.
    fn is_but_for_first(&self, token: &str) -> bool {
        let Some(rest) = self.without_first() else { return false };
        let mut letters = token.chars();
        letters.next();
        let behind = letters.as_str();
        token == rest
            || behind == rest
            || behind == self.text
            || self.swapped().is_some_and(|swapped| swapped == token)
    }
}

impl Stem {
    fn of(text: &str, bare: &[char], language: Language) -> Option<Stem> {
        let stem = stem_of(text, language);
        let decomposed = decomposed(&stem);
        let both = bare.iter().zip(letters(&decomposed));
        let common = both.take_while(|(one, other)| *one == other).count();
        // The last letter of what they have in common may be another in other words.
        let kept = if common >= 3 { common - 1 } else { common };
        let root = bare.get(..kept).filter(|root| !root.is_empty())?.to_vec();
        Some(Stem { language, stem, root })
    }
}

/// Letters without accents.
fn letters(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|letter| !matches!(letter, '\u{300}'..='\u{36F}'))
}

fn decomposed(text: &str) -> String {
    text.nfd().collect()
}

/// The stem of a folded word, which is decomposed, while stemmers know composed letters.
fn stem_of(word: &str, language: Language) -> String {
    let Some(algorithm) = algorithm(language) else { return word.to_owned() };
    let composed: String = if word.is_ascii() { word.to_owned() } else { word.nfc().collect() };
    Stemmer::create(algorithm).stem(&composed).into_owned()
}

fn algorithm(language: Language) -> Option<Algorithm> {
    Some(match language {
        Language::ENGLISH => Algorithm::English,
        Language::GERMAN => Algorithm::German,
        Language::FRENCH => Algorithm::French,
        Language::SPANISH => Algorithm::Spanish,
        Language::ITALIAN => Algorithm::Italian,
        Language::PORTUGUESE => Algorithm::Portuguese,
        Language::DUTCH => Algorithm::Dutch,
        Language::DANISH => Algorithm::Danish,
        Language::NORWEGIAN => Algorithm::Norwegian,
        Language::SWEDISH => Algorithm::Swedish,
        Language::FINNISH => Algorithm::Finnish,
        Language::HUNGARIAN => Algorithm::Hungarian,
        Language::ROMANIAN => Algorithm::Romanian,
        Language::TURKISH => Algorithm::Turkish,
        Language::POLISH => Algorithm::Polish,
        Language::CZECH => Algorithm::Czech,
        Language::RUSSIAN => Algorithm::Russian,
        Language::UKRAINIAN => Algorithm::Ukrainian,
        Language::GREEK => Algorithm::Greek,
        Language::ARABIC => Algorithm::Arabic,
        _ => return None,
    })
}

/// The least number of errors that make one word of the other.
fn distance(a: &[char], b: &[char]) -> usize {
    // Rows of the usual table: two before, one before, and this one.
    let mut rows = [Vec::new(), Vec::new(), (0..=b.len()).collect::<Vec<usize>>()];
    let mut before_a = None;
    for (index, letter) in a.iter().enumerate() {
        rows.rotate_left(1);
        let [older, old, new] = &mut rows;
        new.clear();
        new.push(index + 1);
        for (at, other) in b.iter().enumerate() {
            let cell = |row: &Vec<usize>, at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let left = new.last().copied().unwrap_or(0);
            let wrong = cell(old, at) + usize::from(letter != other);
            let mut best = wrong.min(left + 1).min(cell(old, at + 1) + 1);
            let neighbour = at.checked_sub(1).and_then(|before| b.get(before));
            if before_a == Some(other) && neighbour == Some(letter) {
                best = best.min(cell(older, at - 1) + 1);
            }
            new.push(best);
        }
        before_a = Some(letter);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::text::fold;

    #[test]
    fn what_resembles_a_word_is_forgiven_within_bounds() {
        use Likeness::*;
        let (en, de) = (Language::ENGLISH, Language::GERMAN);
        let table = [
            ("harbour", "harbour", en, Some(Exact), "as it stands"),
            ("harbour", "old-harbour", en, Some(Exact), "a later part of a token"),
            ("ann", "ann@example.org", en, Some(Exact), "of an address"),
            ("cafe", "café", en, Some(Accent), "but for an accent"),
            ("harbour", "harbours", en, Some(Stem), "of the same stem"),
            ("invoices", "invoicing", en, Some(Stem), "of the same stem"),
            ("häuser", "haus", de, Some(Stem), "where the stem lost its accent"),
            ("haus", "häuser", de, Some(Stem), "and the other way round"),
            ("häuser", "haus", en, None, "in another language it is another word"),
            ("harbour", "harbour-masters", en, Some(Exact), "the first part"),
            ("master", "harbour-masters", en, None, "later parts are exact"),
            ("harbor", "harbour", en, Some(OneError), "a letter too few"),
            ("harbour", "hrabour", en, Some(OneError), "neighbours changed places"),
            ("harbour", "hrbuor", en, None, "two errors"),
            ("harbourmastre", "harbuormaster", en, Some(TwoErrors), "two of a long word"),
            ("the", "thy", en, None, "short words are exact"),
            ("harbour", "jarbour", en, Some(OneError), "the first letter is wrong"),
            ("harbour", "arbour", en, Some(OneError), "is missing"),
            ("harbour", "ahrbour", en, Some(OneError), "comes second"),
            ("harbour", "sharbour", en, Some(OneError), "is not the first"),
            ("harbour", "jarbour-master", en, None, "but in whole tokens alone"),
            ("harbourmaster", "jarburmaster", en, None, "and with no other error"),
            ("grüsse", "GRÜSSE", en, Some(Exact), "folded"),
            ("京", "東", en, None, "a letter is not another"),
        ];
        for (wanted, token, language, expected, reason) in table {
            let (wanted, token) = (fold(wanted), fold(token));
            let found = Word::new(&wanted).resemblance(&token, Languages::ALL).within(language);
            assert_eq!(found, expected, "{reason}: {wanted} in {token}");
        }
    }

    fn odd() -> impl proptest::strategy::Strategy<Value = String> {
        "[a-fäöüßéøåıłаежийєіαςσάبتي\u{301}\u{308}\u{64B}'0-2東]{0,12}"
    }

    proptest::proptest! {
        #[test]
        fn a_distance_is_one(a in "[abc]{0,8}", b in "[abc]{0,8}") {
            let letters = |text: &str| text.chars().collect::<Vec<char>>();
            let (one, other) = (letters(&a), letters(&b));
            let found = distance(&one, &other);
            proptest::prop_assert_eq!(found, distance(&other, &one));
            proptest::prop_assert_eq!(found == 0, a == b);
            proptest::prop_assert!(found <= one.len().max(other.len()));
            proptest::prop_assert!(found >= one.len().abs_diff(other.len()));
        }

        /// Senders choose the words of a dictionary, and its stemmers are not ours.
        #[test]
        fn any_letters_are_compared(word in odd(), token in odd()) {
            let (word, token) = (fold(&word), fold(&token));
            let found = Word::new(&word).resemblance(&token, Languages::ALL);
            proptest::prop_assert_eq!(
                found.greatest() == Some(Likeness::Exact),
                pieces(&token).any(|piece| piece == word)
            );
        }
    }
}
