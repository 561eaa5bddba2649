//! Mail in: SMTP from the world (RFC 5321) and LMTP from a mail server in front (RFC 2033).
//!
//! ```text
//! driver ── bytes ──► connection ── steps ──► session ── delivery ──► mailroom (engine::Store)
//!   │                  codec/ (grammar)         recipient, receive, trace        │
//!   └───────────────── replies ◄──────────────── reply (table) ◄── committed? ───┘
//! ```
//!
//! `codec`, `connection` and `session` know no socket and no clock; `driver` is the only file with
//! a runtime in it.
//!
//! # Invariants
//! 1. A `250` to the end of a message (per recipient in LMTP) is written only after the store
//!    answered that every copy behind it is committed.
//! 2. Only `<CRLF>.<CRLF>` ends DATA, and only after `<CRLF>` is a leading dot removed; nothing
//!    else that a client sends moves the border between message and commands.
//! 3. What a client sends is bounded before it is kept: lines, recipients, message bytes, and the
//!    bytes of all connections together.
//! 4. Nothing that arrived before a TLS handshake is used after it (RFC 3207 section 6).

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests count small things"))]

mod codec;
mod config;
mod connection;
mod dialect;
mod driver;
mod extension;
#[doc(hidden)]
pub mod fuzzing;
mod mailroom;
mod receive;
mod recipient;
mod reply;
mod session;
mod trace;

pub use config::{BareNewline, Config, OverQuota};
pub use dialect::Dialect;
pub use driver::serve_connection;
pub use mailroom::{Mailroom, QuotaUse, mailbox_of_detail};
pub use receive::{ByteBudget, SPOOL_BLOCK_BYTES, Spool};
