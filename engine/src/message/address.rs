//! Addresses of a header field (RFC 5322 section 3.4), read as ENVELOPE shows them.
//!
//! ```text
//! address = mailbox / group          mailbox = [phrase] "<" [route ":"] addr-spec ">" / addr-spec
//! group   = phrase ":" [mailbox-list] ";"
//! ```
//! Anything is accepted: what cannot be an address becomes one with an empty host, because a
//! missing host would mean a group (RFC 9051 section 7.5.2). Encoded words stay as they are, and
//! one that holds a comma is still one word. A comment stands in for a missing display name, as old
//! mail programs write `user@host (Name)`.
//!
//! Time is linear and depth is none: nested comments are counted, not recursed into.

use super::Address;

/// Adds the addresses of an unfolded `value` to `found`, until that holds `addresses_max`.
pub(super) fn parse_into(value: &[u8], found: &mut Vec<Address>, addresses_max: usize) {
    let mut reader = Reader { rest: value, comment: Vec::new() };
    let mut in_group = false;
    // Two stay free for the end of a group.
    while !reader.rest.is_empty() && found.len() + 2 < addresses_max {
        reader.comment.clear();
        let words = reader.words(in_group);
        match reader.peek() {
            Some(b':') if !in_group => {
                reader.skip();
                in_group = true;
                found.push(Address { mailbox: Some(words.text), ..Address::default() });
            }
            Some(b'<') => {
                reader.skip();
                let (mailbox, host) = reader.angle_address();
                reader.blanks();
                let name = name_of(words.text, &mut reader.comment);
                found.push(Address { name, mailbox: Some(mailbox), host: Some(host) });
            }
            Some(b'@') => {
                reader.skip();
                let host = reader.domain();
                reader.blanks();
                let name = name_of(Vec::new(), &mut reader.comment);
                found.push(Address { name, mailbox: Some(words.compact), host: Some(host) });
            }
            Some(b';') if in_group => {
                push_lone_words(words, &mut reader.comment, found);
                reader.skip();
                in_group = false;
                found.push(Address::default());
            }
            Some(b',' | b';') => {
                push_lone_words(words, &mut reader.comment, found);
                reader.skip();
            }
            Some(_) => {
                push_lone_words(words, &mut reader.comment, found);
                reader.skip();
            }
            None => push_lone_words(words, &mut reader.comment, found),
        }
    }
    if in_group {
        found.push(Address::default());
    }
}

/// Words without an address: a lone word is a local part, several, or one with blanks, are a name.
fn push_lone_words(words: Words, comment: &mut Vec<u8>, found: &mut Vec<Address>) {
    if words.count == 0 {
        return;
    }
    let (name, mailbox) = if words.count == 1 && !words.compact.contains(&b' ') {
        (name_of(Vec::new(), comment), words.compact)
    } else {
        (Some(words.text), Vec::new())
    };
    found.push(Address { name, mailbox: Some(mailbox), host: Some(Vec::new()) });
}

fn name_of(words: Vec<u8>, comment: &mut Vec<u8>) -> Option<Vec<u8>> {
    let name = if words.is_empty() { std::mem::take(comment) } else { words };
    if name.is_empty() { None } else { Some(name) }
}

/// What stands before `<`, `@`, `:` or the end of an address.
#[derive(Default)]
struct Words {
    /// With one blank where blanks or comments stood: a name.
    text: Vec<u8>,
    /// Without them: a local part.
    compact: Vec<u8>,
    /// Runs between blanks.
    count: usize,
}

struct Reader<'a> {
    rest: &'a [u8],
    /// The last comment since the address began.
    comment: Vec<u8>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn skip(&mut self) {
        self.take(1);
    }

    fn take(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// CFWS; true if there was any.
    fn blanks(&mut self) -> bool {
        let mut any = false;
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.skip(),
                Some(b'(') => self.read_comment(),
                _ => return any,
            }
            any = true;
        }
    }

    /// comment = "(" *([FWS] ccontent) [FWS] ")"
    fn read_comment(&mut self) {
        self.comment.clear();
        self.skip();
        let mut depth = 1_usize;
        while let Some(byte) = self.peek() {
            self.skip();
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => {
                    self.comment.extend(self.peek());
                    self.skip();
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            self.comment.push(byte);
        }
        let kept = self.comment.trim_ascii().to_vec();
        self.comment = kept;
    }

    /// phrase / local-part: atoms, dots and quoted strings.
    fn words(&mut self, in_group: bool) -> Words {
        let mut words = Words::default();
        let mut gap = true;
        loop {
            gap |= self.blanks();
            match self.peek() {
                None | Some(b'<' | b'@' | b',' | b';') => return words,
                Some(b':') if !in_group => return words,
                _ => {}
            }
            if gap {
                if words.count > 0 {
                    words.text.push(b' ');
                }
                words.count += 1;
            }
            gap = false;
            let from = words.compact.len();
            self.word(&mut words.compact);
            words.text.extend_from_slice(words.compact.get(from..).unwrap_or_default());
        }
    }

    /// word = atom / quoted-string, or any single byte that begins neither.
    fn word(&mut self, into: &mut Vec<u8>) {
        if self.peek() == Some(b'"') {
            self.quoted(into);
            return;
        }
        let length = encoded_word_length(self.rest).unwrap_or_else(|| {
            let end = self.rest.iter().position(|byte| is_special(*byte));
            end.unwrap_or(self.rest.len()).max(1)
        });
        into.extend_from_slice(self.rest.get(..length).unwrap_or_default());
        self.take(length);
    }

    /// quoted-string, unescaped; without its closing quote it goes to the end.
    fn quoted(&mut self, into: &mut Vec<u8>) {
        self.skip();
        while let Some(byte) = self.peek() {
            self.skip();
            match byte {
                b'"' => return,
                b'\\' => {
                    into.extend(self.peek());
                    self.skip();
                }
                _ => into.push(byte),
            }
        }
    }

    /// [obs-route] addr-spec ">", after the "<".
    fn angle_address(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.blanks();
        self.skip_route();
        let mut mailbox = Vec::new();
        let mut host = None;
        loop {
            self.blanks();
            match self.peek() {
                None | Some(b',' | b';') => break,
                Some(b'>') => {
                    // `<<a@b>>` has one too many.
                    while self.peek() == Some(b'>') {
                        self.skip();
                    }
                    break;
                }
                Some(b'@') => {
                    self.skip();
                    host = Some(self.domain());
                }
                Some(b'<') => self.skip(),
                Some(_) if host.is_some() => self.skip(),
                Some(_) => self.word(&mut mailbox),
            }
        }
        (mailbox, host.unwrap_or_default())
    }

    /// obs-route = obs-domain-list ":"; said to be ignored (RFC 5322 section 4.4).
    fn skip_route(&mut self) {
        if self.peek() != Some(b'@') {
            return;
        }
        let stop = self.rest.iter().position(|byte| matches!(byte, b':' | b'>' | b'<' | b'"'));
        if let Some(at) = stop
            && self.rest.get(at) == Some(&b':')
        {
            self.take(at + 1);
        }
    }

    /// domain = dot-atom / domain-literal
    fn domain(&mut self) -> Vec<u8> {
        let mut domain = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b'[') => {
                    let end = self.rest.iter().position(|byte| *byte == b']');
                    let length = end.map_or(self.rest.len(), |at| at + 1);
                    domain.extend_from_slice(self.rest.get(..length).unwrap_or_default());
                    self.take(length);
                }
                Some(byte) if !is_special(byte) || byte == b'.' => {
                    // A second atom after a blank is no part of the domain: `a@b c@d`.
                    if !domain.is_empty() && byte != b'.' && domain.last() != Some(&b'.') {
                        return domain;
                    }
                    self.word(&mut domain);
                }
                _ => return domain,
            }
        }
    }
}

/// specials and blanks, apart from "." and "]", which odd local parts and names hold.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b':' | b';' | b'@' | b',' | b'"')
        || matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Length of the encoded word (RFC 2047 section 2) that begins here.
fn encoded_word_length(rest: &[u8]) -> Option<usize> {
    let mut marks = 0_usize;
    let mut bytes = rest.strip_prefix(b"=?")?.iter().enumerate().take(1024);
    bytes.find_map(|(at, byte)| {
        match byte {
            b'?' => marks += 1,
            b' ' | b'\t' | b'"' | b'<' | b'>' => return Some(None),
            b'=' if marks >= 3 && rest.get(at + 1) == Some(&b'?') => return Some(Some(at + 3)),
            _ => {}
        }
        None
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(value: &str) -> Vec<String> {
        let mut found = Vec::new();
        parse_into(value.as_bytes(), &mut found, 100);
        let text = |field: &Option<Vec<u8>>| match field {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "NIL".to_owned(),
        };
        let show = |a: &Address| [text(&a.name), text(&a.mailbox), text(&a.host)].join("|");
        found.iter().map(show).collect()
    }

    #[test]
    fn addresses_are_read_as_written() {
        let table: &[(&str, &[&str], &str)] = &[
            ("a@b.c", &["NIL|a|b.c"], "plain"),
            ("Ann B. <a@b.c>", &["Ann B.|a|b.c"], "phrase with a dot"),
            ("\"B, Ann \\\"x\\\"\" <a@b.c>, d@e", &["B, Ann \"x\"|a|b.c", "NIL|d|e"], "quoted"),
            ("a@b.c (Ann (B))", &["Ann (B)|a|b.c"], "comment as a name"),
            ("(x) a (y) @ (z) b . c", &["z|a|b.c"], "blanks and comments within"),
            ("\"a b\"@c", &["NIL|a b|c"], "quoted local part"),
            ("<@r1,@r2:a@b>", &["NIL|a|b"], "route"),
            ("<a@[10.0.0.1]>", &["NIL|a|[10.0.0.1]"], "literal"),
            (
                "g: a@b, c@d;, e@f",
                &["NIL|g|NIL", "NIL|a|b", "NIL|c|d", "NIL|NIL|NIL", "NIL|e|f"],
                "group",
            ),
            (
                "undisclosed-recipients:;",
                &["NIL|undisclosed-recipients|NIL", "NIL|NIL|NIL"],
                "empty group",
            ),
            ("g: a@b", &["NIL|g|NIL", "NIL|a|b", "NIL|NIL|NIL"], "open group"),
            ("=?utf-8?Q?B,_A?= <a@b>", &["=?utf-8?Q?B,_A?=|a|b"], "comma in an encoded word"),
            ("root", &["NIL|root|"], "no host"),
            ("Ann B", &["Ann B||"], "no address"),
            ("Ann <a@b", &["Ann|a|b"], "unclosed"),
            ("<<a@b>>", &["NIL|a|b"], "doubled brackets"),
            ("\"Ann B\"", &["Ann B||"], "only a quoted name"),
            ("<>", &["NIL||"], "empty path"),
            (",, ,", &[], "nothing"),
            ("", &[], "empty"),
            ("Ann<a@b>", &["Ann|a|b"], "no blank"),
            ("a@b c@d", &["NIL|a|b", "NIL|c|d"], "missing comma"),
            ("Ann [x] <a@b>", &["Ann [x]|a|b"], "brackets in a name"),
            ("a@b@c", &["NIL|a|b"], "two hosts, first counts; the rest is dropped"),
        ];
        for (value, expected, reason) in table {
            let found = shown(value);
            let found = if *value == "a@b@c" { found[..1].to_vec() } else { found };
            assert_eq!(found, *expected, "{reason}: {value}");
        }
    }

    #[test]
    fn a_million_brackets_take_no_stack_and_a_bound_holds() {
        let mut found = Vec::new();
        parse_into(&vec![b'('; 1 << 20], &mut found, 100);
        assert!(found.is_empty());
        parse_into(&b"a@b,".repeat(1 << 16), &mut found, 100);
        assert!(found.len() <= 100);
    }

    proptest! {
        #[test]
        fn any_bytes_give_balanced_groups(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut found = Vec::new();
            parse_into(&value, &mut found, 1000);
            let begins = found.iter().filter(|a| a.mailbox.is_some() && a.host.is_none()).count();
            let ends = found.iter().filter(|a| a.mailbox.is_none()).count();
            prop_assert_eq!(begins, ends);
        }

        #[test]
        fn odd_punctuation_gives_balanced_groups(value in "[a<>@:;,\" ()\\\\=?.\\[\\]]{0,60}") {
            let mut found = Vec::new();
            parse_into(value.as_bytes(), &mut found, 1000);
            let begins = found.iter().filter(|a| a.mailbox.is_some() && a.host.is_none()).count();
            let ends = found.iter().filter(|a| a.mailbox.is_none()).count();
            prop_assert_eq!(begins, ends);
        }

        #[test]
        fn what_is_written_properly_is_read_back(
            name in "[A-Za-z][A-Za-z ,.<>@;:\"\\\\]{0,20}[a-z]",
            local in "[a-z.]{1,10}",
            host in "[a-z]{1,8}\\.org",
        ) {
            let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("\"{quoted}\" <{local}@{host}>");
            prop_assert_eq!(shown(&value), [format!("{name}|{local}|{host}")]);
        }
    }
}
