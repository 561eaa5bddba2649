//! The connection: bytes in, steps out. Knows lines and message content, no socket.
//!
//! # Invariants
//! 1. When [`Connection::step`] answers `None`, all input is used up but for a part of one line,
//!    which is shorter than the line limit. So the buffer never exceeds a limit and one read.
//! 2. A line over the limit is skipped to its end and answered once.
//! 3. After [`Connection::discard_input`] nothing of what was received before is left.

use engine::width::{u64_of, usize_of};

use crate::codec::command::{self, Command, CommandError};
use crate::codec::content::{ContentDecoder, Framing, Piece};
use crate::codec::newline::find_newline;
use crate::config::BareNewline;

/// Room made for one read of commands.
const COMMAND_READ_BYTES: usize = 4 << 10;
/// Room made for one read of a message.
const CONTENT_READ_BYTES: usize = 64 << 10;

/// The next thing that a client said.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Step<'a> {
    /// A command line, understood or not.
    Command(Result<Command, CommandError>),
    /// A piece of the message, its framing taken off.
    Content(&'a [u8]),
    /// The message (DATA) or the chunk (BDAT) is complete.
    ContentEnd,
}

#[derive(Debug)]
enum Mode {
    Commands,
    /// Within a line that is too long already.
    LongLine,
    Data,
    Chunk {
        remaining: u64,
    },
}

/// The receiving half of a conversation.
#[derive(Debug)]
pub(crate) struct Connection {
    input: Vec<u8>,
    used: usize,
    mode: Mode,
    decoder: ContentDecoder,
    line_bytes_max: usize,
    bare_newline: BareNewline,
}

impl Connection {
    /// At its beginning.
    pub(crate) fn new(line_bytes_max: usize, bare_newline: BareNewline) -> Connection {
        Connection {
            input: Vec::new(),
            used: 0,
            mode: Mode::Commands,
            decoder: ContentDecoder::new(Framing::Dots),
            line_bytes_max,
            bare_newline,
        }
    }

    /// Where a read appends what it received; has room for it.
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        self.input.drain(..self.used.min(self.input.len()));
        self.used = 0;
        let room = if self.in_content() { CONTENT_READ_BYTES } else { COMMAND_READ_BYTES };
        self.input.reserve(room);
        &mut self.input
    }

    /// Whether a message is on its way, rather than commands.
    pub(crate) fn in_content(&self) -> bool {
        matches!(self.mode, Mode::Data | Mode::Chunk { .. })
    }

    /// Bare newlines of the message so far.
    pub(crate) fn bare_newline_count(&self) -> u64 {
        self.decoder.bare_newline_count()
    }

    /// What follows is a message that ends with a dot.
    pub(crate) fn begin_data(&mut self) {
        self.decoder = ContentDecoder::new(Framing::Dots);
        self.mode = Mode::Data;
    }

    /// What follows is a message in chunks.
    pub(crate) fn begin_chunks(&mut self) {
        self.decoder = ContentDecoder::new(Framing::Counted);
    }

    /// What follows is a chunk of that many bytes.
    pub(crate) fn begin_chunk(&mut self, byte_count: u64) {
        self.mode = Mode::Chunk { remaining: byte_count };
    }

    /// Forgets what was received and not used: before TLS, where somebody between could have put
    /// it.
    pub(crate) fn discard_input(&mut self) {
        self.input.clear();
        self.used = 0;
        self.mode = Mode::Commands;
    }

    /// The next step, or `None` if more input is needed.
    pub(crate) fn step(&mut self) -> Option<Step<'_>> {
        match self.mode {
            Mode::Commands | Mode::LongLine => self.line_step(),
            Mode::Data => self.data_step(),
            Mode::Chunk { remaining } => self.chunk_step(remaining),
        }
    }

    fn line_step(&mut self) -> Option<Step<'_>> {
        let rest = self.input.get(self.used..).unwrap_or_default();
        let Some(at) = find_newline(rest) else {
            if matches!(self.mode, Mode::LongLine) || rest.len() >= self.line_bytes_max {
                self.mode = Mode::LongLine;
                self.used = self.input.len();
            }
            return None;
        };
        let line = rest.get(..at).unwrap_or_default();
        self.used += at + 1;
        if matches!(self.mode, Mode::LongLine) || at >= self.line_bytes_max {
            self.mode = Mode::Commands;
            return Some(Step::Command(Err(CommandError::LineTooLong)));
        }
        Some(Step::Command(match (line.strip_suffix(b"\r"), self.bare_newline) {
            (Some(line), _) => command::parse(line),
            (None, BareNewline::Normalise) => command::parse(line),
            (None, BareNewline::Refuse) => Err(CommandError::BareNewline),
        }))
    }

    fn data_step(&mut self) -> Option<Step<'_>> {
        while self.used < self.input.len() {
            let rest = self.input.get(self.used..).unwrap_or_default();
            let (used, piece) = self.decoder.decode(rest);
            self.used += used;
            match piece {
                Piece::Nothing => {}
                Piece::Bytes(bytes) => return Some(Step::Content(bytes)),
                Piece::End => {
                    self.mode = Mode::Commands;
                    return Some(Step::ContentEnd);
                }
            }
        }
        None
    }

    fn chunk_step(&mut self, remaining: u64) -> Option<Step<'_>> {
        if remaining == 0 {
            self.mode = Mode::Commands;
            return Some(Step::ContentEnd);
        }
        let rest = self.input.get(self.used..).unwrap_or_default();
        let available = usize_of(u64_of(rest.len()).min(remaining));
        if available == 0 {
            return None;
        }
        let (used, piece) = self.decoder.decode(rest.get(..available).unwrap_or_default());
        self.used += used;
        self.mode = Mode::Chunk { remaining: remaining.saturating_sub(u64_of(used)) };
        match piece {
            Piece::Bytes(bytes) => Some(Step::Content(bytes)),
            // Counted framing has neither; an empty piece keeps the steps going.
            Piece::Nothing | Piece::End => Some(Step::Content(b"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::Chunk;
    use proptest::prelude::*;

    /// Feeds pieces; DATA and BDAT are obeyed as if the session agreed.
    fn talk(
        pieces: &[&[u8]],
        bare: BareNewline,
    ) -> (Vec<Result<Command, CommandError>>, Vec<Vec<u8>>) {
        let mut connection = Connection::new(100, bare);
        let (mut commands, mut messages, mut message) = (Vec::new(), Vec::new(), Vec::new());
        for piece in pieces {
            connection.input().extend_from_slice(piece);
            while let Some(step) = connection.step() {
                match step {
                    Step::Content(bytes) => message.extend_from_slice(bytes),
                    Step::ContentEnd => messages.push(std::mem::take(&mut message)),
                    Step::Command(command) => {
                        commands.push(command.clone());
                        match command {
                            Ok(Command::Data) => connection.begin_data(),
                            Ok(Command::Bdat(chunk)) => connection.begin_chunk(chunk.byte_count),
                            _ => {}
                        }
                    }
                }
            }
            assert!(connection.input().len() < 100, "more is kept than a line");
        }
        (commands, messages)
    }

    #[test]
    fn commands_and_messages_take_turns() {
        let wire = b"NOOP\r\nDATA\r\nhello\r\n..dot\r\n.\r\nBDAT 3\r\na\r\nBDAT 0 LAST\r\nQUIT\r\n";
        for size in 1..wire.len() {
            let pieces: Vec<&[u8]> = wire.chunks(size).collect();
            let (commands, messages) = talk(&pieces, BareNewline::Refuse);
            let expected = [
                Command::Noop,
                Command::Data,
                Command::Bdat(Chunk { byte_count: 3, last: false }),
                Command::Bdat(Chunk { byte_count: 0, last: true }),
                Command::Quit,
            ];
            assert_eq!(commands, expected.map(Ok), "pieces of {size}");
            assert_eq!(
                messages,
                [b"hello\r\n.dot\r\n".as_slice(), b"a\r\n", b""],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_once_and_not_kept() {
        let long = [b"NOOP ".as_slice(), &[b'x'; 5000], b"\r\nQUIT\r\n"].concat();
        for size in [1, 99, 100, 101, 5000, 6000] {
            let pieces: Vec<&[u8]> = long.chunks(size).collect();
            let (commands, _) = talk(&pieces, BareNewline::Refuse);
            assert_eq!(commands, [Err(CommandError::LineTooLong), Ok(Command::Quit)], "{size}");
        }
    }

    #[test]
    fn a_command_with_a_bare_newline_is_a_matter_of_settings() {
        let wire: &[&[u8]] = &[b"NOOP\nQUIT\r\n"];
        let (strict, _) = talk(wire, BareNewline::Refuse);
        assert_eq!(strict, [Err(CommandError::BareNewline), Ok(Command::Quit)]);
        let (lenient, _) = talk(wire, BareNewline::Normalise);
        assert_eq!(lenient, [Ok(Command::Noop), Ok(Command::Quit)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_steps_alike_however_they_are_cut(
            bytes in proptest::collection::vec(
                prop_oneof![
                    Just(b"DATA\r\n".to_vec()), Just(b"BDAT 7\r\n".to_vec()),
                    Just(b"\r\n.\r\n".to_vec()),
                    Just(b"\n".to_vec()), Just(b".".to_vec()), Just(b"\r".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..150),
                ], 0..20),
            size in 1usize..50,
        ) {
            let wire = bytes.concat();
            let pieces: Vec<&[u8]> = wire.chunks(size).collect();
            let whole = talk(&[&wire], BareNewline::Normalise);
            prop_assert_eq!(whole, talk(&pieces, BareNewline::Normalise));
        }
    }
}
