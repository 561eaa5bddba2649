//! The IMAP server over memory, with a real store behind it.

#![allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod certificate;
mod compress;
mod damage;
mod large_append;
mod nul;
mod pace;
mod places;
mod pop3;
mod scram;
mod search;
mod secure;
mod slow_reader;
mod support;
mod tls;
mod tokens;
mod transcripts;
