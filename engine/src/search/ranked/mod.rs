//! Ranked search: messages that have all words of a query, give or take, the best first.
//!
//! ```text
//! query ─ words.rs ─► words, a phrase          word.rs: what resembles a word (the definition)
//!            │
//!            ├─ split.rs ─► terms of the dictionaries that resemble ─► messages, how much of what
//!            └─ text.rs ──► tokens of a text that resemble ──────────► the same of one message
//!                                                                          │
//! score.rs: how well that is, beside all others of the account ◄───────────┘
//! snippet.rs: where in a text it stands, to be shown
//! ```
//!
//! # Invariants
//! 1. What a split says of a message is what its text says (`text.rs`), but for the bound on forms
//!    in `split.rs`: compared with the corpus in `engine/tests/ranked_corpus.rs`.
//! 2. A message is found if it has every word; scores only order what is found.

mod answer;
mod language;
mod score;
mod snippet;
mod split;
mod text;
mod word;
mod words;

pub use answer::{RankedAnswer, RankedVerdict};
pub(crate) use language::{LANGUAGE_VERSION, Language};
pub use score::{Score, Statistics};
pub use snippet::{Segment, marked, snippet};
pub(crate) use split::SplitRanks;
pub use words::Words;
