//! The text of a message as SEARCH sees it (RFC 9051 section 6.4.4): decoded, folded, exact.
//!
//! * A header field is its unfolded value with encoded words decoded; every occurrence counts.
//! * BODY is the text of all text parts, paragraphs of format=flowed as one line, HTML without its
//!   tags and then where its links lead; of reports such as message/delivery-status; the names
//!   and descriptions of attachments, also of those in `winmail.dat`; and the headers of messages
//!   within the message; and, where there is an extractor for them, the texts of documents, which
//!   [`SearchText::add_document`] adds.
//! * TEXT is all header fields, `name: value`, those of MIME parts too, and BODY.
//! * No match crosses from one field or part into the next.
//!
//! Texts and what is looked for go through [`fold`], which has a version, because a search index
//! remembers its results.

use unicode_normalization::char::decompose_compatible;

use super::decode::{decode_words, html_text, transfer_decode};
use super::flowed::{SoftBlank, unflowed};
use super::header::Fields;
use super::links::link_targets;
use super::preview::{decoded_text, is_text};
use super::structure::range;
use super::{BodyKind, Part, parameter, tnef};

/// Version of the rules here and of [`fold`]: rises when the same message has another text.
pub const FOLD_VERSION: u16 = 3;
/// Encoded bytes of all text parts of a message that are searched; what is beyond is not found.
pub const SEARCHED_TEXT_BYTES_MAX: usize = 64 << 20;
/// Bytes of all header fields of a message that are searched, and of each header within it.
pub const SEARCHED_HEADER_BYTES_MAX: usize = 4 << 20;
/// Bytes of one header field that are searched.
const SEARCHED_FIELD_BYTES_MAX: usize = 256 << 10;

/// Text without the difference of cases, for SEARCH: what i;unicode-casemap (RFC 5051) takes for
/// the same, see [`casemap`], and more.
///
/// Every character is decomposed and mapped to upper case and then to lower case by Unicode's full
/// mappings, so that ß finds SS and final sigma finds sigma.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            folded.push(character.to_ascii_lowercase());
        } else {
            // From small to large, because large ß is none of SS otherwise; and each part again,
            // because it may have a case where the whole has none.
            for upper in character.to_lowercase().flat_map(char::to_uppercase) {
                decompose_compatible(upper, |part| {
                    folded.extend(part.to_uppercase().flat_map(char::to_lowercase));
                });
            }
        }
    }
    folded
}

/// Text as i;unicode-casemap (RFC 5051) compares it: each character in title case by Unicode's
/// simple mapping, then decomposed. The order of the results' bytes is that of the collation.
pub fn casemap(text: &str) -> String {
    let mut mapped = String::with_capacity(text.len());
    put_casemap(&mut mapped, text);
    mapped
}

/// Appends the same to a text in capitals.
pub fn put_casemap(mapped: &mut String, text: &str) {
    if text.is_ascii() {
        let start = mapped.len();
        mapped.push_str(text);
        if let Some(added) = mapped.get_mut(start..) {
            added.make_ascii_uppercase();
        }
        return;
    }
    for character in text.chars() {
        if character.is_ascii() {
            mapped.push(character.to_ascii_uppercase());
        } else {
            decompose_compatible(title_case(character), |part| mapped.push(part));
        }
    }
}

/// Unicode's simple mapping to title case: that to upper case, but for what the table says. A
/// letter whose upper case is several letters has no simple mapping.
fn title_case(character: char) -> char {
    match character {
        // Two letters in one: only the first becomes large.
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        // Greek with iota below or beside: the title case has it beside.
        '\u{1F80}'..='\u{1F87}' | '\u{1F90}'..='\u{1F97}' | '\u{1FA0}'..='\u{1FA7}' => {
            char::from_u32(u32::from(character) + 8).unwrap_or(character)
        }
        '\u{1FB3}' | '\u{1FC3}' | '\u{1FF3}' => {
            char::from_u32(u32::from(character) + 9).unwrap_or(character)
        }
        // Georgian has large letters, but no titles in them.
        '\u{10D0}'..='\u{10FA}' | '\u{10FD}'..='\u{10FF}' => character,
        _ => {
            let mut upper = character.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(upper), None) => upper,
                _ => character,
            }
        }
    }
}

/// The folded text of one message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SearchText {
    fields: Vec<(String, String)>,
    /// Header fields of parts: for TEXT alone.
    part_fields: Vec<(String, String)>,
    bodies: Vec<String>,
}

impl SearchText {
    /// Only what a search in header fields needs: the message may be cut behind its header.
    pub fn of_header(header: &[u8]) -> SearchText {
        SearchText { fields: fields(header), ..SearchText::default() }
    }

    /// All text of a message with this structure.
    pub fn new(message: &[u8], structure: &Part) -> SearchText {
        let header = range(message, structure.header_offset, structure.body_offset);
        let mut text = SearchText::of_header(header);
        let mut bytes_left = SEARCHED_TEXT_BYTES_MAX;
        text.add_part(message, structure, &mut bytes_left);
        text
    }

    /// Adds the text of a document of the message.
    pub fn add_document(&mut self, text: &str) {
        self.bodies.push(fold(text));
    }

    /// Depth is bounded by the parser, see [`crate::limits::MIME_DEPTH_MAX`].
    fn add_part(&mut self, message: &[u8], part: &Part, bytes_left: &mut usize) {
        self.add_names(part);
        match &part.kind {
            BodyKind::Multipart(parts) => {
                for part in parts {
                    self.part_fields.extend(header_fields(message, part, bytes_left));
                    self.add_part(message, part, bytes_left);
                }
            }
            BodyKind::Message(_, inner) => {
                let fields = header_fields(message, inner, bytes_left);
                self.bodies.extend(fields.iter().map(line));
                self.add_part(message, inner, bytes_left);
            }
            BodyKind::Leaf if is_text(part) || is_report(part) => {
                let body = range(message, part.body_offset, part.end_offset);
                let body = body.get(..*bytes_left).unwrap_or(body);
                *bytes_left -= body.len();
                self.add_text(part, body);
            }
            BodyKind::Leaf if is_tnef(part) => {
                let body = range(message, part.body_offset, part.end_offset);
                let body = body.get(..*bytes_left).unwrap_or(body);
                *bytes_left -= body.len();
                let file = transfer_decode(&part.encoding, body);
                self.bodies.extend(tnef::texts(&file).iter().map(|text| fold(text)));
            }
            BodyKind::Leaf => {}
        }
    }

    /// The text of a part, and where its links lead.
    fn add_text(&mut self, part: &Part, body: &[u8]) {
        let text = decoded_text(part, body);
        if part.media_subtype.eq_ignore_ascii_case(b"html") {
            self.bodies.push(fold(&html_text(&text)));
            self.bodies.extend(link_targets(&text).iter().map(|target| fold(target)));
            return;
        }
        let is = |name: &[u8], value: &[u8]| {
            let found = parameter::find(&part.parameters, name);
            found.is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        if is(b"format", b"flowed") {
            let is_dropped = is(b"delsp", b"yes");
            let blank = if is_dropped { SoftBlank::Dropped } else { SoftBlank::Kept };
            self.bodies.push(fold(&unflowed(&text, blank)));
        } else {
            self.bodies.push(fold(&text));
        }
    }

    fn add_names(&mut self, part: &Part) {
        let disposition = part.disposition.iter().flat_map(|(_, list)| list);
        for (name, value) in part.parameters.iter().chain(disposition) {
            let encoded = name.ends_with(b"*");
            let name = name.strip_suffix(b"*").unwrap_or(name);
            if name.eq_ignore_ascii_case(b"name") || name.eq_ignore_ascii_case(b"filename") {
                let value = if encoded { parameter::decode(value) } else { decode_words(value) };
                self.bodies.push(fold(&value));
            }
        }
        if let Some(description) = &part.description {
            self.bodies.push(fold(&decode_words(description)));
        }
    }

    /// HEADER name needle: whether a field of this name contains the folded needle; with an empty
    /// needle, whether there is such a field.
    pub fn header_contains(&self, name: &str, folded_needle: &str) -> bool {
        let mut named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.any(|(_, value)| value.contains(folded_needle))
    }

    /// The folded values of the fields of this name.
    pub fn field_texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// The folded fields of the message's own header: name in small letters, value.
    pub fn own_fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The folded fields of its parts' headers.
    pub fn part_fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.part_fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The folded texts that BODY looks into.
    pub fn body_texts(&self) -> impl Iterator<Item = &str> {
        self.bodies.iter().map(String::as_str)
    }

    /// The folded values of all fields, those of parts too: what TEXT looks into besides.
    pub fn header_texts(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().chain(&self.part_fields).map(|(_, value)| value.as_str())
    }

    /// BODY needle.
    pub fn body_contains(&self, folded_needle: &str) -> bool {
        folded_needle.is_empty() || self.bodies.iter().any(|text| text.contains(folded_needle))
    }

    /// TEXT needle.
    pub fn text_contains(&self, folded_needle: &str) -> bool {
        self.body_contains(folded_needle)
            || self.fields.iter().any(|field| line(field).contains(folded_needle))
            || self.part_fields.iter().any(|field| line(field).contains(folded_needle))
    }
}

/// Whether it is of a type that holds text in the form of a message, and was not taken apart as
/// one: message/delivery-status and its like (RFC 3464).
fn is_report(part: &Part) -> bool {
    part.media_type.eq_ignore_ascii_case(b"message") && part.kind == BodyKind::Leaf
}

/// Whether it is what Outlook packs attachments into.
fn is_tnef(part: &Part) -> bool {
    part.media_type.eq_ignore_ascii_case(b"application")
        && [&b"ms-tnef"[..], b"vnd.ms-tnef"]
            .iter()
            .any(|subtype| part.media_subtype.eq_ignore_ascii_case(subtype))
}

/// The fields of a part's own header, as far as the bytes that may be searched reach.
fn header_fields(message: &[u8], part: &Part, bytes_left: &mut usize) -> Vec<(String, String)> {
    let header = range(message, part.header_offset, part.body_offset);
    let header = header.get(..*bytes_left).unwrap_or(header);
    *bytes_left -= header.len();
    fields(header)
}

fn line((name, value): &(String, String)) -> String {
    // A line without a colon is a field without a name, and has no colon here either.
    if name.is_empty() { value.clone() } else { format!("{name}: {value}") }
}

/// Names and values of a header's fields, folded.
fn fields(header: &[u8]) -> Vec<(String, String)> {
    let header = header.get(..SEARCHED_HEADER_BYTES_MAX).unwrap_or(header);
    let field = |field: super::Field<'_>| {
        let value = field.value.get(..SEARCHED_FIELD_BYTES_MAX).unwrap_or(field.value);
        let value = fold(&decode_words(&unfolded(value)));
        (String::from_utf8_lossy(field.name).to_ascii_lowercase(), value)
    };
    Fields::new(header).map(field).collect()
}

/// The value with each fold, a line end and the blanks around it, as one blank.
fn unfolded(value: &[u8]) -> Vec<u8> {
    let mut one_line = Vec::with_capacity(value.len());
    for line in value.trim_ascii().split(|byte| *byte == b'\n') {
        if !one_line.is_empty() {
            one_line.push(b' ');
        }
        one_line.extend_from_slice(line.trim_ascii());
    }
    one_line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Summary;

    fn of(message: &str) -> SearchText {
        SearchText::new(message.as_bytes(), &Summary::parse(message.as_bytes()).structure)
    }

    #[test]
    fn folding_forgets_case_in_all_scripts() {
        let table = [
            ("Straße", "STRASSE"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ÄÖÜ", "äöü"),
            ("ПРИВЕТ", "привет"),
            ("ıI", "Iı"),
            ("日本", "日本"),
        ];
        for (one, other) in table {
            assert_eq!(fold(one), fold(other), "{one} {other}");
            assert_eq!(fold(&fold(one)), fold(one), "folding twice changes nothing: {one}");
        }
    }

    /// RFC 5051: what the collation takes for the same, SEARCH takes for the same.
    #[test]
    fn folding_forgets_at_least_what_the_collation_forgets() {
        for character in (0..=0x10FFFF).filter_map(char::from_u32) {
            let text = character.to_string();
            let (mapped, folded) = (casemap(&text), fold(&text));
            assert_eq!(fold(&mapped), folded, "{text:?} U+{:04X}", u32::from(character));
            assert_eq!(fold(&folded), folded, "twice: {text:?} U+{:04X}", u32::from(character));
        }
    }

    #[test]
    fn the_collation_compares_title_case_decomposed() {
        for (one, other, same) in [
            ("Ä", "a\u{308}", true),
            ("ﬁsch", "fisch", false),
            ("ﬁsch", "ﬁSCH", true),
            ("ǆ", "ǅ", true),
            ("ǆ", "Dž", false),
            ("ᾳ", "ᾼ", true),
            ("ß", "ss", false),
            ("ა", "Ა", false),
            ("ΣΑΣ", "σας", true),
        ] {
            assert_eq!(casemap(one) == casemap(other), same, "{one} {other}");
        }
        assert!(casemap("zebra") < casemap("_"), "capital letters come before the underscore");
    }

    #[test]
    fn what_stands_in_a_header_is_found_by_its_name() {
        let text = of("Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n from  me\r\nX-Empty:\r\n\r\nbody");
        assert!(text.header_contains("subject", &fold("GRÜSSE from  me")));
        assert!(text.header_contains("X-EMPTY", ""), "an empty needle asks for the field");
        assert!(!text.header_contains("X-None", ""));
        assert!(!text.header_contains("X-Empty", "from"));
        assert!(text.text_contains("subject: gr"));
        assert!(!text.body_contains("grüsse"));
        let text = of("no field\r\nSubject : old style\r\n\r\nbody");
        assert!(text.text_contains("no field") && !text.text_contains(": no field"));
        assert!(text.text_contains("subject: old style"));
    }

    #[test]
    fn bodies_are_searched_decoded() {
        let text = of("Content-Type: multipart/mixed; boundary=b\r\n\r\nPreamble\r\n--b\r\n\
             Content-Type: text/html; charset=iso-8859-1\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=FC=\r\n=DFe</p>\r\n--b\r\n\
             Content-Type: image/png; name*=utf-8''B%C3%A4r.png\r\n\
             Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b\r\n\
             Content-Type: message/rfc822\r\n\r\nSubject: Inner\r\n\r\nInside\r\n--b--\r\n");
        for needle in ["grüsse", "bär.png", "subject: inner", "inside"] {
            assert!(text.body_contains(&fold(needle)), "{needle}");
        }
        for needle in ["preamble", "<p>", "hello", "multipart"] {
            assert!(!text.body_contains(needle), "{needle}");
        }
        assert!(text.text_contains("multipart"));
    }

    #[test]
    fn paragraphs_links_and_packed_names_are_searched() {
        let text = of("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
             Content-Type: text/plain; format=flowed\r\n\r\nthe quick \r\nbrown fox\r\n--b\r\n\
             Content-Type: text/html\r\n\r\n\
             <a href=\"http://www.example.org/a?b=1&amp;c=2\">here</a>\
             <img src=\"http://watch.example.org/\">\r\n--b\r\n\
             Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n\
             eJ8+IgEAAhCAAQAIAAAAcGxhbi54bAAAAA==\r\n--b--\r\n");
        for needle in ["quick brown fox", "www.example.org/a?b=1&c=2", "here", "plan.xl"] {
            assert!(text.body_contains(needle), "{needle}");
        }
        assert!(
            !text.body_contains("watch.example.org"),
            "what a picture is loaded from is no text"
        );
    }

    /// RFC 9051 section 6.4.4: TEXT is the header, MIME header fields included, and the body.
    #[test]
    fn header_fields_of_parts_are_text_and_no_body() {
        let text = of("Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\
             Content-Type: text/plain; format=flowed\r\n\r\nSorry\r\n--b\r\n\
             Content-Type: message/delivery-status\r\nX-Note: kept\r\n\r\n\
             Reporting-MTA: dns; mx.example.org\r\n\r\nAction: failed\r\n--b--\r\n");
        for needle in ["format=flowed", "x-note: kept"] {
            assert!(text.text_contains(needle) && !text.body_contains(needle), "{needle}");
        }
        for needle in ["reporting-mta: dns; mx.example.org", "action: failed", "sorry"] {
            assert!(text.body_contains(needle), "a report is text: {needle}");
        }
        assert!(!text.header_contains("X-Note", ""), "HEADER is the message's own header");
    }
}
