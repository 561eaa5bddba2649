//! The full-text index: which messages contain a text, exactly and without opening them.
//!
//! ```text
//! message ─ message/text.rs ─► texts ─ token.rs ─► tokens ─ builder.rs ─┐
//!                                                                       ▼
//!   split   messages │ dictionary of tokens │ grams of tokens │ lists │ positions     writer.rs
//!              ▲      texts of documents (documents.rs)                 │
//!              └── merge.rs: several become one, without the dead       ▼
//! needle ─ needle.rs, phrase.rs ─► terms with its parts ── split.rs ─► messages: sure, or to ask
//! words  ─ ranked/ ─────────────► tokens that resemble it ─ split.rs ─► messages, and how well
//! ```
//!
//! Where splits lie and how they come to be:
//!
//! ```text
//! feed (state/index_feed.rs) ─► index.rs: splits and tail of every account ─► store/search.rs
//!                                  ▲
//!   indexer.rs: tail ─► split ─────┤      open_split.rs ─ file.rs ─ seal/index_file.rs
//!               splits ─► one ─────┘                     folder.rs, block_cache.rs
//! ```
//!
//! A **split** is an immutable index of some messages of one account; an account has a handful, and
//! messages that stand in none are read. What is sought is a substring (RFC 9051 section 6.4.4), of
//! text that [`fold`](crate::message::text::fold) made ready: a needle within one token is in all
//! tokens of the dictionary that contain it, which grams find; one that spans tokens begins with
//! the end of one, goes on with whole ones and ends with the beginning of one, next to each other.
//!
//! # Invariants
//! 1. No message is missed: whatever a split cannot decide, it names as to be asked, and the text
//!    of the message decides (`needle.rs`).
//! 2. What is sure is what the text of the message would say, [`SearchText`].
//! 3. A split tells messages by their blobs, which never change: flags, copies, moves and expunges
//!    do not concern it.
//!
//! [`SearchText`]: crate::message::text::SearchText

mod answer;
mod block;
mod block_cache;
mod builder;
mod directory;
mod documents;
mod file;
mod folder;
pub(crate) mod fuzzing;
mod grams;
mod index;
mod indexer;
mod leaf;
mod lists;
mod living;
mod merge;
mod needle;
mod open_slots;
mod open_split;
mod phrase;
mod ranked;
mod set;
mod split;
mod texts;
mod token;
mod writer;

#[cfg(test)]
mod tests;

use crate::encoding::Broken;
use crate::error::ReadError;

pub use crate::message::documents::Document;
pub use answer::{TextAnswer, Verdict};
pub(crate) use documents::{DocumentText, Documents, wants_another_try};
pub use documents::{Extracted, Extractor, Flaw};
pub(crate) use folder::IndexFolder;
pub(crate) use index::Index;
pub use index::IndexFigures;
pub(crate) use indexer::{Indexer, IndexerFigures, IndexerSetup, IndexerStep, Mail};
pub use needle::{Needle, Scope};
pub(crate) use open_split::OpenSplit;
pub use ranked::{RankedAnswer, RankedVerdict, Score, Segment, Statistics, Words, marked, snippet};

/// Stored bytes of the index break a rule.
fn broken(why: Broken) -> ReadError {
    ReadError::Undecodable { what: "split of the index", why }
}

/// Which text of a message it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Class {
    Body,
    /// Fields of the header that have no class of their own, and those of parts.
    Header,
    From,
    To,
    Cc,
    Bcc,
    Subject,
}

impl Class {
    const ALL: [Class; 7] =
        [Class::Body, Class::Header, Class::From, Class::To, Class::Cc, Class::Bcc, Class::Subject];

    const fn number(self) -> u8 {
        match self {
            Class::Body => 0,
            Class::Header => 1,
            Class::From => 2,
            Class::To => 3,
            Class::Cc => 4,
            Class::Bcc => 5,
            Class::Subject => 6,
        }
    }

    const fn bit(self) -> u8 {
        1 << self.number()
    }

    fn of(number: u8) -> Result<Class, Broken> {
        let found = Class::ALL.into_iter().find(|class| class.number() == number);
        found.ok_or("a class is not known")
    }

    /// That of a field of a message's own header.
    pub(crate) fn of_field(name: &str) -> Class {
        match name {
            "from" => Class::From,
            "to" => Class::To,
            "cc" => Class::Cc,
            "bcc" => Class::Bcc,
            "subject" => Class::Subject,
            _ => Class::Header,
        }
    }
}

/// Which dictionary of a split a term is in: most searches need not look into all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Group {
    /// It stands in From, To, Cc, Bcc or Subject somewhere.
    #[default]
    Envelope,
    /// In none of these, but in a body.
    Body,
    /// In other header fields alone: ids, signatures, names of hosts. Most terms do.
    Header,
}

impl Group {
    const ALL: [Group; 3] = [Group::Envelope, Group::Body, Group::Header];

    const fn index(self) -> usize {
        match self {
            Group::Envelope => 0,
            Group::Body => 1,
            Group::Header => 2,
        }
    }

    /// Of a term with this head (`lists.rs`).
    const fn of(head: u8) -> Group {
        let classes = Classes::of_head(head).0;
        if classes & !(Class::Body.bit() | Class::Header.bit()) != 0 {
            Group::Envelope
        } else if classes & Class::Body.bit() != 0 {
            Group::Body
        } else {
            Group::Header
        }
    }
}

/// Some classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Classes(u8);

impl Classes {
    const ALL: Classes = Classes(0x7F);
    const HEADERS: Classes = Classes(0x7E);
    /// What people write: all but other fields of headers.
    const WRITTEN: Classes = Classes(0x7D);

    const fn only(class: Class) -> Classes {
        Classes(class.bit())
    }

    const fn contains(self, class: Class) -> bool {
        self.0 & class.bit() != 0
    }

    /// Those of a term with this head (`lists.rs`).
    const fn of_head(head: u8) -> Classes {
        Classes(if head & lists::ALONE != 0 { 1 << (head & 7) } else { head })
    }

    /// Whether a term with this head is in one of them.
    const fn meet(self, head: u8) -> bool {
        self.0 & Classes::of_head(head).0 != 0
    }

    /// Whether a term of a dictionary may be in one of them.
    const fn reach(self, group: Group) -> bool {
        match group {
            Group::Envelope => true,
            Group::Body => self.contains(Class::Body) || self.contains(Class::Header),
            Group::Header => self.contains(Class::Header),
        }
    }
}
