//! The grammar of IMAP in both directions: bytes of a command to a typed [`Command`], and typed
//! answers to bytes. No I/O, no clock, no engine beyond its value types.
//!
//! | direction | where |
//! |--|--|
//! | command line and literals → [`Request`] | [`grammar`], over a [`cursor::Cursor`] |
//! | strings, numbers, flags, dates → bytes | [`put`], [`date`] |
//! | envelope and body structure → bytes | [`envelope`], [`structure`] |
//! | long headers → some of their fields | [`header_fields`] |
//! | encoded parts → their bytes | [`transfer_encoding`] |
//! | URLs of stored mail → which bytes | [`url`] |
//! | mailbox names ⇄ UTF-8 | [`mailbox_name`] |
//!
//! # Invariants
//! 1. No input panics or allocates more than a small multiple of its own length.
//! 2. Whatever [`put`] writes, a parser of the RFC 3501 grammar reads back unchanged.

pub mod command;
pub mod cursor;
pub mod date;
pub mod envelope;
pub mod grammar;
pub mod header_fields;
pub mod mailbox_name;
pub mod put;
pub mod sequence_set;
pub mod structure;
pub mod transfer_encoding;
pub mod url;

pub use command::{Command, Request};
pub use sequence_set::SequenceSet;
