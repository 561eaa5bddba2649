//! Pieces of answers: numbers, strings, flags, names.

use engine::flags::{FlagList, Keyword, SystemFlags};
use engine::mailbox::Row;

use super::cursor::is_astring_char;
use super::mailbox_name::{self, NameEncoding};

/// The longest text that is quoted; longer ones are literals, which every client reads at once.
const QUOTED_BYTES_MAX: usize = 4096;

/// Digits of a 64-bit number.
const DIGITS_MAX: usize = 20;

/// Decimal digits.
pub fn number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut left = number;
    let mut start = DIGITS_MAX;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            start = place;
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Each number from the first to the last, with a space before it: counts in digits, because a
/// search may find a million.
pub fn spaced_numbers(out: &mut Vec<u8>, (first, last): (u32, u32)) {
    // A space and at most ten digits, right-aligned; zeros stand before them, for a carry.
    let mut text = [b'0'; 11];
    let mut start = text.len();
    let mut left = first;
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        start -= 1;
        if left == 0 {
            break;
        }
    }
    for number in first..=last {
        out.push(b' ');
        out.extend_from_slice(text.get(start..).unwrap_or_default());
        if number < last {
            let nines = text.iter().rev().take_while(|&&digit| digit == b'9').count();
            let raised = text.len() - nines - 1;
            start = start.min(raised);
            text.iter_mut().skip(raised + 1).for_each(|digit| *digit = b'0');
            text.iter_mut().skip(raised).take(1).for_each(|digit| *digit += 1);
        }
    }
}

/// `quoted` where the text can be, else `literal`. NUL, which neither may hold, is left out.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() <= QUOTED_BYTES_MAX {
        if is_plain(text) {
            out.reserve(text.len() + 2);
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
            return;
        }
        if text.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            quoted(out, text);
            return;
        }
    }
    let kept = text.len() - text.iter().filter(|&&byte| byte == 0).count();
    literal_head(out, engine::width::u64_of(kept));
    out.extend(text.iter().filter(|&&byte| byte != 0));
}

/// `astring`: an atom where the text can be one.
pub fn astring(out: &mut Vec<u8>, text: &[u8]) {
    let atom = !text.is_empty() && text.iter().all(|&byte| is_astring_char(byte));
    if atom && !text.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(text);
    } else {
        string(out, text);
    }
}

/// Printable ASCII, or UTF-8 for who understands it, between quotation marks.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Whether a text is printable ASCII that stands between quotation marks as it is: nearly every
/// text is, so eight bytes are looked at at once.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    if !words.iter().all(|word| are_plain(u64::from_le_bytes(*word))) {
        return false;
    }
    match text.last_chunk::<8>() {
        // The last eight, of which some have been looked at.
        Some(last) => rest.is_empty() || are_plain(u64::from_le_bytes(*last)),
        None => rest.iter().all(|&b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\'),
    }
}

/// The same for eight bytes: none has its highest bit in any of these sums.
fn are_plain(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let where_equal = |byte: u8| {
        let differs = word ^ (ONES * u64::from(byte));
        differs.wrapping_sub(ONES) & !differs
    };
    let below_blank = word.wrapping_sub(ONES * 0x20);
    let above_tilde = word.wrapping_add(ONES);
    let odd = word | below_blank | above_tilde | where_equal(b'"') | where_equal(b'\\');
    odd & (ONES << 7) == 0
}

/// `{n} CRLF`: the bytes follow.
pub fn literal_head(out: &mut Vec<u8>, byte_count: u64) {
    out.push(b'{');
    number(out, byte_count);
    out.extend_from_slice(b"}\r\n");
}

/// A literal of bytes of a message that `fill` appends.
pub fn literal_of(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    /// Room for the head of the lengths that are the most frequent, so that nothing is moved.
    const ROOM: &[u8] = b"{nnn}\r\n";
    let start = out.len();
    out.extend_from_slice(ROOM);
    let begin = out.len();
    fill(out);
    mask_nul(out, begin);
    let end = out.len();
    literal_head(out, engine::width::u64_of(end - begin));
    let head_len = out.len() - end;
    if head_len == ROOM.len() {
        out.copy_within(end.., start);
        out.truncate(end);
    } else {
        if let Some(all) = out.get_mut(start..) {
            all.rotate_right(head_len);
        }
        out.drain(start + head_len..begin + head_len);
    }
}

/// Bytes of a message in a literal. NUL, which no literal may hold (RFC 3501 section 9, `CHAR8`),
/// is put as 0x80, so that lengths and offsets stay those of the message.
pub fn literal_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.extend_from_slice(bytes);
    mask_nul(out, start);
}

/// The same for bytes that are in `out` from `start` on.
pub fn mask_nul(out: &mut [u8], start: usize) {
    let mut rest = out.get_mut(start..).unwrap_or_default();
    while let Some(place) = memchr::memchr(0, rest) {
        let (_, from) = rest.split_at_mut(place);
        let Some((nul, behind)) = from.split_first_mut() else { return };
        *nul = 0x80;
        rest = behind;
    }
}

/// `string`, or `literal8` where it holds NUL (RFC 5464 section 5).
pub fn string8(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.contains(&0) {
        return string(out, bytes);
    }
    out.push(b'~');
    literal_head(out, engine::width::u64_of(bytes.len()));
    out.extend_from_slice(bytes);
}

/// `nstring`
pub fn nstring(out: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// A mailbox name, always quoted.
pub fn mailbox(out: &mut Vec<u8>, name: &str, names: NameEncoding) {
    match names {
        NameEncoding::ModifiedUtf7 => quoted(out, mailbox_name::encode(name).as_bytes()),
        NameEncoding::Utf8 => quoted(out, name.as_bytes()),
    }
}

/// `flag-list` of what a row has; `keywords` is the list of its mailbox.
pub fn row_flags(out: &mut Vec<u8>, flags: SystemFlags, row: &Row, keywords: &[Keyword]) {
    flags_named(out, flags, &row.keywords, keywords);
}

/// `flag-list` of system flags and of keywords by their indexes in the list of their mailbox.
pub fn flags_named(out: &mut Vec<u8>, flags: SystemFlags, indexes: &[u16], keywords: &[Keyword]) {
    out.push(b'(');
    let start = out.len();
    let separate = |out: &mut Vec<u8>| {
        if out.len() > start {
            out.push(b' ');
        }
    };
    for (flag, name) in SystemFlags::ALL {
        if flags.contains(flag) {
            separate(out);
            out.extend_from_slice(name.as_bytes());
        }
    }
    for &index in indexes {
        if let Some(keyword) = keywords.get(usize::from(index)) {
            separate(out);
            out.extend_from_slice(keyword.as_str().as_bytes());
        }
    }
    out.push(b')');
}

/// All system flags, these keywords, and what else `more` names, in parentheses.
pub fn flags_known(out: &mut Vec<u8>, keywords: &[Keyword], more: &str) {
    out.push(b'(');
    for (index, (_, name)) in SystemFlags::ALL.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(name.as_bytes());
    }
    for keyword in keywords {
        out.push(b' ');
        out.extend_from_slice(keyword.as_str().as_bytes());
    }
    out.extend_from_slice(more.as_bytes());
    out.push(b')');
}

/// A row's flags as a list of names.
pub fn flag_list(row: &Row, keywords: &[Keyword]) -> FlagList {
    FlagList {
        system: row.flags,
        keywords: row
            .keywords
            .iter()
            .filter_map(|&index| keywords.get(usize::from(index)).cloned())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::cursor::Cursor;

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, 4_294_967_295, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, value.to_string().into_bytes());
        }
        for (first, last) in [(1, 1), (7, 12), (95, 1234), (u32::MAX - 3, u32::MAX), (9, 10)] {
            let mut out = Vec::new();
            spaced_numbers(&mut out, (first, last));
            let expected: String = (first..=last).map(|number| format!(" {number}")).collect();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_text_is_plain_if_each_of_its_bytes_is() {
        for length in [1, 7, 8, 9, 16, 21] {
            for (place, byte) in (0..length).flat_map(|at| (0..=255_u8).map(move |byte| (at, byte)))
            {
                let mut text = vec![b'a'; length];
                text[place] = byte;
                let expected = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
                assert_eq!(is_plain(&text), expected, "{byte} at {place} of {length}");
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn a_literal_is_told_with_its_length_whatever_that_is() {
        for length in [0, 9, 99, 100, 999, 1000, 12_345] {
            let bytes: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
            let (mut filled, mut expected) = (b"before ".to_vec(), b"before ".to_vec());
            literal_of(&mut filled, |out| out.extend_from_slice(&bytes));
            literal_head(&mut expected, u64::from(length));
            literal_bytes(&mut expected, &bytes);
            assert!(filled == expected, "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_string_reads_back(text in proptest::collection::vec(1u8.., 0..200)) {
            let mut out = Vec::new();
            string(&mut out, &text);
            let literals = vec![text.clone()];
            let line = match out.windows(3).position(|w| w == b"}\r\n") {
                Some(at) if out.first() == Some(&b'{') => out[..at + 3].to_vec(),
                _ => out.clone(),
            };
            let read = Cursor::new(&line, &literals).string().unwrap().into_owned();
            proptest::prop_assert_eq!(read, text);
        }
    }
}
