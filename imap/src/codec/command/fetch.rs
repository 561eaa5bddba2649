//! What FETCH asks of a message.

use engine::ids::Lsn;

use super::PartialRange;

/// An item of FETCH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchItem {
    /// FLAGS
    Flags,
    /// UID
    Uid,
    /// INTERNALDATE
    InternalDate,
    /// RFC822.SIZE
    Size,
    /// MODSEQ (RFC 7162)
    ModSeq,
    /// EMAILID (RFC 8474)
    EmailId,
    /// THREADID (RFC 8474)
    ThreadId,
    /// SAVEDATE (RFC 8514)
    SaveDate,
    /// PREVIEW (RFC 8970); LAZY or not is the same, because every message has its own at hand.
    Preview,
    /// ENVELOPE
    Envelope,
    /// BODYSTRUCTURE
    BodyStructure,
    /// BODY
    Body,
    /// BODY[…] and the three forms of RFC822
    Section(SectionItem),
    /// BINARY[…] (RFC 3516)
    Binary(BinaryItem),
    /// BINARY.SIZE[…]: of the part that these numbers lead to.
    BinarySize(Vec<u32>),
}

/// The decoded bytes of a part (RFC 9051 section 6.4.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BinaryItem {
    /// Part numbers from the root; empty is the message itself.
    pub path: Vec<u32>,
    /// Offset and length, counted in decoded bytes.
    pub partial: Option<(u32, u32)>,
    /// Whether `\Seen` is left alone.
    pub peek: bool,
}

/// Some bytes of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectionItem {
    /// Which bytes.
    pub section: Section,
    /// Offset and length of what is wanted of them.
    pub partial: Option<(u32, u32)>,
    /// Whether `\Seen` is left alone.
    pub peek: bool,
    /// How the answer names them.
    pub name: SectionName,
}

/// How FETCH answers name a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionName {
    /// `BODY[…]`
    Body,
    /// `RFC822`
    Rfc822,
    /// `RFC822.HEADER`
    Rfc822Header,
    /// `RFC822.TEXT`
    Rfc822Text,
}

/// `section-spec`: a part and what of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    /// Part numbers from the root; empty is the message itself.
    pub path: Vec<u32>,
    /// What of the part.
    pub text: SectionText,
}

/// `section-text`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SectionText {
    /// All of a message, the body of a part.
    #[default]
    Whole,
    /// HEADER
    Header,
    /// HEADER.FIELDS
    HeaderFields(Vec<Vec<u8>>),
    /// HEADER.FIELDS.NOT
    HeaderFieldsNot(Vec<Vec<u8>>),
    /// TEXT
    Text,
    /// MIME
    Mime,
}

/// Which messages of its set a FETCH means (RFC 7162 section 3.1.4, RFC 9394 section 3.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchModifier {
    /// Those that changed after this.
    pub changed_since: Option<Lsn>,
    /// VANISHED: also which of the set went after it.
    pub vanished: bool,
    /// Of these, the first or the last so many (RFC 9394).
    pub partial: Option<PartialRange>,
}
