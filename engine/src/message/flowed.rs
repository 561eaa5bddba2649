//! Text whose paragraphs were cut into lines for the journey (RFC 3676): the cuts undone.
//!
//! A line that ends with a blank goes on in the next one of the same quote depth. What is sought in
//! a paragraph is so found wherever a program had broken its lines.

/// Whether the blank before a soft line end belongs to the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SoftBlank {
    /// Between words.
    Kept,
    /// DelSp=yes: it was added with the line end.
    Dropped,
}

/// The text with its paragraphs on one line each.
pub(super) fn unflowed(text: &str, blank: SoftBlank) -> String {
    let mut joined = String::with_capacity(text.len());
    // The depth of the line before, if it goes on.
    let mut open = None;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let unquoted = line.trim_start_matches('>');
        let depth = line.len() - unquoted.len();
        // Section 4.4: a blank was put before what would be mistaken.
        let content = unquoted.strip_prefix(' ').unwrap_or(unquoted);
        // Section 4.3: the line before a signature is no flowed one.
        let is_signature = content == "-- ";
        if open == Some(depth) && !is_signature {
            joined += content;
        } else {
            if index > 0 {
                joined += "\r\n";
            }
            joined += line.get(..depth).unwrap_or_default();
            if depth > 0 {
                joined.push(' ');
            }
            joined += content;
        }
        let goes_on = content.ends_with(' ') && !is_signature;
        open = goes_on.then_some(depth);
        if goes_on && blank == SoftBlank::Dropped {
            joined.pop();
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paragraphs_are_put_together() {
        let table = [
            ("one \r\ntwo\r\nthree", SoftBlank::Kept, "one two\r\nthree", "a soft end"),
            ("one \r\ntwo", SoftBlank::Dropped, "onetwo", "DelSp"),
            (">> a \r\n>> b\r\n> c", SoftBlank::Kept, ">> a b\r\n> c", "quotes"),
            ("> a \r\nb", SoftBlank::Kept, "> a \r\nb", "another depth ends a paragraph"),
            ("a \r\n-- \r\nme", SoftBlank::Kept, "a \r\n-- \r\nme", "a signature"),
            (" From me", SoftBlank::Kept, "From me", "stuffed"),
            ("", SoftBlank::Kept, "", "nothing"),
        ];
        for (text, blank, expected, reason) in table {
            assert_eq!(unflowed(text, blank), expected, "{reason}");
        }
    }

    proptest! {
        #[test]
        fn no_word_is_lost(text in "[a-c> \r\n-]{0,60}") {
            let letters = |text: &str| {
                text.chars().filter(char::is_ascii_alphabetic).collect::<String>()
            };
            prop_assert_eq!(letters(&unflowed(&text, SoftBlank::Kept)), letters(&text));
        }
    }
}
