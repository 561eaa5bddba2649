//! What there is to be copied.
//!
//! ```text
//! magic "PBcopy", version u16, id 16, LSN u64, hash of its group 32,
//! list(folder u8: 1 log, 2 index, 3 state; name; bytes varint), BLAKE3 of all before
//! ```

use std::path::{Path, PathBuf};

use crate::encoding::{Broken, Decoder, Encoder};
use crate::log::{GroupHash, SegmentNumber};
use crate::pair::Position;

const MAGIC: [u8; 8] = *b"PBcopy\x01\0";
/// Files of a copy.
const FILES_MAX: usize = 1 << 20;
/// Bytes of a file that are asked for at a time.
pub(super) const PIECE_BYTES_MAX: u32 = 256 << 10;
/// Letters of a file's name.
const NAME_MAX: usize = 128;

/// A folder of the copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Folder {
    /// Segments.
    Log,
    /// Files of the full-text index.
    Index,
    /// Tables.
    State,
}

impl Folder {
    pub(crate) const ALL: [Folder; 3] = [Folder::Log, Folder::Index, Folder::State];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Folder::Log => "log",
            Folder::Index => "index",
            Folder::State => "state",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Folder::Log => 1,
            Folder::Index => 2,
            Folder::State => 3,
        }
    }
}

/// A file of the copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct OfferedFile {
    pub(crate) folder: Folder,
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl OfferedFile {
    pub(crate) fn path(&self, copy: &Path) -> PathBuf {
        copy.join(self.folder.name()).join(&self.name)
    }
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Offer {
    /// Random: two offers of the same id are of the same files.
    pub(crate) id: [u8; 16],
    /// Where the copy ends.
    pub(crate) at: Position,
    /// Ascending by folder and name.
    pub(crate) files: Vec<OfferedFile>,
}

impl Offer {
    pub(crate) fn byte_count(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(&MAGIC);
        out.raw(&self.id);
        out.lsn(self.at.lsn);
        out.raw(&self.at.hash.0);
        out.count(self.files.len());
        for file in &self.files {
            out.u8(file.folder.number());
            out.text(&file.name);
            out.varint(file.bytes);
        }
        out.checked()
    }

    /// Reads what another node or an older version wrote. Names lead nowhere but into the folder.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Offer, Broken> {
        let mut from = Decoder::checked(bytes).ok_or("its hash is not that of its bytes")?;
        if from.array()? != MAGIC {
            return Err("its format is not known to this version");
        }
        let id = from.array()?;
        let at = Position { lsn: from.lsn()?, hash: GroupHash(from.array()?) };
        let files = from.list(offered_file)?;
        from.end()?;
        if files.len() > FILES_MAX {
            return Err("it has more files than a copy may have");
        }
        let is_ascending = |pair: &[OfferedFile]| match pair {
            [one, next] => (one.folder, &one.name) < (next.folder, &next.name),
            _ => true,
        };
        if !files.windows(2).all(is_ascending) {
            return Err("its files are not in order");
        }
        let total = files.iter().try_fold(0u64, |sum, file| sum.checked_add(file.bytes));
        total.ok_or("its files have more bytes than there can be")?;
        Ok(Offer { id, at, files })
    }
}

fn offered_file(from: &mut Decoder<'_>) -> Result<OfferedFile, Broken> {
    let number = from.u8()?;
    let folder = Folder::ALL.into_iter().find(|folder| folder.number() == number);
    let folder = folder.ok_or("a folder is not known")?;
    let name = from.text()?;
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name = !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_letter);
    let is_segment = folder != Folder::Log || SegmentNumber::of(Path::new(name)).is_some();
    let is_unfinished = name.ends_with(crate::disk::durable::UNFINISHED);
    if !is_name || !is_segment || is_unfinished || name.len() > NAME_MAX {
        return Err("a file has a name that none of a copy has");
    }
    Ok(OfferedFile { folder, name: name.to_owned(), bytes: from.varint()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Lsn;

    fn offer() -> Offer {
        let file = |folder, name: &str, bytes| OfferedFile { folder, name: name.to_owned(), bytes };
        Offer {
            id: [7; 16],
            at: Position { lsn: Lsn::new(3, 77).unwrap(), hash: GroupHash([5; 32]) },
            files: vec![
                file(Folder::Log, "000000000001.1.segment", 1 << 27),
                file(Folder::Log, "000000000002.segment", 0),
                file(Folder::Index, "0102.split", 300),
                file(Folder::State, "CURRENT", 16),
            ],
        }
    }

    #[test]
    fn an_offer_reads_back_and_a_damaged_or_longer_one_is_refused() {
        let bytes = offer().encode();
        assert_eq!(Offer::decode(&bytes), Ok(offer()));
        crate::golden::compare("copy_offer_1.bin", &bytes);
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(Offer::decode(&bytes).is_err(), "byte {at}");
            assert!(Offer::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn no_name_leads_out_of_its_folder() {
        let names = ["../passwd", "a/b", "", ".hidden", "..", "a\0b", "x.unfinished", "ü"];
        for name in names {
            let mut offer = offer();
            offer.files[3].name = name.to_owned();
            assert!(Offer::decode(&offer.encode()).is_err(), "{name:?}");
        }
        let mut twice = offer();
        twice.files[2] = twice.files[3].clone();
        assert!(Offer::decode(&twice.encode()).is_err(), "the same file twice");
        let mut large = offer();
        (large.files[0].bytes, large.files[3].bytes) = (u64::MAX, 1);
        assert!(Offer::decode(&large.encode()).is_err(), "more bytes than there are numbers");
        let mut spare = offer();
        spare.files[0].name = "CURRENT".to_owned();
        assert!(Offer::decode(&spare.encode()).is_err(), "a segment that is none");
    }
}
