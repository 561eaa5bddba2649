//! Tokens: what folded text is cut into for the index, and needles in the same way.
//!
//! ```text
//! text       "hello, john.doe@example.org  東京"
//! tokens      hello | john.doe@example.org | 東 | 京
//! separators        ", "                 "  "   ""
//! ```
//!
//! A token is a longest run of letters, digits and marks; one `_`, `.`, `-` or `@` between two of
//! them belongs to it, so that addresses, hosts, names of files and versions are one token and are
//! found without asking where what stands. Scripts that put no blanks between words (Han, kana,
//! Thai, …) have one token a character, with the marks that follow it.
//!
//! # Invariants
//! 1. Cutting is local: where a token begins or ends depends on the characters beside that place
//!    alone. So what is cut within a needle is cut at the same places in every text that contains
//!    it, but for the needle's own first and last token, which may be parts of longer ones.
//! 2. Text between tokens is a separator. It is *usual* if it is what most texts have there: one
//!    blank, or nothing before a character that is written without blanks. So what a usual
//!    separator is, the token behind it tells.

use unicode_normalization::char::is_combining_mark;

/// Version of the rules of this file: an index made by other ones is made again.
pub(crate) const TOKEN_VERSION: u16 = 2;
/// Bytes of a token that stands in a dictionary; of a longer one only so many do.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 << 10;

/// A token, and what stands before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token<'a> {
    /// Its text.
    pub(crate) text: &'a str,
    /// The separator before it; what stands before the first token of a text is never usual.
    pub(crate) before: Separator<'a>,
}

impl Token<'_> {
    /// Whether it is a character of a script without blanks.
    pub(crate) fn is_wide(&self) -> bool {
        self.text.chars().next().is_some_and(is_wide)
    }
}

/// What stands between two tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Separator<'a> {
    /// One blank; before a character of a script without blanks, nothing.
    Usual,
    /// Anything else, even nothing.
    Other(&'a str),
}

impl<'a> Separator<'a> {
    /// Its text; nothing of a usual one, which the token behind it tells.
    pub(crate) fn text(self) -> &'a str {
        match self {
            Separator::Usual => "",
            Separator::Other(text) => text,
        }
    }
}

/// What a character does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Continues a token, or begins one.
    Letter,
    /// A token of its own.
    Wide,
    /// Belongs to what stands before it.
    Mark,
    /// Joins two letters.
    Joint,
    Separator,
}

fn kind(character: char) -> Kind {
    if character.is_ascii() {
        return match character {
            'a'..='z' | '0'..='9' | 'A'..='Z' => Kind::Letter,
            '_' | '.' | '-' | '@' => Kind::Joint,
            _ => Kind::Separator,
        };
    }
    if is_combining_mark(character) {
        Kind::Mark
    } else if is_wide(character) {
        Kind::Wide
    } else if character.is_alphanumeric() {
        Kind::Letter
    } else {
        Kind::Separator
    }
}

/// Letters of scripts without blanks between words.
fn is_wide(character: char) -> bool {
    character.is_alphanumeric()
        && matches!(
            character,
            '\u{0E00}'..='\u{0EFF}'      // Thai, Lao
            | '\u{1000}'..='\u{109F}'    // Myanmar
            | '\u{1780}'..='\u{17FF}'    // Khmer
            | '\u{2E80}'..='\u{312F}'    // radicals, kana, Bopomofo
            | '\u{3190}'..='\u{A4CF}'    // Han, Yi
            | '\u{F900}'..='\u{FAFF}'
            | '\u{FF66}'..='\u{FF9F}'
            | '\u{1B000}'..='\u{1B16F}'
            | '\u{20000}'..='\u{3FFFF}'
        )
}

/// Whether a token is a character of a script without blanks.
pub(crate) fn is_wide_token(token: &str) -> bool {
    token.chars().next().is_some_and(is_wide)
}

/// Whether a needle begins with a mark, which belongs to a character that the needle lacks.
pub(crate) fn begins_with_mark(needle: &str) -> bool {
    needle.chars().next().is_some_and(|first| kind(first) == Kind::Mark)
}

/// The tokens of a text.
pub(crate) struct Tokens<'a> {
    text: &'a str,
    /// Where the last token ended, or its first byte is looked for.
    at: usize,
    previous: Option<Kind>,
}

impl<'a> Tokens<'a> {
    /// Of folded text.
    pub(crate) fn of(text: &'a str) -> Tokens<'a> {
        Tokens { text, at: 0, previous: None }
    }

    /// What stands behind the last token.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Bytes before the next token.
    fn gap(&self) -> Option<(usize, Kind)> {
        let rest = self.rest();
        // ASCII first: nearly all text is.
        for (offset, byte) in rest.bytes().enumerate() {
            if byte.is_ascii_alphanumeric() {
                return Some((offset, Kind::Letter));
            }
            if !byte.is_ascii() {
                break;
            }
        }
        rest.char_indices().find_map(|(offset, character)| match kind(character) {
            Kind::Mark => Some((offset, Kind::Letter)),
            found @ (Kind::Letter | Kind::Wide) => Some((offset, found)),
            Kind::Joint | Kind::Separator => None,
        })
    }

    /// Bytes of the token that begins here.
    fn length(rest: &str, begin: Kind) -> usize {
        let mut characters = rest.char_indices();
        characters.next();
        // Where it ends if the joint just seen joins nothing.
        let mut joint = None;
        for (offset, character) in characters {
            match kind(character) {
                Kind::Mark if joint.is_none() => {}
                Kind::Letter | Kind::Mark if begin == Kind::Letter => joint = None,
                Kind::Joint if begin == Kind::Letter && joint.is_none() => joint = Some(offset),
                _ => return joint.unwrap_or(offset),
            }
        }
        joint.unwrap_or(rest.len())
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (gap, begin) = self.gap()?;
        let (separator, from) = self.rest().split_at_checked(gap)?;
        let length = Tokens::length(from, begin);
        let text = from.get(..length)?;
        let before = match self.previous {
            None => Separator::Other(separator),
            Some(previous) => {
                let is_usual = match (previous, begin) {
                    (_, Kind::Wide) => separator.is_empty(),
                    (Kind::Wide, _) => false,
                    _ => separator == " ",
                };
                if is_usual { Separator::Usual } else { Separator::Other(separator) }
            }
        };
        self.previous = Some(begin);
        self.at += gap + length;
        Some(Token { text, before })
    }
}

/// As much of a token as stands in a dictionary, and whether that is less than all of it.
pub(crate) fn cut(token: &str) -> (&str, bool) {
    if token.len() <= TOKEN_BYTES_MAX {
        return (token, false);
    }
    let mut end = TOKEN_BYTES_MAX;
    while !token.is_char_boundary(end) {
        end -= 1;
    }
    (token.get(..end).unwrap_or_default(), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::text::fold;
    use proptest::prelude::*;

    fn texts(text: &str) -> Vec<&str> {
        Tokens::of(text).map(|token| token.text).collect()
    }

    #[test]
    fn text_is_cut_into_tokens() {
        let table: &[(&str, &[&str], &str)] = &[
            ("", &[], "nothing"),
            (" ,; ", &[], "separators alone"),
            ("hello, john.doe@example.org.", &["hello", "john.doe@example.org"], "joints"),
            ("a_b a..b -a- a-", &["a_b", "a", "b", "a", "a"], "a joint joins two letters"),
            ("v2.1-rc3", &["v2.1-rc3"], "versions"),
            ("東京tokyo東", &["東", "京", "tokyo", "東"], "one token a character"),
            ("か\u{3099}く", &["か\u{3099}", "く"], "a mark belongs to what stands before it"),
            ("a\u{308}b", &["a\u{308}b"], "letters with accents are decomposed"),
            ("a-\u{308}b", &["a-\u{308}b"], "a mark behind a joint"),
            ("a-東", &["a", "東"], "a joint between a letter and a wide character is none"),
            ("\u{301}a", &["\u{301}a"], "a mark without a letter"),
        ];
        for (text, expected, reason) in table {
            assert_eq!(texts(text), *expected, "{reason}: {text}");
        }
    }

    #[test]
    fn separators_are_told() {
        let all: Vec<Token<'_>> = Tokens::of(" a b  c東京 d京e").collect();
        let before: Vec<Separator<'_>> = all.iter().map(|token| token.before).collect();
        let expected = [
            Separator::Other(" "),
            Separator::Usual,
            Separator::Other("  "),
            Separator::Usual,
            Separator::Usual,
            Separator::Other(" "),
            Separator::Usual,
            Separator::Other(""),
        ];
        assert_eq!(before, expected);
    }

    /// Letters, marks, joints, wide characters and separators, as folding leaves them.
    pub(crate) fn odd_text() -> impl Strategy<Value = String> {
        "[ab0_.@ ,\\-\u{301}\u{3099}東か京ä]{0,24}".prop_map(|text| fold(&text))
    }

    proptest! {
        /// Invariant 1.
        #[test]
        fn a_needle_is_cut_where_the_text_is_cut(
            text in odd_text(),
            (from, length) in (0usize..40, 0usize..20),
        ) {
            let offsets: Vec<usize> =
                text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let from = from.min(offsets.len() - 1);
            let to = (from + length).min(offsets.len() - 1);
            let needle = &text[offsets[from]..offsets[to]];
            if begins_with_mark(needle) {
                return Ok(());
            }
            let place = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
            let of_text: Vec<(usize, usize)> = Tokens::of(&text)
                .map(|token| (place(token.text), place(token.text) + token.text.len()))
                .collect();
            let of_needle: Vec<(usize, usize)> = Tokens::of(needle)
                .map(|token| (place(token.text), place(token.text) + token.text.len()))
                .collect();
            let last = of_needle.len().saturating_sub(1);
            for (index, (begin, end)) in of_needle.iter().enumerate() {
                let found = of_text.iter().any(|(text_begin, text_end)| {
                    (index == 0 && text_begin <= begin || text_begin == begin)
                        && (index == last && text_end >= end || text_end == end)
                });
                prop_assert!(found, "{:?} in {:?}", needle, text);
            }
        }

        /// Nothing but separators lies between tokens.
        #[test]
        fn every_letter_is_in_a_token(text in odd_text()) {
            let mut tokens = Tokens::of(&text);
            let mut joined = String::new();
            for token in tokens.by_ref() {
                joined += token.text;
            }
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
            prop_assert_eq!(letters(&joined), letters(&text));
            prop_assert_eq!(letters(tokens.rest()), 0);
        }
    }
}
