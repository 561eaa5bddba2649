//! Fuzz bodies of messages and their summaries; see [`crate::fuzzing`].

use super::section::{FieldChoice, SectionText, header_fields, part, section};
use super::text::{SearchText, fold};
use super::thread::{ancestors, own_id};
use super::{
    AddressesRef, BodyKind, Envelope, EnvelopeRef, KindRef, PREVIEW_CHARACTERS_MAX, Part, PartRef,
    PartsRef, StoredSummary, Summary, base_subject, decode_words, sent_date_as_written,
    sent_seconds,
};
use crate::limits::{MIME_DEPTH_MAX, MIME_PARTS_MAX, SUMMARY_BYTES_MAX};
use crate::width::{u64_of, usize_of_u32};

/// A whole message.
pub(crate) fn message(bytes: &[u8]) {
    let summary = Summary::parse(bytes);
    let root = &summary.structure;
    assert_eq!((root.header_offset, usize_of_u32(root.end_offset)), (0, bytes.len()));
    assert!(count_parts(root, 0) <= MIME_PARTS_MAX);
    let stored = summary.encode();
    assert!(stored.len() <= SUMMARY_BYTES_MAX, "a summary fits into its chunk");
    assert!(summary.preview.chars().count() <= PREVIEW_CHARACTERS_MAX);
    assert_eq!(Summary::decode(&stored).as_ref(), Ok(&summary));
    let lazy = reads_alike(&stored).expect("what was encoded decodes");
    let structure = lazy.structure();
    let text = SearchText::new(bytes, root);
    // Whatever a part is found by, the whole is found by.
    for word in fold(&summary.preview).split_whitespace().take(3) {
        assert!(!text.body_contains(word) || text.text_contains(word));
    }
    for path in [&[][..], &[1], &[2], &[1, 1], &[1, 2, 1]] {
        let found = part(structure, path);
        for text in [SectionText::Whole, SectionText::Header, SectionText::Text, SectionText::Mime]
        {
            let Some(range) = section(structure, path, text) else { continue };
            let range = usize_of_u32(range.start)..usize_of_u32(range.end);
            let bytes = bytes.get(range).expect("a section lies in its message");
            assert!(path.is_empty() || found.is_some());
            let fields = header_fields(bytes, &["subject", "from"], FieldChoice::Except);
            // An empty line, and a line end for a last line that has none.
            assert!(fields.len() <= bytes.len() + 4);
        }
    }
}

/// Counts the parts; asserts that each lies in its parent, and the strings that protocols quote.
fn count_parts(part: &Part, depth: usize) -> usize {
    assert!(depth <= MIME_DEPTH_MAX + 2);
    assert!(part.header_offset <= part.body_offset && part.body_offset <= part.end_offset);
    for text in [&part.media_type, &part.media_subtype, &part.encoding] {
        assert!(!text.is_empty() && !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
    let inner: Vec<&Part> = match &part.kind {
        BodyKind::Leaf => Vec::new(),
        BodyKind::Multipart(parts) => parts.iter().collect(),
        BodyKind::Message(_, inner) => vec![inner.as_ref()],
    };
    let inside = |inner: &&Part| {
        part.body_offset <= inner.header_offset && inner.end_offset <= part.end_offset
    };
    assert!(inner.iter().all(inside));
    1 + inner.into_iter().map(|inner| count_parts(inner, depth + 1)).sum::<usize>()
}

/// A summary as it is stored.
pub(crate) fn summary(bytes: &[u8]) {
    if reads_alike(bytes).is_none() {
        return;
    }
    let summary = Summary::decode(bytes).expect("it has been read");
    let encoded = summary.encode();
    assert!(encoded.len() <= bytes.len(), "our own form is the shortest");
    assert_eq!(Summary::decode(&encoded), Ok(summary));
}

/// Reads stored bytes as they lie and as a tree, in the midst of others; asserts that both say the
/// same, also of what is no summary.
pub(super) fn reads_alike(bytes: &[u8]) -> Option<StoredSummary> {
    let among = [b"before", bytes, b"behind"].concat();
    let among = StoredSummary::new(among.into(), 6..6 + bytes.len());
    match (among, StoredSummary::of(bytes), Summary::decode(bytes)) {
        (Ok(among), Ok(alone), Ok(tree)) => {
            assert_reads_as(&among, bytes, &tree);
            assert_reads_as(&alone, bytes, &tree);
            Some(alone)
        }
        (among, alone, tree) => {
            let error = tree.err();
            assert!(error.is_some());
            assert_eq!((among.err(), alone.err()), (error, error));
            None
        }
    }
}

fn assert_reads_as(lazy: &StoredSummary, bytes: &[u8], tree: &Summary) {
    assert_eq!(lazy.bytes(), bytes);
    assert_eq!((lazy.parser_version(), lazy.size()), (tree.parser_version, tree.size));
    assert_eq!(lazy.common_headers(), tree.common_headers);
    assert_eq!(lazy.common_headers_complete(), tree.common_headers_complete);
    assert_eq!((lazy.sent(), lazy.sent_date()), (tree.sent, tree.sent_date));
    assert_eq!((lazy.preview(), lazy.base_subject()), (&*tree.preview, &*tree.base_subject));
    assert!(lazy.references().eq(tree.references.iter().map(String::as_bytes)));
    assert!(ancestors(lazy).zip(&tree.references).all(|(one, other)| one == other.as_bytes()));
    let _ = own_id(lazy);
    assert_same_envelope(lazy.envelope(), &tree.envelope);
    assert_eq!(lazy.structure_tree(), tree.structure);
    let (mut parts, mut beside) = (lazy.structure(), lazy.structure());
    assert_same_parts(&mut parts, 0, &tree.structure);
    let root = beside.next_part(0).expect("there is one part at least");
    assert_eq!(root, lazy.root());
    beside.skip_parts_in(&root);
    assert_eq!(beside, parts, "what is skipped is as long as what is read");
}

fn assert_same_envelope(lazy: EnvelopeRef<'_>, tree: &Envelope) {
    assert_eq!(&Envelope::from(lazy), tree);
    let addresses = lazy.addresses();
    assert_eq!(lazy.from(), addresses.from);
    let AddressesRef { from, sender, reply_to, to, cc, bcc } = addresses;
    let mut lists = lazy.lists();
    for list in [from.clone(), sender, reply_to, to, cc, bcc] {
        let Some(count) = lists.next_list() else {
            assert_eq!(list, from);
            continue;
        };
        assert_eq!(count, list.count_left());
        for address in list {
            assert_eq!(lists.next_address(), Some(address));
        }
    }
}

fn assert_same_parts(parts: &mut PartsRef<'_>, parent_body_offset: u32, tree: &Part) {
    let part: PartRef<'_> = parts.next_part(parent_body_offset).expect("the tree has one");
    let inner: Vec<&Part> = match (&tree.kind, part.kind) {
        (BodyKind::Leaf, KindRef::Leaf) => Vec::new(),
        (BodyKind::Multipart(inner), KindRef::Multipart(_)) => inner.iter().collect(),
        (BodyKind::Message(envelope, inner), KindRef::Message(lazy)) => {
            assert_same_envelope(lazy, envelope);
            vec![inner]
        }
        (tree, lazy) => panic!("{tree:?} reads as {lazy:?}"),
    };
    assert_eq!(part.kind.part_count(), u64_of(inner.len()));
    assert_eq!(part.to_part(BodyKind::Leaf), Part { kind: BodyKind::Leaf, ..tree.clone() });
    for inner in inner {
        assert_same_parts(parts, part.body_offset, inner);
    }
}

/// The value of a header field: encoded words, base subject, dates, folding of case.
pub(crate) fn encoded_words(bytes: &[u8]) {
    let text = decode_words(bytes);
    // The widest: a byte of a legacy charset that becomes a character of three bytes, or one
    // character of replacement for it.
    assert!(text.len() <= 16 + 8 * bytes.len(), "{} of {}", text.len(), bytes.len());
    let folded = fold(&text);
    assert!(u64_of(folded.len()) <= 6 * u64_of(text.len()));
    let _ = (base_subject(bytes), sent_date_as_written(bytes), sent_seconds(bytes));
}
