//! The MIME structure of a message, found in one pass over its lines.
//!
//! ```text
//! --outer          ┐ boundary line; the line end before it belongs to it
//! header           │ header_offset..body_offset, with its empty line
//!                  │
//! body             ┘ body_offset..end_offset
//! --outer--          what follows, up to a boundary further out, belongs to no part
//! ```
//!
//! Parts that are open lie on a list, not on the stack. A line that begins with `--` is compared
//! with the boundaries of all open multiparts, innermost first, and the longest that fits wins, so
//! that `--ab` does not end the part of `--a` (RFC 2046 section 5.1.1 asks for a prefix only).
//!
//! What is broken becomes this:
//! * a multipart without boundary or without any part holds one text/plain part, its whole body;
//! * a multipart that is not closed ends where its parent does;
//! * beyond [`MIME_DEPTH_MAX`] levels a multipart or message is application/octet-stream;
//! * after [`MIME_PARTS_MAX`] parts no boundary is seen any more;
//! * a message in base64 or quoted-printable (RFC 2046 section 5.2.1 forbids it) is
//!   application/octet-stream, for no range of the message holds its parts.

use super::envelope::{Budget, envelope};
use super::header::{Fields, is_blank, line_length, unfold, unfold_text};
use super::{BodyKind, FIELD_BYTES_MAX, Part, parameter};
use crate::limits::{MIME_DEPTH_MAX, MIME_PARTS_MAX};
use crate::width::{u32_of, usize_of_u32};

/// What the body of an open part holds.
enum Content {
    Leaf,
    Multipart { boundary: Vec<u8>, digest: bool, parts: Vec<Part> },
    Message { inner: Option<Box<Part>> },
}

struct Open {
    part: Part,
    content: Content,
    /// Line ends before the body.
    lines_before: usize,
}

struct Scan<'a> {
    message: &'a [u8],
    position: usize,
    line_count: usize,
    open: Vec<Open>,
    part_count: usize,
    budget: &'a mut Budget,
}

/// A boundary line: which open part it belongs to, and whether it closes it.
struct Boundary {
    depth: usize,
    closes: bool,
}

/// The structure of `message`, whose offsets fit 32 bits.
pub(super) fn structure(message: &[u8], budget: &mut Budget) -> Part {
    let mut scan =
        Scan { message, position: 0, line_count: 0, open: Vec::new(), part_count: 0, budget };
    scan.open_part(false);
    let mut root = scan.body();
    // A boundary may have closed everything inside, but the root goes to the end.
    while root.is_none() {
        root = scan.close_top(message.len(), scan.line_count);
    }
    root.unwrap_or_default()
}

impl Scan<'_> {
    /// Reads lines of bodies until the message ends; a part only if the root was closed on the way.
    fn body(&mut self) -> Option<Part> {
        loop {
            let rest = self.message.get(self.position..).unwrap_or_default();
            let length = line_length(rest);
            let line = rest.get(..length).unwrap_or_default();
            if line.is_empty() {
                return None;
            }
            let Some(boundary) = self.boundary(line) else {
                self.pass(length);
                continue;
            };
            let (end, lines) = self.before_line();
            while self.open.len() > boundary.depth + 1 {
                if let Some(root) = self.close_top(end, lines) {
                    return Some(root);
                }
            }
            self.pass(length);
            let Some(Open { content: Content::Multipart { boundary: name, digest, .. }, .. }) =
                self.open.last_mut()
            else {
                continue;
            };
            // A boundary at the very end was meant to close; no part is behind it.
            if boundary.closes || self.position >= self.message.len() {
                // Nothing matches an empty name: what follows is the epilogue.
                name.clear();
            } else {
                let digest = *digest;
                self.open_part(digest);
            }
        }
    }

    fn pass(&mut self, length: usize) {
        let line = self.message.get(self.position..self.position + length).unwrap_or_default();
        self.line_count += usize::from(line.ends_with(b"\n"));
        self.position += length;
    }

    /// Where the content before the current line ends, without its line end, and the lines to
    /// there.
    fn before_line(&self) -> (usize, usize) {
        let before = self.message.get(..self.position).unwrap_or_default();
        let ended = super::header::without_line_end(before);
        (ended.len(), self.line_count - usize::from(ended.len() < before.len()))
    }

    fn boundary(&self, line: &[u8]) -> Option<Boundary> {
        let rest = line.strip_prefix(b"--")?.trim_ascii_end();
        if self.part_count >= MIME_PARTS_MAX {
            return None;
        }
        let mut best: Option<(usize, &[u8])> = None;
        for (depth, open) in self.open.iter().enumerate().rev() {
            let Content::Multipart { boundary, .. } = &open.content else { continue };
            let longer = best.is_none_or(|(_, name)| boundary.len() > name.len());
            if boundary.is_empty() || !longer || !rest.starts_with(boundary) {
                continue;
            }
            best = Some((depth, boundary));
            if matches!(rest.get(boundary.len()..), Some(b"" | b"--")) {
                break;
            }
        }
        let (depth, name) = best?;
        let closes = rest.get(name.len()..).is_some_and(|after| after.starts_with(b"--"));
        Some(Boundary { depth, closes })
    }

    /// Reads the header at the current position and opens the part, and the message in it, if any.
    fn open_part(&mut self, in_digest: bool) {
        let mut default_message = in_digest;
        let mut start = self.position;
        loop {
            let (part, boundary) = self.header(start, default_message);
            default_message = false;
            // Not the position: a header that a boundary ended gave its last line end away.
            start = usize_of_u32(part.body_offset);
            let multipart = part.media_type.eq_ignore_ascii_case(b"multipart");
            let message = part.media_type.eq_ignore_ascii_case(b"message")
                && (part.media_subtype.eq_ignore_ascii_case(b"rfc822")
                    || part.media_subtype.eq_ignore_ascii_case(b"global"));
            let lines_before = self.line_count - usize::from(start < self.position);
            let mut open = Open { part, content: Content::Leaf, lines_before };
            self.part_count += 1;
            let too_deep = self.open.len() >= MIME_DEPTH_MAX;
            let hidden = message && is_encoded(&open.part.encoding);
            if (multipart || message) && (too_deep || hidden) {
                open.part.media_type = b"application".to_vec();
                open.part.media_subtype = b"octet-stream".to_vec();
                self.open.push(open);
                return;
            }
            if multipart {
                let digest = open.part.media_subtype.eq_ignore_ascii_case(b"digest");
                open.content = Content::Multipart { boundary, digest, parts: Vec::new() };
            } else if message {
                open.content = Content::Message { inner: None };
            }
            self.open.push(open);
            if !message {
                return;
            }
        }
    }

    /// One header, up to its empty line, to a boundary line, or to the end; and its boundary name.
    fn header(&mut self, start: usize, default_message: bool) -> (Part, Vec<u8>) {
        let mut end = start;
        loop {
            let rest = self.message.get(self.position..).unwrap_or_default();
            let length = line_length(rest);
            let line = rest.get(..length).unwrap_or_default();
            if line.is_empty() {
                end = end.max(self.position);
                break;
            }
            if self.boundary(line).is_some() {
                end = self.before_line().0.max(start);
                break;
            }
            self.pass(length);
            if is_blank(line) {
                end = self.position;
                break;
            }
        }
        let mut part = Part {
            header_offset: u32_of(start),
            body_offset: u32_of(end),
            end_offset: u32_of(end),
            ..Part::default()
        };
        let header = self.message.get(start..end).unwrap_or_default();
        let boundary = read_fields(header, &mut part, default_message, self.budget);
        (part, boundary)
    }

    /// Closes the innermost part at `end` and gives it to its parent; or to the caller, if it has
    /// none.
    fn close_top(&mut self, end: usize, lines: usize) -> Option<Part> {
        let Some(Open { mut part, content, lines_before }) = self.open.pop() else {
            return Some(Part::default());
        };
        // An empty part ends with its header, which may be a line end later than its parent would.
        let last = match &content {
            Content::Leaf => None,
            Content::Multipart { parts, .. } => parts.last(),
            Content::Message { inner } => inner.as_deref(),
        };
        let inner_end = last.map_or(part.body_offset, |last| last.end_offset);
        part.end_offset = u32_of(end).max(part.body_offset).max(inner_end);
        let lines = lines + usize::from(usize_of_u32(part.end_offset) > end);
        let counts = match &content {
            Content::Leaf => part.media_type.eq_ignore_ascii_case(b"text"),
            Content::Message { .. } => true,
            Content::Multipart { .. } => false,
        };
        if counts {
            part.line_count = u32_of(lines.saturating_sub(lines_before));
        }
        part.kind = match content {
            Content::Leaf => BodyKind::Leaf,
            Content::Multipart { parts, .. } if parts.is_empty() => {
                let lines = lines.saturating_sub(lines_before);
                BodyKind::Multipart(vec![whole_body(&part, lines)])
            }
            Content::Multipart { parts, .. } => BodyKind::Multipart(parts),
            Content::Message { inner } => {
                let inner = inner.unwrap_or_else(|| Box::new(whole_body(&part, 0)));
                let header = range(self.message, inner.header_offset, inner.body_offset);
                BodyKind::Message(Box::new(envelope(header, self.budget)), inner)
            }
        };
        match self.open.last_mut().map(|open| &mut open.content) {
            Some(Content::Multipart { parts, .. }) => parts.push(part),
            Some(Content::Message { inner }) => *inner = Some(Box::new(part)),
            Some(Content::Leaf) => {}
            None => return Some(part),
        }
        None
    }
}

/// Bytes of the message; empty where the range is none of it.
pub(super) fn range(message: &[u8], from: u32, to: u32) -> &[u8] {
    message.get(usize_of_u32(from)..usize_of_u32(to)).unwrap_or_default()
}

/// base64 and quoted-printable; the others leave bytes as they are.
fn is_encoded(encoding: &[u8]) -> bool {
    encoding.eq_ignore_ascii_case(b"base64") || encoding.eq_ignore_ascii_case(b"quoted-printable")
}

/// The body of `parent` as a text part without a header.
fn whole_body(parent: &Part, lines: usize) -> Part {
    Part {
        header_offset: parent.body_offset,
        body_offset: parent.body_offset,
        end_offset: parent.end_offset,
        line_count: u32_of(lines),
        ..plain_text()
    }
}

/// What a part without Content-Type is (RFC 2045 section 5.2).
fn plain_text() -> Part {
    Part {
        media_type: b"text".to_vec(),
        media_subtype: b"plain".to_vec(),
        parameters: vec![(b"charset".to_vec(), b"us-ascii".to_vec())],
        encoding: b"7bit".to_vec(),
        ..Part::default()
    }
}

/// Fills in what the Content fields say; returns the boundary, empty if there is none.
fn read_fields(header: &[u8], part: &mut Part, in_digest: bool, budget: &mut Budget) -> Vec<u8> {
    let mut content_type = None;
    for field in Fields::new(header) {
        let Some((prefix, name)) = field.name.split_at_checked(8) else { continue };
        if !prefix.eq_ignore_ascii_case(b"content-") {
            continue;
        }
        let value = || unfold(field.value, FIELD_BYTES_MAX);
        match name.to_ascii_lowercase().as_slice() {
            b"type" if content_type.is_none() => {
                content_type = parameter::content_type(&value());
            }
            b"transfer-encoding" => {
                part.encoding = budget.keep(encoding_token(&value())).unwrap_or_default();
            }
            b"id" => part.id = budget.keep(value()),
            b"description" => {
                part.description = budget.keep(unfold_text(field.value, FIELD_BYTES_MAX));
            }
            b"md5" => part.md5 = budget.keep(value()),
            b"location" => part.location = budget.keep(without_blanks(&value())),
            b"language" => part.languages = languages(&value(), budget),
            b"disposition" => {
                part.disposition = parameter::disposition(&value())
                    .and_then(|(token, list)| Some((budget.keep(token)?, budget.parameters(list))));
            }
            _ => {}
        }
    }
    if part.encoding.is_empty() {
        part.encoding = b"7bit".to_vec();
    }
    let Some(found) = content_type else {
        let text = plain_text();
        part.media_type = if in_digest { b"message".to_vec() } else { text.media_type };
        part.media_subtype = if in_digest { b"rfc822".to_vec() } else { text.media_subtype };
        part.parameters = if in_digest { Vec::new() } else { text.parameters };
        return Vec::new();
    };
    let boundary =
        parameter::find(&found.parameters, b"boundary").unwrap_or_default().trim_ascii_end();
    let boundary = boundary.to_vec();
    match (budget.keep(found.media_type), budget.keep(found.media_subtype)) {
        (Some(media_type), Some(media_subtype)) => {
            part.media_type = media_type;
            part.media_subtype = media_subtype;
        }
        _ => {
            part.media_type = b"application".to_vec();
            part.media_subtype = b"octet-stream".to_vec();
        }
    }
    part.parameters = budget.parameters(found.parameters);
    let has_charset = part.parameters.iter().any(|(name, _)| {
        name.eq_ignore_ascii_case(b"charset") || name.eq_ignore_ascii_case(b"charset*")
    });
    if part.media_type.eq_ignore_ascii_case(b"text") && !has_charset {
        part.parameters.push((b"charset".to_vec(), b"us-ascii".to_vec()));
    }
    boundary
}

/// mechanism := token; what follows it is a comment or an error.
fn encoding_token(value: &[u8]) -> Vec<u8> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'(' | b';' | b',');
    let end = value.iter().position(ends).unwrap_or(value.len());
    value.get(..end).unwrap_or_default().to_vec()
}

/// A URL that was folded to fit (RFC 2557 section 4.4.1).
fn without_blanks(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

/// Language tags (RFC 3282 section 2).
fn languages(value: &[u8], budget: &mut Budget) -> Vec<Vec<u8>> {
    let tags = value.split(|byte| matches!(byte, b',' | b' ' | b'\t'));
    let tags = tags.map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty());
    tags.take(super::PARAMETERS_MAX).filter_map(|tag| budget.keep(tag.to_vec())).collect()
}
