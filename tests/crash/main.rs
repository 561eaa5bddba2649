//! The real binary is killed, again and again, and an outside ledger tells what must be there.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

#[path = "../support/mod.rs"]
mod support;

mod filer;
mod kill9;
mod ledger;
