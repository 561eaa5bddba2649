//! HEADER.FIELDS and HEADER.FIELDS.NOT of headers that are too long to be held: the same choice as
//! `engine::message::section::header_fields`, made as the bytes come.
//!
//! # Invariants
//! 1. The result is that of the engine's function, however the bytes are cut; a test compares.
//! 2. At most `NAME_BYTES_MAX` bytes are held back between two pieces.

use engine::message::section::FieldChoice;

/// The longest beginning of a line that can be a name that was asked for: a command has fewer
/// bytes.
const NAME_BYTES_MAX: usize = 128 << 10;

/// A header on its way.
#[derive(Clone, Debug)]
pub struct FieldFilter {
    names: Vec<Vec<u8>>,
    choice: FieldChoice,
    place: Place,
    /// Whether a field began, so that a blank goes on with it.
    any_field: bool,
    /// The beginning of a field, up to its colon.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// A line begins; `chosen` says what happened to the one before.
    LineStart { chosen: bool },
    /// In the name of a field.
    Name,
    /// Behind it.
    Line { chosen: bool },
    /// The empty line has been.
    End,
}

impl FieldFilter {
    /// Chooses fields of these names, or all others.
    pub fn new(names: &[Vec<u8>], choice: FieldChoice) -> FieldFilter {
        let names = names.to_vec();
        let place = Place::LineStart { chosen: false };
        FieldFilter { names, choice, place, any_field: false, held: Vec::new() }
    }

    /// Appends what is chosen of `bytes`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            match self.place {
                Place::End => return,
                Place::LineStart { chosen } => {
                    let goes_on = self.any_field && matches!(first, b' ' | b'\t');
                    self.place = if goes_on { Place::Line { chosen } } else { Place::Name };
                }
                Place::Line { chosen } => {
                    let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
                    let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
                    if chosen {
                        out.extend_from_slice(line);
                    }
                    if end.is_some() {
                        self.place = Place::LineStart { chosen };
                    }
                    rest = after;
                }
                Place::Name => rest = self.read_name(rest, out),
            }
        }
    }

    /// Reads up to a colon or a line end; answers what follows.
    fn read_name<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let end = memchr::memchr2(b':', b'\n', rest).map(|at| at + 1);
        let (head, after) = rest.split_at(end.unwrap_or(rest.len()));
        self.held.extend_from_slice(head);
        match self.held.last() {
            Some(b'\n') if matches!(self.held.as_slice(), b"\n" | b"\r\n") => {
                self.held.clear();
                self.place = Place::End;
            }
            Some(b'\n') => {
                let chosen = self.begin_field(false, out);
                self.place = Place::LineStart { chosen };
            }
            Some(b':') => {
                let name = self.held.strip_suffix(b":").unwrap_or(&self.held).trim_ascii();
                let is_it = |known: &Vec<u8>| name.eq_ignore_ascii_case(known);
                let is_named = !name.is_empty() && self.names.iter().any(is_it);
                let chosen = self.begin_field(is_named, out);
                self.place = Place::Line { chosen };
            }
            _ if self.held.len() > NAME_BYTES_MAX => {
                let chosen = self.begin_field(false, out);
                self.place = Place::Line { chosen };
            }
            _ => {}
        }
        after
    }

    /// Puts what was held if the field is chosen; answers whether it is.
    fn begin_field(&mut self, is_named: bool, out: &mut Vec<u8>) -> bool {
        let chosen = is_named == (self.choice == FieldChoice::Only);
        if chosen {
            out.append(&mut self.held);
        }
        self.held.clear();
        self.any_field = true;
        chosen
    }

    /// Appends what is due at the end of the header: at least an empty line.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let chosen = match self.place {
            Place::Name if !self.held.is_empty() => self.begin_field(false, out),
            Place::Line { chosen } => chosen,
            _ => false,
        };
        if chosen {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        self.place = Place::End;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::message::section::header_fields;

    fn chosen(header: &[u8], names: &[Vec<u8>], choice: FieldChoice, piece: usize) -> Vec<u8> {
        let mut filter = FieldFilter::new(names, choice);
        let mut out = Vec::new();
        header.chunks(piece.max(1)).for_each(|piece| filter.push(piece, &mut out));
        filter.finish(&mut out);
        out
    }

    #[test]
    fn the_choice_is_that_of_the_engine_for_odd_headers() {
        let names = [b"To".to_vec(), b"x-a".to_vec(), Vec::new()];
        for header in [
            &b"To: a\r\n b\r\nFrom: c\r\n\t: d\r\nX-A : e\n\r\nTo: body\r\n"[..],
            b" To: first\r\nno colon\r\n folded\r\nTO:x",
            b"To:",
            b": empty\r\nTo\r\n: no\r\n",
            b"\r",
            b"\r\nTo: x",
            b"",
            b"From",
            b"To: a\r\n ",
        ] {
            for choice in [FieldChoice::Only, FieldChoice::Except] {
                let expected = header_fields(header, &names, choice);
                for piece in 1..=header.len().max(1) {
                    let found = chosen(header, &names, choice, piece);
                    assert_eq!(found, expected, "{header:?} {choice:?} {piece}");
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn the_choice_is_that_of_the_engine(
            header in proptest::collection::vec(
                proptest::sample::select(b"Toa: \t\r\n".as_slice()), 0..60,
            ),
            piece in 1usize..9,
        ) {
            let names = [b"to".to_vec(), b"a".to_vec()];
            for choice in [FieldChoice::Only, FieldChoice::Except] {
                let expected = header_fields(&header, &names, choice);
                proptest::prop_assert_eq!(chosen(&header, &names, choice, piece), expected);
            }
        }
    }
}
