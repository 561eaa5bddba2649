//! A message parsed once, when it comes in.
//!
//! Bytes of any kind go in; a [`Summary`] comes out, always: parsing never fails, never panics,
//! takes linear time and no more stack than [`crate::limits::MIME_DEPTH_MAX`] levels need. What
//! FETCH and SORT ask for is in the summary; what SEARCH asks for is in [`text::SearchText`], made
//! from the message when it is wanted.
//!
//! ```text
//! bytes ─ header ─┬─ structure ── parameter      BODYSTRUCTURE, offsets of every part
//!                 ├─ envelope ─── address        ENVELOPE
//!                 ├─ date, subject, thread       what SORT and THREAD compare
//!                 └─ preview ──── decode         first words, charsets, transfer encodings
//! summary ─ stored (to bytes) ─ reader, borrowed (read where they lie)
//!           section (path → range of bytes)    text (SEARCH)
//! ```
//!
//! # Invariants
//! 1. Every range of a [`Part`] lies in the message and in the range of its parent.
//! 2. Strings kept from the header hold no CR, LF or NUL, so that a protocol may quote them.
//! 3. `Summary::decode(summary.encode())` is the summary, and so is what [`StoredSummary`] reads.

mod address;
mod borrowed;
mod date;
mod decode;
pub mod documents;
mod envelope;
mod flowed;
pub(crate) mod fuzzing;
#[doc(hidden)]
pub mod generator;
mod header;
mod links;
mod parameter;
mod preview;
mod quoted_printable;
mod reader;
pub mod section;
mod shown;
mod stored;
mod structure;
mod subject;
mod summary;
pub mod text;
pub mod thread;
mod tnef;

pub use borrowed::{
    AddressLists, AddressRef, AddressesRef, EnvelopeRef, KindRef, ListRef, ParameterRef, PartRef,
    PartsRef, StoredSummary,
};
pub use date::{CalendarDate, sent_date_as_written, sent_seconds};
pub use decode::{Base64Decoder, decode_words};
pub use header::{Field, Fields};
pub use quoted_printable::{Blanks, QuotedPrintableDecoder};
pub use shown::shown_text;
pub use stored::SummaryError;
pub use subject::{base_subject, is_reply_or_forward};
pub use summary::{Address, BodyKind, Envelope, Part, Summary};

/// Version of this parser, kept in every summary: rises when the same bytes give another summary.
pub const PARSER_VERSION: u16 = 2;
/// Bytes kept of one header field's value; what is longer is cut.
pub const FIELD_BYTES_MAX: usize = 8 << 10;
/// Bytes of all strings kept in one summary, apart from its common header fields.
pub const SUMMARY_TEXT_BYTES_MAX: usize = 512 << 10;
/// Bytes of the header fields kept whole.
pub const COMMON_HEADER_BYTES_MAX: usize = 16 << 10;
/// Addresses kept of one message, all fields together.
pub const ADDRESSES_MAX: usize = 4096;
/// Parameters kept of one Content-Type or Content-Disposition.
pub const PARAMETERS_MAX: usize = 64;
/// References kept of one message: its first, and the last of the others.
pub const REFERENCES_MAX: usize = 128;
/// Characters of a preview (RFC 8970 section 3.1).
pub const PREVIEW_CHARACTERS_MAX: usize = 200;

#[cfg(test)]
mod tests;
