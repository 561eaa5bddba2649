//! A stored summary, read where it lies: nothing is decoded before it is asked for, and nothing is
//! allocated then.
//!
//! ```text
//! shared bytes   … │ summary 7 │ summary 8                                │ summary 9 │ …
//! StoredSummary                  ▲ envelope ▲ structure ▲ … ▲ references  ▲ end
//!
//! alone          │ base subject, references │ the whole summary │
//! ```
//!
//! One that lies alone has what SORT and THREAD compare once more in front, beside the count of its
//! owners: whole mailboxes are compared, and to fetch a far line of each of their summaries costs
//! more than all else.
//!
//! One walk checks the bytes and notes where the fields begin, and what SORT asks of whole
//! mailboxes and fits into a few bytes. A table of that in the stored form would make it larger and
//! save a part of this walk alone, for the bytes have to be checked in any case. Afterwards every
//! field is found at once, but for those within an envelope or a part, which come one behind the
//! other, as answers want them.
//!
//! # Invariants
//! 1. The bytes of a [`StoredSummary`] are those of a summary: reading them never fails. Were it
//!    otherwise, what is read would be empty; nothing panics.
//! 2. It answers what [`super::Summary::decode`] answers of the same bytes.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use super::reader::{Places, Reader};
use super::stored::SummaryError;
use super::{Address, BodyKind, CalendarDate, Envelope, Part};
use crate::width::{u32_of, usize_of_u32};

/// A checked summary in bytes that it may share with others. Cheap to clone.
#[derive(Clone)]
pub struct StoredSummary {
    bytes: Arc<[u8]>,
    places: Places,
}

impl StoredSummary {
    /// The summary that lies there.
    ///
    /// # Errors
    /// [`SummaryError`], if the bytes of that range are none.
    pub fn new(bytes: Arc<[u8]>, range: Range<usize>) -> Result<StoredSummary, SummaryError> {
        let here = bytes.get(range.clone()).ok_or(SummaryError::Short)?;
        let end = u32::try_from(range.end).map_err(|_| SummaryError::Value("place"))?;
        let places = Reader { rest: here }.whole(end)?;
        Ok(StoredSummary { bytes, places })
    }

    /// The summary that these bytes are, in a buffer of its own.
    ///
    /// # Errors
    /// As for [`StoredSummary::new`].
    pub fn of(bytes: &[u8]) -> Result<StoredSummary, SummaryError> {
        let end = u32::try_from(bytes.len()).map_err(|_| SummaryError::Value("place"))?;
        let places = Reader { rest: bytes }.whole(end)?;
        let begin = usize_of_u32(places.base_subject);
        let compared = bytes.get(begin..).unwrap_or_default();
        let places = places.behind(u32_of(compared.len()));
        Ok(StoredSummary { bytes: Arc::from([compared, bytes].concat()), places })
    }

    /// Bytes of the buffer that it lies in.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn at(&self, place: u32) -> Reader<'_> {
        let range = usize_of_u32(place)..usize_of_u32(self.places.end);
        Reader { rest: self.bytes.get(range).unwrap_or_default() }
    }

    /// Its bytes, as [`super::Summary::encode`] makes them.
    pub fn bytes(&self) -> &[u8] {
        self.at(self.places.format).rest
    }

    /// Version of the code that made it.
    pub fn parser_version(&self) -> u16 {
        let mut from = self.at(self.places.format);
        from.byte().and_then(|_| from.small("parser version")).unwrap_or_default()
    }

    /// Bytes of the message as received.
    pub fn size(&self) -> u32 {
        let mut from = self.at(self.places.format);
        let version: Result<u16, _> = from.byte().and_then(|_| from.small("parser version"));
        version.and_then(|_| from.small("size")).unwrap_or_default()
    }

    /// ENVELOPE.
    pub fn envelope(&self) -> EnvelopeRef<'_> {
        self.at(self.places.envelope).envelope_head().unwrap_or_default()
    }

    /// BODYSTRUCTURE: first the part that has the whole message, then those in it.
    pub fn structure(&self) -> PartsRef<'_> {
        PartsRef { from: self.at(self.places.structure) }
    }

    /// What has the whole message, without the parts in it.
    pub fn root(&self) -> PartRef<'_> {
        self.structure().next_part(0).unwrap_or_default()
    }

    /// BODYSTRUCTURE as a tree, for who reads the message too.
    pub fn structure_tree(&self) -> Part {
        self.at(self.places.structure).tree().unwrap_or_default()
    }

    /// Raw header fields that clients ask for often; see [`super::Summary::common_headers`].
    pub fn common_headers(&self) -> &[u8] {
        self.at(self.places.common_headers).bytes().unwrap_or_default()
    }

    /// Whether all of them are there.
    pub fn common_headers_complete(&self) -> bool {
        self.places.flags_found & 1 != 0
    }

    /// First words of the text (RFC 8970).
    pub fn preview(&self) -> &str {
        let mut from = self.at(self.places.flags);
        from.flags().and_then(|_| from.text()).unwrap_or_default()
    }

    /// Its bytes with an empty preview.
    pub(crate) fn without_preview(&self) -> Vec<u8> {
        let bytes = |from: u32, to: u32| {
            self.bytes.get(usize_of_u32(from)..usize_of_u32(to)).unwrap_or_default()
        };
        let Places { format, flags, sent, end, .. } = self.places;
        [bytes(format, flags.saturating_add(1)), &[0], bytes(sent, end)].concat()
    }

    /// The Date field as seconds since 1970 UTC, if it parses.
    pub fn sent(&self) -> Option<i64> {
        self.places.sent_found
    }

    /// The Date field's date as written.
    pub fn sent_date(&self) -> Option<CalendarDate> {
        let mut from = self.at(self.places.sent);
        let flags = self.places.flags_found;
        from.sent(flags).and_then(|_| from.sent_date(flags)).unwrap_or_default()
    }

    /// Base subject (RFC 5256 section 2.1).
    pub fn base_subject(&self) -> &str {
        self.at(self.places.base_subject).text().unwrap_or_default()
    }

    /// Ids in References and In-Reply-To, oldest first, each once, without angle brackets; UTF-8.
    pub fn references(&self) -> ListRef<'_, &[u8]> {
        let mut items = self.at(self.places.references);
        let count = items.number().unwrap_or_default();
        ListRef::new(count, items)
    }
}

impl std::fmt::Debug for StoredSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (bytes, at) = (self.bytes().len(), self.places.format);
        write!(f, "a summary of {bytes} bytes at {at} of {}", self.bytes.len())
    }
}

/// A list whose items are read as they are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListRef<'a, T> {
    count: u64,
    items: Reader<'a>,
    of: PhantomData<T>,
}

impl<T> Default for ListRef<'_, T> {
    fn default() -> Self {
        ListRef::new(0, Reader::default())
    }
}

impl<'a, T> ListRef<'a, T> {
    pub(super) fn new(count: u64, items: Reader<'a>) -> ListRef<'a, T> {
        ListRef { count, items, of: PhantomData }
    }

    /// How many there are left.
    pub fn count_left(&self) -> u64 {
        self.count
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// At most so many of them.
    #[must_use]
    pub fn first(self, count_max: u64) -> ListRef<'a, T> {
        ListRef { count: self.count.min(count_max), ..self }
    }

    #[inline]
    fn next_by(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, SummaryError>,
    ) -> Option<T> {
        self.count = self.count.checked_sub(1)?;
        read(&mut self.items).ok()
    }
}

impl<'a> Iterator for ListRef<'a, AddressRef<'a>> {
    type Item = AddressRef<'a>;

    fn next(&mut self) -> Option<AddressRef<'a>> {
        self.next_by(Reader::address)
    }
}

impl<'a> Iterator for ListRef<'a, ParameterRef<'a>> {
    type Item = ParameterRef<'a>;

    fn next(&mut self) -> Option<ParameterRef<'a>> {
        self.next_by(Reader::parameter)
    }
}

impl<'a> Iterator for ListRef<'a, &'a [u8]> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.next_by(Reader::bytes)
    }
}

impl<'a> Iterator for ListRef<'a, &'a str> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.next_by(Reader::text)
    }
}

/// ENVELOPE; see [`Envelope`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EnvelopeRef<'a> {
    /// Date
    pub date: Option<&'a [u8]>,
    /// Subject
    pub subject: Option<&'a [u8]>,
    /// In-Reply-To
    pub in_reply_to: Option<&'a [u8]>,
    /// Message-ID, with its angle brackets.
    pub message_id: Option<&'a [u8]>,
    pub(super) lists: Reader<'a>,
}

/// All addresses of an envelope.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddressesRef<'a> {
    /// From
    pub from: ListRef<'a, AddressRef<'a>>,
    /// Sender; equal to From where the message has none.
    pub sender: ListRef<'a, AddressRef<'a>>,
    /// Reply-To; equal to From where the message has none.
    pub reply_to: ListRef<'a, AddressRef<'a>>,
    /// To
    pub to: ListRef<'a, AddressRef<'a>>,
    /// Cc
    pub cc: ListRef<'a, AddressRef<'a>>,
    /// Bcc
    pub bcc: ListRef<'a, AddressRef<'a>>,
}

impl<'a> EnvelopeRef<'a> {
    /// From, without a look at the other addresses.
    pub fn from(&self) -> ListRef<'a, AddressRef<'a>> {
        let mut items = self.lists;
        let count = items.number().unwrap_or_default();
        ListRef::new(count, items)
    }

    /// All addresses, to be taken in the order of ENVELOPE.
    #[inline]
    pub fn lists(&self) -> AddressLists<'a> {
        AddressLists { items: self.lists, place: 0, flags: 0 }
    }

    /// All addresses.
    pub fn addresses(&self) -> AddressesRef<'a> {
        let mut lists = self.lists;
        lists.addresses().unwrap_or_default()
    }
}

/// The lists of addresses of an envelope, one behind the other and walked over once: From, Sender,
/// Reply-To, To, Cc, Bcc.
pub struct AddressLists<'a> {
    items: Reader<'a>,
    place: u8,
    flags: u8,
}

impl<'a> AddressLists<'a> {
    /// How many lists there are.
    pub const COUNT: u8 = 6;

    /// Begins the next list: how many addresses it has; `None` where it is that of From. The
    /// addresses of the list before have been taken.
    #[inline]
    pub fn next_list(&mut self) -> Option<u64> {
        if self.place == 1 {
            self.flags = self.items.byte().unwrap_or_default();
        }
        // Bit 0 is that of Sender, bit 1 that of Reply-To.
        let is_from = matches!(self.place, 1 | 2) && self.flags & self.place != 0;
        self.place = self.place.saturating_add(1);
        if is_from { None } else { Some(self.items.number().unwrap_or_default()) }
    }

    /// The next address of the list that was begun.
    #[inline]
    pub fn next_address(&mut self) -> Option<AddressRef<'a>> {
        self.items.address().ok()
    }
}

/// One address; see [`Address`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AddressRef<'a> {
    /// Display name, encoded words as they are.
    pub name: Option<&'a [u8]>,
    /// Local part; the group's name where `host` is `None`; `None` at a group's end.
    pub mailbox: Option<&'a [u8]>,
    /// Domain.
    pub host: Option<&'a [u8]>,
}

/// A parameter of Content-Type or Content-Disposition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParameterRef<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// A node of BODYSTRUCTURE without those in it; see [`Part`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartRef<'a> {
    /// Offset of the part's header in the message.
    pub header_offset: u32,
    /// Offset of its body.
    pub body_offset: u32,
    /// Where its body ends.
    pub end_offset: u32,
    /// Content-Type's type.
    pub media_type: &'a [u8],
    /// Content-Type's subtype.
    pub media_subtype: &'a [u8],
    /// Content-Type's parameters.
    pub parameters: ListRef<'a, ParameterRef<'a>>,
    /// Content-ID
    pub id: Option<&'a [u8]>,
    /// Content-Description
    pub description: Option<&'a [u8]>,
    /// Content-Transfer-Encoding; `7BIT` where there is none.
    pub encoding: &'a [u8],
    /// Content-MD5
    pub md5: Option<&'a [u8]>,
    /// Content-Disposition and its parameters.
    pub disposition: Option<(&'a [u8], ListRef<'a, ParameterRef<'a>>)>,
    /// Content-Language
    pub languages: ListRef<'a, &'a [u8]>,
    /// Content-Location
    pub location: Option<&'a [u8]>,
    /// Lines of the body, for text and message/rfc822.
    pub line_count: u32,
    /// What it contains.
    pub kind: KindRef<'a>,
}

/// What a part contains; the parts in it follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KindRef<'a> {
    /// Anything without parts.
    #[default]
    Leaf,
    /// multipart/*: so many parts.
    Multipart(u64),
    /// message/rfc822 and message/global: the envelope of a message, which is the one part in it.
    Message(EnvelopeRef<'a>),
}

impl KindRef<'_> {
    /// How many parts are in it, not counting those in these.
    pub fn part_count(&self) -> u64 {
        match self {
            KindRef::Leaf => 0,
            KindRef::Multipart(count) => *count,
            KindRef::Message(_) => 1,
        }
    }
}

/// The parts of a message, each before those in it, as BODYSTRUCTURE has them.
///
/// Who takes a part takes all parts in it, or skips them, before the one beside it can be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PartsRef<'a> {
    from: Reader<'a>,
}

impl<'a> PartsRef<'a> {
    /// The next part, which is in one whose body begins there; 0 for the whole message.
    pub fn next_part(&mut self, parent_body_offset: u32) -> Option<PartRef<'a>> {
        self.from.part(parent_body_offset).ok()
    }

    /// Skips the parts in the one that was taken last.
    pub fn skip_parts_in(&mut self, part: &PartRef<'a>) {
        let _checked_before = self.from.parts_in(part);
    }
}

impl From<EnvelopeRef<'_>> for Envelope {
    fn from(envelope: EnvelopeRef<'_>) -> Envelope {
        let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
        let list = |list: ListRef<'_, AddressRef<'_>>| list.map(Address::from).collect();
        let addresses = envelope.addresses();
        Envelope {
            date: owned(envelope.date),
            subject: owned(envelope.subject),
            from: list(addresses.from),
            sender: list(addresses.sender),
            reply_to: list(addresses.reply_to),
            to: list(addresses.to),
            cc: list(addresses.cc),
            bcc: list(addresses.bcc),
            in_reply_to: owned(envelope.in_reply_to),
            message_id: owned(envelope.message_id),
        }
    }
}

impl From<AddressRef<'_>> for Address {
    fn from(address: AddressRef<'_>) -> Address {
        let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
        let AddressRef { name, mailbox, host } = address;
        Address { name: owned(name), mailbox: owned(mailbox), host: owned(host) }
    }
}

impl PartRef<'_> {
    /// The part as a node of a tree, with what is in it.
    pub(super) fn to_part(&self, kind: BodyKind) -> Part {
        let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
        let parameters = |list: &ListRef<'_, ParameterRef<'_>>| {
            list.clone().map(|each| (each.name.to_vec(), each.value.to_vec())).collect()
        };
        Part {
            header_offset: self.header_offset,
            body_offset: self.body_offset,
            end_offset: self.end_offset,
            media_type: self.media_type.to_vec(),
            media_subtype: self.media_subtype.to_vec(),
            parameters: parameters(&self.parameters),
            id: owned(self.id),
            description: owned(self.description),
            encoding: self.encoding.to_vec(),
            md5: owned(self.md5),
            disposition: self
                .disposition
                .as_ref()
                .map(|(kind, list)| (kind.to_vec(), parameters(list))),
            languages: self.languages.clone().map(<[u8]>::to_vec).collect(),
            location: owned(self.location),
            line_count: self.line_count,
            kind,
        }
    }
}
