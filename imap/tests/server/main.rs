//! The IMAP server over memory, with a real store behind it.

#![allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod binary;
mod certificate;
mod compared;
mod compress;
mod damage;
mod fuzzy_index;
mod habits;
mod hostile;
mod keywords;
mod large_append;
mod many_messages;
mod notify;
mod nul;
mod pace;
mod places;
mod pop3;
mod random_session;
mod scram;
mod search;
mod search_bounds;
mod search_context;
mod search_indexed;
mod search_pace;
mod search_progress;
mod secure;
mod sharing;
mod slow_reader;
mod summary_pages;
mod support;
mod tls;
mod tokens;
mod transcripts;
