//! Whether bytes are a response: the grammar of RFC 9051 section 9 as a client without knowledge of
//! extensions can hold it against them.
//!
//! ```text
//! response  = ("+ " text / tag SP state / "* " untagged) CRLF
//! state     = ("OK" / "NO" / "BAD" / "BYE" / "PREAUTH") SP ["[" values "]" SP] text
//! untagged  = state / number SP ("EXISTS" / "RECENT" / "EXPUNGE")
//!           / number SP ("FETCH" / "UIDFETCH") SP "(" pairs ")" / name *(SP value)
//! value     = atom / quoted / literal / "(" [values] ")"      a list may follow a list at once
//! ```

/// What is wrong with a response.
type Fault = &'static str;

/// Untagged responses that begin with their name.
const NAMES: &[&[u8]] = &[
    b"ACL",
    b"CAPABILITY",
    b"ENABLED",
    b"ESEARCH",
    b"FLAGS",
    b"ID",
    b"LANGUAGE",
    b"LIST",
    b"LISTRIGHTS",
    b"LSUB",
    b"METADATA",
    b"MYRIGHTS",
    b"NAMESPACE",
    b"QUOTA",
    b"QUOTAROOT",
    b"SEARCH",
    b"SORT",
    b"STATUS",
    b"THREAD",
    b"UIDBATCHES",
    b"VANISHED",
];

/// Holds a response, literals and last CRLF included, against the grammar.
pub(super) fn check(bytes: &[u8]) -> Result<(), Fault> {
    let bytes = bytes.strip_suffix(b"\r\n").ok_or("no CRLF at the end")?;
    let mut rest = Rest(bytes);
    match rest.word() {
        b"+" => rest.text(),
        b"*" => untagged(rest),
        b"" => Err("no tag"),
        _ => state(rest),
    }
}

fn untagged(mut rest: Rest<'_>) -> Result<(), Fault> {
    let whole = rest.clone();
    let name = rest.word();
    if matches!(name, b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH") {
        return state(whole);
    }
    if !name.is_empty() && name.iter().all(u8::is_ascii_digit) {
        if rest.0.ends_with(b" ") {
            return Err("a space before an end");
        }
        return match rest.word() {
            b"EXISTS" | b"RECENT" | b"EXPUNGE" => rest.end(),
            b"FETCH" | b"UIDFETCH" => {
                let count = rest.list()?;
                if count == 0 || count % 2 == 1 {
                    return Err("FETCH has pairs");
                }
                rest.end()
            }
            _ => Err("an unknown response with a number"),
        };
    }
    if !NAMES.contains(&name) {
        return Err("an unknown response");
    }
    if !rest.0.is_empty() {
        rest.values(None)?;
    }
    rest.end()
}

fn state(mut rest: Rest<'_>) -> Result<(), Fault> {
    if !matches!(rest.word(), b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH") {
        return Err("an unknown status");
    }
    if rest.take(b'[') {
        if rest.values(Some(b']'))? == 0 {
            return Err("an empty response code");
        }
        if !(rest.take(b']') && rest.take(b' ')) {
            return Err("a response code ends with ] and a space");
        }
    }
    rest.text()
}

/// What is not read yet.
#[derive(Clone)]
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip(&mut self, count: usize) -> &'a [u8] {
        let (before, after) = self.0.split_at_checked(count).unwrap_or((self.0, b""));
        self.0 = after;
        before
    }

    /// Letters to a space, which is taken, too.
    fn word(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| byte == b' ').unwrap_or(self.0.len());
        let word = self.skip(end);
        self.take(b' ');
        word
    }

    fn end(&self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err("more than a response") }
    }

    /// `text = 1*TEXT-CHAR`, or in UTF-8
    fn text(&mut self) -> Result<(), Fault> {
        let text = std::str::from_utf8(self.0).map_err(|_| "text that is not UTF-8")?;
        if text.is_empty() {
            return Err("no text");
        }
        if text.contains(['\r', '\n', '\0']) {
            return Err("a line in text");
        }
        Ok(())
    }

    /// Values up to `close`, or to the end; how many.
    fn values(&mut self, close: Option<u8>) -> Result<usize, Fault> {
        let mut count = 0;
        loop {
            if self.0.first().copied() == close {
                return if count == 0 { Ok(0) } else { Err("a space before an end") };
            }
            // A list may follow a list at once, as addresses and parts do.
            loop {
                let is_list = self.0.first() == Some(&b'(');
                self.value(close)?;
                count += 1;
                if !(is_list && self.0.first().is_some_and(|&byte| byte == b'(')) {
                    break;
                }
            }
            if self.0.first().copied() == close {
                return Ok(count);
            }
            if !self.take(b' ') {
                return Err("no space between values");
            }
        }
    }

    /// `"(" [values] ")"`; how many.
    fn list(&mut self) -> Result<usize, Fault> {
        if !self.take(b'(') {
            return Err("no list");
        }
        let count = self.values(Some(b')'))?;
        if self.take(b')') { Ok(count) } else { Err("a list without end") }
    }

    fn value(&mut self, close: Option<u8>) -> Result<(), Fault> {
        match self.0 {
            [b'(', ..] => self.list().map(drop),
            [b'"', ..] => self.quoted(),
            [b'{', ..] | [b'~', b'{', ..] => self.literal(),
            _ => self.atom(close),
        }
    }

    fn quoted(&mut self) -> Result<(), Fault> {
        self.take(b'"');
        loop {
            match self.skip(1) {
                b"\"" => return Ok(()),
                b"\\" if matches!(self.skip(1), b"\"" | b"\\") => {}
                b"\\" => return Err("a backslash before neither of two"),
                b"\r" | b"\n" | b"\0" | b"" => return Err("a quoted string without end"),
                _ => {}
            }
        }
    }

    fn literal(&mut self) -> Result<(), Fault> {
        self.take(b'~');
        self.take(b'{');
        let digits = self.0.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(0);
        let digits = std::str::from_utf8(self.skip(digits)).unwrap_or_default();
        let count = digits.parse().map_err(|_| "a literal without length")?;
        if self.skip(3) != b"}\r\n" {
            return Err("a literal's length without end");
        }
        if self.skip(count).len() == count { Ok(()) } else { Err("a short literal") }
    }

    /// Letters that need no quotes; brackets hold values, as in `BODY[HEADER.FIELDS (To)]`.
    fn atom(&mut self, close: Option<u8>) -> Result<(), Fault> {
        let before = self.0.len();
        while let Some(&byte) = self.0.first() {
            match byte {
                b'[' if close != Some(b']') => {
                    self.skip(1);
                    self.values(Some(b']'))?;
                    if !self.take(b']') {
                        return Err("a bracket without end");
                    }
                }
                b' ' | b'(' | b')' => break,
                b']' if close == Some(b']') => break,
                b'"' | b'{' | 0..0x20 | 0x7f => return Err("an atom with a special letter"),
                _ => drop(self.skip(1)),
            }
        }
        if self.0.len() < before { Ok(()) } else { Err("no value") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_told_from_what_is_none() {
        let right = [
            "* 3 EXISTS",
            "* OK [PERMANENTFLAGS (\\Seen \\*)] Limited",
            "a1 NO [BADCHARSET (UTF-8)] No",
            "* 1 FETCH (UID 5 BODY[HEADER.FIELDS (To \"a b\")] {3}\r\n\r\n) FLAGS ())",
            "* 1 FETCH (ENVELOPE (\"a\\\"b\" ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")) NIL))",
            "* THREAD (1)(2 (3)(4))",
            "* SEARCH",
            "* SEARCH 1 2 (MODSEQ 5)",
            "+ idling",
            "* LIST (\\HasChildren) \"/\" \"a b\" (CHILDINFO (\"SUBSCRIBED\"))",
            "* BYE Good-bye",
        ];
        for text in right {
            assert_eq!(check(format!("{text}\r\n").as_bytes()), Ok(()), "{text}");
        }
        let wrong = [
            "",
            "* 3 EXISTS ",
            "a1 NO",
            "a1 NO [CODE]",
            "a1 FINE It is",
            "* OK ",
            "* MOON rises",
            "* 1 FETCH (UID)",
            "* 1 FETCH (UID 5",
            "* 1 FETCH (UID 5) ",
            "* 1 FETCH (BODY[] {9}\r\nabc)",
            "* LIST () \"/\" \"a",
            "* LIST () \"/\" \"a\\b\"",
            "* LIST () \"/\"  a",
            "* OK two\r\n* OK lines",
        ];
        for text in wrong {
            assert!(check(format!("{text}\r\n").as_bytes()).is_err(), "{text}");
        }
        assert!(check(b"* 3 EXISTS\n").is_err());
    }
}
