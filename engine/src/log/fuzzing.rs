//! Fuzz bodies of the log's formats; see [`crate::fuzzing`].

use super::build::BuiltGroup;
use super::format::group::{
    GROUP_HEADER_BYTES, GROUP_MAGIC, GROUP_STORED_BYTES_MAX, GROUP_VERSION, Group, GroupHeader,
};
use super::format::item;
use super::format::segment::{Footer, SegmentHeader, TRAILER_BYTES};
use crate::fuzzing::split;
use crate::limits::GROUP_BYTES_MAX;
use crate::width::{u32_of, u64_of, usize_of, usize_of_u32};

/// A group, its header and its items.
pub(crate) fn group(bytes: &[u8]) {
    check_group(bytes);
    let Some(forged) = with_content_hash(bytes) else { return };
    let header = GroupHeader::decode(&forged).expect("checked when it was made");
    let group = Group::decode(&forged).expect("its counts, lengths and hash were put right");
    assert_eq!(group.header, header);
    check_group(&forged);
}

fn check_group(bytes: &[u8]) {
    if let Ok(header) = GroupHeader::decode(bytes) {
        let mut encoded = header.encode().to_vec();
        encoded.extend(header.stands_for.iter().flat_map(|hash| hash.0));
        assert_eq!(GroupHeader::decode(&encoded), Ok(header));
        assert_eq!(bytes.get(..header.byte_count()), Some(encoded.as_slice()));
    }
    let Ok(group) = Group::decode(bytes) else { return };
    let count = group.items().count();
    assert_eq!(count, usize_of_u32(group.header.item_count));
    assert!(group.stored_len() <= bytes.len().min(GROUP_STORED_BYTES_MAX));
    for placed in group.items() {
        assert!(usize_of_u32(placed.offset) <= group.stored_len());
    }
    let whole = bytes.get(..group.stored_len()).unwrap_or_default();
    if group.verify_chunks().is_ok() {
        let built = BuiltGroup::from_bytes(whole.to_vec()).expect("it was verified");
        assert_eq!(built.bytes(), whole);
        assert_eq!(built.hash(), group.hash);
    }
}

/// The group that these bytes would be, if magic, version, lengths, counts and hash were right;
/// `None` if its stamp still breaks a rule.
fn with_content_hash(bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = bytes.split_first_chunk::<GROUP_HEADER_BYTES>()?;
    let mut head = *head;
    let mut parsed = Vec::new();
    let (mut stored_len, mut whole_len) = (0, 0);
    while let Ok(item) = item::parse(body.get(stored_len..).unwrap_or_default()) {
        if whole_len + item.whole_len > GROUP_BYTES_MAX {
            break;
        }
        stored_len += item.stored_len;
        whole_len += item.whole_len;
        parsed.push(item.hashed);
    }
    let fields: [&[u8]; 5] = [
        &GROUP_MAGIC,
        &GROUP_VERSION.to_le_bytes(),
        &[head.get(6).copied().unwrap_or_default() & 1, 0],
        &u32_of(whole_len).to_le_bytes(),
        &u32_of(parsed.len()).to_le_bytes(),
    ];
    head.iter_mut().zip(fields.concat()).for_each(|(place, byte)| *place = byte);
    let mut header = GroupHeader::decode(&head).ok()?;
    let mut hasher = header.content_hasher();
    parsed.iter().for_each(|hashed| item::hash_item(&mut hasher, hashed));
    header.content = *hasher.finalize().as_bytes();
    let mut forged = header.encode().to_vec();
    forged.extend_from_slice(body.get(..stored_len)?);
    Some(forged)
}

/// A segment's header, which stands in the file twice.
pub(crate) fn segment_header(bytes: &[u8]) {
    const CHECKSUM_AT: usize = 112;
    let _ = SegmentHeader::decode_either(bytes);
    let Some((covered, _)) = bytes.split_at_checked(CHECKSUM_AT) else { return };
    let checked = [covered, blake3::hash(covered).as_bytes()].concat();
    if let Ok(header) = SegmentHeader::decode(&checked) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        assert_eq!(SegmentHeader::decode_either(&header.encode_twice()), Ok(header));
    }
}

/// A segment's footer with the trailer that locates it.
pub(crate) fn segment_footer(bytes: &[u8]) {
    const COVERED_BYTES: usize = 32;
    if let Some(trailer_at) = bytes.len().checked_sub(TRAILER_BYTES) {
        let trailer = bytes.get(trailer_at..).unwrap_or_default();
        if let Ok((offset, length)) = Footer::locate(trailer, u64_of(bytes.len())) {
            let footer = bytes.get(usize_of(offset)..).and_then(|b| b.get(..usize_of(length)));
            let _ = Footer::decode(footer.expect("located within the file"), trailer);
        }
    }
    let (front, trailer) = split(bytes);
    let covered = trailer.get(..COVERED_BYTES.min(trailer.len())).unwrap_or_default();
    let mut covered = covered.to_vec();
    covered.resize(COVERED_BYTES, 0);
    let checksum = blake3::Hasher::new().update(front).update(&covered).finalize();
    let trailer = [covered.as_slice(), checksum.as_bytes()].concat();
    let Ok(footer) = Footer::decode(front, &trailer) else { return };
    let encoded = footer.encode(8192);
    let (front, trailer) = encoded.split_at(encoded.len() - TRAILER_BYTES);
    let file_len = 8192 + u64_of(encoded.len());
    let (offset, length) = Footer::locate(trailer, file_len).expect("it was just written");
    assert_eq!(offset, 8192);
    let front = front.get(..usize_of(length)).unwrap_or_default();
    assert_eq!(Footer::decode(front, trailer), Ok(footer));
}
