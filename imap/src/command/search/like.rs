//! FUZZY (RFC 6203): texts that have the words looked for, give or take, and how well they do.
//!
//! What resembles a word, and how well a message has all of them, is the engine's ranked search:
//! words of the same stem in the message's language, accents, typing errors. Every word must be
//! found, in whatever order and place. TEXT within FUZZY means what people write: addresses,
//! subject and body, and not what programs put into headers. A text without a word in it is sought
//! as without FUZZY; so are keys that are no texts, which RFC 6203 section 5 leaves to the server.
//!
//! RELEVANCY is 100 for the best message that is told, and for the others what their score is of
//! its. A message that no FUZZY key has judged has 100. Of several FUZZY keys that must all hold
//! the scores add up; of those of which one must hold the first that does counts.

use std::sync::OnceLock;

use engine::search::{Scope, Score, Statistics, Words};

/// The best RELEVANCY.
const RELEVANCY_MAX: u8 = 100;

/// The words that are looked for, and what messages that have them are compared with.
#[derive(Debug)]
pub(super) struct Like {
    words: Words,
    /// As the index told at first: so what is found later is compared with the same.
    statistics: OnceLock<Statistics>,
}

impl Like {
    /// Of a text as the client gave it, if there is a word in it.
    pub(super) fn new(text: &str, scope: Scope) -> Option<Like> {
        Words::new(text, scope).map(|words| Like { words, statistics: OnceLock::new() })
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// Messages are compared with these, unless that was said before.
    pub(super) fn compare_with(&self, statistics: &Statistics) {
        self.statistics.get_or_init(|| statistics.clone());
    }

    /// What messages are compared with.
    pub(super) fn statistics(&self) -> Statistics {
        self.statistics.get().cloned().unwrap_or_default()
    }
}

/// RELEVANCY of messages with these scores; of those that have none, too.
pub(crate) fn relevancies(scores: &[Option<Score>]) -> Vec<u8> {
    let best = scores.iter().flatten().max().map_or(0, |best| u64::from(best.0)).max(1);
    let hundredths = |score: Score| {
        let hundredths = (u64::from(score.0) * u64::from(RELEVANCY_MAX) + best / 2) / best;
        u8::try_from(hundredths).unwrap_or(RELEVANCY_MAX).clamp(1, RELEVANCY_MAX)
    };
    scores.iter().map(|score| score.map_or(RELEVANCY_MAX, hundredths)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevancy_is_told_beside_the_best() {
        let table = [
            (vec![Some(50_000), Some(25_000), Some(1)], vec![100, 50, 1], "parts of the best"),
            (vec![Some(7)], vec![100], "the best is 100, however good it is"),
            (vec![None, Some(3), None], vec![100, 100, 100], "what no key has judged"),
            (vec![], vec![], "nothing"),
        ];
        for (scores, expected, reason) in table {
            let scores: Vec<Option<Score>> = scores.into_iter().map(|one| one.map(Score)).collect();
            assert_eq!(relevancies(&scores), expected, "{reason}");
        }
    }
}
