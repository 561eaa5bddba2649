//! What the index of an account says about the words of a query, message by message.
//!
//! As in [`TextAnswer`](super::super::TextAnswer), messages that are in no split have to be asked;
//! what they have is scored beside what the splits have.

use super::score::{Score, Statistics};
use super::split::SplitRanks;
use super::words::Words;
use crate::ids::BlobId;
use crate::message::text::SearchText;

/// What is known of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RankedVerdict {
    /// It has all words, this well.
    Has(Score),
    /// It lacks one.
    Lacks,
    /// Its text has to be asked.
    Ask,
}

/// The answer of an account's index to one query, as of one moment.
///
/// It knows every message that was committed before it was asked for: look at a view first, and ask
/// then.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RankedAnswer {
    /// By blob, ascending.
    scores: Vec<(BlobId, Score)>,
    /// Ascending.
    ask: Vec<BlobId>,
    is_closed: bool,
    statistics: Statistics,
}

impl RankedAnswer {
    /// Where no index says anything: every message has to be asked.
    pub fn ask_all() -> RankedAnswer {
        RankedAnswer::default()
    }

    /// Of splits, and of what is in none.
    pub(crate) fn of(
        ranks: Vec<SplitRanks>,
        mut ask: Vec<BlobId>,
        statistics: Statistics,
    ) -> RankedAnswer {
        let all = ranks.into_iter().flat_map(|ranks| ranks.messages);
        let mut scores: Vec<(BlobId, Score)> =
            all.map(|(blob, tallies)| (blob, statistics.score(&tallies))).collect();
        scores.sort_unstable();
        scores.dedup_by_key(|(blob, _)| *blob);
        ask.sort_unstable();
        RankedAnswer { scores, ask, is_closed: true, statistics }
    }

    /// What is known of a message, by its blob.
    pub fn verdict(&self, blob: BlobId) -> RankedVerdict {
        if let Ok(place) = self.scores.binary_search_by_key(&blob, |(blob, _)| *blob) {
            let score = self.scores.get(place).map(|(_, score)| *score);
            return RankedVerdict::Has(score.unwrap_or_default());
        }
        match self.is_closed && self.ask.binary_search(&blob).is_err() {
            true => RankedVerdict::Lacks,
            false => RankedVerdict::Ask,
        }
    }

    /// Whether messages that are not in [`RankedAnswer::candidates`] lack a word.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// How many messages have all words for sure, and how many have to be asked.
    pub fn counts(&self) -> (usize, usize) {
        (self.scores.len(), self.ask.len())
    }

    /// Messages that have all words or may, ascending.
    pub fn candidates(&self) -> Vec<BlobId> {
        let sure = self.scores.iter().map(|(blob, _)| *blob);
        let mut all: Vec<BlobId> = sure.chain(self.ask.iter().copied()).collect();
        all.sort_unstable();
        all
    }

    /// What messages are compared with that have to be asked.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }
}

impl Words {
    /// How well a message has all words, if it has; beside what the index knows.
    pub fn score(&self, text: &SearchText, statistics: &Statistics) -> Option<Score> {
        self.in_text(text).map(|tallies| statistics.score(&tallies))
    }
}
