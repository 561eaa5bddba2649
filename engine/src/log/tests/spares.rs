//! Files of released segments become the next segments, and nothing that was in them comes back.

use super::*;
use crate::error::ReadError;
use crate::log::spare::{Released, give_back, release};

/// A text such that all groups are as long as each other.
fn text(turn: usize) -> String {
    format!("mail {turn:04} ")
}

/// Appends groups, one a flush, until that segment is open, or a call fails.
fn send_until(writer: &mut LogWriter, segment: u64, texts: &mut Vec<String>) {
    while writer.segment().0 < segment {
        let text = text(texts.len());
        if writer.append(&[group(writer.end(), &text)]).is_err() {
            return;
        }
        texts.push(text);
    }
}

/// Releases the first segment of a log, as reclaim does.
fn release_first(disk: &SimulatedDisk) -> Result<Released, crate::error::DiskError> {
    let released = release(&setup(disk), SegmentNumber(1), 1 << 30)?;
    disk.sync_dir(Path::new(FOLDER))?;
    Ok(released)
}

fn spare_paths(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let mut paths = disk.list(Path::new(FOLDER)).unwrap();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "spare"));
    paths
}

/// A log whose segment 1 was released after segment 2 had begun, and whose segment 3 has its file
/// and one group.
fn with_old_groups_behind_the_tail() -> (SimulatedDisk, LogWriter, Vec<String>) {
    let disk = SimulatedDisk::new(31);
    let mut writer = new_log(&disk);
    let mut texts = Vec::new();
    send_until(&mut writer, 2, &mut texts);
    let length_before = length(&disk, &SegmentNumber(1).path(Path::new(FOLDER)));
    assert_eq!(release_first(&disk).unwrap(), Released::Kept(length_before));
    send_until(&mut writer, 3, &mut texts);
    assert_eq!(spare_paths(&disk), [] as [PathBuf; 0], "the spare was taken");
    (disk, writer, texts)
}

#[test]
fn old_groups_behind_the_new_tail_are_never_taken_for_groups_of_the_new_segment() {
    let (disk, mut writer, mut texts) = with_old_groups_behind_the_tail();
    texts.push(text(texts.len()));
    writer.append(&[group(writer.end(), &texts[texts.len() - 1])]).unwrap();
    let path = SegmentNumber(3).path(Path::new(FOLDER));
    let file = SegmentFile::open(&disk, &path).unwrap();
    let (mut buffer, mut old) = (Vec::new(), Vec::new());
    let (first, _) = file.group_at(8192, &mut buffer).unwrap().unwrap();
    let (tail, _) = file.group_at(first.end(), &mut buffer).unwrap().unwrap();
    let mut at = tail.end();
    while let Ok((found, _)) = file.group_at(at, &mut buffer).unwrap() {
        old.push(found.header.stamp.last_lsn);
        at = found.end();
    }
    assert!(old.len() > 1, "whole groups of segment 1 lie right behind the tail");
    assert!(file.footer().unwrap().is_none(), "the footer of segment 1 is gone");
    // As after `kill -9`, and as after a cut of the power.
    let mut images = disk.images_after_power_loss(6);
    images.push(disk.image_after_kill());
    for image in images {
        let (found, recovered) = open(&image, None).unwrap();
        let from = texts.iter().position(|text| *text == found[0]).unwrap();
        assert_eq!(found, texts[from..], "what was acknowledged from segment 2 on, and no more");
        assert_eq!(recovered.end.last_lsn, writer.end().last_lsn);
        assert_eq!((recovered.report.cut_bytes, recovered.damage), (0, Vec::new()));
        drop(recovered.writer);
        // Segment 3 was closed behind the group that is known durable: the old ones are gone from
        // the disk, too.
        let file = SegmentFile::open(&image, &path).unwrap();
        assert_eq!(file.footer().unwrap().unwrap().groups.len(), 1);
        assert!(file.group_at(first.end(), &mut buffer).unwrap().is_err());
        assert!(file.group_at(tail.end(), &mut buffer).unwrap().is_err());
    }
}

#[test]
fn groups_that_recovery_carries_into_a_spare_are_all_that_it_replays_from_it() {
    let disk = SimulatedDisk::new(32);
    let mut writer = new_log(&disk);
    let mut texts = Vec::new();
    send_until(&mut writer, 2, &mut texts);
    release_first(&disk).unwrap();
    // The process dies between write and flush, so the last group is carried over into the spare,
    // where a group of segment 1 lies right behind it.
    disk.cut_power_at_call(disk.calls() + 2);
    let last = text(texts.len());
    assert!(writer.append(&[group(writer.end(), &last)]).is_err());
    let killed = disk.image_after_kill();
    let (found, recovered) = open(&killed, None).unwrap();
    assert_eq!(spare_paths(&killed), [] as [PathBuf; 0], "the spare was taken");
    assert!(recovered.report.groups_carried >= 1);
    assert_eq!(found.last(), Some(&last));
    let carried = SegmentNumber(3).path(Path::new(FOLDER));
    let file = SegmentFile::open(&killed, &carried).unwrap();
    let (mut buffer, mut at, mut old) = (Vec::new(), 8192, 0);
    while let Ok((group, _)) = file.group_at(at, &mut buffer).unwrap() {
        old += u64::from(group.header.stamp.last_lsn < file.header.first_lsn);
        at = group.end();
    }
    assert!(old > 0, "groups of segment 1 lie behind those carried");
    assert_eq!(found.iter().filter(|text| **text == last).count(), 1);
    for image in killed.images_after_power_loss(8) {
        assert_eq!(open(&image, None).unwrap().0, found, "what was shown stays");
    }
}

#[test]
fn acknowledged_groups_in_spares_survive_a_power_cut_at_every_call() {
    for call in 1.. {
        let disk = SimulatedDisk::new(call);
        let mut writer = new_log(&disk);
        let mut texts = Vec::new();
        send_until(&mut writer, 3, &mut texts);
        let acknowledged_before = texts.len();
        disk.cut_power_at_call(disk.calls() + call);
        let is_done = release_first(&disk).is_ok() && {
            send_until(&mut writer, 5, &mut texts);
            writer.segment().0 == 5
        };
        let submitted = text(texts.len());
        for image in disk.images_after_power_loss(12) {
            let (found, recovered) =
                open(&image, None).unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!(recovered.damage, [], "call {call}");
            let first = texts.iter().position(|text| *text == found[0]).unwrap();
            let expected = &texts[first..];
            assert!(found.starts_with(expected), "lost mail, cut at call {call}: {found:?}");
            assert!(found.len() <= expected.len() + 1, "call {call}: old mail came back");
            assert!(found.len() == expected.len() || found.last() == Some(&submitted));
        }
        if is_done {
            assert!(call > 40 && texts.len() > acknowledged_before, "worth it: {call}");
            break;
        }
    }
}

#[test]
fn zeros_are_not_written_where_a_spare_was_written_before() {
    let (disk, mut writer, mut texts) = with_old_groups_behind_the_tail();
    let bytes = length(&disk, &SegmentNumber(3).path(Path::new(FOLDER)));
    for _ in 0..4 {
        let (writes, text) = (disk.writes(), text(texts.len()));
        writer.append(&[group(writer.end(), &text)]).unwrap();
        texts.push(text);
        assert_eq!(disk.writes() - writes, 1, "the group, and no zeros");
    }
    assert_eq!(writer.segment().0, 3);
    assert_eq!(length(&disk, &SegmentNumber(3).path(Path::new(FOLDER))), bytes);
    let expected: Vec<String> = texts.clone();
    let (found, _) = open(&disk.image_after_kill(), None).unwrap();
    assert!(expected.ends_with(&found));
}

#[test]
fn spares_are_few_and_given_back_and_not_kept_where_they_gain_nothing() {
    let disk = SimulatedDisk::new(33);
    let mut writer = new_log(&disk);
    let mut texts = Vec::new();
    send_until(&mut writer, 9, &mut texts);
    let first = SegmentNumber(1);
    let plain = LogSetup { zeros: ZerosAhead::Off, ..setup(&disk) };
    assert_eq!(release(&plain, first, 1 << 30).unwrap(), Released::Removed, "it copies on write");
    let larger = LogSetup { segment_bytes: 10 << 20, ..setup(&disk) };
    let small = release(&larger, SegmentNumber(2), 1 << 30).unwrap();
    assert_eq!(small, Released::Removed, "less than half a segment");
    let bytes = length(&disk, &SegmentNumber(3).path(Path::new(FOLDER)));
    let expected = [
        (3, bytes - 1, Released::Removed, "one is too much"),
        (4, bytes, Released::Kept(bytes), "one fits"),
        (5, 2 * bytes - 1, Released::Removed, "both are too much"),
        (6, 2 * bytes, Released::Kept(bytes), "both fit"),
        (7, 99 * bytes, Released::Removed, "two are enough"),
    ];
    for (number, bytes_max, released, reason) in expected {
        let found = release(&setup(&disk), SegmentNumber(number), bytes_max).unwrap();
        assert_eq!(found, released, "{reason}");
    }
    assert_eq!(spare_paths(&disk).len(), 2);
    assert_eq!(give_back(&disk, Path::new(FOLDER)).unwrap(), 2);
    assert_eq!(spare_paths(&disk), [] as [PathBuf; 0]);
    send_until(&mut writer, 10, &mut texts);
    assert_eq!(writer.segment().0, 10, "a new file is made as ever");
}

#[test]
fn who_reads_on_in_a_released_segment_is_told_so_and_hears_of_no_damage() {
    let disk = SimulatedDisk::new(34);
    let mut writer = new_log(&disk);
    let first = group(writer.end(), &text(0));
    let place = writer.append(std::slice::from_ref(&first)).unwrap()[0];
    let chunk = first.chunk_places(place).next().unwrap();
    let reader = LogReader::new(Arc::new(disk.clone()), PathBuf::from(FOLDER));
    reader.read_chunk(&chunk).unwrap();
    let mut texts = vec![text(0)];
    send_until(&mut writer, 2, &mut texts);
    release_first(&disk).unwrap();
    send_until(&mut writer, 3, &mut texts);
    let released = reader.read_chunk(&chunk).unwrap_err();
    let ReadError::Disk(error) = released else { panic!("{released}") };
    assert_eq!(error.cause.kind(), std::io::ErrorKind::NotFound, "its new place is looked up");
}

/// What recycling is for: without it, zeros are written ahead of every group once more.
#[test]
fn in_a_recycled_file_each_byte_is_written_once() {
    const SEGMENTS: u64 = 20;
    let written = |keeps_spares: bool| {
        let disk = SimulatedDisk::new(33);
        let mut writer = new_log(&disk);
        let mut texts = Vec::new();
        for next in 2..=SEGMENTS {
            send_until(&mut writer, next, &mut texts);
            let number = SegmentNumber(next - 1);
            if keeps_spares {
                release(&setup(&disk), number, 1 << 30).unwrap();
            } else {
                disk.remove(&number.path(Path::new(FOLDER))).unwrap();
            }
            disk.sync_dir(Path::new(FOLDER)).unwrap();
        }
        (disk.written_bytes(), disk.flushes(), texts.len())
    };
    let ((with, flushes, groups), (without, flushes_without, _)) = (written(true), written(false));
    println!(
        "{groups} groups of a page, {SEGMENTS} segments: {with} bytes and {flushes} flushes with \
         spares, {without} and {flushes_without} without: {:.2} times",
        with as f64 / without as f64
    );
    assert_eq!(flushes, flushes_without);
    assert!(with * 4 < without * 3, "{with} {without}");
}
