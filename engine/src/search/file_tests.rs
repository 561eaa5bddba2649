//! Index files: what was written is read, and what was altered is not.

use proptest::prelude::*;

use super::*;
use crate::disk::simulated::SimulatedDisk;
use crate::disk::{Disk, OpenMode};
use crate::seal::fuzzing::IndexFileUnderTest;

const FILE: &str = "/file";

/// A file of these blocks.
fn written(blocks: &[Vec<u8>]) -> (SimulatedDisk, u64) {
    let disk = SimulatedDisk::new(1);
    let file = disk.create(Path::new(FILE)).unwrap();
    let (sealed, header) = IndexFileUnderTest::new().into_parts();
    let mut writer = SplitFileWriter::new(file, sealed, &header);
    blocks.iter().for_each(|block| writer.put(block).unwrap());
    let length = writer.finish(7, 9, &[[3; 16]]).unwrap();
    (disk, length)
}

fn opened(disk: &SimulatedDisk) -> Result<Arc<SplitFile>, ReadError> {
    let file = disk.open(Path::new(FILE), OpenMode::Read).unwrap();
    let lookup = |_, _| Some(IndexFileUnderTest::parent());
    SplitFile::open(Path::new(FILE), file, &lookup, BlockCache::new(1 << 20)).map(Arc::new)
}

fn bytes_of(disk: &SimulatedDisk) -> Vec<u8> {
    let file = disk.open(Path::new(FILE), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize_of(file.byte_count().unwrap())];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Full blocks and a last one, of words that repeat or of noise.
fn blocks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (0usize..4, 1usize..SPLIT_BLOCK_BYTES, any::<bool>(), any::<u8>()).prop_map(
        |(full, last, is_noise, salt)| {
            let block = |(number, length): (usize, usize)| {
                let mut bytes = vec![salt; length];
                if is_noise {
                    let mut hasher = blake3::Hasher::new();
                    hasher.update(&[salt]).update(&number.to_le_bytes());
                    hasher.finalize_xof().fill(&mut bytes);
                }
                bytes
            };
            let lengths = std::iter::repeat_n(SPLIT_BLOCK_BYTES, full).chain([last]);
            lengths.enumerate().map(block).collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_written_is_read_and_what_was_altered_is_not(
        blocks in blocks(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let (disk, length) = written(&blocks);
        let file = opened(&disk).unwrap();
        prop_assert_eq!(file.table().message_count, 7);
        prop_assert_eq!(file.table().highest_blob, 9);
        prop_assert_eq!(&file.table().replaces, &vec![[3; 16]]);
        prop_assert_eq!(file.file_bytes(), length);
        let whole: u64 = blocks.iter().map(|block| u64_of(block.len())).sum();
        prop_assert_eq!(BlockSource::len(&file), whole);
        for _ in 0..2 {
            for (number, block) in (0..).zip(&blocks) {
                prop_assert_eq!(&*file.block(number).unwrap(), &block[..]);
            }
        }
        prop_assert!(file.block(u32_of(blocks.len())).is_err());
        let at = at.index(usize_of(length));
        let byte = bytes_of(&disk)[at] ^ (1 << bit);
        let changed = disk.open(Path::new(FILE), OpenMode::ReadWrite).unwrap();
        changed.write_at(u64_of(at), &[byte]).unwrap();
        let is_noticed = opened(&disk).is_err_and(|_| true)
            || opened(&disk).unwrap().verify().is_err();
        prop_assert!(is_noticed, "byte {} of {}", at, length);
        changed.write_at(u64_of(at), &[byte ^ (1 << bit)]).unwrap();
        prop_assert!(opened(&disk).unwrap().verify().is_ok());
        changed.set_byte_count(length - 1 - u64_of(at).min(length - 1)).unwrap();
        prop_assert!(opened(&disk).is_err(), "cut short");
    }
}

#[test]
fn the_format_is_the_one_that_was_reviewed() {
    let words = b"so it was written ".iter().copied().cycle();
    let blocks = [words.clone().take(SPLIT_BLOCK_BYTES).collect(), words.take(100).collect()];
    let (disk, _) = written(&blocks);
    crate::golden::compare("index_file_1.bin", &bytes_of(&disk));
}
