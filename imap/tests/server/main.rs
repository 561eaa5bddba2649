//! The IMAP server over memory, with a real store behind it.

#![allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod damage;
mod large_append;
mod nul;
mod pace;
mod search;
mod sharing;
mod slow_reader;
mod support;
mod tls;
mod transcripts;
