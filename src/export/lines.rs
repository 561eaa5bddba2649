//! How a message's lines end, and how they do so on Unix.
//!
//! `import` makes CRLF of every LF without a CR before it. That brings a message back from LF
//! alone if each of its LFs had one CR before it: not if it had none, and not if it had two.

use super::Form;
use crate::mail_files::{LastLine, LineEnds};

/// What the bytes of a message have shown so far.
#[derive(Default)]
pub(super) struct Look {
    /// The last two bytes.
    before: [u8; 2],
    /// Whether CRLF cannot be told from LF without it.
    mixed: bool,
}

impl Look {
    /// Looks at the next bytes.
    pub(super) fn at(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let [second_last, last] = self.before;
                self.mixed |= last != b'\r' || second_last == b'\r';
            }
            self.before = [self.before[1], byte];
        }
    }

    /// How to write it, if `wanted` is what is wanted.
    pub(super) fn form(&self, wanted: LineEnds) -> Form {
        let line_ends = if self.mixed { LineEnds::Stored } else { wanted };
        let last_line = if self.before[1] == b'\n' { LastLine::Ended } else { LastLine::Open };
        Form { line_ends, last_line }
    }
}

/// CRLF → LF over pieces.
#[derive(Default)]
pub(super) struct UnixLines {
    /// A CR that was not written yet: an LF may follow.
    held: bool,
}

impl UnixLines {
    /// The next bytes without the CRs of their line ends.
    pub(super) fn convert(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            if self.held && byte != b'\n' {
                out.push(b'\r');
            }
            self.held = byte == b'\r';
            if !self.held {
                out.push(byte);
            }
        }
        out
    }

    /// Whether the message ends with a CR, which is still to be written.
    pub(super) fn holds_return(&self) -> bool {
        self.held
    }
}

/// `From ` at the begin of a line, behind any number of `>`, gets one `>` more (mboxrd).
#[derive(Default)]
pub(super) struct Quoting {
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// At a line's begin, behind nothing but `>` and so many letters of `From `.
    Begin {
        matched: usize,
    },
    Within,
}

impl Default for Place {
    fn default() -> Place {
        Place::Begin { matched: 0 }
    }
}

const FROM: &[u8] = b"From ";

impl Quoting {
    /// The next bytes, quoted. Of a line's begin up to four bytes may be held back.
    pub(super) fn quote(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 64 + FROM.len());
        for &byte in bytes {
            if let Place::Begin { matched } = self.place {
                if FROM.get(matched) == Some(&byte) {
                    self.place = Place::Begin { matched: matched + 1 };
                    if matched + 1 == FROM.len() {
                        // Among others of its kind it does not matter where it stands.
                        out.push(b'>');
                        out.extend_from_slice(FROM);
                        self.place = Place::Within;
                    }
                    continue;
                }
                out.extend_from_slice(FROM.get(..matched).unwrap_or_default());
                let goes_on = matched == 0 && byte == b'>';
                self.place = if goes_on { Place::default() } else { Place::Within };
            }
            out.push(byte);
            if byte == b'\n' {
                self.place = Place::default();
            }
        }
        out
    }

    /// What was held back at the end of the message.
    pub(super) fn rest(&self) -> &'static [u8] {
        match self.place {
            Place::Begin { matched } => FROM.get(..matched).unwrap_or_default(),
            Place::Within => b"",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::with_crlf;

    fn look(message: &[u8]) -> Form {
        let mut look = Look::default();
        message.chunks(2).for_each(|piece| look.at(piece));
        look.form(LineEnds::Unix)
    }

    fn unix(message: &[u8]) -> Vec<u8> {
        let mut lines = UnixLines::default();
        let mut out: Vec<u8> = message.chunks(2).flat_map(|piece| lines.convert(piece)).collect();
        if lines.holds_return() {
            out.push(b'\r');
        }
        out
    }

    fn quoted(message: &[u8]) -> Vec<u8> {
        let mut quoting = Quoting::default();
        let mut out: Vec<u8> = message.chunks(3).flat_map(|piece| quoting.quote(piece)).collect();
        out.extend_from_slice(quoting.rest());
        out
    }

    #[test]
    fn a_message_is_written_with_lf_where_that_leads_back() {
        let (unix, stored) = (LineEnds::Unix, LineEnds::Stored);
        let (ended, open) = (LastLine::Ended, LastLine::Open);
        for (message, line_ends, last_line, reason) in [
            ("a\r\nb\r\n", unix, ended, "mail"),
            ("a\r\nb", unix, open, "no last line end"),
            ("a\rb\r\n\r\n\r", unix, open, "CR alone stays as it is"),
            ("a\nb\r\n", stored, ended, "an LF alone would come back as CRLF"),
            ("a\r\r\n", stored, ended, "CRLF would be taken as it is"),
            ("", unix, open, "nothing"),
        ] {
            assert_eq!(look(message.as_bytes()), Form { line_ends, last_line }, "{reason}");
        }
    }

    #[test]
    fn lines_that_look_like_the_next_message_are_quoted() {
        for (message, expected) in [
            ("From a", ">From a"),
            ("x\n>From a\n>>From b\n", "x\n>>From a\n>>>From b\n"),
            ("x From a\nFromage\nFro", "x From a\nFromage\nFro"),
            ("From\nFrom x", "From\n>From x"),
            ("> From x\n>F>From y", "> From x\n>F>From y"),
        ] {
            assert_eq!(String::from_utf8(quoted(message.as_bytes())).unwrap(), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_with_lf_comes_back(
            message in proptest::collection::vec(proptest::sample::select(b"a\r\n".to_vec()), 0..40)
        ) {
            let crlf = with_crlf(&unix(&message));
            let exact = look(&message).line_ends == LineEnds::Unix;
            proptest::prop_assert_eq!(crlf == message, exact);
        }

        #[test]
        fn quoting_adds_nothing_but_signs(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec!["From ", ">", "\n", "Fr", "x"]), 0..30)
        ) {
            let message = pieces.concat();
            let quoted = String::from_utf8(quoted(message.as_bytes())).unwrap();
            let unquoted: Vec<&str> = quoted
                .split('\n')
                .map(|line| match line.trim_start_matches('>').starts_with("From ") {
                    true => line.strip_prefix('>').expect("it is quoted"),
                    false => line,
                })
                .collect();
            proptest::prop_assert_eq!(unquoted.join("\n"), message);
        }
    }
}
