//! Documents within a message: parts whose text lies in a format of their own, such as PDF.

use std::borrow::Cow;

use super::decode::{decode_words, transfer_decode};
use super::structure::range;
use super::{BodyKind, Part, parameter};

/// Documents of one message that are looked into; what follows is not.
pub const DOCUMENTS_MAX: usize = 100;

/// A part that may be a document.
pub struct Document<'m> {
    /// `application/pdf`, in small letters.
    pub media_type: String,
    /// The name of its file, decoded; empty if it has none.
    pub name: String,
    /// Where it begins in the message.
    pub offset: u32,
    encoding: &'m [u8],
    body: &'m [u8],
}

impl<'m> Document<'m> {
    fn of(message: &'m [u8], part: &'m Part) -> Document<'m> {
        Document {
            media_type: media_type(part),
            name: name(part),
            offset: part.body_offset,
            encoding: &part.encoding,
            body: range(message, part.body_offset, part.end_offset),
        }
    }

    /// Its bytes, without their transfer encoding.
    pub fn bytes(&self) -> Cow<'m, [u8]> {
        transfer_decode(self.encoding, self.body)
    }
}

/// Says of a media type and a file's name whether somebody can make text of such a document.
pub(crate) type Takes<'t> = dyn Fn(&str, &str) -> bool + 't;

/// Whether a message of this structure has a document that is taken.
pub(crate) fn has_document(structure: &Part, takes: &Takes<'_>) -> bool {
    !parts(structure, takes, 1).is_empty()
}

/// The documents of a message that are taken, at most [`DOCUMENTS_MAX`], in their order.
pub(crate) fn documents<'m>(
    message: &'m [u8],
    structure: &'m Part,
    takes: &Takes<'_>,
) -> Vec<Document<'m>> {
    let found = parts(structure, takes, DOCUMENTS_MAX);
    found.into_iter().map(|part| Document::of(message, part)).collect()
}

fn parts<'m>(structure: &'m Part, takes: &Takes<'_>, count_max: usize) -> Vec<&'m Part> {
    let mut found = Vec::new();
    // Parts that are still to be looked at, the next one last.
    let mut left = vec![structure];
    while let Some(part) = left.pop() {
        match &part.kind {
            BodyKind::Multipart(parts) => left.extend(parts.iter().rev()),
            BodyKind::Message(_, inner) => left.push(inner),
            BodyKind::Leaf => {
                if found.len() < count_max && takes(&media_type(part), &name(part)) {
                    found.push(part);
                }
            }
        }
    }
    found
}

fn media_type(part: &Part) -> String {
    let bytes = [&part.media_type[..], b"/", &part.media_subtype].concat();
    String::from_utf8_lossy(&bytes).to_ascii_lowercase()
}

/// `filename`, or else `name`.
fn name(part: &Part) -> String {
    let disposition = part.disposition.iter().flat_map(|(_, list)| list);
    for (name, value) in disposition.chain(&part.parameters) {
        let bare = name.strip_suffix(b"*").unwrap_or(name);
        if bare.eq_ignore_ascii_case(b"filename") || bare.eq_ignore_ascii_case(b"name") {
            let is_encoded = name.ends_with(b"*");
            return if is_encoded { parameter::decode(value) } else { decode_words(value) };
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Summary;

    const MAIL: &[u8] = b"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\
        Content-Type: text/plain\r\n\r\nhello\r\n--q\r\n\
        Content-Type: Application/PDF; name=old.bin\r\n\
        Content-Disposition: attachment; filename*=utf-8''%C3%84.pdf\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n--q\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\
        Content-Type: application/octet-stream; name=\"Offer.PDF\"\r\n\r\n%PDF\r\n--q--\r\n";

    #[test]
    fn documents_are_found_by_type_and_by_name_also_in_messages_within() {
        let structure = Summary::parse(MAIL).structure;
        let seen = |takes: &Takes<'_>| -> Vec<(String, String, Vec<u8>)> {
            let found = documents(MAIL, &structure, takes);
            found
                .into_iter()
                .map(|one| {
                    let bytes = one.bytes().into_owned();
                    (one.media_type, one.name, bytes)
                })
                .collect()
        };
        let by_type = seen(&|media_type, _| media_type == "application/pdf");
        let first = ("application/pdf".to_owned(), "Ä.pdf".to_owned(), b"%PDF".to_vec());
        assert_eq!(by_type, std::slice::from_ref(&first));
        let by_name = seen(&|_, name| name.to_lowercase().ends_with(".pdf"));
        let octets = "application/octet-stream".to_owned();
        assert_eq!(by_name, [first, (octets, "Offer.PDF".to_owned(), b"%PDF".to_vec())]);
        assert!(!has_document(&structure, &|_, _| false));
        assert!(has_document(&structure, &|media_type, _| media_type == "text/plain"));
    }
}
