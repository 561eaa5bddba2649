//! What opening is to do first: the file `way-back/rewind`.
//!
//! ```text
//! magic "PBrewind", version u16, takes copy u8, zeros 5, LSN u64, hash of its group 32,
//! BLAKE3 of all before
//! ```

use std::path::Path;

use crate::disk::{Disk, durable};
use crate::encoding::{Decoder, Encoder};
use crate::error::{Damage, DiskError, ReadError};
use crate::log::GroupHash;
use crate::pair::Position;

const MAGIC: [u8; 8] = *b"PBrewind";
const VERSION: u16 = 1;
const FILE_BYTES: usize = 8 + 8 + 8 + 32 + 32;
const NAME: &str = "rewind";

/// The volume goes back to a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RewindOrder {
    /// The last position that both nodes have.
    pub(crate) common: Position,
    /// Nothing of what is here counts: all of it is that of the full copy, which is complete.
    pub(crate) takes_copy: bool,
}

impl RewindOrder {
    /// Writes it, durably: from now on opening does it.
    pub(crate) fn write(&self, disk: &dyn Disk, folder: &Path) -> Result<(), DiskError> {
        durable::create_dir_durable(disk, folder)?;
        durable::replace_file(disk, &folder.join(NAME), &self.encode())
    }

    /// What opening is to do, if anything.
    ///
    /// # Errors
    /// The disk; a file that is damaged or newer than this version.
    pub(crate) fn load(disk: &dyn Disk, folder: &Path) -> Result<Option<RewindOrder>, ReadError> {
        let path = folder.join(NAME);
        if !disk.exists(&path)? {
            return Ok(None);
        }
        let bytes = durable::read_file(disk, &path, FILE_BYTES)?.unwrap_or_default();
        match RewindOrder::decode(&bytes) {
            Some(order) => Ok(Some(order)),
            None => Err(Damage {
                file: path,
                offset: 0,
                what: "what the way back is to do cannot be read; the node needs a full copy"
                    .to_owned(),
            }
            .into()),
        }
    }

    /// It is done.
    pub(crate) fn remove(disk: &dyn Disk, folder: &Path) -> Result<(), DiskError> {
        disk.remove(&folder.join(NAME))?;
        disk.sync_dir(folder)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(&MAGIC);
        out.raw(&VERSION.to_le_bytes());
        out.u8(self.takes_copy.into());
        out.raw(&[0; 5]);
        out.lsn(self.common.lsn);
        out.raw(&self.common.hash.0);
        out.checked()
    }

    fn decode(bytes: &[u8]) -> Option<RewindOrder> {
        let mut from = Decoder::checked(bytes)?;
        let magic: [u8; 8] = from.array().ok()?;
        let version = u16::from_le_bytes(from.array().ok()?);
        let takes_copy = from.u8().ok()? == 1;
        let _: [u8; 5] = from.array().ok()?;
        let lsn = from.lsn().ok()?;
        let hash = GroupHash(from.array().ok()?);
        from.end().ok()?;
        let common = Position { lsn, hash };
        (magic == MAGIC && version == VERSION).then_some(RewindOrder { common, takes_copy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::SimulatedDisk;
    use crate::ids::Lsn;

    #[test]
    fn an_order_is_found_until_it_is_done_and_a_damaged_one_is_refused() {
        let (disk, folder) = (SimulatedDisk::new(1), Path::new("/v/way-back"));
        let common = Position { lsn: Lsn::new(1, 9).unwrap(), hash: GroupHash([7; 32]) };
        let order = RewindOrder { common, takes_copy: false };
        crate::golden::compare("rewind_1.bin", &order.encode());
        let copy = RewindOrder { common, takes_copy: true };
        crate::golden::compare("rewind_copy_1.bin", &copy.encode());
        assert_eq!(RewindOrder::decode(&copy.encode()), Some(copy));
        assert_eq!(RewindOrder::load(&disk, folder).unwrap(), None);
        order.write(&disk, folder).unwrap();
        assert_eq!(RewindOrder::load(&disk, folder).unwrap(), Some(order));
        disk.flip_bit(&folder.join(NAME), 20, 3);
        let refused = RewindOrder::load(&disk, folder).unwrap_err().to_string();
        assert!(refused.contains("rewind") && refused.contains("full copy"), "{refused}");
        RewindOrder::remove(&disk, folder).unwrap();
        assert_eq!(RewindOrder::load(&disk, folder).unwrap(), None);
    }
}
