//! What the index of an account says about one needle, message by message.
//!
//! ```text
//! splits ─ sure ─────► contains
//!        └ to be asked ┐
//! messages in none ────┴► ask      the text of the message decides
//! any other message   ─► lacks
//! ```

use crate::ids::BlobId;

/// What is known of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It contains what is sought.
    Contains,
    /// It does not.
    Lacks,
    /// Its text has to be asked.
    Ask,
}

/// The answer of an account's index to one needle, as of one moment.
///
/// It knows every message that was committed before it was asked for: look at a view first, and ask
/// then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextAnswer {
    /// Ascending; so is what is to be asked.
    contains: Vec<BlobId>,
    ask: Vec<BlobId>,
    others: Verdict,
}

impl TextAnswer {
    /// Of an account without an index: every message has to be asked.
    pub fn ask_all() -> TextAnswer {
        TextAnswer { contains: Vec::new(), ask: Vec::new(), others: Verdict::Ask }
    }

    /// Of an index: what contains the needle, and what has to be asked; others lack it.
    pub(crate) fn of(mut contains: Vec<BlobId>, mut ask: Vec<BlobId>) -> TextAnswer {
        for list in [&mut contains, &mut ask] {
            // Of each split they are in order: runs are merged.
            list.sort();
            list.dedup();
        }
        TextAnswer { contains, ask, others: Verdict::Lacks }
    }

    /// What is known of a message, by its blob.
    pub fn verdict(&self, blob: BlobId) -> Verdict {
        if self.contains.binary_search(&blob).is_ok() {
            Verdict::Contains
        } else if self.ask.binary_search(&blob).is_ok() {
            Verdict::Ask
        } else {
            self.others
        }
    }

    /// Whether messages that are not in [`TextAnswer::contains`] and [`TextAnswer::to_ask`] lack
    /// it.
    pub fn is_closed(&self) -> bool {
        self.others == Verdict::Lacks
    }

    /// Messages that contain it, ascending.
    pub fn contains(&self) -> &[BlobId] {
        &self.contains
    }

    /// Messages that contain it or may, ascending.
    pub fn candidates(&self) -> Vec<BlobId> {
        let mut all = [self.contains.as_slice(), self.ask.as_slice()].concat();
        all.sort_unstable();
        all
    }

    /// Messages that may, ascending.
    pub fn to_ask(&self) -> &[BlobId] {
        &self.ask
    }
}
