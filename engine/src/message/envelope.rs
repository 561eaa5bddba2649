//! ENVELOPE of a message (RFC 9051 section 7.5.2), and the budget that bounds a summary.

use super::header::{Fields, unfold_text};
use super::{ADDRESSES_MAX, Address, Envelope, FIELD_BYTES_MAX, SUMMARY_TEXT_BYTES_MAX, address};

/// Bytes of an address field: a list of a thousand recipients is honest mail.
const ADDRESS_FIELD_BYTES_MAX: usize = 256 << 10;

/// What one summary may still keep.
pub(super) struct Budget {
    bytes: usize,
    addresses: usize,
}

impl Budget {
    /// Enough for any honest message.
    pub(super) fn new() -> Budget {
        Budget { bytes: SUMMARY_TEXT_BYTES_MAX, addresses: ADDRESSES_MAX }
    }

    /// The value, if there is still room for it.
    pub(super) fn keep(&mut self, value: Vec<u8>) -> Option<Vec<u8>> {
        self.bytes = self.bytes.checked_sub(value.len())?;
        Some(value)
    }

    /// The parameters for which there is still room.
    pub(super) fn parameters(&mut self, list: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keep = |(name, value)| Some((self.keep(name)?, self.keep(value)?));
        list.into_iter().filter_map(keep).collect()
    }

    /// Adds the addresses of a field for which there is still room.
    fn addresses(&mut self, value: &[u8], list: &mut Vec<Address>) {
        let before = list.len();
        address::parse_into(value, list, before.saturating_add(self.addresses));
        let mut bytes = 0_usize;
        let size = |field: &Option<Vec<u8>>| field.as_ref().map_or(0, Vec::len);
        for found in list.iter().skip(before) {
            bytes += size(&found.name) + size(&found.mailbox) + size(&found.host);
        }
        match self.bytes.checked_sub(bytes) {
            Some(left) => self.bytes = left,
            None => list.truncate(before),
        }
        self.addresses = self.addresses.saturating_sub(list.len() - before);
    }
}

/// The envelope of the message whose header this is.
///
/// Where a field that may stand once stands twice, the last counts, which is the one that DKIM
/// signs (RFC 6376 section 5.4.2); address fields add up.
pub(super) fn envelope(header: &[u8], budget: &mut Budget) -> Envelope {
    let mut found = Envelope::default();
    let mut name = [0_u8; 11];
    for field in Fields::new(header) {
        let Some(name) = name.get_mut(..field.name.len()) else { continue };
        name.copy_from_slice(field.name);
        name.make_ascii_lowercase();
        let single = match &*name {
            b"date" => &mut found.date,
            b"subject" => &mut found.subject,
            b"in-reply-to" => &mut found.in_reply_to,
            b"message-id" => &mut found.message_id,
            other => {
                let list = match other {
                    b"from" => &mut found.from,
                    b"sender" => &mut found.sender,
                    b"reply-to" => &mut found.reply_to,
                    b"to" => &mut found.to,
                    b"cc" => &mut found.cc,
                    b"bcc" => &mut found.bcc,
                    _ => continue,
                };
                budget.addresses(&unfold_text(field.value, ADDRESS_FIELD_BYTES_MAX), list);
                continue;
            }
        };
        if let Some(value) = budget.keep(unfold_text(field.value, FIELD_BYTES_MAX)) {
            *single = Some(value);
        }
    }
    if found.sender.is_empty() {
        found.sender.clone_from(&found.from);
    }
    if found.reply_to.is_empty() {
        found.reply_to.clone_from(&found.from);
    }
    found
}
