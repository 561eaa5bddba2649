//! Conversations with the whole server, over both of its fronts.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod idle;
mod stopped;
