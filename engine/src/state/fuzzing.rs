//! Fuzz bodies of the tables' values, opened; see [`crate::fuzzing`].

use super::account::{AccountState, Usage};
use super::annotations::Annotations;
use super::answered::AnsweredRow;
use super::base::BaseImage;
use super::blob::{BlobRow, Places};
use super::changes::VolumeState;
use super::key_use;
use super::part::PartUse;
use super::policy::Policy;
use super::retained::{AccountRetention, RetainedKey, RetainedMessage, VolumeRetention};
use super::saved::CheckpointStamp;
use crate::ids::{AccountNumber, BlobId, Lsn};

/// An account: profile, names, subscriptions.
pub(crate) fn account_row(bytes: &[u8]) {
    let number = AccountNumber(7);
    let Ok(state) = AccountState::decode(number, bytes) else { return };
    let encoded = state.encode();
    let again = AccountState::decode(number, &encoded).expect("it was just written");
    assert_eq!(again.encode(), encoded);
    assert_eq!(again.names.listing().mailboxes.len(), again.names.count());
}

/// Metadata, rights and a limit.
pub(crate) fn annotations_row(bytes: &[u8]) {
    let Ok(annotations) = Annotations::decode(bytes) else { return };
    assert_eq!(Annotations::decode(&annotations.encode()), Ok(annotations));
}

/// What a request of another node was answered.
pub(crate) fn answered_row(bytes: &[u8]) {
    let account = AccountNumber(7);
    let Ok(row) = AnsweredRow::decode(account, bytes) else { return };
    assert_eq!(AnsweredRow::decode(account, &row.encode()), Ok(row));
}

/// What an account's mail takes.
pub(crate) fn usage_row(bytes: &[u8]) {
    let Ok(usage) = Usage::decode(bytes) else { return };
    assert_eq!(Usage::decode(&usage.encode()), Ok(usage));
}

/// Domains and aliases.
pub(crate) fn policy_row(bytes: &[u8]) {
    let Ok(policy) = Policy::decode(bytes) else { return };
    assert_eq!(Policy::decode(&policy.encode()), Ok(policy));
}

/// Keys that a segment of the log names.
pub(crate) fn key_use_row(bytes: &[u8]) {
    let Ok(names) = key_use::decode(bytes) else { return };
    assert_eq!(key_use::decode(&key_use::encode(&names)), Ok(names));
}

/// What a blob is made of, or which blob has a part.
pub(crate) fn blob_row(bytes: &[u8]) {
    if let Ok(used) = PartUse::decode(bytes) {
        assert_eq!(PartUse::decode(&used.encode()), Ok(used));
    }
    let Ok(row) = BlobRow::decode(bytes) else { return };
    assert_eq!(BlobRow::decode(&row.encode()).as_ref(), Ok(&row));
    assert_eq!(row.position_of(BlobId(Lsn::ZERO), row.shape.chunk_count), None);
}

/// Where chunks lie.
pub(crate) fn places_row(bytes: &[u8]) {
    let Ok(places) = Places::decode(bytes) else { return };
    assert_eq!(Places::decode(&places.encode()), Ok(places));
}

/// What a checkpoint reflects.
pub(crate) fn checkpoint_stamp(bytes: &[u8]) {
    let Ok(stamp) = CheckpointStamp::decode(bytes) else { return };
    assert_eq!(stamp.encode(), bytes, "every field has a fixed width");
}

/// Format level, members, history.
pub(crate) fn volume_row(bytes: &[u8]) {
    let Ok(volume) = VolumeState::decode(bytes) else { return };
    assert_eq!(VolumeState::decode(&volume.encode()), Ok(volume));
}

/// An account's newest base image.
pub(crate) fn base_row(bytes: &[u8]) {
    let Ok(image) = BaseImage::decode(bytes) else { return };
    assert_eq!(BaseImage::decode(&image.encode()), Ok(image));
}

/// A kept message; and the same bytes as its key.
pub(crate) fn retained_row(bytes: &[u8]) {
    if let Some((account, key)) = RetainedKey::from_bytes(bytes) {
        assert_eq!(key.to_bytes(account), bytes);
        assert_eq!(RetainedKey::from_text(&key.to_text()), Some(key));
    }
    let Ok(message) = RetainedMessage::decode(bytes) else { return };
    assert_eq!(RetainedMessage::decode(&message.encode()), Ok(message));
}

/// The retention of an account and that of the volume.
pub(crate) fn retention_row(bytes: &[u8]) {
    if let Ok(retention) = AccountRetention::decode(bytes) {
        assert_eq!(AccountRetention::decode(&retention.encode()), Ok(retention));
    }
    if let Ok(retention) = VolumeRetention::decode_row(bytes) {
        assert_eq!(VolumeRetention::decode_row(&retention.encode_row()), Ok(retention));
    }
}
