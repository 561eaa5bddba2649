//! How well a message answers a query: BM25 over what resembles its words.
//!
//! ```text
//! of a word      amount  Σ boost of the class × weight of the likeness, of every place
//!                best    the greatest weight of a likeness
//! word's score   rarity × best × amount × (K1 + 1) ÷ (amount + K1 × (1 − B + B × length ÷ mean))
//! score          Σ of the words; × PHRASE if they stand side by side
//! rarity         ln(1 + (messages − those with the word + ½) ÷ (those with the word + ½))
//! ```
//!
//! `best` is there because an amount levels off: many errors of typing do not make up for a word.
//!
//! | class | boost |
//! |--|--|
//! | Subject | 4 |
//! | From | 2.5 |
//! | To, Cc, Bcc | 1.5 |
//! | body | 1 |

use super::super::Class;

const K1: f64 = 1.2;
const B: f64 = 0.5;
/// What the words count for if they stand side by side.
const PHRASE: f64 = 1.5;
/// Scores are told as whole numbers of so many parts.
const PARTS: f64 = 10_000.0;

/// A score: only that one is greater than another says something, and how much.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Score(pub u32);

impl Score {
    /// Both together: of two queries that a message answers.
    pub fn and(self, other: Score) -> Score {
        Score(self.0.saturating_add(other.0))
    }

    #[expect(clippy::as_conversions, reason = "saturates, which bounds a score and harms nobody")]
    fn of(score: f64) -> Score {
        Score((score * PARTS) as u32)
    }
}

/// What a class of text counts for.
pub(super) fn boost(class: Class) -> f64 {
    match class {
        Class::Subject => 4.0,
        Class::From => 2.5,
        Class::To | Class::Cc | Class::Bcc => 1.5,
        Class::Body | Class::Header => 1.0,
    }
}

/// How much a message has of one word.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Tally {
    pub(super) amount: f64,
    pub(super) best: f64,
}

impl Tally {
    /// It stands at so many places of a class, as something of this weight.
    pub(super) fn add(&mut self, class: Class, count: u32, weight: f64) {
        self.amount += boost(class) * weight * f64::from(count);
        self.best = self.best.max(weight);
    }

    pub(super) fn is_found(&self) -> bool {
        self.best > 0.0
    }
}

/// What a message has of a query.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Tallies {
    /// By word.
    pub(super) words: Vec<Tally>,
    /// Whether the words stand side by side.
    pub(super) has_phrase: bool,
    /// The code of the message's length.
    pub(super) length: u8,
}

/// What scores compare a message with: the indexed messages of its account.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Statistics {
    pub(super) message_count: u64,
    /// How many messages have each word.
    pub(super) having: Vec<u64>,
    /// Tokens of all messages together.
    pub(super) token_count: f64,
}

impl Statistics {
    /// Adds messages to what is known.
    pub(super) fn add(&mut self, lengths: &[u8], having: &[u64]) {
        self.message_count += crate::width::u64_of(lengths.len());
        self.token_count += lengths.iter().map(|code| length_of(*code)).sum::<f64>();
        self.having.resize(self.having.len().max(having.len()), 0);
        for (sum, one) in self.having.iter_mut().zip(having) {
            *sum += one;
        }
    }

    /// How well a message answers the query.
    pub(crate) fn score(&self, tallies: &Tallies) -> Score {
        let mean = if self.message_count == 0 {
            length_of(tallies.length)
        } else {
            self.token_count / float(self.message_count)
        };
        let length = length_of(tallies.length) / mean.max(1.0);
        let words = tallies.words.iter().enumerate().map(|(word, tally)| {
            let levelled = tally.amount * (K1 + 1.0) / (tally.amount + K1 * (1.0 - B + B * length));
            self.rarity(word) * tally.best * levelled
        });
        let sum: f64 = words.sum();
        Score::of(if tallies.has_phrase { sum * PHRASE } else { sum })
    }

    /// How much a word says: the fewer messages have it, the more.
    fn rarity(&self, word: usize) -> f64 {
        if self.message_count == 0 {
            return 1.0;
        }
        let having = self.having.get(word).copied().unwrap_or(0).min(self.message_count);
        let others = float(self.message_count - having);
        (1.0 + (others + 0.5) / (float(having) + 0.5)).ln()
    }
}

/// Tokens of a message with this code of its length (`directory.rs`).
fn length_of(code: u8) -> f64 {
    2f64.powf(f64::from(code) / 2.0)
}

#[expect(clippy::as_conversions, reason = "what is lost of a count beyond 2^53 orders nothing")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tallies(places: &[(Class, u32, f64)], has_phrase: bool, length: u8) -> Tallies {
        let tally = |(class, count, weight): &(Class, u32, f64)| {
            let mut tally = Tally::default();
            tally.add(*class, *count, *weight);
            tally
        };
        Tallies { words: places.iter().map(tally).collect(), has_phrase, length }
    }

    #[test]
    fn what_people_would_read_first_has_the_higher_score() {
        let mut statistics = Statistics::default();
        statistics.add(&[12; 1000], &[10, 500]);
        let body = |count, weight| (Class::Body, count, weight);
        let (rare, common) = ([body(1, 1.0), body(1, 0.2)], [body(1, 0.2), body(1, 1.0)]);
        let table: [(Tallies, Tallies, &str); 6] = [
            (
                tallies(&[(Class::Subject, 1, 1.0)], false, 12),
                tallies(&[body(2, 1.0)], false, 12),
                "a subject is about it",
            ),
            (
                tallies(&[body(1, 1.0)], false, 12),
                tallies(&[body(50, 0.35)], false, 12),
                "many errors are no word",
            ),
            (tallies(&[body(2, 1.0)], false, 12), tallies(&[body(1, 1.0)], false, 12), "more"),
            (tallies(&[body(1, 1.0)], false, 8), tallies(&[body(1, 1.0)], false, 16), "shorter"),
            (tallies(&rare, false, 12), tallies(&common, false, 12), "a rare word says more"),
            (tallies(&common, true, 12), tallies(&common, false, 12), "side by side"),
        ];
        for (better, worse, reason) in table {
            assert!(statistics.score(&better) > statistics.score(&worse), "{reason}");
            assert!(statistics.score(&worse) > Score(0), "{reason}");
        }
    }
}
