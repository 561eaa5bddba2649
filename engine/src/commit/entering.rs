//! Messages that are entering the log: chunks that went ahead of a record that may never come.
//!
//! ```text
//! first chunk ─► more chunks ─► the record names them: alive
//!                          └──► refused, given up, never written: dead, no record can name them
//! ```
//!
//! # Invariants
//! 1. A chunk that is here is named by no record yet; nothing at or above the first one is
//!    reclaimed.
//! 2. What leaves is either named by a record of the same batch or dead for good.

use std::collections::BTreeMap;

use crate::ids::Lsn;

/// Chunks by the first one of their message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entering {
    messages: BTreeMap<Lsn, Vec<Lsn>>,
}

impl Entering {
    /// First chunk of the oldest message.
    pub(crate) fn oldest(&self) -> Option<Lsn> {
        self.messages.keys().next().copied()
    }

    /// Another chunk of the message that began with `first`, or the first of one. Answers whether
    /// the message is still entering.
    pub(super) fn enter(&mut self, first: Option<Lsn>, chunk: Lsn) -> bool {
        match first {
            None => {
                self.messages.insert(chunk, vec![chunk]);
                true
            }
            Some(first) => {
                let message = self.messages.get_mut(&first);
                message.map(|chunks| chunks.push(chunk)).is_some()
            }
        }
    }

    /// Whether these are all chunks of a message that is still entering.
    pub(super) fn holds(&self, chunks: &[Lsn]) -> bool {
        chunks.first().and_then(|first| self.messages.get(first)).is_some_and(|own| own == chunks)
    }

    /// Nothing more of that message comes; answers its chunks.
    pub(super) fn end(&mut self, first: Lsn) -> Vec<Lsn> {
        self.messages.remove(&first).unwrap_or_default()
    }

    /// Ends the messages that ended in `later` too; answers their chunks.
    pub(super) fn end_as_in(&mut self, later: &Entering) -> Vec<Lsn> {
        let ended: Vec<Lsn> = self
            .messages
            .keys()
            .filter(|first| !later.messages.contains_key(first))
            .copied()
            .collect();
        ended.into_iter().flat_map(|first| self.end(first)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_told_with_all_its_chunks_and_only_once() {
        let at = |sequence| Lsn::new(1, sequence).unwrap();
        let mut entering = Entering::default();
        assert!(entering.enter(None, at(5)));
        assert!(entering.enter(None, at(6)));
        assert!(entering.enter(Some(at(5)), at(7)));
        assert_eq!(entering.oldest(), Some(at(5)));
        let before = entering.clone();
        assert_eq!(entering.end(at(5)), [at(5), at(7)]);
        assert_eq!(entering.end(at(5)), []);
        assert!(!entering.enter(Some(at(5)), at(8)), "it came too late");
        assert_eq!(entering.oldest(), Some(at(6)));
        let mut held_back = before;
        assert_eq!(held_back.end_as_in(&entering), [at(5), at(7)], "a batch that was not written");
    }
}
