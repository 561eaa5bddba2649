//! IMAP URLs that name bytes of stored mail (RFC 5092), as CATENATE takes them (RFC 4469).
//!
//! ```text
//! "/" mailbox [";UIDVALIDITY=" n] "/;UID=" n ["/;SECTION=" section] ["/;PARTIAL=" offset ["." n]]
//!                                  ";UID=" n …                   of the selected mailbox
//! ```
//! Mailbox and section may be percent-encoded; a mailbox is UTF-8 then. URLs with a server
//! (`imap://…`) are not understood: we fetch from nowhere else.

use super::command::Section;
use super::cursor::Cursor;
use super::grammar;
use super::mailbox_name::with_inbox_in_capitals;

/// Which bytes of which message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageUrl {
    /// Its mailbox; `None` is the selected one.
    pub mailbox: Option<String>,
    /// What the mailbox's UIDVALIDITY must be.
    pub uid_validity: Option<u32>,
    /// Never 0.
    pub uid: u32,
    /// As in `BODY[…]`.
    pub section: Section,
    /// Offset, and length if not all of the rest is meant.
    pub partial: Option<(u32, Option<u32>)>,
}

impl MessageUrl {
    /// Reads one; `None` if it is none that we understand.
    pub fn parse(url: &[u8]) -> Option<MessageUrl> {
        let text = std::str::from_utf8(url).ok().filter(|text| text.is_ascii())?;
        let (mailbox, rest) = match text.strip_prefix('/') {
            Some(path) => split_marked(path, "/;UID=").or_else(|| {
                // An empty path is the selected mailbox, too.
                strip_marked(path, ";UID=").map(|rest| ("", rest))
            })?,
            None => ("", strip_marked(text, ";UID=")?),
        };
        let (mailbox, uid_validity) = match split_marked(mailbox, ";UIDVALIDITY=") {
            Some((mailbox, number)) => (mailbox, Some(nz_number(number)?)),
            None => (mailbox, None),
        };
        let (rest, partial) = match split_marked(rest, "/;PARTIAL=") {
            Some((rest, partial)) => (rest, Some(range(partial)?)),
            None => (rest, None),
        };
        let (uid, section) = match split_marked(rest, "/;SECTION=") {
            Some((uid, section)) => {
                let section = decoded(section)?;
                (uid, grammar::section(&mut Cursor::new(&section, &[])).ok()?)
            }
            None => (rest, Section::default()),
        };
        let mailbox = match mailbox {
            "" => None,
            name => Some(with_inbox_in_capitals(String::from_utf8(decoded(name)?).ok()?)),
        };
        if mailbox.is_none() && uid_validity.is_some() {
            return None;
        }
        Some(MessageUrl { mailbox, uid_validity, uid: nz_number(uid)?, section, partial })
    }
}

/// What stands before and behind a mark in any case.
fn split_marked<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let at = text
        .as_bytes()
        .windows(mark.len())
        .position(|window| window.eq_ignore_ascii_case(mark.as_bytes()))?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

fn strip_marked<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    split_marked(text, mark).filter(|(before, _)| before.is_empty()).map(|(_, behind)| behind)
}

fn nz_number(text: &str) -> Option<u32> {
    number(text).filter(|&number| number > 0)
}

fn number(text: &str) -> Option<u32> {
    // No sign, which `parse` would take.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `partial-range = number ["." nz-number]`
fn range(text: &str) -> Option<(u32, Option<u32>)> {
    match text.split_once('.') {
        Some((offset, length)) => Some((number(offset)?, Some(nz_number(length)?))),
        None => Some((number(text)?, None)),
    }
}

/// Percent-encoding undone.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::try_from(hex(digits)?).ok()?);
        rest = after;
    }
    Some(bytes)
}

fn hex(digits: &str) -> Option<u32> {
    digits.chars().try_fold(0, |sum, digit| Some(sum * 16 + digit.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::SectionText;

    #[test]
    fn urls_of_the_rfcs_are_understood() {
        let url = MessageUrl::parse(
            b"/INBOX;UIDVALIDITY=785799047/;UID=113330/;section=1.5.9/;Partial=10.1024",
        );
        let section = Section { path: vec![1, 5, 9], text: SectionText::Whole };
        assert_eq!(
            url,
            Some(MessageUrl {
                mailbox: Some("INBOX".into()),
                uid_validity: Some(785_799_047),
                uid: 113_330,
                section,
                partial: Some((10, Some(1024))),
            })
        );
        let url = MessageUrl::parse(b"/~peter/%E6%97%A5%20x/;UID=9/;SECTION=HEADER.FIELDS%20(To)");
        let url = url.unwrap();
        assert_eq!(url.mailbox.as_deref(), Some("~peter/日 x"));
        assert_eq!(url.section.text, SectionText::HeaderFields(vec![b"To".to_vec()]));
        for selected in [&b";UID=7/;PARTIAL=3"[..], b"/;uid=7/;partial=3"] {
            let url = MessageUrl::parse(selected).unwrap();
            assert_eq!((url.mailbox, url.uid, url.partial), (None, 7, Some((3, None))));
        }
    }

    #[test]
    fn what_names_no_message_is_refused() {
        for (url, reason) in [
            (&b""[..], "nothing"),
            (b"/INBOX", "a mailbox"),
            (b"imap://x.org/INBOX/;UID=1", "a server"),
            (b"/INBOX/;UID=0", "no UID"),
            (b"/INBOX/;UID=+1", "a sign"),
            (b"/INBOX/;UID=4294967296", "too high"),
            (b"/INBOX;UIDVALIDITY=0/;UID=1", "no UIDVALIDITY"),
            (b"/%4/;UID=1", "half an escape"),
            (b"/%FF/;UID=1", "no UTF-8"),
            (b"/INBOX/;UID=1/;SECTION=BODY", "no section"),
            (b"/INBOX/;UID=1/;SECTION=1]", "more than a section"),
            (b"/INBOX/;UID=1/;PARTIAL=1.0", "nothing wanted"),
            (b"/INBOX/;UID=1/;PARTIAL=1/;SECTION=1", "the wrong order"),
            (b"/INBOX/;UID=1/;URLAUTH=anonymous", "not for us"),
            (b";UIDVALIDITY=1/;UID=1", "of which mailbox"),
        ] {
            assert_eq!(MessageUrl::parse(url), None, "{reason}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_url_reads_back(
            mailbox in proptest::option::of("\\PC{1,12}"),
            uid in 1u32..,
            validity in proptest::option::of(1u32..),
            path in proptest::collection::vec(1u32..99, 0..4),
            partial in proptest::option::of((0u32.., proptest::option::of(1u32..))),
        ) {
            let encode = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02X}")).collect()
            };
            let validity = validity.filter(|_| mailbox.is_some());
            let mut url = mailbox.as_deref().map(|name| format!("/{}", encode(name)))
                .unwrap_or_default();
            url += &validity.map(|number| format!(";UIDVALIDITY={number}")).unwrap_or_default();
            url += if mailbox.is_some() { "/" } else { "" };
            url += &format!(";UID={uid}");
            if !path.is_empty() {
                let numbers: Vec<String> = path.iter().map(u32::to_string).collect();
                url += &format!("/;SECTION={}", numbers.join("."));
            }
            url += &match partial {
                Some((offset, Some(length))) => format!("/;PARTIAL={offset}.{length}"),
                Some((offset, None)) => format!("/;PARTIAL={offset}"),
                None => String::new(),
            };
            let section = Section { path, text: SectionText::Whole };
            let mailbox = mailbox.map(with_inbox_in_capitals);
            let expected = MessageUrl { mailbox, uid_validity: validity, uid, section, partial };
            proptest::prop_assert_eq!(MessageUrl::parse(url.as_bytes()), Some(expected));
        }
    }
}
