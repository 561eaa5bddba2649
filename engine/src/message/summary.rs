//! The summary of a message: all that FETCH wants to know without opening the message.

use super::envelope::{Budget, envelope};
use super::header::Fields;
use super::section::{FieldChoice, header_fields};
use super::structure::{range, structure};
use super::{
    COMMON_HEADER_BYTES_MAX, CalendarDate, PARSER_VERSION, base_subject, date, preview, thread,
};
use crate::width::u32_of;

/// ENVELOPE, BODYSTRUCTURE, common headers and preview of one message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Version of the code that made it.
    pub parser_version: u16,
    /// Bytes of the message as received.
    pub size: u32,
    /// ENVELOPE.
    pub envelope: Envelope,
    /// BODYSTRUCTURE; the root has the whole message.
    pub structure: Part,
    /// Raw header fields that clients ask for often, as they stand in the message, folded as they
    /// were; see [`Summary::common_header_fields`].
    pub common_headers: Vec<u8>,
    /// Whether all of them are there; if not, they were too many or too long.
    pub common_headers_complete: bool,
    /// First words of the text (RFC 8970), UTF-8, at most 200 characters.
    pub preview: String,
    /// The Date field as seconds since 1970 UTC, if it parses.
    pub sent: Option<i64>,
    /// The Date field's date as written, whatever its time zone (SENTBEFORE, SENTON, SENTSINCE).
    pub sent_date: Option<CalendarDate>,
    /// Base subject (RFC 5256 section 2.1), UTF-8.
    pub base_subject: String,
    /// Ids in References and In-Reply-To, oldest first, each once, without angle brackets.
    pub references: Vec<String>,
}

/// ENVELOPE (RFC 9051 section 7.5.2): raw field bodies, unfolded; encoded words stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    /// Date
    pub date: Option<Vec<u8>>,
    /// Subject
    pub subject: Option<Vec<u8>>,
    /// From
    pub from: Vec<Address>,
    /// Sender; equal to From where the message has none.
    pub sender: Vec<Address>,
    /// Reply-To; equal to From where the message has none.
    pub reply_to: Vec<Address>,
    /// To
    pub to: Vec<Address>,
    /// Cc
    pub cc: Vec<Address>,
    /// Bcc
    pub bcc: Vec<Address>,
    /// In-Reply-To
    pub in_reply_to: Option<Vec<u8>>,
    /// Message-ID, with its angle brackets.
    pub message_id: Option<Vec<u8>>,
}

/// One address of an envelope, or the begin or end of a group (RFC 9051 section 7.5.2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// Display name, encoded words as they are.
    pub name: Option<Vec<u8>>,
    /// Local part; the group's name where `host` is `None`; `None` at a group's end.
    pub mailbox: Option<Vec<u8>>,
    /// Domain.
    pub host: Option<Vec<u8>>,
}

/// A node of BODYSTRUCTURE, with where it lies in the message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Part {
    /// Offset of the part's header in the message.
    pub header_offset: u32,
    /// Offset of its body; `header_offset..body_offset` is what MIME gives.
    pub body_offset: u32,
    /// Where its body ends: before the CRLF of the boundary that follows.
    pub end_offset: u32,
    /// Content-Type's type, as written: `TEXT`.
    pub media_type: Vec<u8>,
    /// Content-Type's subtype.
    pub media_subtype: Vec<u8>,
    /// Content-Type's parameters.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// Content-ID
    pub id: Option<Vec<u8>>,
    /// Content-Description
    pub description: Option<Vec<u8>>,
    /// Content-Transfer-Encoding; `7BIT` where there is none.
    pub encoding: Vec<u8>,
    /// Content-MD5
    pub md5: Option<Vec<u8>>,
    /// Content-Disposition and its parameters.
    #[expect(clippy::type_complexity, reason = "as on the wire: a value, then names and values")]
    pub disposition: Option<(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>)>,
    /// Content-Language
    pub languages: Vec<Vec<u8>>,
    /// Content-Location
    pub location: Option<Vec<u8>>,
    /// Lines of the body, for text and message/rfc822.
    pub line_count: u32,
    /// What it contains.
    pub kind: BodyKind,
}

/// What a part contains.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum BodyKind {
    /// Anything without parts.
    #[default]
    Leaf,
    /// multipart/*: at least one part.
    Multipart(Vec<Part>),
    /// message/rfc822 and message/global: a message with an envelope of its own.
    Message(Box<Envelope>, Box<Part>),
}

/// Fields that are kept whole, in lower case, besides `x-spam-*`; and the version of the parser
/// from which on they are.
const COMMON_FIELDS: &[(&str, u16)] = &[
    ("authentication-results", 1),
    ("auto-submitted", 1),
    ("bcc", 1),
    ("cc", 1),
    ("chat-version", 2),
    ("content-description", 2),
    ("content-disposition", 1),
    ("content-language", 1),
    ("content-transfer-encoding", 1),
    ("content-type", 1),
    ("date", 1),
    ("delivered-to", 1),
    ("disposition-notification-to", 1),
    ("from", 1),
    ("importance", 1),
    ("in-reply-to", 1),
    ("lines", 2),
    ("list-archive", 1),
    ("list-help", 1),
    ("list-id", 1),
    ("list-owner", 1),
    ("list-post", 1),
    ("list-subscribe", 1),
    ("list-unsubscribe", 1),
    ("list-unsubscribe-post", 1),
    ("mail-followup-to", 1),
    ("mail-reply-to", 1),
    ("message-id", 1),
    ("mime-version", 1),
    ("newsgroups", 1),
    ("organization", 1),
    ("precedence", 1),
    ("priority", 1),
    ("references", 1),
    ("reply-to", 1),
    ("resent-date", 1),
    ("resent-from", 1),
    ("resent-to", 1),
    ("return-path", 1),
    ("sender", 1),
    ("subject", 1),
    ("to", 1),
    ("user-agent", 1),
    ("x-draft-info", 2),
    ("x-k9mail-identity", 2),
    ("x-label", 2),
    ("x-mailer", 1),
    ("x-msmail-priority", 1),
    ("x-original-to", 1),
    ("x-priority", 1),
    ("x-tuid", 2),
];

/// The version of the parser from which on fields of this name are kept whole; `None`: they are
/// not.
pub(super) fn kept_since(name: &[u8]) -> Option<u16> {
    let mut lower = [0_u8; 27];
    if let Some(lower) = lower.get_mut(..name.len()) {
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let place = COMMON_FIELDS.binary_search_by(|(field, _)| field.as_bytes().cmp(lower));
        if let Some((_, since)) = place.ok().and_then(|place| COMMON_FIELDS.get(place)) {
            return Some(*since);
        }
    }
    starts_with_spam(name).then_some(1)
}

fn starts_with_spam(name: &[u8]) -> bool {
    name.split_at_checked(7).is_some_and(|(prefix, _)| prefix.eq_ignore_ascii_case(b"x-spam-"))
}

impl Summary {
    /// The summary of a message; any bytes have one.
    ///
    /// Bytes beyond 4 GiB are not looked at; no store accepts such a message
    /// ([`crate::limits::MESSAGE_BYTES_MAX`]).
    pub fn parse(message: &[u8]) -> Summary {
        let size = u32_of(message.len());
        let message = range(message, 0, size);
        let mut budget = Budget::new();
        let structure = structure(message, &mut budget);
        let header = range(message, structure.header_offset, structure.body_offset);
        let envelope = envelope(header, &mut budget);
        let (common_headers, common_headers_complete) = common_headers(header);
        let sent = envelope.date.as_deref();
        Summary {
            parser_version: PARSER_VERSION,
            size,
            common_headers,
            common_headers_complete,
            preview: preview::preview(message, &structure),
            sent: sent.and_then(date::sent_seconds),
            sent_date: sent.and_then(date::sent_date_as_written),
            base_subject: base_subject(envelope.subject.as_deref().unwrap_or_default()),
            references: thread::references(header),
            envelope,
            structure,
        }
    }

    /// What `BODY[HEADER.FIELDS (names)]` gives, with its empty line; `None` if the message must be
    /// opened for it, because a name is not among those kept or not all fields were kept.
    pub fn common_header_fields<N: AsRef<[u8]>>(&self, names: &[N]) -> Option<Vec<u8>> {
        let is_kept =
            |name: &N| kept_since(name.as_ref()).is_some_and(|since| self.parser_version >= since);
        if !self.common_headers_complete || !names.iter().all(is_kept) {
            return None;
        }
        Some(header_fields(&self.common_headers, names, FieldChoice::Only))
    }
}

fn common_headers(header: &[u8]) -> (Vec<u8>, bool) {
    let mut kept = Vec::new();
    for field in Fields::new(header).filter(|field| kept_since(field.name).is_some()) {
        if kept.len() + field.raw.len() > COMMON_HEADER_BYTES_MAX {
            return (kept, false);
        }
        kept.extend_from_slice(field.raw);
    }
    (kept, true)
}
