//! Addresses and paths (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
//!
//! More is accepted than the grammar has, where mail in the world needs it (dots at odd places of a
//! local part, underscores in domains, local parts beyond 64 bytes), but never a control character:
//! an address goes into header fields and log lines.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a local part and of a domain, each.
const PART_BYTES_MAX: usize = 255;

/// An address: a local part, and a domain unless it is `postmaster` or a sender without one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    local: String,
    domain: Option<String>,
}

/// What MAIL FROM names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ReversePath {
    /// `<>`: a report that must not be answered with another.
    Null,
    /// Whom reports go to.
    Address(Address),
}

impl Address {
    /// As [`crate::Mailroom::resolve`] takes it: no quotes, the domain in lower case.
    pub(crate) fn key(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{}@{}", self.local, domain.to_lowercase()),
            None => self.local.to_lowercase(),
        }
    }

    /// Whether it has a domain.
    pub(crate) fn has_domain(&self) -> bool {
        self.domain.is_some()
    }

    /// Whether it is the address that every host has (RFC 5321 section 4.5.1).
    pub(crate) fn is_bare_postmaster(&self) -> bool {
        self.domain.is_none() && self.local.eq_ignore_ascii_case("postmaster")
    }

    /// Whether it needs SMTPUTF8.
    pub(crate) fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.as_ref().is_none_or(|domain| domain.is_ascii())
    }
}

/// As it stands between the angle brackets, quoted again where it must be.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.local.is_empty() && self.local.bytes().all(is_dot_atom) {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for character in self.local.chars() {
                if matches!(character, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
            f.write_str("\"")?;
        }
        match &self.domain {
            Some(domain) => write!(f, "@{domain}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Address(address) => address.fmt(f),
        }
    }
}

/// `Reverse-path = Path / "<>"`; answers it with what follows.
pub(crate) fn reverse_path(input: &[u8]) -> Option<(ReversePath, &[u8])> {
    if let Some(rest) = input.strip_prefix(b"<>") {
        return Some((ReversePath::Null, rest));
    }
    let (address, rest) = path(input)?;
    Some((ReversePath::Address(address), rest))
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"`; the source route is ignored (RFC 5321 appendix C).
pub(crate) fn path(input: &[u8]) -> Option<(Address, &[u8])> {
    let inner = source_route(input.strip_prefix(b"<")?)?;
    let (local, rest) = local_part(inner)?;
    let (domain, rest) = match rest.strip_prefix(b"@") {
        Some(rest) => {
            let (domain, rest) = domain(rest)?;
            (Some(domain), rest)
        }
        None => (None, rest),
    };
    Some((Address { local, domain }, rest.strip_prefix(b">")?))
}

/// `A-d-l = At-domain *( "," At-domain )`
fn source_route(mut input: &[u8]) -> Option<&[u8]> {
    if input.first() != Some(&b'@') {
        return Some(input);
    }
    loop {
        let (_, rest) = domain(input.strip_prefix(b"@")?)?;
        match rest.split_first()? {
            (b',', rest) => input = rest,
            (b':', rest) => return Some(rest),
            _ => return None,
        }
    }
}

/// `Local-part = Dot-string / Quoted-string`, without its quotes.
fn local_part(input: &[u8]) -> Option<(String, &[u8])> {
    let Some(quoted) = input.strip_prefix(b"\"") else {
        let end = input.iter().position(|&byte| !is_dot_atom(byte)).unwrap_or(input.len());
        let (local, rest) = input.split_at_checked(end)?;
        return Some((part(local.to_vec())?, rest));
    };
    let mut local = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match *bytes.next()? {
            b'"' => break,
            b'\\' => local.push(*bytes.next()?),
            byte => local.push(byte),
        }
        if local.len() > PART_BYTES_MAX {
            return None;
        }
    }
    if local.iter().any(u8::is_ascii_control) {
        return None;
    }
    // An empty quoted string is a local part by the grammar, but nobody's name.
    Some((part(local)?, bytes.as_slice()))
}

/// `Domain / address-literal`
fn domain(input: &[u8]) -> Option<(String, &[u8])> {
    if input.first() == Some(&b'[') {
        let end = input.iter().take(64).position(|&byte| byte == b']')?;
        let (literal, rest) = input.split_at_checked(end + 1)?;
        let literal = std::str::from_utf8(literal).ok()?;
        is_address_literal(literal).then_some(())?;
        return Some((literal.to_owned(), rest));
    }
    let end = input.iter().position(|&byte| !is_domain_byte(byte)).unwrap_or(input.len());
    let (name, rest) = input.split_at_checked(end)?;
    if name.split(|&byte| byte == b'.').any(<[u8]>::is_empty) {
        return None;
    }
    Some((part(name.to_vec())?, rest))
}

/// `"[" ( IPv4-address-literal / IPv6-address-literal ) "]"`
pub(crate) fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            inner.get(5..).is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

fn part(bytes: Vec<u8>) -> Option<String> {
    if bytes.is_empty() || bytes.len() > PART_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8(bytes).ok()?;
    // The second block of control characters lies beyond ASCII.
    (!text.chars().any(char::is_control)).then_some(text)
}

/// `atext` (RFC 5322 section 3.2.3, RFC 6531) or a dot.
fn is_dot_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte)
}

fn is_domain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-._".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_are_understood() {
        let cases = [
            ("<a@example.org>", "a@example.org", "a@example.org"),
            ("<A.B@Example.ORG>", "A.B@Example.ORG", "A.B@example.org"),
            ("<a+detail@example.org>", "a+detail@example.org", "a+detail@example.org"),
            ("<postmaster>", "postmaster", "postmaster"),
            ("<POSTMASTER>", "POSTMASTER", "postmaster"),
            ("<\"a b\"@example.org>", "\"a b\"@example.org", "a b@example.org"),
            ("<\"a\"@example.org>", "a@example.org", "a@example.org"),
            ("<\"a\\\"@\\\\\"@example.org>", "\"a\\\"@\\\\\"@example.org", "a\"@\\@example.org"),
            ("<@x.example,@y.example:a@example.org>", "a@example.org", "a@example.org"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]", "a@[192.0.2.1]"),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", "a@[ipv6:2001:db8::1]"),
            ("<a..b.@example.org>", "a..b.@example.org", "a..b.@example.org"),
            ("<grün@ÉXAMPLE.org>", "grün@ÉXAMPLE.org", "grün@éxample.org"),
        ];
        for (input, written, key) in cases {
            let (address, rest) = path(input.as_bytes()).unwrap_or_else(|| panic!("{input}"));
            assert_eq!(address.to_string(), written);
            assert_eq!(address.key(), key);
            assert_eq!(rest, b"", "{input}");
        }
    }

    #[test]
    fn paths_that_are_refused() {
        let cases: [(&[u8], &str); 17] = [
            (b"", "empty"),
            (b"a@example.org", "no angle brackets"),
            (b"<>", "null, as a forward path"),
            (b"<@example.org>", "no local part"),
            (b"<\"\"@example.org>", "an empty quoted local part"),
            (b"<a@>", "no domain"),
            (b"<a@example.org", "not closed"),
            (b"<a@example..org>", "an empty label"),
            (b"<a@.example.org>", "an empty first label"),
            (b"<a b@example.org>", "a space"),
            (b"<a@exa mple.org>", "a space in the domain"),
            (b"<\"a\0\"@example.org>", "a control character"),
            (b"<\"a\"b@example.org>", "a quoted string and more"),
            (b"<a@[300.1.1.1]>", "no IP address"),
            (b"<a@[tag:abc]>", "an unknown literal"),
            (b"<a\xff@example.org>", "no UTF-8"),
            (b"<a\xc2\x85@example.org>", "a control character of UTF-8"),
        ];
        for (input, reason) in cases {
            assert_eq!(path(input), None, "{reason}");
        }
        let long = format!("<{}@example.org>", "a".repeat(256));
        assert_eq!(path(long.as_bytes()), None, "too long");
    }

    #[test]
    fn the_null_sender_is_a_sender() {
        assert_eq!(reverse_path(b"<> SIZE=1"), Some((ReversePath::Null, b" SIZE=1".as_slice())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_address_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = reverse_path(&bytes);
            let _ = path(&[b"<".as_slice(), &bytes].concat());
        }

        #[test]
        fn what_is_written_reads_back(
            local in "[ -~é]{1,20}",
            domain in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}",
        ) {
            let quoted = local.replace('\\', "\\\\").replace('"', "\\\"");
            let wire = format!("<\"{quoted}\"@{domain}>");
            let (address, _) = path(wire.as_bytes()).unwrap();
            prop_assert_eq!(address.key(), format!("{local}@{domain}"));
            let again = format!("<{address}>");
            prop_assert_eq!(path(again.as_bytes()).unwrap().0, address);
        }
    }
}
