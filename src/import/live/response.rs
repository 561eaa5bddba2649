//! Responses of an IMAP server, as a client reads them: foreign bytes.
//!
//! ```text
//! response  pieces of lines with literals between them ({n} ends the piece before)
//!           "+" text | ("*" | tag) SP (status | number SP word values | word values)
//! status    OK, NO, BAD, BYE, PREAUTH ["[" code [args] "]"] text
//! values    words, "quoted", literals, ( lists ), NIL       (RFC 9051 section 9, without types)
//! ```
//! The grammar is that of all responses at once: whoever asked knows what to look for in them. A
//! word goes on through brackets, as `BODY[HEADER.FIELDS (DATE)]` does.
//!
//! # Invariants
//! 1. A line, a literal, the pieces of a response and the depth of lists have bounds; a literal
//!    takes memory as its bytes come, not as it is announced.
//! 2. What is not understood is an error, never a panic.

use std::io::{self, BufRead, Read};

use engine::width::{u64_of, usize_of};
use imap::codec::cursor::Cursor;
use imap::codec::date::parse_date_time;

/// Bytes of a piece of a line. Only VANISHED has such long ones.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a literal that is no message.
const SMALL_LITERAL_BYTES_MAX: u64 = 64 << 10;
/// Pieces of one response.
const PIECES_MAX: usize = 1000;
/// Lists in lists.
const DEPTH_MAX: usize = 32;

/// Why a response could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The connection ended, or does not answer.
    Lost(io::Error),
    /// These bytes are no response.
    Broken(&'static str),
}

impl From<io::Error> for ReadError {
    fn from(cause: io::Error) -> ReadError {
        ReadError::Lost(cause)
    }
}

/// A value in a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Nil,
    Word(Vec<u8>),
    /// Quoted, or a literal.
    Text(Vec<u8>),
    List(Vec<Value>),
}

/// How a command ended, or what a server says by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Status {
    /// OK, NO, BAD, BYE or PREAUTH.
    pub(super) kind: String,
    /// The response code in capitals with its arguments.
    pub(super) code: Option<(String, String)>,
    /// For people.
    pub(super) text: String,
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Response {
    /// The server waits for more.
    Continue,
    /// The end of the command with that tag.
    Tagged(String, Status),
    /// `* OK` and its like.
    Status(Status),
    /// Anything else: a number, if one stands before the word; the word in capitals; values.
    Other(Option<u32>, String, Vec<Value>),
}

/// A message as FETCH shows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Fetched {
    pub(super) uid: Option<u32>,
    pub(super) flags: Option<Vec<String>>,
    /// INTERNALDATE in seconds since 1970 UTC.
    pub(super) received: Option<i64>,
    pub(super) size: Option<u64>,
    pub(super) body: Option<Vec<u8>>,
}

enum Piece {
    Text(Vec<u8>),
    Literal(Vec<u8>),
}

enum Token {
    Open,
    Close,
    Word(Vec<u8>),
    Text(Vec<u8>),
}

impl Value {
    /// Its bytes, if it is one string.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Word(bytes) | Value::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// As text, with what is no UTF-8 replaced.
    pub(super) fn text(&self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// As a number.
    pub(super) fn number(&self) -> Option<u64> {
        std::str::from_utf8(self.bytes()?).ok()?.parse().ok()
    }

    /// Its elements, if it is a list.
    pub(super) fn list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            _ => None,
        }
    }
}

/// Reads one response; a literal in a FETCH may have `message_bytes_max` bytes.
pub(super) fn read_response(
    input: &mut impl BufRead,
    message_bytes_max: u64,
) -> Result<Response, ReadError> {
    let mut pieces = Vec::new();
    loop {
        let mut line = read_line(input)?;
        let Some((at, bytes)) = literal_at_end(&line) else {
            pieces.push(Piece::Text(line));
            break;
        };
        line.truncate(at);
        let is_fetch = match pieces.first() {
            Some(Piece::Text(first)) => begins_fetch(first),
            _ => begins_fetch(&line),
        };
        let limit = if is_fetch { message_bytes_max } else { SMALL_LITERAL_BYTES_MAX };
        if bytes > limit {
            return Err(ReadError::Broken("a literal is larger than anything that was asked for"));
        }
        pieces.push(Piece::Text(line));
        let mut literal = Vec::new();
        input.by_ref().take(bytes).read_to_end(&mut literal)?;
        if u64_of(literal.len()) < bytes {
            return Err(ReadError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        pieces.push(Piece::Literal(literal));
        if pieces.len() > PIECES_MAX {
            return Err(ReadError::Broken("a response has more literals than any has"));
        }
    }
    parse(pieces)
}

/// A line without its end.
fn read_line(input: &mut impl BufRead) -> Result<Vec<u8>, ReadError> {
    let mut line = Vec::new();
    input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        if u64_of(line.len()) + 1 >= LINE_BYTES_MAX {
            return Err(ReadError::Broken("a line does not end"));
        }
        return Err(ReadError::Lost(io::ErrorKind::UnexpectedEof.into()));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// `literal = ["~"] "{" number64 ["+"] "}"` at the end of a line: where it begins, and its bytes.
fn literal_at_end(line: &[u8]) -> Option<(usize, u64)> {
    let inner = line.strip_suffix(b"}")?;
    let at = inner.iter().rposition(|byte| *byte == b'{')?;
    let digits = std::str::from_utf8(inner.get(at + 1..)?).ok()?;
    let digits = digits.strip_suffix('+').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let begin = match at.checked_sub(1).and_then(|before| inner.get(before)) {
        Some(b'~') => at - 1,
        _ => at,
    };
    // A number that no width holds is too large like any other.
    Some((begin, digits.parse().unwrap_or(u64::MAX)))
}

fn begins_fetch(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ');
    let number = words.nth(1).is_some_and(|word| word.iter().all(u8::is_ascii_digit));
    line.starts_with(b"* ") && number && words.next().is_some_and(|word| is(word, "FETCH"))
}

fn is(bytes: &[u8], word: &str) -> bool {
    bytes.eq_ignore_ascii_case(word.as_bytes())
}

fn parse(mut pieces: Vec<Piece>) -> Result<Response, ReadError> {
    let Some(Piece::Text(first)) = pieces.first_mut() else {
        return Err(ReadError::Broken("a response is empty"));
    };
    let first = std::mem::take(first);
    if first.first() == Some(&b'+') {
        return Ok(Response::Continue);
    }
    let (tag, rest) = word_of(&first);
    let (word, after) = word_of(rest);
    if tag.is_empty() || word.is_empty() {
        return Err(ReadError::Broken("a line is no response"));
    }
    let upper = String::from_utf8_lossy(word).to_ascii_uppercase();
    if ["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&upper.as_str()) {
        let status = status_of(upper, after);
        return Ok(match tag {
            b"*" => Response::Status(status),
            tag => Response::Tagged(String::from_utf8_lossy(tag).into_owned(), status),
        });
    }
    if tag != b"*" {
        return Err(ReadError::Broken("a line is no response"));
    }
    let number = std::str::from_utf8(word).ok().and_then(|digits| digits.parse::<u32>().ok());
    let (word, after) = match number {
        Some(_) => {
            let (word, after) = word_of(after);
            (String::from_utf8_lossy(word).to_ascii_uppercase(), after)
        }
        None => (upper, after),
    };
    let mut all = vec![Piece::Text(after.to_vec())];
    all.extend(pieces.into_iter().skip(1));
    Ok(Response::Other(number, word, tree(tokens(all)?)?))
}

/// The bytes before the first space, and those after it.
fn word_of(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
        None => (line, b""),
    }
}

fn status_of(kind: String, rest: &[u8]) -> Status {
    let rest = String::from_utf8_lossy(rest).into_owned();
    let coded = rest.strip_prefix('[').and_then(|inner| inner.split_once(']'));
    let Some((code, text)) = coded else { return Status { kind, code: None, text: rest } };
    let (name, arguments) = code.split_once(' ').unwrap_or((code, ""));
    let code = Some((name.to_ascii_uppercase(), arguments.to_owned()));
    Status { kind, code, text: text.trim_start().to_owned() }
}

fn tokens(pieces: Vec<Piece>) -> Result<Vec<Token>, ReadError> {
    let mut found = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(bytes) => found.push(Token::Text(bytes)),
            Piece::Text(text) => tokens_of(&text, &mut found)?,
        }
    }
    Ok(found)
}

fn tokens_of(mut rest: &[u8], found: &mut Vec<Token>) -> Result<(), ReadError> {
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b' ' => after,
            b'(' => {
                found.push(Token::Open);
                after
            }
            b')' => {
                found.push(Token::Close);
                after
            }
            b'"' => {
                let (text, after) =
                    quoted(after).ok_or(ReadError::Broken("a quoted string does not end"))?;
                found.push(Token::Text(text));
                after
            }
            _ => {
                let (word, after) = bare_word(rest);
                found.push(Token::Word(word.to_vec()));
                after
            }
        };
    }
    Ok(())
}

/// What stands before the closing quotation mark, and what after it.
fn quoted(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let (&byte, after) = rest.split_first()?;
        match byte {
            b'"' => return Some((text, after)),
            b'\\' => {
                let (&escaped, after) = after.split_first()?;
                text.push(escaped);
                rest = after;
            }
            byte => {
                text.push(byte);
                rest = after;
            }
        }
    }
}

/// A word, through its brackets.
fn bare_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut in_brackets = false;
    let ends = |byte: &u8| {
        match byte {
            b'[' => in_brackets = true,
            b']' => in_brackets = false,
            _ => {}
        }
        !in_brackets && b" ()\"".contains(byte)
    };
    // At least one byte, so that every step gets on.
    let at = bytes.iter().skip(1).position(ends).map_or(bytes.len(), |at| at + 1);
    (bytes.get(..at).unwrap_or_default(), bytes.get(at..).unwrap_or_default())
}

fn tree(tokens: Vec<Token>) -> Result<Vec<Value>, ReadError> {
    let mut open: Vec<Vec<Value>> = vec![Vec::new()];
    for token in tokens {
        let value = match token {
            Token::Open if open.len() > DEPTH_MAX => {
                return Err(ReadError::Broken("lists in lists go deeper than any do"));
            }
            Token::Open => {
                open.push(Vec::new());
                continue;
            }
            Token::Close => Value::List(open.pop().unwrap_or_default()),
            Token::Word(word) if is(&word, "NIL") => Value::Nil,
            Token::Word(word) => Value::Word(word),
            Token::Text(text) => Value::Text(text),
        };
        match open.last_mut() {
            Some(list) => list.push(value),
            None => return Err(ReadError::Broken("a parenthesis closes that none opened")),
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(values), true) => Ok(values),
        _ => Err(ReadError::Broken("a parenthesis does not close")),
    }
}

impl Fetched {
    /// From the values of a FETCH response.
    pub(super) fn of(values: Vec<Value>) -> Fetched {
        let mut fetched = Fetched::default();
        let Some(Value::List(items)) = values.into_iter().next() else { return fetched };
        let mut items = items.into_iter();
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            let name = name.text().unwrap_or_default().to_ascii_uppercase();
            match name.as_str() {
                "UID" => fetched.uid = value.number().and_then(|uid| u32::try_from(uid).ok()),
                "RFC822.SIZE" => fetched.size = value.number(),
                "INTERNALDATE" => fetched.received = value.bytes().and_then(seconds_of),
                "FLAGS" => {
                    let flags = value.list().unwrap_or_default();
                    fetched.flags = Some(flags.iter().filter_map(Value::text).collect());
                }
                name if name.starts_with("BODY[") => {
                    fetched.body = match value {
                        Value::Text(bytes) | Value::Word(bytes) => Some(bytes),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        fetched
    }
}

/// A date-time of RFC 9051 in seconds since 1970 UTC.
fn seconds_of(text: &[u8]) -> Option<i64> {
    let line = [b"\"", text, b"\""].concat();
    let mut cursor = Cursor::new(&line, &[]);
    let time = parse_date_time(&mut cursor).ok()?;
    cursor.at_end().then_some(time.0)
}

/// Whatever a server sends, a client of it goes on or says why not.
pub(crate) fn fuzz_imap_response(bytes: &[u8]) {
    const MESSAGE_BYTES_MAX: u64 = 1 << 20;
    let mut input = bytes;
    let mut before = input.len();
    while let Ok(response) = read_response(&mut input, MESSAGE_BYTES_MAX) {
        assert!(input.len() < before, "every response takes bytes");
        before = input.len();
        if let Response::Other(_, word, values) = response {
            assert!(depth(&values) <= DEPTH_MAX + 1, "invariant 1");
            if word == "FETCH" {
                let fetched = Fetched::of(values);
                let body = fetched.body.map_or(0, |body| body.len());
                assert!(
                    body <= bytes.len().max(usize_of(MESSAGE_BYTES_MAX)),
                    "nothing is invented"
                );
            } else {
                super::names::fuzz_listed(&values);
            }
        }
    }
}

fn depth(values: &[Value]) -> usize {
    let below = values.iter().filter_map(Value::list).map(depth);
    1 + below.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Response, ReadError> {
        read_response(&mut text.as_bytes(), 100)
    }

    fn word(text: &str) -> Value {
        Value::Word(text.as_bytes().to_vec())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn responses_are_read_as_the_grammar_says() {
        let status = |kind: &str, code: Option<(&str, &str)>, text: &str| Status {
            kind: kind.to_owned(),
            code: code.map(|(name, rest)| (name.to_owned(), rest.to_owned())),
            text: text.to_owned(),
        };
        let other = |number, word: &str, values| Response::Other(number, word.to_owned(), values);
        let cases = [
            ("+ go on\r\n", Response::Continue),
            ("+\r\n", Response::Continue),
            (
                "* OK [UIDVALIDITY 7] ok\r\n",
                Response::Status(status("OK", Some(("UIDVALIDITY", "7")), "ok")),
            ),
            ("a1 no nothing\n", Response::Tagged("a1".into(), status("NO", None, "nothing"))),
            ("* 23 EXISTS\r\n", other(Some(23), "EXISTS", vec![])),
            (
                "* LIST (\\HasNoChildren) \".\" {4}\r\nA\"B \r\n",
                other(
                    None,
                    "LIST",
                    vec![Value::List(vec![word("\\HasNoChildren")]), text("."), text("A\"B ")],
                ),
            ),
            (
                "* LIST () NIL \"a\\\"b\\\\c\"\r\n",
                other(None, "LIST", vec![Value::List(vec![]), Value::Nil, text("a\"b\\c")]),
            ),
            (
                "* 1 FETCH (BODY[HEADER.FIELDS (DATE)] \"x\")\r\n",
                other(
                    Some(1),
                    "FETCH",
                    vec![Value::List(vec![word("BODY[HEADER.FIELDS (DATE)]"), text("x")])],
                ),
            ),
            (
                "* VANISHED (EARLIER) 1:3,7\r\n",
                other(None, "VANISHED", vec![Value::List(vec![word("EARLIER")]), word("1:3,7")]),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn a_message_has_what_was_asked_for_in_any_order() {
        let line = "* 3 FETCH (FLAGS (\\Seen $Junk) BODY[] {5}\r\na\r\nb) INTERNALDATE \
                    \" 7-Feb-1994 21:52:25 -0800\" UID 9 RFC822.SIZE 5 MODSEQ (12))\r\n";
        let Response::Other(_, _, values) = read(line).unwrap() else { panic!("no FETCH") };
        let fetched = Fetched::of(values);
        assert_eq!(fetched.uid, Some(9));
        assert_eq!(fetched.size, Some(5));
        assert_eq!(fetched.received, Some(760_686_745));
        assert_eq!(fetched.flags.unwrap(), ["\\Seen", "$Junk"]);
        assert_eq!(fetched.body.unwrap(), b"a\r\nb)");
    }

    #[test]
    fn what_is_no_response_is_refused_before_it_takes_memory() {
        let cases = [
            ("garbage\r\n", "one word"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "another protocol"),
            ("* 1 FETCH (BODY[] {101}\r\n", "a literal above the bound"),
            ("* 1 FETCH (BODY[] {99999999999999999999999}\r\n", "no number of ours"),
            ("* LIST {70000}\r\n", "a large literal where none was asked for"),
            ("* LIST ((((\r\n", "not closed"),
            ("* LIST )\r\n", "closed twice"),
            ("* LIST \"abc\r\n", "no closing quotation mark"),
        ];
        for (line, reason) in cases {
            assert!(matches!(read(line), Err(ReadError::Broken(_))), "{reason}");
        }
        let deep = format!("* LIST {}\r\n", "(".repeat(40));
        assert!(matches!(read(&deep), Err(ReadError::Broken(_))));
        for line in ["", "* OK half", "* 1 FETCH (BODY[] {9}\r\nab"] {
            assert!(matches!(read(line), Err(ReadError::Lost(_))), "{line}: the connection ended");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "* ", "1 FETCH ", "(", ")", "\"", "\\", "{3}\r\n", "abc", "\r\n", "[", "]",
                    "LIST ", "OK ", "NIL ", "\u{e9}", "{", "}", "~{1+}\r\n", "BODY[] ", "UID 7 ",
                    "&AOk-", "&", "INBOX.", "STATUS ",
                ]),
                0..60,
            )
        ) {
            fuzz_imap_response(pieces.concat().as_bytes());
        }
    }
}
