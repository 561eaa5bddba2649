//! Patterns of LIST: `*` is anything, `%` anything but the separator.
//!
//! Matched by following all possible positions in the pattern at once, so that no pattern takes
//! more than its length times the name's.

use engine::limits::MAILBOX_NAME_BYTES_MAX;

/// A pattern in UTF-8.
#[derive(Debug)]
pub(super) struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    /// `None` if it is longer than any name: wildcards aside, it could match none.
    pub(super) fn new(text: &str) -> Option<Pattern> {
        let mut bytes: Vec<u8> = text.bytes().collect();
        bytes.dedup_by(|a, b| a == b && *a == b'*');
        (bytes.len() <= 2 * MAILBOX_NAME_BYTES_MAX).then_some(Pattern { bytes })
    }

    /// Whether the last level is a wildcard that stops at the separator.
    pub(super) fn ends_in_percent(&self) -> bool {
        self.bytes.last() == Some(&b'%')
    }

    /// Whether a name matches; INBOX does in any case.
    pub(super) fn matches(&self, name: &str) -> bool {
        let inbox = name == "INBOX" || name.starts_with("INBOX/");
        let mut at = vec![false; self.bytes.len() + 1];
        self.reach(&mut at, 0);
        for (index, byte) in name.bytes().enumerate() {
            let mut next = vec![false; at.len()];
            for (position, _) in at.iter().enumerate().filter(|(_, here)| **here) {
                match self.bytes.get(position) {
                    Some(b'*') => self.reach(&mut next, position),
                    Some(b'%') if byte != b'/' => self.reach(&mut next, position),
                    Some(&wanted) if wanted == byte => self.reach(&mut next, position + 1),
                    Some(wanted) if inbox && index < 5 && wanted.eq_ignore_ascii_case(&byte) => {
                        self.reach(&mut next, position + 1);
                    }
                    _ => {}
                }
            }
            at = next;
        }
        at.last().copied().unwrap_or(false)
    }

    /// Marks a position and those behind wildcards, which may match nothing.
    fn reach(&self, at: &mut [bool], from: usize) {
        let mut position = from;
        while let Some(here) = at.get_mut(position) {
            *here = true;
            if !matches!(self.bytes.get(position), Some(b'*' | b'%')) {
                return;
            }
            position += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_the_rfc_says() {
        for (pattern, name, matches) in [
            ("*", "a/b/c", true),
            ("%", "a", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("a%", "abc", true),
            ("a*c", "a/b/c", true),
            ("a%c", "a/c", false),
            ("*%b", "a/xb", true),
            ("inBOX", "INBOX", true),
            ("iN%/a", "INBOX/a", true),
            ("inbox/A", "INBOX/a", false),
            ("foo", "Foo", false),
            ("", "a", false),
            ("a/", "a", false),
            ("**a**", "bab", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn no_pattern_takes_forever() {
        let pattern = Pattern::new(&"*a%".repeat(600)).unwrap();
        assert!(!pattern.matches(&"a".repeat(599)));
        assert!(Pattern::new(&"x".repeat(5000)).is_none());
    }
}
