//! Scenario S19, "upgrading a pair": what a newer binary wrote is refused, never misread, never cut
//! as a torn tail, and told from damage. Nothing on the disk changes.

use super::super::format::segment::{HEADER_COPY_BYTES, TRAILER_BYTES};
use super::*;

/// The disk with `bytes` at `offset` of a segment, its calls counted from here.
fn with_bytes(
    disk: &SimulatedDisk,
    segment: SegmentNumber,
    offset: u64,
    bytes: &[u8],
) -> SimulatedDisk {
    let image = disk.image_after_kill();
    let path = segment.path(Path::new(FOLDER));
    let file = image.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_at(offset, bytes).unwrap();
    file.sync_data().unwrap();
    image.image_after_kill()
}

fn read(disk: &SimulatedDisk, segment: SegmentNumber, offset: u64, count: usize) -> Vec<u8> {
    let path = segment.path(Path::new(FOLDER));
    let file = disk.open(&path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; count];
    assert_eq!(file.read_at(offset, &mut bytes).unwrap(), count);
    bytes
}

/// The header of the group at `place` as a newer binary might write it: its version, and a hash
/// that is not ours.
fn newer_header(disk: &SimulatedDisk, place: &GroupPlace) -> Vec<u8> {
    let mut header = read(disk, place.segment, place.offset, GROUP_HEADER_BYTES);
    header[4] = 2;
    header[110] ^= 0x55;
    header
}

/// For writing and for reading.
fn refuses(disk: &SimulatedDisk, expected: &str) {
    refuses_version(disk, expected, 1);
}

/// The same of what has the version behind `known`.
fn refuses_version(disk: &SimulatedDisk, expected: &str, known_version: u32) {
    for mode in [OpenMode::ReadWrite, OpenMode::Read] {
        // What is to be read is flushed before; that changes nothing that lies there.
        let calls = u64::from(mode == OpenMode::Read);
        let image = disk.image_after_kill();
        let visit = |_: Replayed<'_>| Ok::<(), RecoverError>(());
        match recover(setup(&image), None, mode, visit).map(|_| ()) {
            Err(RecoverError::NewerFormat { what, found, known }) => {
                assert_eq!((found, known), (known_version + 1, known_version));
                assert!(what.starts_with(expected), "{what}");
                assert!(what.ends_with("000000000001.segment"), "{what}");
            }
            other => panic!("{expected}: {other:?}"),
        }
        assert!(image.calls() <= calls, "nothing was changed at all");
    }
}

/// Four groups in one segment.
fn four() -> (SimulatedDisk, Vec<GroupPlace>) {
    let disk = SimulatedDisk::new(1);
    let mut writer = new_log(&disk);
    let mut places = Vec::new();
    for turn in 0..4 {
        let text = format!("mail {turn} ");
        places.extend(writer.append(&[group(writer.end(), &text)]).unwrap());
    }
    (disk, places)
}

#[test]
fn s19_a_newer_group_is_refused_wherever_it_stands() {
    let (disk, places) = four();
    // The last is above every durable position: what cannot be read there is a torn tail else.
    for place in [&places[3], &places[1], &places[0]] {
        let header = newer_header(&disk, place);
        refuses(&with_bytes(&disk, place.segment, place.offset, &header), "a group in ");
    }
}

#[test]
fn s19_a_newer_group_behind_a_torn_one_is_refused_too() {
    let (disk, places) = four();
    let header = newer_header(&disk, &places[3]);
    let image = with_bytes(&disk, places[3].segment, places[3].offset, &header);
    image.flip_bit(&places[2].segment.path(Path::new(FOLDER)), places[2].offset + 200, 0);
    refuses(&image, "a group in ");
}

#[test]
fn s19_a_version_that_a_flipped_bit_made_is_damage_or_a_torn_tail() {
    let (disk, places) = four();
    let path = places[1].segment.path(Path::new(FOLDER));
    for bit in 1..8 {
        let image = disk.image_after_kill();
        image.flip_bit(&path, places[1].offset + 4, bit);
        let (found, recovered) = open(&image, None).expect("damage, which is reported");
        assert_eq!(found, ["mail 0 "]);
        assert!(recovered.writer.is_none() && recovered.damage.len() == 1, "acknowledged");
        let image = disk.image_after_kill();
        image.flip_bit(&path, places[3].offset + 4, bit);
        let (found, _) = open(&image, None).expect("nobody knew the last group to be durable");
        assert_eq!(found.len(), 3);
    }
}

#[test]
fn s19_bytes_of_another_volume_that_look_newer_are_no_reason_to_refuse() {
    let (disk, places) = four();
    let mut header = newer_header(&disk, &places[3]);
    header[16] ^= 1;
    let image = with_bytes(&disk, places[3].segment, places[3].offset, &header);
    assert_eq!(open(&image, None).unwrap().0.len(), 3);
}

#[test]
fn s19_a_newer_segment_header_is_refused_in_either_copy() {
    let (disk, places) = four();
    let segment = places[0].segment;
    let mut newer = read(&disk, segment, 0, HEADER_COPY_BYTES);
    newer[8] = 2;
    newer[112] ^= 0x55;
    let both = with_bytes(&disk, segment, 0, &newer.repeat(2));
    refuses(&both, "a segment header in ");
    both.flip_bit(&segment.path(Path::new(FOLDER)), 3, 1);
    refuses(&both, "a segment header in ");
    // One copy of ours is enough, and a flipped bit makes no newer one.
    open(&with_bytes(&disk, segment, 0, &newer), None).expect("the second copy is ours");
    let image = disk.image_after_kill();
    for copy in [0, 4096] {
        image.flip_bit(&segment.path(Path::new(FOLDER)), copy + 8, 1);
    }
    let error = open(&image, None).map(|_| ()).unwrap_err();
    assert!(matches!(error, RecoverError::Damage(_)), "{error}");
}

#[test]
fn s19_a_newer_footer_is_refused_and_its_segment_not_closed_anew() {
    let (disk, places) = four();
    // Opening closes the first segment and begins a second.
    drop(open(&disk, None).unwrap());
    let segment = places[0].segment;
    let path = segment.path(Path::new(FOLDER));
    let length = length(&disk, &path);
    let trailer_at = length - TRAILER_BYTES as u64;
    let trailer = read(&disk, segment, trailer_at, TRAILER_BYTES);
    let at = u64::from_le_bytes(trailer[8..16].try_into().unwrap());
    let count = u64::from_le_bytes(trailer[16..24].try_into().unwrap()) as usize;
    let mut footer = read(&disk, segment, at, count);
    assert_eq!(footer[8], 2, "the newest version that we know");
    footer[8] = 3;
    let checksum = blake3::Hasher::new().update(&footer).update(&trailer[..32]).finalize();
    let image = with_bytes(&disk, segment, at, &footer);
    let image = with_bytes(&image, segment, trailer_at + 32, checksum.as_bytes());
    refuses_version(&image, "a segment footer in ", 2);
}

#[test]
fn s19_a_caller_can_refuse_a_group_before_anything_changes() {
    let (disk, _) = four();
    let image = disk.image_after_kill();
    let mut seen = 0;
    let outcome = recover(setup(&image), None, OpenMode::ReadWrite, |replayed| {
        assert!(matches!(replayed, Replayed::Seen { .. }), "all are seen before any is handed out");
        seen += 1;
        if seen < 4 { Ok(()) } else { Err(RecoverError::UsedUp) }
    });
    assert!(matches!(outcome.map(|_| ()), Err(RecoverError::UsedUp)));
    assert_eq!((seen, image.calls()), (4, 0), "nothing was changed at all");
}
