//! The IMAP server: IMAP4rev1 (RFC 3501) and the extensions listed in [`extension`].
//!
//! ```text
//! bytes → connection (lines, literals) → codec (typed command) → command (one file each) → bytes
//!            sans-I/O                       pure                    over session and engine
//! ```
//!
//! [`serve_connection`] is the way in: it drives one connection until it ends; [`serve_pop3`] does
//! so for POP3, which shares the login, the streams and the store. Everything that
//! bounds a client stands in [`Limits`].
//!
//! Async is confined to `driver`, `stream` and the handlers in `command` (and the part of `session`
//! that tells news to the client): they wait for the network and for commits. Reads of the engine
//! are plain calls, made where the runtime knows that they may block.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests count small things"))]
#![forbid(unsafe_code)]

pub mod codec;
mod command;
mod config;
pub mod connection;
mod driver;
pub mod extension;
#[doc(hidden)]
pub mod fuzzing;
pub mod habit;
mod login;
mod pop3;
pub mod query;
mod sasl;
mod session;
mod stream;

pub use config::{Config, Limits};
pub use driver::{Transport, serve_connection};
pub use login::http;
pub use login::{TokenOptions, TokenOptionsError, network_of};
pub use pop3::serve_pop3;
