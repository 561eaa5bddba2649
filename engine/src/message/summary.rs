//! The summary of a message: all that FETCH wants to know without opening the message.

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
    /// Raw header fields that clients ask for often, as they stand in the message: `Name: value CRLF`, folded as they were.
    pub common_headers: Vec<u8>,
    /// First words of the text (RFC 8970), UTF-8, at most 200 characters.
    pub preview: String,
    /// The Date field as seconds since 1970 UTC, if it parses.
    pub sent: Option<i64>,
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
