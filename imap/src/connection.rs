//! Bytes from a client cut into commands: lines and literals, with bounds. No I/O.
//!
//! ```text
//! buffer() ← bytes            step() → Wanting            read more
//!                                      Command            a whole command
//!                                      Literal(offer)     answer with accept() or refuse()
//!                                      Refused            a refused command is behind us
//!                                      LineTooLong        a long line is behind us
//!                                      Hopeless           close the connection
//! ```
//!
//! # Invariants
//! 1. Memory is bounded by the line limit, the literals that the caller accepted, and one read.
//! 2. After `Refused` and `LineTooLong` the next byte begins a new command, whatever literals the
//!    refused one announced: bytes of a refused literal are never read as commands.
//! 3. In a command's line each literal is announced as `{n} CRLF`; its bytes are in `literals`.

use crate::codec::grammar;

/// Bytes at the end of a skipped line that are kept to see whether it announces a literal.
const TAIL_BYTES: usize = 32;

/// One connection's input.
#[derive(Debug, Default)]
pub struct Connection {
    input: Vec<u8>,
    /// Bytes at the beginning of `input` that hold no LF.
    scanned: usize,
    line: Vec<u8>,
    literals: Vec<Vec<u8>>,
    mode: Mode,
    skipped: u64,
}

#[derive(Debug, Default)]
enum Mode {
    #[default]
    Line,
    Offered(LiteralOffer),
    Literal {
        left: u64,
    },
    /// Bytes of a refused literal, then the rest of its command.
    SkipLiteral {
        left: u64,
        then: AfterSkip,
    },
    SkipLine {
        tail: Vec<u8>,
        then: AfterSkip,
    },
}

#[derive(Clone, Debug)]
enum AfterSkip {
    Refused,
    LineTooLong { tag: Option<String> },
}

/// A whole command.
#[derive(Debug, Default)]
pub struct RawCommand {
    /// Without its final CRLF; see invariant 3.
    pub line: Vec<u8>,
    /// The literals in order.
    pub literals: Vec<Vec<u8>>,
}

/// Whether the client waits for `+` before it sends a literal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiteralKind {
    /// `{n}`
    Synchronizing,
    /// `{n+}` (RFC 7888)
    NonSynchronizing,
}

/// A client wants to send a literal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiteralOffer {
    /// Its size.
    pub byte_count: u64,
    /// Whether it waits for leave.
    pub kind: LiteralKind,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Read more bytes.
    Wanting,
    /// Carry this out.
    Command(RawCommand),
    /// Call [`Connection::accept`] or [`Connection::refuse`].
    Literal(LiteralOffer),
    /// All of a command that was refused has been skipped.
    Refused,
    /// A line above the limit has been skipped.
    LineTooLong {
        /// The command's tag, where it could be read.
        tag: Option<String>,
    },
    /// More would have to be skipped than the limit allows.
    Hopeless,
}

/// Bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a command's lines.
    pub line_bytes_max: usize,
    /// Bytes thrown away in a row.
    pub skip_bytes_max: u64,
}

impl Connection {
    /// Where bytes read from the client are appended; reserve room before reading.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// How much room a read should have.
    pub fn room_wanted(&self) -> usize {
        match self.mode {
            Mode::Literal { left } | Mode::SkipLiteral { left, .. } if left > 4096 => 64 << 10,
            _ => 4096,
        }
    }

    /// Forgets everything received: what came before a TLS handshake must not count after it.
    pub fn clear(&mut self) {
        *self = Connection::default();
    }

    /// Takes what was received and not looked at, for whoever must decode it first.
    pub fn take_input(&mut self) -> Vec<u8> {
        self.scanned = 0;
        std::mem::take(&mut self.input)
    }

    /// The line of the command that is coming in, as far as it is known.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The literals of the command that is coming in, as far as they are known.
    pub fn literals(&self) -> &[Vec<u8>] {
        &self.literals
    }

    /// Whether bytes are left that have not been looked at.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Goes on as far as the bytes at hand allow.
    pub fn step(&mut self, bounds: Bounds) -> Step {
        loop {
            let step = match std::mem::take(&mut self.mode) {
                Mode::Line => self.cut_line(bounds),
                Mode::Offered(offer) => {
                    self.mode = Mode::Offered(offer);
                    Some(Step::Literal(offer))
                }
                Mode::Literal { left } => self.fill_literal(left),
                Mode::SkipLiteral { left, then } => self.skip_literal(left, then, bounds),
                Mode::SkipLine { tail, then } => self.skip_line(tail, then, bounds),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Takes the literal that was offered.
    pub fn accept(&mut self) {
        if let Mode::Offered(offer) = std::mem::take(&mut self.mode) {
            self.literals.push(Vec::new());
            self.mode = Mode::Literal { left: offer.byte_count };
        }
    }

    /// Refuses the literal that was offered, and with it the command. A synchronizing literal will
    /// not be sent after that; the bytes of another one are skipped, and [`Step::Refused`] follows.
    pub fn refuse(&mut self) {
        if let Mode::Offered(offer) = std::mem::take(&mut self.mode) {
            self.line = Vec::new();
            self.literals = Vec::new();
            if offer.kind == LiteralKind::NonSynchronizing {
                self.skipped = 0;
                let then = AfterSkip::Refused;
                self.mode = Mode::SkipLiteral { left: offer.byte_count, then };
            }
        }
    }

    /// The first bytes of the literal that is coming in, if it has so many: for the spool. What is
    /// left in [`RawCommand::literals`] follows them.
    pub fn take_block(&mut self, byte_count: usize) -> Option<Vec<u8>> {
        let Mode::Literal { .. } = self.mode else { return None };
        let literal = self.literals.last_mut().filter(|literal| literal.len() >= byte_count)?;
        let rest = literal.split_off(byte_count);
        Some(std::mem::replace(literal, rest))
    }

    /// Gives up the literal that is coming in, and its command: what is still sent of them is
    /// skipped, and [`Step::Refused`] follows.
    pub fn abandon(&mut self) {
        if let Mode::Literal { left } = std::mem::take(&mut self.mode) {
            self.line = Vec::new();
            self.literals = Vec::new();
            self.skipped = 0;
            self.mode = Mode::SkipLiteral { left, then: AfterSkip::Refused };
        }
    }

    /// A line that is no command: an answer to a SASL challenge, or DONE. `Err` if it is too long.
    pub fn plain_line(&mut self, bounds: Bounds) -> Result<Option<Vec<u8>>, LineTooLong> {
        match self.line_end() {
            Some(end) if end <= bounds.line_bytes_max => Ok(Some(self.take_line(end))),
            None if self.input.len() <= bounds.line_bytes_max => Ok(None),
            _ => Err(LineTooLong),
        }
    }

    /// Offset of the next LF.
    fn line_end(&mut self) -> Option<usize> {
        let fresh = self.input.get(self.scanned..).unwrap_or_default();
        let found = fresh.iter().position(|&byte| byte == b'\n').map(|at| self.scanned + at);
        if found.is_none() {
            self.scanned = self.input.len();
        }
        found
    }

    /// Takes the line that ends with the LF at `end`, without CRLF.
    fn take_line(&mut self, end: usize) -> Vec<u8> {
        let rest = self.input.split_off(end.saturating_add(1).min(self.input.len()));
        let mut line = std::mem::replace(&mut self.input, rest);
        self.scanned = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        line
    }

    fn cut_line(&mut self, bounds: Bounds) -> Option<Step> {
        let end = self.line_end();
        let length = self.line.len() + end.unwrap_or(self.input.len());
        if length > bounds.line_bytes_max + 2 {
            let mut head = std::mem::take(&mut self.line);
            head.extend_from_slice(self.input.get(..self.input.len().min(512)).unwrap_or_default());
            // So many bytes are here however the stream was cut; the answer depends on no others.
            head.truncate(bounds.line_bytes_max.saturating_add(3).min(512));
            self.literals = Vec::new();
            self.skipped = 0;
            self.scanned = 0;
            let then = AfterSkip::LineTooLong { tag: grammar::tag_of(&head) };
            self.mode = Mode::SkipLine { tail: Vec::new(), then };
            return None;
        }
        let Some(end) = end else { return Some(Step::Wanting) };
        let cut = self.take_line(end);
        self.line.extend_from_slice(&cut);
        if let Some(offer) = announced_literal(&cut) {
            self.line.extend_from_slice(b"\r\n");
            self.mode = Mode::Offered(offer);
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let literals = std::mem::take(&mut self.literals);
        Some(Step::Command(RawCommand { line, literals }))
    }

    fn fill_literal(&mut self, left: u64) -> Option<Step> {
        let count = engine::width::usize_of(left).min(self.input.len());
        let rest = self.input.split_off(count);
        let bytes = std::mem::replace(&mut self.input, rest);
        if let Some(literal) = self.literals.last_mut() {
            if literal.is_empty() {
                *literal = bytes;
            } else {
                literal.extend_from_slice(&bytes);
            }
        }
        self.scanned = 0;
        let left = left.saturating_sub(engine::width::u64_of(count));
        if left > 0 {
            self.mode = Mode::Literal { left };
            return Some(Step::Wanting);
        }
        None
    }

    fn skip_literal(&mut self, left: u64, then: AfterSkip, bounds: Bounds) -> Option<Step> {
        if self.skipped.saturating_add(left) > bounds.skip_bytes_max {
            return Some(Step::Hopeless);
        }
        let count = engine::width::usize_of(left).min(self.input.len());
        self.drop_input(count);
        let left = left.saturating_sub(engine::width::u64_of(count));
        if left > 0 {
            self.mode = Mode::SkipLiteral { left, then };
            return Some(Step::Wanting);
        }
        self.mode = Mode::SkipLine { tail: Vec::new(), then };
        None
    }

    fn skip_line(&mut self, mut tail: Vec<u8>, then: AfterSkip, bounds: Bounds) -> Option<Step> {
        let end = self.line_end();
        let count = end.map_or(self.input.len(), |end| end + 1);
        let from = count.saturating_sub(TAIL_BYTES);
        tail.extend_from_slice(self.input.get(from..count).unwrap_or_default());
        tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
        self.drop_input(count);
        if self.skipped > bounds.skip_bytes_max {
            return Some(Step::Hopeless);
        }
        if end.is_none() {
            self.mode = Mode::SkipLine { tail, then };
            return Some(Step::Wanting);
        }
        while matches!(tail.last(), Some(b'\r' | b'\n')) {
            tail.pop();
        }
        if let Some(LiteralOffer { byte_count, kind: LiteralKind::NonSynchronizing }) =
            announced_literal(&tail)
        {
            self.mode = Mode::SkipLiteral { left: byte_count, then };
            return None;
        }
        Some(match then {
            AfterSkip::Refused => Step::Refused,
            AfterSkip::LineTooLong { tag } => Step::LineTooLong { tag },
        })
    }

    fn drop_input(&mut self, count: usize) {
        self.input.drain(..count.min(self.input.len()));
        self.scanned = 0;
        self.skipped = self.skipped.saturating_add(engine::width::u64_of(count));
    }
}

/// A line that is longer than the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineTooLong;

/// `{n}` or `{n+}` at the end of a line; `{n-}` is what LITERAL- calls the latter nowhere, so it is
/// none.
fn announced_literal(line: &[u8]) -> Option<LiteralOffer> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|&byte| byte == b'{')?;
    let size = inner.get(open + 1..)?;
    let (size, kind) = match size.strip_suffix(b"+") {
        Some(size) => (size, LiteralKind::NonSynchronizing),
        None => (size, LiteralKind::Synchronizing),
    };
    if size.is_empty() || size.len() > 20 || !size.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let byte_count = std::str::from_utf8(size).ok()?.parse::<u64>().unwrap_or(u64::MAX);
    Some(LiteralOffer { byte_count, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { line_bytes_max: 100, skip_bytes_max: 1000 };

    /// Every step that the bytes lead to, as text; literals up to 50 bytes are accepted.
    fn steps(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut connection = Connection::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(piece.max(1)) {
            connection.buffer().extend_from_slice(piece);
            loop {
                match connection.step(BOUNDS) {
                    Step::Wanting => break,
                    Step::Literal(offer) if offer.byte_count <= 50 => connection.accept(),
                    Step::Literal(offer) => {
                        seen.push(format!("refuse {}", offer.byte_count));
                        connection.refuse();
                    }
                    Step::Command(raw) => {
                        let line = String::from_utf8_lossy(&raw.line).into_owned();
                        let literals: Vec<_> =
                            raw.literals.iter().map(|l| String::from_utf8_lossy(l)).collect();
                        seen.push(format!("{line:?} {literals:?}"));
                    }
                    Step::Refused => seen.push("refused".into()),
                    Step::LineTooLong { tag } => seen.push(format!("too long {tag:?}")),
                    Step::Hopeless => {
                        seen.push("hopeless".into());
                        return seen;
                    }
                }
            }
        }
        seen
    }

    #[test]
    fn lines_and_literals_are_cut_alike_however_they_arrive() {
        let bytes = b"a LOGIN {3}\r\nbob {5+}\r\npa\r\nx\r\nb NOOP\n";
        let expected =
            ["\"a LOGIN {3}\\r\\n {5+}\\r\\n\" [\"bob\", \"pa\\r\\nx\"]", "\"b NOOP\" []"];
        for piece in 1..bytes.len() {
            assert_eq!(steps(bytes, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn bytes_of_a_refused_literal_are_never_commands() {
        let mut bytes = b"a APPEND x {60+}\r\n".to_vec();
        bytes.extend_from_slice(&b"b LOGOUT\r\nc LOGOUT\r\n".repeat(3));
        bytes.extend_from_slice(b" {4+}\r\n\r\n\r\n\r\nd NOOP\r\n");
        for piece in [1, 7, 1000] {
            assert_eq!(steps(&bytes, piece), ["refuse 60", "refused", "\"d NOOP\" []"]);
        }
        let bytes = b"a APPEND x {99}\r\nd NOOP\r\n";
        assert_eq!(steps(bytes, 5), ["refuse 99", "\"d NOOP\" []"], "it waits for leave");
    }

    #[test]
    fn a_long_line_is_skipped_with_its_literals() {
        let mut bytes = b"tag LOGIN ".to_vec();
        bytes.extend_from_slice(&[b'x'; 300]);
        bytes.extend_from_slice(b"{5+}\r\nb\r\nc\nrest\r\nd NOOP\r\n");
        for piece in [1, 7, 1000] {
            assert_eq!(steps(&bytes, piece), ["too long Some(\"tag\")", "\"d NOOP\" []"]);
        }
        assert_eq!(steps(&[b'x'; 5000], 7).last().unwrap(), "hopeless");
        assert_eq!(steps(b"a b {99999999999999999999+}\r\n", 9).last().unwrap(), "hopeless");
    }

    /// Found by the fuzz target `imap_connection`: a tag as long as the line was told from bytes
    /// beyond the limit, so the answer had it or not as the network cut the stream.
    #[test]
    fn the_tag_of_a_long_line_does_not_depend_on_how_it_arrives() {
        let mut bytes = vec![b't'; 120];
        bytes.extend_from_slice(b" NOOP\r\nd NOOP\r\n");
        for piece in [1, 110, 1000] {
            assert_eq!(steps(&bytes, piece), ["too long None", "\"d NOOP\" []"], "{piece}");
        }
    }

    #[test]
    fn a_literal_can_be_taken_away_in_blocks() {
        let bytes = b"a X {10+}\r\n0123456789\r\nb NOOP\r\n";
        for piece in 1..bytes.len() {
            let mut connection = Connection::default();
            let (mut taken, mut lines) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(piece) {
                connection.buffer().extend_from_slice(piece);
                loop {
                    match connection.step(BOUNDS) {
                        Step::Wanting => break,
                        Step::Literal(_) => connection.accept(),
                        Step::Command(raw) => {
                            taken.extend(raw.literals.concat());
                            lines.push(raw.line);
                        }
                        step => panic!("{step:?}"),
                    }
                }
                while let Some(block) = connection.take_block(3) {
                    assert_eq!(block.len(), 3);
                    taken.extend(block);
                }
            }
            assert_eq!(taken, b"0123456789", "in pieces of {piece}");
            assert_eq!(lines, [b"a X {10+}\r\n".to_vec(), b"b NOOP".to_vec()]);
        }
    }

    #[test]
    fn what_is_left_of_an_abandoned_literal_is_skipped() {
        let mut connection = Connection::default();
        connection.buffer().extend_from_slice(b"a X {10}\r\n");
        assert!(matches!(connection.step(BOUNDS), Step::Literal(_)));
        connection.accept();
        connection.buffer().extend_from_slice(b"b LOG");
        assert!(matches!(connection.step(BOUNDS), Step::Wanting));
        connection.abandon();
        connection.buffer().extend_from_slice(b"OUT\r\n {3+}\r\nabc\r\nc NOOP\r\n");
        assert!(matches!(connection.step(BOUNDS), Step::Refused));
        let Step::Command(raw) = connection.step(BOUNDS) else { panic!("a command") };
        assert_eq!(raw.line, b"c NOOP");
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics_or_depends_on_its_pieces(
            bytes in proptest::collection::vec(
                proptest::sample::select(b"a {}+0149\r\n".to_vec()), 0..300),
            piece in 1usize..40,
        ) {
            proptest::prop_assert_eq!(steps(&bytes, piece), steps(&bytes, 1000));
        }
    }
}
