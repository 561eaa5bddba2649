//! The admin socket: what commands ask of a running store, and the same answered from a directory.
//!
//! `DATA/admin.sock`, a stream socket of mode 0600. A request is one line of JSON, followed by as
//! many raw bytes as its `body_bytes` says. Answers are one line of JSON each, in the order of the
//! requests; a `progress` answer comes before the answer that it belongs to. Requests may be sent
//! ahead.
//!
//! ```text
//! C: {"verb":"append","account":"u@example.org","mailbox":"INBOX",…,"body_bytes":12}
//! C: 12 bytes
//! S: {"answer":"done"}
//! C: {"verb":"domain-add","domain":"example.org"}
//! S: {"answer":"failed","exit":"refused","sentence":"example.org exists already"}
//! ```
//!
//! # Invariants
//! 1. A request means the same over the socket and on a directory: [`operation::begin`] serves
//!    both.
//! 2. Who may open the socket may do everything; its mode is its only protection.
//! 3. A line, a body, the connections and the answers still owed have bounds.

mod client;
mod operation;
mod server;

pub(crate) use client::Connection;
pub(crate) use operation::{Answer, Request};
pub(crate) use server::Server;

use std::path::{Path, PathBuf};

/// Bytes of a request's line.
const REQUEST_LINE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an answer's line; a list of some hundred thousand accounts fits.
const ANSWER_LINE_BYTES_MAX: u64 = 64 << 20;
/// Connections at once.
const CONNECTIONS_MAX: usize = 32;
/// Answers owed to one connection before its next request is read.
const ANSWERS_OWED_MAX: usize = 64;

/// Where a store's socket is.
fn socket_path(directory: &Path) -> PathBuf {
    directory.join("admin.sock")
}
