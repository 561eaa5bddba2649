//! Records of the log behind a position, as far as it is durable here.

use std::sync::Arc;
use std::time::Duration;

use crate::error::ReadError;
use crate::log::format::group::Group;
use crate::log::{Item, RecordHeader};
use crate::pair::{Position, Shipment, Shipper};
use crate::record::{Record, open_record};
use crate::seal::KeyTableSnapshot;

/// Bytes of groups that are read at a time.
const BYTES: usize = 1 << 20;

/// Reads records on.
pub(super) struct Walk {
    shipper: Shipper,
}

impl Walk {
    pub(super) fn new(shipper: Shipper) -> Walk {
        Walk { shipper }
    }

    /// How far it is.
    pub(super) fn position(&self) -> Position {
        self.shipper.position()
    }

    /// Shows all that is there now; of destroyed accounts nothing.
    ///
    /// # Errors
    /// The log cannot be read, or is not there any more as it was written.
    pub(super) fn on(
        &mut self,
        keys: &Arc<KeyTableSnapshot>,
        visit: &mut dyn FnMut(&RecordHeader, Record),
    ) -> Result<(), ReadError> {
        loop {
            let bytes = match self.shipper.next(BYTES, Duration::ZERO)? {
                Shipment::Groups { bytes, .. } => bytes,
                Shipment::Nothing => return Ok(()),
                Shipment::TooOld | Shipment::Foreign => {
                    return Err(undecodable("the log does not reach back to the common position"));
                }
            };
            let mut rest: &[u8] = &bytes;
            while !rest.is_empty() {
                let length = Group::decode(rest).map_err(|_| undecodable("a group"))?.stored_len();
                let (own, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                let group = Group::decode(own).map_err(|_| undecodable("a group"))?;
                for placed in group.items() {
                    let Item::Record { header, payload } = placed.item else { continue };
                    let opened = open_record(keys, &header, payload);
                    if let Some(record) = opened.map_err(|_| undecodable("a record"))? {
                        visit(&header, record);
                    }
                }
                rest = others;
            }
        }
    }
}

fn undecodable(why: &'static str) -> ReadError {
    ReadError::Undecodable { what: "log for a merge", why }
}
