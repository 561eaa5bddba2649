//! Rewriting segments: what is dead goes, and nothing else.

use super::*;

/// Everything is alive and needed.
struct KeepAll;

impl Keep for KeepAll {
    fn is_alive(&mut self, _: &ChunkPlace) -> Result<bool, crate::error::ReadError> {
        Ok(true)
    }

    fn is_needed(&self, _: &RecordHeader) -> bool {
        true
    }

    fn rewrapped(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn a_generation_that_is_there_is_never_written_over() {
    let (disk, _) = six_mails(8);
    let first = SegmentNumber(1);
    let mut rewrite = Rewrite::begin(&setup(&disk), &[first]).unwrap().expect("it is closed");
    while rewrite.step(&mut KeepAll).unwrap() != RewriteStep::AllCopied {}
    let (number, moved) = rewrite.finish().unwrap();
    assert_eq!((number.place(), number.generation(), moved.len()), (1, 1, 4));
    assert!(Rewrite::begin(&setup(&disk), &[first]).unwrap().is_none(), "its chunks may be alive");
}

/// Chunks are alive, and records are needed of the first position alone.
struct KeepChunks;

impl Keep for KeepChunks {
    fn is_alive(&mut self, _: &ChunkPlace) -> Result<bool, crate::error::ReadError> {
        Ok(true)
    }

    fn is_needed(&self, record: &RecordHeader) -> bool {
        record.lsn == Lsn::new(1, 1).unwrap()
    }

    fn rewrapped(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn segments_are_joined_without_records_and_the_chain_goes_on() {
    let disk = SimulatedDisk::new(8);
    let mut writer = new_log(&disk);
    let count = send(&mut writer, 20).acknowledged.len();
    let files = disk.list(Path::new(FOLDER)).unwrap();
    let numbers: Vec<SegmentNumber> =
        files.iter().filter_map(|path| SegmentNumber::of(path)).collect();
    let closed = &numbers[..numbers.len() - 1];
    assert!(closed.len() >= 2, "{numbers:?}");
    let mut rewrite = Rewrite::begin(&setup(&disk), closed).unwrap().expect("they are closed");
    while rewrite.step(&mut KeepChunks).unwrap() != RewriteStep::AllCopied {}
    let (number, moved) = rewrite.finish().unwrap();
    assert_eq!((number.place(), number.generation()), (1, 1));
    let reader = LogReader::new(Arc::new(disk.clone()), PathBuf::from(FOLDER));
    for chunk in &moved {
        reader.read_chunk(chunk).unwrap();
    }
    let file = disk.open(&number.path(Path::new(FOLDER)), OpenMode::Read).unwrap();
    let mut bytes = vec![0; 1 << 20];
    let length = file.read_at(0, &mut bytes).unwrap();
    let magic = crate::log::format::group::REMNANT_MAGIC;
    let at = bytes[..length].windows(4).position(|bytes| bytes == magic).unwrap();
    let remnant = crate::log::format::group::Group::decode(&bytes[at..length]).unwrap();
    crate::golden::compare("remnant.bin", &bytes[at..at + remnant.stored_len()]);
    // As long as the old ones are all there, they are the log.
    let (texts, _) = open(&disk.image_after_kill(), None).unwrap();
    assert_eq!(texts.len(), count);
    // Flushed state refers to it.
    let image = disk.image_after_kill();
    let switched = LogSetup { switched: vec![number], ..setup(&image) };
    let mut records = 0;
    let recovered = recover::<RecoverError>(switched, None, OpenMode::ReadWrite, |replayed| {
        if let Replayed::Group { group, .. } = replayed {
            let is_record = |placed: &crate::log::format::group::PlacedItem<'_>| {
                matches!(placed.item, Item::Record { .. })
            };
            records += group.items().filter(is_record).count();
        }
        Ok(())
    });
    let recovered = recovered.unwrap();
    assert_eq!((recovered.damage, recovered.report.remnants > 0), (Vec::new(), true));
    assert!(records > 0 && records < count, "{records} of {}", count);
    assert!(!image.exists(&closed[0].path(Path::new(FOLDER))).unwrap(), "they are removed");
    // State is lost, and releasing had begun.
    let image = disk.image_after_kill();
    image.remove(&closed[0].path(Path::new(FOLDER))).unwrap();
    let (left, recovered) = open(&image, None).unwrap();
    assert_eq!((left.len(), recovered.damage), (records, Vec::new()));
    for number in &closed[1..] {
        assert!(!image.exists(&number.path(Path::new(FOLDER))).unwrap());
    }
}

#[test]
fn a_segment_with_damage_in_it_is_not_rewritten_though_a_footer_leaves_the_damage_out() {
    let (disk, places) = six_mails(9);
    for (state, _) in &places {
        let (stamp, own) = (stamped(*state), state.last_lsn);
        for (_, place) in places.iter().filter(|(end, _)| end.last_lsn <= own) {
            let image = disk.image_after_kill();
            image.flip_bit(&place.segment.path(Path::new(FOLDER)), place.offset + 200, 3);
            // This closes what was open.
            open(&image, Some(stamp)).unwrap();
            let rewrite = Rewrite::begin(&setup(&image), &[place.segment]).unwrap();
            let mut rewrite = rewrite.expect("it is closed");
            let refused = loop {
                match rewrite.step(&mut KeepAll) {
                    Ok(RewriteStep::Copied(_)) => {}
                    Ok(RewriteStep::AllCopied) => panic!("damage at {} is gone", place.offset),
                    Err(error) => break error,
                }
            };
            assert!(refused.to_string().contains("at offset"), "{refused}");
        }
    }
}
