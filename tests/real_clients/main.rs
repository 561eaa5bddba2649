//! Programs that people use, unmodified: what goes in by one comes out by the others, byte by byte.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

#[path = "../support/mod.rs"]
mod support;

mod both_sides;
mod day;
mod logins;
mod mbsync;
mod migration;
mod neomutt;
mod offlineimap;
mod pop3;
mod postfix;
mod readers;
mod recorder;
mod roundcube;
mod search;
mod swaks;
mod tls;
mod transcripts;
