//! The base subject, by which SORT and THREAD compare (RFC 5256 section 2.1).
//!
//! ```text
//! subject-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
//! subj-blob     = "[" *BLOBCHAR "]" *WSP
//! subj-fwd      = "[fwd:" subject "]"
//! trailer       = "(fwd)" / WSP
//! ```

use std::borrow::Cow;

use super::decode::decoded_words;

/// The base subject of an unfolded Subject field, UTF-8, not yet in upper case.
pub fn base_subject(subject: &[u8]) -> String {
    split(&shown(subject)).0.to_owned()
}

/// Whether a Subject field is that of a reply or a forwarded message: whether there is a
/// `subj-refwd`, a trailer `(fwd)` or a `subj-fwd` in what its base subject lacks (RFC 5256 section
/// 3, THREAD=REFERENCES).
pub fn is_reply_or_forward(subject: &[u8]) -> bool {
    split(&shown(subject)).1
}

/// A subject decoded, with single blanks between its words.
fn shown(subject: &[u8]) -> Cow<'_, str> {
    let decoded = decoded_words(subject);
    if decoded.is_ascii() && has_single_blanks(decoded.as_bytes()) {
        return decoded;
    }
    let mut text = String::with_capacity(decoded.len());
    for word in decoded.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    Cow::Owned(text)
}

/// Whether ASCII text is its words with single blanks between.
fn has_single_blanks(text: &[u8]) -> bool {
    let mut after_blank = true;
    for &byte in text {
        let is_blank = byte == b' ';
        if (is_blank && after_blank) || matches!(byte, b'\t'..=b'\r') {
            return false;
        }
        after_blank = is_blank;
    }
    text.is_empty() || !after_blank
}

/// The base of a decoded subject, and whether it is that of a reply or a forwarded message.
fn split(text: &str) -> (&str, bool) {
    let mut rest = text;
    let mut answers = false;
    loop {
        rest = without_trailers(rest, &mut answers);
        rest = without_leaders(rest, &mut answers);
        match strip_start(rest, "[fwd:").and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => (rest, answers) = (inner.trim(), true),
            None => return (rest, answers),
        }
    }
}

fn without_trailers<'a>(mut rest: &'a str, answers: &mut bool) -> &'a str {
    loop {
        rest = rest.trim_end();
        let Some(at) = rest.len().checked_sub(5) else { return rest };
        match rest.split_at_checked(at) {
            Some((before, tail)) if tail.eq_ignore_ascii_case("(fwd)") => {
                (rest, *answers) = (before, true);
            }
            _ => return rest,
        }
    }
}

/// Removes subj-leader, and subj-blob where something is left behind it, as often as they stand.
fn without_leaders<'a>(mut rest: &'a str, answers: &mut bool) -> &'a str {
    loop {
        rest = rest.trim_start();
        if let Some(after) = without_reply_mark(rest) {
            (rest, *answers) = (after, true);
        } else if let Some(after) = without_blob(rest).filter(|after| !after.is_empty()) {
            rest = after;
        } else {
            return rest;
        }
    }
}

/// *subj-blob subj-refwd
fn without_reply_mark(mut rest: &str) -> Option<&str> {
    while let Some(after) = without_blob(rest) {
        rest = after;
    }
    let after = strip_start(rest, "re")
        .or_else(|| strip_start(rest, "fwd"))
        .or_else(|| strip_start(rest, "fw"))?
        .trim_start();
    without_blob(after).unwrap_or(after).strip_prefix(':')
}

fn without_blob(rest: &str) -> Option<&str> {
    let inner = rest.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    let (_, after) = inner.split_at_checked(end)?;
    after.strip_prefix(']').map(str::trim_start)
}

fn strip_start<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(start.len())?;
    if head.eq_ignore_ascii_case(start) { Some(tail) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_and_forwards_have_the_base_of_their_origin() {
        let table = [
            ("Hello", "Hello"),
            ("Re: Hello", "Hello"),
            ("RE: re : Fwd: FW:Hello (fwd) (FWD) ", "Hello"),
            ("[list] Re: [x] Hello", "Hello"),
            ("Re[2]: Hello", "Hello"),
            ("Re [a] : Hello", "Hello"),
            ("[Fwd: Re: Hello]", "Hello"),
            ("[Fwd: [Fwd: Hello]]", "Hello"),
            ("[blob]", "[blob]"),
            ("Re: [blob]", "[blob]"),
            ("=?utf-8?Q?Re:_=C3=A4__b?=", "ä b"),
            ("Reality", "Reality"),
            ("[open Hello", "[open Hello"),
            ("Re:", ""),
            ("", ""),
        ];
        for (subject, expected) in table {
            assert_eq!(base_subject(subject.as_bytes()), expected, "{subject}");
        }
    }

    #[test]
    fn replies_and_forwards_are_told_from_others() {
        for (subject, expected) in [
            ("Hello", false),
            ("[list] Hello", false),
            ("Reality", false),
            ("Re: Hello", true),
            ("[list] fw[2] : Hello", true),
            ("Hello (fwd)", true),
            ("[Fwd: Hello]", true),
            ("=?utf-8?q?Re=3A_Hello?=", true),
        ] {
            assert_eq!(is_reply_or_forward(subject.as_bytes()), expected, "{subject}");
        }
    }

    proptest! {
        #[test]
        fn a_subject_is_shown_with_single_blanks(subject in "[ \\t\r\n\x0b\x0c\x1f\u{a0}ab]{0,8}") {
            let words: Vec<&str> = subject.split_whitespace().collect();
            prop_assert_eq!(shown(subject.as_bytes()), words.join(" "));
        }

        #[test]
        fn a_base_subject_is_its_own_base(subject in "[\\[\\]():a-fRrEeWwDd ]{0,40}") {
            let base = base_subject(subject.as_bytes());
            prop_assert_eq!(base_subject(base.as_bytes()), base.clone());
        }
    }
}
