//! Every parser of bytes from SMTP and LMTP clients, as functions from bytes to nothing that panic
//! when a promise breaks.
//!
//! Called by the fuzz targets in `fuzz/` and, on committed inputs, by `tests/fuzz_corpus.rs`. In
//! one hidden list as in the engine, see `engine::fuzzing`.

use crate::codec::address::{self, Address};
use crate::codec::command::{self, Command, CommandError};
use crate::codec::content::{ContentDecoder, Framing, Piece};
use crate::config::BareNewline;
use crate::connection::{Connection, Step};

/// The body of a target: panics when a promise breaks.
pub type Body = fn(&[u8]);

/// Every target with its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("smtp_address", address),
    ("smtp_command", command),
    ("smtp_connection", connection),
    ("smtp_content", content),
];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or a promise breaks: both are what the caller wants to know.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = found.expect("fuzz/ names targets of the list above");
    body(bytes);
}

/// A path of MAIL or RCPT.
fn address(bytes: &[u8]) {
    if let Some((_, rest)) = address::reverse_path(bytes) {
        assert!(rest.len() + 2 <= bytes.len());
    }
    if let Some((address, _)) = address::path(bytes) {
        check_address(&address);
    }
}

/// Addresses go into header fields and log lines, and are read back from there.
fn check_address(address: &Address) {
    let written = address.to_string();
    assert!(!written.chars().any(char::is_control));
    let path = format!("<{written}>");
    assert_eq!(address::path(path.as_bytes()), Some((address.clone(), b"".as_slice())));
}

/// A command line.
fn command(bytes: &[u8]) {
    if let Ok(Command::Rcpt(address)) = command::parse(bytes) {
        check_address(&address);
    }
}

/// A conversation, whole and in pieces as its first byte says: the same steps either way.
fn connection(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    for bare in [BareNewline::Refuse, BareNewline::Normalise] {
        let whole = talk(stream, stream.len(), bare);
        assert_eq!(whole, talk(stream, usize::from(piece), bare));
    }
}

const LINE_BYTES_MAX: usize = 100;

/// What a client said: commands and messages in the order in which they were complete.
#[derive(PartialEq, Eq, Debug)]
enum Said {
    Command(Result<Command, CommandError>),
    Message(Vec<u8>),
}

/// DATA and BDAT are obeyed as if the session agreed.
fn talk(stream: &[u8], piece: usize, bare: BareNewline) -> Vec<Said> {
    let mut connection = Connection::new(LINE_BYTES_MAX, bare);
    let (mut said, mut message) = (Vec::new(), Vec::new());
    let mut in_chunks = false;
    for piece in stream.chunks(piece.max(1)) {
        connection.input().extend_from_slice(piece);
        while let Some(step) = connection.step() {
            match step {
                Step::Content(bytes) => message.extend_from_slice(bytes),
                Step::ContentEnd => said.push(Said::Message(std::mem::take(&mut message))),
                Step::Command(command) => {
                    match &command {
                        Ok(Command::Data) => connection.begin_data(),
                        Ok(Command::Bdat(chunk)) => {
                            if !in_chunks {
                                connection.begin_chunks();
                            }
                            in_chunks = !chunk.last;
                            connection.begin_chunk(chunk.byte_count);
                        }
                        _ => {}
                    }
                    said.push(Said::Command(command));
                }
            }
        }
        assert!(connection.input().len() < LINE_BYTES_MAX, "more is kept than a line");
    }
    said.push(Said::Message(message));
    said
}

/// A message's framing, whole and byte by byte.
fn content(bytes: &[u8]) {
    for framing in [Framing::Dots, Framing::Counted] {
        let whole = decode(bytes, bytes.len(), framing);
        assert_eq!(whole, decode(bytes, 1, framing));
        let (message, used) = whole;
        assert!(message.len() <= 2 * bytes.len() && used <= bytes.len());
        let newlines = message.iter().filter(|byte| **byte == b'\n').count();
        let pairs = message.windows(2).filter(|pair| pair == b"\r\n").count();
        assert_eq!(newlines, pairs, "stored content has no bare newline");
    }
}

/// The message, and how much of the stream it took.
fn decode(stream: &[u8], piece: usize, framing: Framing) -> (Vec<u8>, usize) {
    let mut decoder = ContentDecoder::new(framing);
    let (mut message, mut taken) = (Vec::new(), 0);
    for piece in stream.chunks(piece.max(1)) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (used, piece) = decoder.decode(rest);
            taken += used;
            rest = rest.get(used..).unwrap_or_default();
            match piece {
                Piece::Bytes(bytes) => message.extend_from_slice(bytes),
                Piece::Nothing => {}
                Piece::End => return (message, taken),
            }
        }
    }
    (message, taken)
}
