//! Messages that are kept after they were expunged: until a time, or as long as a hold lasts.
//!
//! ```text
//! key (big-endian)                          value of table Retained, sealed
//! 0 u64                                     volume: format 1, setting, u8: 1: shortened when
//!                                           space is low
//! account u64                               account: format 1, setting, messages, bytes
//! account u64, until u64, mailbox 16, u32   message of that UID: format 1, mailbox name, expunged
//!                                           at, blob u64, row as a record has it
//! setting: u8: 0 the volume's, 1 off, 2 a time: seconds, 3 hold
//! ```
//! A kept message has its reference under the key that it had as a row, for mailbox ids and UIDs
//! are never used again: so whoever asks what a blob is referenced by need not know of retention.
//! `until` stands in the key, so that what is over time comes first; [`Until::HOLD`] comes last.
//!
//! # Invariants
//! 1. A reference exists exactly while a row of a mailbox or of this table names its blob.
//! 2. `until` is the record's: nothing here asks a clock.
//! 3. An account's counters equal a recount of its messages here. Quota does not count them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::saved::{FORMAT, Saved, refuse_newer};
use super::table::Table;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, MailboxId, Uid, UnixSeconds};
use crate::record::NewRow;

/// For how long expunged messages are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RetentionSetting {
    /// As the volume says.
    #[default]
    Volume,
    /// Nothing is kept.
    Off,
    /// So many seconds.
    Seconds(u64),
    /// Until it is lifted.
    Hold,
}

/// The volume's setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VolumeRetention {
    /// [`RetentionSetting::Off`] or a time.
    pub setting: RetentionSetting,
    /// Whether low space purges what is not over time; never what a hold keeps.
    pub shortened: bool,
}

/// An account's setting, and what it keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct AccountRetention {
    pub(crate) setting: RetentionSetting,
    pub(crate) message_count: u64,
    pub(crate) message_bytes: u64,
}

/// The second, since 1970, from which on a message need not be kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Until(pub(crate) u64);

/// Which kept message of an account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RetainedKey {
    pub(crate) until: Until,
    pub(crate) mailbox: MailboxId,
    pub(crate) uid: Uid,
}

/// A kept message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RetainedMessage {
    /// What its mailbox was called then.
    pub(crate) mailbox_name: String,
    pub(crate) expunged_at: UnixSeconds,
    pub(crate) blob: BlobId,
    pub(crate) row: NewRow,
}

/// `None`: gone.
pub(crate) type RetainedChanges =
    BTreeMap<(AccountNumber, RetainedKey), Option<Arc<RetainedMessage>>>;

/// What the tables do not have yet.
#[derive(Default)]
pub(super) struct RetainedMaps {
    inner: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    now: RetainedChanges,
    /// Being written by a checkpoint.
    frozen: Arc<RetainedChanges>,
}

impl Until {
    /// As long as its account is held.
    pub(crate) const HOLD: Until = Until(u64::MAX);
}

impl Default for VolumeRetention {
    fn default() -> VolumeRetention {
        VolumeRetention { setting: RetentionSetting::Off, shortened: false }
    }
}

impl RetentionSetting {
    /// What holds for an account with this setting.
    pub(crate) fn or(self, volume: VolumeRetention) -> RetentionSetting {
        if self == RetentionSetting::Volume { volume.setting } else { self }
    }

    /// Until when a message is kept that is expunged now; `None`: not at all.
    pub(crate) fn until(self, now: UnixSeconds) -> Option<Until> {
        match self {
            RetentionSetting::Volume | RetentionSetting::Off => None,
            RetentionSetting::Seconds(seconds) => Some(after(now, seconds)),
            RetentionSetting::Hold => Some(Until::HOLD),
        }
    }

    /// Whether a message need not be kept any more. What a hold kept is kept, once it is lifted, as
    /// long as the setting of now says, counted from its expunge.
    pub(crate) fn is_over(self, until: Until, expunged_at: UnixSeconds, now: UnixSeconds) -> bool {
        let until = match (self, until) {
            (RetentionSetting::Hold, _) => return false,
            (RetentionSetting::Seconds(seconds), Until::HOLD) => after(expunged_at, seconds),
            (RetentionSetting::Volume | RetentionSetting::Off, Until::HOLD) => return true,
            (_, until) => until,
        };
        u64::try_from(now.0).is_ok_and(|now| until.0 <= now)
    }

    pub(crate) fn encode(self, out: &mut Encoder) {
        match self {
            RetentionSetting::Volume => out.u8(0),
            RetentionSetting::Off => out.u8(1),
            RetentionSetting::Seconds(seconds) => {
                out.u8(2);
                out.varint(seconds);
            }
            RetentionSetting::Hold => out.u8(3),
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<RetentionSetting, Broken> {
        Ok(match from.u8()? {
            0 => RetentionSetting::Volume,
            1 => RetentionSetting::Off,
            2 => RetentionSetting::Seconds(from.varint()?),
            3 => RetentionSetting::Hold,
            _ => return Err("a retention is of no known kind"),
        })
    }
}

/// Never [`Until::HOLD`].
fn after(begin: UnixSeconds, seconds: u64) -> Until {
    let begin = u64::try_from(begin.0).unwrap_or(0);
    Until(begin.saturating_add(seconds).min(Until::HOLD.0 - 1))
}

impl VolumeRetention {
    pub(crate) fn encode(self, out: &mut Encoder) {
        self.setting.encode(out);
        out.u8(u8::from(self.shortened));
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<VolumeRetention, Broken> {
        let setting = RetentionSetting::decode(from)?;
        match from.u8()? {
            shortened @ 0..=1 => Ok(VolumeRetention { setting, shortened: shortened == 1 }),
            _ => Err("a mark is neither 0 nor 1"),
        }
    }

    pub(super) fn encode_row(self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        self.encode(&mut out);
        out.bytes
    }

    pub(super) fn decode_row(value: &[u8]) -> Result<VolumeRetention, Broken> {
        let mut from = row(value)?;
        let retention = VolumeRetention::decode(&mut from)?;
        from.end()?;
        Ok(retention)
    }
}

impl AccountRetention {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        self.setting.encode(&mut out);
        out.varint(self.message_count);
        out.varint(self.message_bytes);
        out.bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Result<AccountRetention, Broken> {
        let mut from = row(value)?;
        let retention = AccountRetention {
            setting: RetentionSetting::decode(&mut from)?,
            message_count: from.varint()?,
            message_bytes: from.varint()?,
        };
        from.end()?;
        Ok(retention)
    }

    pub(super) fn keep(&mut self, size: u32) {
        self.message_count = self.message_count.saturating_add(1);
        self.message_bytes = self.message_bytes.saturating_add(u64::from(size));
    }

    pub(super) fn forget(&mut self, size: u32) {
        self.message_count = self.message_count.saturating_sub(1);
        self.message_bytes = self.message_bytes.saturating_sub(u64::from(size));
    }
}

impl RetainedKey {
    /// Before every other.
    pub const FIRST: RetainedKey =
        RetainedKey { until: Until(0), mailbox: MailboxId([0; 16]), uid: Uid(0) };

    /// Its number in its mailbox.
    pub fn uid(self) -> Uid {
        self.uid
    }

    /// As text, for whoever goes on with a list later.
    pub fn to_text(self) -> String {
        format!("{:016x}.{}.{}", self.until.0, self.mailbox, self.uid)
    }

    /// From [`RetainedKey::to_text`].
    pub fn from_text(text: &str) -> Option<RetainedKey> {
        let mut parts = text.split('.');
        let until = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mailbox = u128::from_str_radix(parts.next()?, 16).ok()?.to_be_bytes();
        let uid = parts.next()?.parse().ok()?;
        Some(RetainedKey { until: Until(until), mailbox: MailboxId(mailbox), uid: Uid(uid) })
    }

    /// The next possible one.
    #[must_use]
    pub fn after(self) -> RetainedKey {
        RetainedKey { uid: Uid(self.uid.0.saturating_add(1)), ..self }
    }

    /// In records: until u64, mailbox 16, uid.
    pub(crate) fn encode(self, out: &mut Encoder) {
        out.u64(self.until.0);
        out.raw(&self.mailbox.0);
        out.varint(u64::from(self.uid.0));
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<RetainedKey, Broken> {
        Ok(RetainedKey {
            until: Until(from.u64()?),
            mailbox: MailboxId(from.array()?),
            uid: Uid(from.u32()?),
        })
    }

    /// The table's key.
    pub(super) fn to_bytes(self, account: AccountNumber) -> [u8; 36] {
        let mut key = [0; 36];
        let parts = account.0.to_be_bytes().into_iter().chain(self.until.0.to_be_bytes());
        let parts = parts.chain(self.mailbox.0).chain(self.uid.0.to_be_bytes());
        key.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        key
    }

    /// From the table's key; `None` if it is no message's.
    pub(crate) fn from_bytes(key: &[u8]) -> Option<(AccountNumber, RetainedKey)> {
        let key: &[u8; 36] = key.try_into().ok()?;
        let (account, rest) = key.split_first_chunk()?;
        let (until, rest) = rest.split_first_chunk()?;
        let (mailbox, rest) = rest.split_first_chunk()?;
        let retained = RetainedKey {
            until: Until(u64::from_be_bytes(*until)),
            mailbox: MailboxId(*mailbox),
            uid: Uid(u32::from_be_bytes(rest.try_into().ok()?)),
        };
        Some((AccountNumber(u64::from_be_bytes(*account)), retained))
    }
}

impl RetainedMessage {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.text(&self.mailbox_name);
        out.signed(self.expunged_at.0);
        out.lsn(self.blob.0);
        self.row.encode(&mut out);
        out.bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Result<RetainedMessage, Broken> {
        let mut from = row(value)?;
        let message = RetainedMessage {
            mailbox_name: from.text()?.to_owned(),
            expunged_at: UnixSeconds(from.signed()?),
            blob: BlobId(from.lsn()?),
            row: NewRow::decode(&mut from)?,
        };
        from.end()?;
        Ok(message)
    }
}

fn row(value: &[u8]) -> Result<Decoder<'_>, Broken> {
    let mut from = Decoder::new(value);
    if from.u8()? != FORMAT {
        return Err("its format is not known to this version");
    }
    Ok(from)
}

/// A kept message that was met and not opened yet.
pub(crate) enum Met<'a> {
    Here(Arc<RetainedMessage>),
    Stored { saved: &'a Saved, account: AccountNumber, key: &'a [u8], sealed: &'a [u8] },
}

impl Met<'_> {
    pub(crate) fn open(&self) -> Result<Arc<RetainedMessage>, ReadError> {
        match self {
            Met::Here(message) => Ok(Arc::clone(message)),
            Met::Stored { saved, account, key, sealed } => {
                saved.open_retained(*account, key, sealed).map(Arc::new)
            }
        }
    }
}

/// What a visit of kept messages calls; it returns whether to go on.
pub(crate) type RetainedVisitor<'v> =
    dyn FnMut(RetainedKey, &Met<'_>) -> Result<bool, ReadError> + 'v;

impl RetainedMaps {
    pub(super) fn extend(&self, changes: RetainedChanges) {
        if !changes.is_empty() {
            self.inner.write().now.extend(changes);
        }
    }

    /// About how many bytes the next checkpoint would write.
    pub(super) fn unsaved_bytes(&self) -> u64 {
        const MESSAGE_BYTES: u64 = 384;
        crate::width::u64_of(self.inner.read().now.len()) * MESSAGE_BYTES
    }

    pub(super) fn freeze(&self) -> Arc<RetainedChanges> {
        let mut maps = self.inner.write();
        maps.frozen = Arc::new(std::mem::take(&mut maps.now));
        Arc::clone(&maps.frozen)
    }

    pub(super) fn saved(&self) {
        self.inner.write().frozen = Arc::default();
    }

    /// The message, if it is kept.
    pub(super) fn find(
        &self,
        saved: &Saved,
        account: AccountNumber,
        key: RetainedKey,
    ) -> Result<Option<Arc<RetainedMessage>>, ReadError> {
        {
            let maps = self.inner.read();
            let at = (account, key);
            if let Some(changed) = maps.now.get(&at).or_else(|| maps.frozen.get(&at)) {
                return Ok(changed.clone());
            }
        }
        let bytes = key.to_bytes(account);
        let Some(sealed) = saved.tables.get(Table::Retained, &bytes)? else { return Ok(None) };
        saved.open_retained(account, &bytes, &sealed).map(|message| Some(Arc::new(message)))
    }

    /// The messages of an account from `from` on, in the order of their keys.
    pub(super) fn visit(
        &self,
        saved: &Saved,
        account: AccountNumber,
        from: RetainedKey,
        visit: &mut RetainedVisitor<'_>,
    ) -> Result<(), ReadError> {
        let mut here = self.overlay(account, from);
        let mut goes_on = true;
        let (prefix, from) = (account.0.to_be_bytes(), from.to_bytes(account));
        saved.tables.scan_from(Table::Retained, &prefix, &from, &mut |bytes, sealed| {
            let Some((_, key)) = RetainedKey::from_bytes(bytes) else { return Ok(true) };
            while let Some(first) = here.first_entry().filter(|first| *first.key() < key) {
                let (key, message) = first.remove_entry();
                let Some(message) = message else { continue };
                goes_on = visit(key, &Met::Here(message))?;
                if !goes_on {
                    return Ok(false);
                }
            }
            goes_on = match here.remove(&key) {
                Some(None) => true,
                Some(Some(message)) => visit(key, &Met::Here(message))?,
                None => visit(key, &Met::Stored { saved, account, key: bytes, sealed })?,
            };
            Ok(goes_on)
        })?;
        for (key, message) in here.into_iter().filter(|_| goes_on) {
            let Some(message) = message else { continue };
            if !visit(key, &Met::Here(message))? {
                break;
            }
        }
        Ok(())
    }

    fn overlay(
        &self,
        account: AccountNumber,
        from: RetainedKey,
    ) -> BTreeMap<RetainedKey, Option<Arc<RetainedMessage>>> {
        let maps = self.inner.read();
        let mut here = BTreeMap::new();
        for changes in [maps.frozen.as_ref(), &maps.now] {
            let of_account = changes.range((account, from)..);
            let of_account = of_account.take_while(|((of, _), _)| *of == account);
            here.extend(of_account.map(|((_, key), message)| (*key, message.clone())));
        }
        here
    }
}

impl Saved {
    /// The volume's retention.
    pub(crate) fn volume_retention(&self) -> Result<VolumeRetention, ReadError> {
        let account = AccountNumber::VOLUME;
        let retention = self.retention(account, VolumeRetention::decode_row)?;
        Ok(retention.unwrap_or_default())
    }

    /// An account's retention.
    pub(super) fn account_retention(
        &self,
        account: AccountNumber,
    ) -> Result<AccountRetention, ReadError> {
        Ok(self.retention(account, AccountRetention::decode)?.unwrap_or_default())
    }

    fn retention<T>(
        &self,
        account: AccountNumber,
        decode: impl FnOnce(&[u8]) -> Result<T, Broken>,
    ) -> Result<Option<T>, ReadError> {
        let key = account.0.to_be_bytes();
        let Some(sealed) = self.tables.get(Table::Retained, &key)? else { return Ok(None) };
        let value = self.values.open(Table::Retained, &key, account, &sealed)?;
        refuse_newer("retention", &value)?;
        let undecodable = |why| ReadError::Undecodable { what: "retention", why };
        decode(&value).map(Some).map_err(undecodable)
    }

    fn open_retained(
        &self,
        account: AccountNumber,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<RetainedMessage, ReadError> {
        let value = self.values.open(Table::Retained, key, account, sealed)?;
        refuse_newer("kept message", &value)?;
        let undecodable = |why| ReadError::Undecodable { what: "kept message", why };
        RetainedMessage::decode(&value).map_err(undecodable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_time_is_told_by_the_record_and_what_is_held_never() {
        let (then, now) = (UnixSeconds(1000), UnixSeconds(1600));
        let week = RetentionSetting::Seconds(500);
        let table = [
            (week, Until(1500), true, "its time is over"),
            (week, Until(1700), false, "a longer time was promised"),
            (RetentionSetting::Off, Until(1700), false, "also when nothing more is kept"),
            (RetentionSetting::Hold, Until(1500), false, "a hold keeps what was kept before"),
            (RetentionSetting::Hold, Until::HOLD, false, "and what it keeps itself"),
            (week, Until::HOLD, true, "the hold is lifted, and the time is over"),
            (RetentionSetting::Seconds(700), Until::HOLD, false, "it is not"),
            (RetentionSetting::Off, Until::HOLD, true, "nothing keeps it"),
        ];
        for (setting, until, expected, reason) in table {
            assert_eq!(setting.is_over(until, then, now), expected, "{reason}");
        }
        assert_eq!(week.until(then), Some(Until(1500)));
        assert_eq!(RetentionSetting::Seconds(u64::MAX).until(then), Some(Until(u64::MAX - 1)));
        assert_eq!(RetentionSetting::Off.until(then), None);
    }

    #[test]
    fn keys_sort_by_time_and_read_back() {
        let key = |until, uid| RetainedKey { until, mailbox: MailboxId([7; 16]), uid: Uid(uid) };
        let account = AccountNumber(9);
        let keys = [key(Until(5), 9), key(Until(6), 1), key(Until(6), 2), key(Until::HOLD, 1)];
        assert!(keys.is_sorted_by(|a, b| a.to_bytes(account) < b.to_bytes(account) && a < b));
        for key in keys {
            assert_eq!(RetainedKey::from_bytes(&key.to_bytes(account)), Some((account, key)));
        }
        assert_eq!(RetainedKey::from_bytes(&account.0.to_be_bytes()), None);
    }
}
