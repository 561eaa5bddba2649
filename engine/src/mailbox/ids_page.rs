//! The 16-byte columns of a mailbox page, stored apart because few commands ask for them.
//!
//! They are random to any compressor, so they are stored as they are:
//!
//! ```text
//! size        field         meaning
//!    1        format        1
//!    n        version       number: which version of these columns; the page head repeats it
//!    n        count         number: rows, 1 to PAGE_ROWS_MAX
//!   16 × n    instances     in the order of the page's rows; so the next two
//!   16 × n    emails
//!   16 × n    hashes
//! ```
//!
//! Invariant: as many rows as the page of the same slot, in the same order. Rows and ids of a slot
//! become durable in one batch.

use crate::error::ReadError;
use crate::ids::{EmailId, InstanceId};
use crate::limits::PAGE_ROWS_MAX;
use crate::mailbox::RowIds;
use crate::mailbox::varint::{self, Reader};
use crate::width::u64_of;

pub(super) const FORMAT: u8 = 1;
const ID_BYTES: usize = 16;

/// Instance, EMAILID and content hash of a page's rows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct IdsPage {
    version: u64,
    rows: Vec<RowIds>,
}

impl IdsPage {
    /// Of the rows' ids in the rows' order.
    pub(crate) fn from_rows(version: u64, rows: Vec<RowIds>) -> IdsPage {
        IdsPage { version, rows }
    }

    /// A copy with `more` added.
    pub(crate) fn copy_with(
        &self,
        version: u64,
        more: impl ExactSizeIterator<Item = RowIds>,
    ) -> IdsPage {
        let mut rows = Vec::with_capacity(self.rows.len() + more.len());
        rows.extend_from_slice(&self.rows);
        rows.extend(more);
        IdsPage { version, rows }
    }

    /// Which version of these columns this is.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// In the order of the page's rows.
    pub(crate) fn rows(&self) -> &[RowIds] {
        &self.rows
    }

    /// Bytes in memory, for the cache's budget.
    pub(crate) fn memory_bytes(&self) -> usize {
        std::mem::size_of::<IdsPage>() + self.rows.capacity() * std::mem::size_of::<RowIds>()
    }

    /// As it is stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.rows.len() * 3 * ID_BYTES);
        out.push(FORMAT);
        varint::put(&mut out, self.version);
        varint::put(&mut out, u64_of(self.rows.len()));
        self.rows.iter().for_each(|row| out.extend_from_slice(&row.instance.0));
        self.rows.iter().for_each(|row| out.extend_from_slice(&row.email.0));
        self.rows.iter().for_each(|row| out.extend_from_slice(&row.content_hash));
        out
    }

    /// From what is stored.
    pub(crate) fn decode(bytes: &[u8]) -> Result<IdsPage, ReadError> {
        let mut reader = Reader::new(bytes, "page of ids");
        reader.format(FORMAT)?;
        let version = reader.number()?;
        let count = reader.length(PAGE_ROWS_MAX)?;
        if count == 0 {
            return Err(reader.wrong("it has no rows"));
        }
        let (instances, _) = reader.bytes(count * ID_BYTES)?.as_chunks::<ID_BYTES>();
        let (emails, _) = reader.bytes(count * ID_BYTES)?.as_chunks::<ID_BYTES>();
        let (hashes, _) = reader.bytes(count * ID_BYTES)?.as_chunks::<ID_BYTES>();
        reader.end()?;
        let rows = instances.iter().zip(emails).zip(hashes);
        let rows = rows.map(|((&instance, &email), &content_hash)| RowIds {
            instance: InstanceId(instance),
            email: EmailId(email),
            content_hash,
        });
        Ok(IdsPage { version, rows: rows.collect() })
    }
}
