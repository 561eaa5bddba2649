//! The admin socket: what commands ask of a running store, and the same answered from a directory.
//!
//! `DATA/admin.sock`, a stream socket of mode 0600. A request is one line of JSON, followed by as
//! many raw bytes as its `body_bytes` says. Answers are one line of JSON each, in the order of the
//! requests; a `progress` answer comes before the answer that it belongs to, and the line of a
//! `piece` is followed by as many raw bytes as its `body_bytes` says. Requests may be sent ahead.
//! An `append` with `"together":true` may be answered only after more of them came, or any other
//! request (`append-commit`, which does nothing else).
//!
//! ```text
//! C: {"verb":"append","account":"u@example.org","mailbox":"INBOX",…,"body_bytes":12}
//! C: 12 bytes
//! S: {"answer":"done"}
//! C: {"verb":"domain-add","domain":"example.org"}
//! S: {"answer":"failed","exit":"refused","sentence":"example.org exists already"}
//! C: {"verb":"message-read","account":"u@example.org","mailbox":"INBOX","uid":1,"offset":0}
//! S: {"answer":"piece","body_bytes":12}
//! S: 12 bytes
//! ```
//!
//! # Invariants
//! 1. A request means the same over the socket and on a directory: [`operation::begin`] serves
//!    both.
//! 2. Who may open the socket may do everything; its mode is its only protection.
//! 3. A line, a body, the connections and the answers still owed have bounds.

mod beside;
mod client;
mod index;
mod keys;
mod numbered;
mod operation;
mod pair;
mod quota;
mod reading;
mod retained;
mod search;
mod server;
mod together;

pub(crate) use beside::Beside;
pub(crate) use client::Connection;
pub(crate) use index::{IndexLine, IndexRequest};
pub(crate) use keys::{KeyRequest, NewKey, RetiredLine};
pub(crate) use numbered::{
    NumberedAnswer, NumberedMailbox, NumberedMessage, NumberedRequest, ranges_of, set_of,
};
pub(crate) use operation::{Answer, Desk, MessageLine, Request, flag_list};
pub(crate) use pair::PairRequest;
pub(crate) use quota::{LimitChange, QuotaLine};
pub(crate) use retained::{KeptLine, RetentionAnswer, RetentionRequest, Setting, Wanted};
pub(crate) use search::{FoundAnswer, HitLine, SearchAsked, SegmentLine};
pub(crate) use server::Server;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Bytes of a request's line.
const REQUEST_LINE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an answer's line; a list of some hundred thousand accounts fits.
const ANSWER_LINE_BYTES_MAX: u64 = 64 << 20;
/// Bytes that follow an answer's line: at most one chunk of a message.
const ANSWER_BODY_BYTES_MAX: u64 = engine::width::u64_of(engine::limits::CHUNK_BYTES);
/// Connections at once.
const CONNECTIONS_MAX: usize = 32;
/// Answers owed to one connection before its next request is read.
const ANSWERS_OWED_MAX: usize = 512;
/// Appends that are held to be committed together; who is owed more has an answer to come.
pub(crate) const TOGETHER_COUNT_MAX: usize = 256;
/// Bytes of mail in appends that are held to be committed together; who is owed more has an answer
/// to come.
pub(crate) const TOGETHER_MAIL_BYTES_MAX: u64 = 8 << 20;

/// Bytes of a socket's path, with the byte that ends it.
const SOCKET_PATH_BYTES_MAX: usize = 108;

/// Where a store's socket is.
fn socket_path(directory: &Path) -> PathBuf {
    directory.join("admin.sock")
}

/// The same socket under a name that fits into a socket address (unix(7): 108 bytes), and what
/// keeps that name valid.
fn socket_address(directory: &Path) -> std::io::Result<(PathBuf, Option<File>)> {
    let path = socket_path(directory);
    if path.as_os_str().len() < SOCKET_PATH_BYTES_MAX {
        return Ok((path, None));
    }
    let folder = File::open(directory)?;
    let path = format!("/proc/self/fd/{}/admin.sock", folder.as_raw_fd());
    Ok((PathBuf::from(path), Some(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_with_a_long_path_has_a_socket_too() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("d".repeat(120));
        std::fs::create_dir(&directory).unwrap();
        let (address, _kept) = socket_address(&directory).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(address).unwrap();
        assert!(socket_path(&directory).exists());
        let (address, _kept) = socket_address(&directory).unwrap();
        std::os::unix::net::UnixStream::connect(address).unwrap();
    }
}
