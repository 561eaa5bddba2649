//! Mailbox names on the wire: modified UTF-7 (RFC 3501 section 5.1.3) ⇄ UTF-8.
//!
//! Printable ASCII stands for itself, `&` is `&-`, everything else is UTF-16BE in a base64 with `,`
//! for `/` and without padding, between `&` and `-`.
//!
//! Clients that send UTF-8 as it is (RFC 6855 and RFC 9051 allow it once enabled, some do it
//! always) are understood: a name with a byte above 127 is read as UTF-8.

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// How names cross the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NameEncoding {
    /// As IMAP4rev1 has them; see the head of this file.
    #[default]
    ModifiedUtf7,
    /// As they are: `&` is a letter like any other (RFC 6855 section 3, RFC 9051 section 5.1).
    Utf8,
}

/// A mailbox name as a client of IMAP4rev1 writes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WireName(pub Vec<u8>);

impl WireName {
    /// Of what a client wrote.
    pub fn written(bytes: &[u8], encoding: NameEncoding) -> WireName {
        match std::str::from_utf8(bytes) {
            Ok(name) if encoding == NameEncoding::Utf8 => WireName(encode(name).into_bytes()),
            _ => WireName(bytes.to_vec()),
        }
    }

    /// The name in UTF-8, INBOX in capitals; `None` if it is neither modified UTF-7 nor UTF-8.
    pub fn decode(&self) -> Option<String> {
        let name = decode(&self.0)?;
        Some(with_inbox_in_capitals(name))
    }
}

/// INBOX, and INBOX as the first level, is the same in any case.
pub fn with_inbox_in_capitals(name: String) -> String {
    let first = name.get(..5).is_some_and(|level| level.eq_ignore_ascii_case("INBOX"));
    match name.as_bytes().get(5) {
        None if first => "INBOX".to_owned(),
        Some(b'/') if first => format!("INBOX{}", name.get(5..).unwrap_or_default()),
        _ => name,
    }
}

/// Modified UTF-7, or UTF-8, to UTF-8.
pub fn decode(wire: &[u8]) -> Option<String> {
    if !wire.is_ascii() {
        return String::from_utf8(wire.to_vec()).ok();
    }
    let mut name = String::with_capacity(wire.len());
    let mut rest = std::str::from_utf8(wire).ok()?;
    while let Some((plain, shifted)) = rest.split_once('&') {
        name.push_str(plain);
        let (encoded, after) = shifted.split_once('-')?;
        if encoded.is_empty() {
            name.push('&');
        } else {
            let bytes = BASE64.decode(encoded).ok()?;
            let (units, odd) = bytes.as_chunks::<2>();
            if !odd.is_empty() {
                return None;
            }
            for unit in char::decode_utf16(units.iter().map(|&unit| u16::from_be_bytes(unit))) {
                name.push(unit.ok()?);
            }
        }
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

/// UTF-8 to modified UTF-7.
pub fn encode(name: &str) -> String {
    let mut wire = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let plain = |c: char| matches!(c, ' '..='~');
        let same = |c: char| plain(c) == plain(first);
        let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if plain(first) {
            wire.push_str(&run.replace('&', "&-"));
        } else {
            let units: Vec<u8> = run.encode_utf16().flat_map(u16::to_be_bytes).collect();
            wire.push('&');
            wire.push_str(&BASE64.encode(units));
            wire.push('-');
        }
        rest = after;
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_the_rfc_shows_them() {
        for (name, wire, reason) in [
            (
                "~peter/mail/台北/日本語",
                "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
                "RFC 3501 section 5.1.3",
            ),
            ("A & B", "A &- B", "an ampersand"),
            ("Entwürfe", "Entw&APw-rfe", "one letter"),
            ("🦀", "&2D7dgA-", "a surrogate pair"),
            ("INBOX", "INBOX", "ASCII"),
        ] {
            assert_eq!(encode(name), wire, "{reason}");
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name), "{reason}");
        }
        assert_eq!(decode("Entwürfe".as_bytes()).as_deref(), Some("Entwürfe"), "UTF-8 as it is");
        assert_eq!(decode(b"&2D4-"), None, "half a surrogate pair");
        assert_eq!(decode(b"a&b"), None, "a shift that does not end");
        assert_eq!(decode(b"&A-"), None, "no whole unit");
        assert_eq!(decode(b"\xff"), None, "neither");
    }

    #[test]
    fn inbox_is_the_same_in_any_case() {
        for (wire, name) in [
            ("inbox", "INBOX"),
            ("Inbox/a", "INBOX/a"),
            ("Inboxes", "Inboxes"),
            ("a/inbox", "a/inbox"),
        ] {
            assert_eq!(WireName(wire.into()).decode().as_deref(), Some(name));
        }
    }

    proptest::proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC{0,40}") {
            let wire = encode(&name);
            proptest::prop_assert!(wire.bytes().all(|b| (b' '..=b'~').contains(&b)));
            proptest::prop_assert_eq!(decode(wire.as_bytes()), Some(name));
        }

        #[test]
        fn no_bytes_panic(wire: Vec<u8>) {
            let _ = WireName(wire).decode();
        }
    }
}
