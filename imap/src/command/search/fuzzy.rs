//! FUZZY (RFC 6203): texts that have the words looked for, give or take some typing errors.
//!
//! | letters of a word | errors that are forgiven |
//! |--|--|
//! | up to 3 | 0 |
//! | 4 to 7 | 1 |
//! | 8 and more | 2 |
//!
//! An error is a letter too many, too few or wrong, or two neighbours in the wrong order. Every
//! word must be found, in whatever order and place. Keys that are no texts match as they do without
//! FUZZY, which RFC 6203 section 5 leaves to the server.
//!
//! RELEVANCY is 100 where the text stands as given, 90 where all its words do, and falls from there
//! to 10 with the errors that were forgiven. It says nothing of how much a message is about it.

use engine::message::text::fold;

use super::candidate::RELEVANCY_MAX;

/// Words of one key that are looked for.
const WORDS_MAX: usize = 16;
/// Letters of a word that are compared.
const LETTERS_MAX: usize = 64;
/// Bytes of one message's text that are looked at word by word: beyond it errors are not forgiven.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// RELEVANCY where all words stand as given, but not the whole text.
const ALL_WORDS: usize = 90;
/// How much of it is lost if every error that is forgiven was made.
const ERRORS_COST: usize = 80;

/// The words that are looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fuzzy {
    /// The whole text, folded.
    folded: String,
    words: Vec<Word>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Word {
    letters: Vec<char>,
    errors_max: usize,
}

impl Fuzzy {
    /// Of a text as the client gave it.
    pub(super) fn new(text: &str) -> Fuzzy {
        let folded = fold(text);
        let words = words_of(&folded).take(WORDS_MAX).map(Word::new).collect();
        Fuzzy { folded, words }
    }

    /// How well these folded texts together have the words, if they have all.
    pub(super) fn relevancy<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Option<u8> {
        let mut errors: Vec<Option<usize>> = vec![None; self.words.len()];
        let mut bytes_left = TEXT_BYTES_MAX;
        let mut seen_any = false;
        for text in texts {
            seen_any = true;
            if text.contains(&self.folded) {
                return Some(RELEVANCY_MAX);
            }
            let looked_at = text.get(..bytes_left).unwrap_or(text);
            bytes_left = bytes_left.saturating_sub(looked_at.len());
            for found in words_of(looked_at) {
                for (word, best) in self.words.iter().zip(&mut errors) {
                    if *best != Some(0) {
                        *best = lower(*best, word.errors_in(found));
                    }
                }
            }
        }
        if self.words.is_empty() || !seen_any {
            return None;
        }
        let made: usize = errors.into_iter().sum::<Option<usize>>()?;
        let forgiven: usize = self.words.iter().map(|word| word.errors_max).sum();
        let lost = (ERRORS_COST * made).checked_div(forgiven).unwrap_or(0);
        u8::try_from(ALL_WORDS.saturating_sub(lost)).ok()
    }
}

fn lower(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

impl Word {
    fn new(word: &str) -> Word {
        let letters: Vec<char> = word.chars().take(LETTERS_MAX).collect();
        let errors_max = match letters.len() {
            0..=3 => 0,
            4..=7 => 1,
            _ => 2,
        };
        Word { letters, errors_max }
    }

    /// The errors in a word that was found, if they are forgiven.
    fn errors_in(&self, found: &str) -> Option<usize> {
        // Every letter has one byte at least and four at most.
        let most = self.letters.len() + self.errors_max;
        if found.len() > most * 4 || found.len() + self.errors_max < self.letters.len() {
            return None;
        }
        let found: Vec<char> = found.chars().take(most + 1).collect();
        if found.len().abs_diff(self.letters.len()) > self.errors_max {
            return None;
        }
        let errors = distance(&self.letters, &found);
        (errors <= self.errors_max).then_some(errors)
    }
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

    #[test]
    fn typing_errors_are_forgiven_within_bounds() {
        for (wanted, text, expected, reason) in [
            ("harbour", "the harbour master", Some(100), "as it stands"),
            ("master harbour", "the harbour master", Some(90), "the words, elsewhere"),
            ("harbor", "the harbour master", Some(10), "one letter too few, one forgiven"),
            ("hrabour", "the harbour master", Some(10), "neighbours changed places"),
            ("hrbuor", "the harbour master", None, "two errors"),
            ("the", "thy harbour", None, "short words are exact"),
            ("harbourmastre", "harbourmaster", Some(50), "one of two forgiven"),
            ("harbour pilot", "the harbour master", None, "a word is missing"),
            ("grüsse", "GRÜSSE", Some(100), "folded"),
            ("!", "nothing to look for", None, "no word"),
        ] {
            let folded = fold(text);
            assert_eq!(
                Fuzzy::new(wanted).relevancy([folded.as_str()].into_iter()),
                expected,
                "{reason}"
            );
        }
        assert_eq!(Fuzzy::new("").relevancy(std::iter::empty()), None, "there is no such field");
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
    }
}
