//! A cursor over one command: its line, with literals lying beside it.
//!
//! The connection cuts a command out of the byte stream as one line in which each literal is left
//! as its announcement `{n} CRLF`, and a list of the literals' bytes. The cursor puts them together
//! again, so a literal of many megabytes is never scanned or copied with its line.
//!
//! # Invariants
//! 1. `at` never passes the end of the line.
//! 2. The n-th announcement in the line belongs to the n-th literal.

use std::borrow::Cow;

use super::mailbox_name::{NameEncoding, WireName};

/// Where a command stopped making sense, and what would have made sense there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyntaxError {
    /// Offset in the line.
    pub at: usize,
    /// What was expected: the end of "expected …".
    pub expected: &'static str,
}

impl std::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected {} at byte {}", self.expected, self.at)
    }
}

/// How large a search may be.
#[derive(Clone, Copy, Debug)]
pub struct SearchBounds {
    /// How deep NOT, OR, FUZZY and parentheses may nest.
    pub depth_max: usize,
    /// How many keys it may have.
    pub keys_max: usize,
}

/// Reads one command from left to right.
#[derive(Clone)]
pub struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
    literals: &'a [Vec<u8>],
    literals_read: usize,
    names: NameEncoding,
    search_bounds: SearchBounds,
}

/// `ATOM-CHAR`: anything but `atom-specials` (RFC 3501 section 9).
pub fn is_atom_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte)
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`
pub fn is_astring_char(byte: u8) -> bool {
    is_atom_char(byte) || byte == b']'
}

/// `list-char = ATOM-CHAR / list-wildcards / resp-specials`
pub fn is_list_char(byte: u8) -> bool {
    is_astring_char(byte) || byte == b'%' || byte == b'*'
}

impl<'a> Cursor<'a> {
    /// At the beginning of a line (without its final CRLF).
    pub fn new(line: &'a [u8], literals: &'a [Vec<u8>]) -> Cursor<'a> {
        let search_bounds = SearchBounds::default();
        let names = NameEncoding::default();
        Cursor { line, at: 0, literals, literals_read: 0, names, search_bounds }
    }

    /// The same, for searches of another size.
    pub fn with_search_bounds(self, search_bounds: SearchBounds) -> Cursor<'a> {
        Cursor { search_bounds, ..self }
    }

    /// How large a search may be.
    pub fn search_bounds(&self) -> SearchBounds {
        self.search_bounds
    }

    /// The same, for mailbox names in another encoding.
    pub fn with_names(self, names: NameEncoding) -> Cursor<'a> {
        Cursor { names, ..self }
    }

    /// `mailbox = "INBOX" / astring`
    pub fn mailbox(&mut self) -> Result<WireName, SyntaxError> {
        let names = self.names;
        Ok(WireName::written(&self.astring()?, names))
    }

    /// `mbox-or-pat = list-mailbox`
    pub fn pattern(&mut self) -> Result<WireName, SyntaxError> {
        let names = self.names;
        Ok(WireName::written(&self.list_mailbox()?, names))
    }

    /// The error "expected … here".
    pub fn expected<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at, expected })
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// The next byte, left where it is.
    pub fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    /// The byte after the next one.
    pub fn peek_second(&self) -> Option<u8> {
        self.line.get(self.at.saturating_add(1)).copied()
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.line.len());
    }

    /// Takes `byte` if it is next.
    pub fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.skip(1);
        }
        there
    }

    /// Takes `byte` or fails.
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), SyntaxError> {
        if self.take(byte) { Ok(()) } else { self.expected(expected) }
    }

    /// One space. More than one is taken too: some programs send them, and nothing is ambiguous.
    pub fn space(&mut self) -> Result<(), SyntaxError> {
        self.expect(b' ', "a space")?;
        while self.take(b' ') {}
        Ok(())
    }

    /// Nothing but spaces is left.
    pub fn end(&mut self) -> Result<(), SyntaxError> {
        while self.take(b' ') {}
        if self.at == self.line.len() { Ok(()) } else { self.expected("the end of the command") }
    }

    /// Whether nothing but spaces is left.
    pub fn at_end(&self) -> bool {
        self.rest().iter().all(|&byte| byte == b' ')
    }

    /// The longest run of bytes that satisfy `accept`, at least one.
    pub fn run(
        &mut self,
        accept: impl Fn(u8) -> bool,
        expected: &'static str,
    ) -> Result<&'a [u8], SyntaxError> {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| !accept(byte)).unwrap_or(rest.len());
        if length == 0 {
            return self.expected(expected);
        }
        self.skip(length);
        Ok(rest.get(..length).unwrap_or_default())
    }

    /// `atom`
    pub fn atom(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.run(is_atom_char, "an atom")
    }

    /// A name of the grammar itself: letters, digits, `.` and `-`.
    pub fn word(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.run(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-', "a word")
    }

    /// Takes the word `word` (any case) if the next word is exactly that.
    pub fn take_word(&mut self, word: &str) -> bool {
        let mut ahead = self.clone();
        let there = ahead.word().is_ok_and(|found| found.eq_ignore_ascii_case(word.as_bytes()));
        if there {
            *self = ahead;
        }
        there
    }

    /// `number64`: decimal digits up to 2^63 - 1 (RFC 9051).
    pub fn number64(&mut self) -> Result<u64, SyntaxError> {
        let start = self.at;
        let digits = self.run(|byte| byte.is_ascii_digit(), "a number")?;
        let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok());
        match number.filter(|number| number >> 63 == 0) {
            Some(number) => Ok(number),
            None => Err(SyntaxError { at: start, expected: "a number below 2^63" }),
        }
    }

    /// `number`: 32 bits.
    pub fn number(&mut self) -> Result<u32, SyntaxError> {
        let start = self.at;
        u32::try_from(self.number64()?)
            .map_err(|_| SyntaxError { at: start, expected: "a number below 2^32" })
    }

    /// `nz-number`
    pub fn nz_number(&mut self) -> Result<u32, SyntaxError> {
        let start = self.at;
        match self.number()? {
            0 => Err(SyntaxError { at: start, expected: "a number above 0" }),
            number => Ok(number),
        }
    }

    /// `quoted`; bytes above 127 are taken as they are, NUL, CR and LF are not.
    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        self.expect(b'"', "a quotation mark")?;
        let rest = self.rest();
        let special = |byte: u8| matches!(byte, b'"' | b'\\' | 0 | b'\r' | b'\n');
        let plain = rest.iter().position(|&byte| special(byte)).unwrap_or(rest.len());
        if rest.get(plain) == Some(&b'"') {
            self.skip(plain + 1);
            return Ok(Cow::Borrowed(rest.get(..plain).unwrap_or_default()));
        }
        let mut text = Vec::new();
        loop {
            let byte = match self.peek() {
                Some(b'"') => {
                    self.skip(1);
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => match self.peek_second() {
                    Some(byte @ (b'"' | b'\\')) => {
                        self.skip(1);
                        byte
                    }
                    _ => return self.expected("\\\" or \\\\ in a quoted string"),
                },
                Some(0 | b'\r' | b'\n') | None => return self.expected("a closing quotation mark"),
                Some(byte) => byte,
            };
            self.skip(1);
            text.push(byte);
        }
    }

    /// `literal` or `literal8`: its number in the list of literals.
    pub fn literal_number(&mut self) -> Result<usize, SyntaxError> {
        self.take(b'~');
        self.expect(b'{', "a literal")?;
        self.number64()?;
        if !self.take(b'+') {
            self.take(b'-');
        }
        self.expect(b'}', "the end of a literal's size")?;
        if !(self.take(b'\r') && self.take(b'\n')) || self.literals_read >= self.literals.len() {
            return self.expected("a literal's bytes");
        }
        self.literals_read += 1;
        Ok(self.literals_read - 1)
    }

    /// Whether a literal is next.
    pub fn at_literal(&self) -> bool {
        self.peek() == Some(b'{') || (self.peek() == Some(b'~') && self.peek_second() == Some(b'{'))
    }

    /// `string = quoted / literal`; a NUL in a literal is refused (RFC 3501: `CHAR8`).
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        if self.peek() == Some(b'"') {
            return self.quoted();
        }
        if !self.at_literal() {
            return self.expected("a string");
        }
        let number = self.literal_number()?;
        let bytes = self.literals.get(number).map(Vec::as_slice).unwrap_or_default();
        if bytes.contains(&0) {
            return self.expected("a literal without NUL");
        }
        Ok(Cow::Borrowed(bytes))
    }

    /// `astring = 1*ASTRING-CHAR / string`
    pub fn astring(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        self.atom_or_string(is_astring_char)
    }

    /// `list-mailbox = 1*list-char / string`
    pub fn list_mailbox(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        self.atom_or_string(is_list_char)
    }

    fn atom_or_string(&mut self, accept: fn(u8) -> bool) -> Result<Cow<'a, [u8]>, SyntaxError> {
        if self.peek() == Some(b'"') || self.at_literal() {
            return self.string();
        }
        Ok(Cow::Borrowed(self.run(accept, "an atom or a string")?))
    }

    /// `nstring = string / nil`
    pub fn nstring(&mut self) -> Result<Option<Cow<'a, [u8]>>, SyntaxError> {
        if self.take_word("NIL") {
            return Ok(None);
        }
        self.string().map(Some)
    }

    /// `nstring / literal8`: any bytes in a literal that begins with `~` (RFC 5464 section 5).
    pub fn nstring8(&mut self) -> Result<Option<Vec<u8>>, SyntaxError> {
        if self.peek() != Some(b'~') {
            return Ok(self.nstring()?.map(Cow::into_owned));
        }
        let number = self.literal_number()?;
        Ok(Some(self.literals.get(number).cloned().unwrap_or_default()))
    }

    /// `"(" [item *(SP item)] ")"`
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Cursor<'a>) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        self.expect(b'(', "an opening parenthesis")?;
        let mut items = Vec::new();
        while self.take(b' ') {}
        if self.take(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            while self.take(b' ') {}
            if self.take(b')') {
                return Ok(items);
            }
            if self.at == 0 || self.line.get(self.at - 1) != Some(&b' ') {
                return self.expected("a space or a closing parenthesis");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_reads_the_same_quoted_and_as_a_literal() {
        let literals = vec![b"a \"b\"\\".to_vec()];
        let mut cursor = Cursor::new(b"\"a \\\"b\\\"\\\\\" {7+}\r\n atom]", &literals);
        let quoted = cursor.astring().unwrap();
        cursor.space().unwrap();
        assert_eq!(quoted, cursor.astring().unwrap());
        cursor.space().unwrap();
        assert_eq!(cursor.astring().unwrap().as_ref(), b"atom]");
        cursor.end().unwrap();
    }

    #[test]
    fn numbers_have_bounds() {
        for (text, fits) in [("0", true), ("4294967295", true), ("4294967296", false), ("", false)]
        {
            assert_eq!(Cursor::new(text.as_bytes(), &[]).number().is_ok(), fits, "{text}");
        }
        assert!(Cursor::new(b"9223372036854775807", &[]).number64().is_ok());
        assert!(Cursor::new(b"9223372036854775808", &[]).number64().is_err());
        assert!(Cursor::new(b"0", &[]).nz_number().is_err());
    }

    #[test]
    fn what_is_not_a_string_is_refused() {
        let nul = vec![vec![0]];
        let none: Vec<Vec<u8>> = Vec::new();
        for (line, literals, reason) in [
            (&b"\"abc"[..], &none, "not closed"),
            (b"\"a\\b\"", &none, "only \\\" and \\\\ are escapes"),
            (b"\"a\x00\"", &none, "NUL"),
            (b"{3}\r\n", &none, "bytes never came"),
            (b"{3}", &nul, "no CRLF"),
            (b"{1}\r\n", &nul, "NUL in a literal"),
            (b"(", &none, "a parenthesis is no atom"),
        ] {
            assert!(Cursor::new(line, literals).astring().is_err(), "{reason}");
        }
    }

    #[test]
    fn a_list_wants_spaces_between_its_items() {
        let read = |text: &'static [u8]| Cursor::new(text, &[]).list(|c| c.astring());
        assert_eq!(read(b"(a b \"c\")").unwrap().len(), 3);
        assert_eq!(read(b"()").unwrap().len(), 0);
        assert!(read(b"(a\"b\")").is_err());
        assert!(read(b"(a b").is_err());
    }
}
