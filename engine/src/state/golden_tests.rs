//! The tables' values, opened, byte for byte; and their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::{AccountState, Usage};
use super::annotations::Annotations;
use super::base::BaseImage;
use super::blob::{BlobRow, ChunkPlace, Places, reference_key};
use super::changes::{EpochLink, VolumeState};
use super::key_use;
use super::part::{BlobRole, NamedPart, PartUse, part_key, part_reference_key};
use super::policy::Policy;
use super::retained::{
    AccountRetention, RetainedKey, RetainedMessage, RetentionSetting, Until, VolumeRetention,
};
use super::saved::{CheckpointStamp, annotated_by, annotations_key, mailbox_key};
use super::table::Table;
use super::values::Values;
use crate::flags::{Keyword, SystemFlags};
use crate::golden::compare;
use crate::ids::{
    AccountNumber, BlobId, BlobTag, EmailId, EpochId, InstanceId, KeyGeneration, Lsn, MailboxId,
    NodeId, PartHash, Stamp, ThreadId, Uid, UidValidity, UnixSeconds,
};
use crate::log::KeyNames;
use crate::record::base::BaseUnit;
use crate::record::{AccountUpdate, BlobShape, EntryChange, NewRow};
use crate::rights::{Grantee, Identifier, Rights, Sign};
use crate::store::SpecialUse;

const ACCOUNT: AccountNumber = AccountNumber(0x1122_3344_5566_7788);

fn at(epoch: u16, sequence: u64) -> Lsn {
    Lsn::new(epoch, sequence).unwrap()
}

#[test]
fn accounts_are_written_as_they_always_were() {
    let mut account = AccountState::new(ACCOUNT);
    compare("account_row_new_1.bin", &account.encode());
    account.profile = Arc::new(AccountUpdate {
        name: "demo@example.org".into(),
        credentials: vec![1, 2, 3],
        quota_bytes: Some(1 << 30),
    });
    account.last_uid_validity = UidValidity(70_000);
    let names = Arc::make_mut(&mut account.names);
    names.insert(MailboxId([2; 16]), "Archiv/Grüße".into(), Some(SpecialUse::Archive));
    names.insert(MailboxId([1; 16]), "INBOX".into(), None);
    names.subscribe("inbox", true);
    let bytes = account.encode();
    compare("account_row_1.bin", &bytes);
    let again = AccountState::decode(ACCOUNT, &bytes).unwrap();
    assert_eq!((again.profile.name.as_str(), again.names.count()), ("demo@example.org", 2));
    assert_eq!(again.encode(), bytes);
    let usage = Usage { message_count: 300, message_bytes: 5 << 30 };
    compare("usage_row_1.bin", &usage.encode());
    assert_eq!(Usage::decode(&usage.encode()), Ok(usage));
}

#[test]
fn policy_is_written_as_it_always_was() {
    let targets = vec!["demo@example.org".to_owned(), "x@example.net".to_owned()];
    let policy = Policy {
        domains: ["example.net".to_owned(), "example.org".to_owned()].into(),
        aliases: BTreeMap::from([
            ("@example.org".to_owned(), targets),
            ("y@example.org".to_owned(), Vec::new()),
        ]),
    };
    compare("policy_row_1.bin", &policy.encode());
    assert_eq!(Policy::decode(&policy.encode()), Ok(policy));
}

#[test]
fn blobs_and_places_are_written_as_they_always_were() {
    let shape = BlobShape { tag: BlobTag([4; 16]), chunk_count: 3, plain_bytes: 600_000 };
    let here = BlobRow { shape, ahead: None, role: BlobRole::Whole };
    let chunks = Some(vec![at(1, 5), at(1, 6), at(1, 9)]);
    let ahead = BlobRow { shape, ahead: chunks, role: BlobRole::Whole };
    for (name, row) in [("blob_row_1.bin", here), ("blob_row_ahead_1.bin", ahead)] {
        compare(name, &row.encode());
        assert_eq!(BlobRow::decode(&row.encode()), Ok(row));
    }
    let chunk = |number, offset, length| ChunkPlace { number, offset, length, hash: [9; 32] };
    let chunks = vec![chunk(0, 8400, 100), chunk(1, 8564, 262_161), chunk(2, 4_000_000_000, 7)];
    let places = Places { segment: 300, chunks };
    compare("places_row_1.bin", &places.encode());
    assert_eq!(Places::decode(&places.encode()), Ok(places));
}

#[test]
fn parts_are_written_as_they_always_were() {
    let shape = BlobShape { tag: BlobTag([4; 16]), chunk_count: 2, plain_bytes: 20_000 };
    let (account, hash) = (AccountNumber(7), PartHash([6; 32]));
    let part = BlobId(at(1, 5));
    let roles = [
        ("blob_row_names_parts_2.bin", BlobRole::Names(account, vec![NamedPart { part, hash }])),
        ("blob_row_part_2.bin", BlobRole::Part(account, hash)),
    ];
    for (name, role) in roles {
        let row = BlobRow { shape, ahead: None, role };
        compare(name, &row.encode());
        assert_eq!(BlobRow::decode(&row.encode()), Ok(row));
    }
    let used = PartUse { part, blob: BlobId(at(1, 9)), mailbox: MailboxId([3; 16]), uid: Uid(300) };
    let keys =
        [part_key(account, &hash).to_vec(), part_reference_key(part, account, used.blob).to_vec()];
    compare("part_row_1.bin", &[keys.concat(), used.encode()].concat());
    assert_eq!(PartUse::decode(&used.encode()), Ok(used));
}

#[test]
fn stamp_and_volume_are_written_as_they_always_were() {
    let stamp = CheckpointStamp {
        lsn: at(2, 77),
        open_lsn: at(2, 70),
        group_hash: [5; 32],
        stamp: Stamp(1_700_000_000_000 << 16),
    };
    compare("checkpoint_stamp_1.bin", &stamp.encode());
    assert_eq!(CheckpointStamp::decode(&stamp.encode()), Ok(stamp));
    let link = |number, parent, first| EpochLink {
        number,
        id: EpochId([number.to_le_bytes()[0]; 16]),
        parent,
        node: NodeId([8; 16]),
        first,
    };
    let volume = VolumeState {
        format_level: 1,
        members: vec![(NodeId([8; 16]), 1), (NodeId([7; 16]), 0)],
        history: vec![
            link(1, None, at(1, 1)),
            link(2, Some((EpochId([1; 16]), at(1, 500))), at(2, 1)),
        ],
    };
    compare("volume_row_1.bin", &volume.encode());
    assert_eq!(VolumeState::decode(&volume.encode()), Ok(volume));
}

#[test]
fn base_images_are_written_as_they_always_were() {
    let unit = |lsn| BaseUnit { hash: [3; 32], lsn, bytes: 900 };
    let image = BaseImage {
        begun: at(2, 50),
        records: vec![at(2, 70), at(2, 71)],
        digest: [4; 32],
        units: vec![unit(at(1, 9)), unit(at(2, 60))],
    };
    compare("base_row_1.bin", &image.encode());
    assert_eq!(BaseImage::decode(&image.encode()), Ok(image));
}

#[test]
fn keys_sort_and_are_written_as_they_always_were() {
    let mailbox = MailboxId([3; 16]);
    let reference = reference_key(BlobId(at(1, 5)), ACCOUNT, mailbox, Uid(258));
    compare("state_keys_1.bin", &[mailbox_key((ACCOUNT, mailbox)).as_slice(), &reference].concat());
}

#[test]
fn retention_is_written_as_it_always_was() {
    let setting = RetentionSetting::Seconds(30 * 86_400);
    let account = AccountRetention { setting, message_count: 3, message_bytes: 70_000 };
    compare("retention_account_3.bin", &account.encode());
    assert_eq!(AccountRetention::decode(&account.encode()), Ok(account));
    let volume = VolumeRetention { setting, shortened: true };
    compare("retention_volume_3.bin", &volume.encode_row());
    assert_eq!(VolumeRetention::decode_row(&volume.encode_row()), Ok(volume));
    let message = RetainedMessage {
        mailbox_name: "Archiv/Grüße".into(),
        expunged_at: UnixSeconds(1_700_000_000),
        blob: BlobId(at(1, 5)),
        row: NewRow {
            uid: Uid(258),
            flags: SystemFlags::SEEN,
            keywords: vec![Keyword::new("$Forwarded").unwrap()],
            received: UnixSeconds(1_600_000_000),
            saved: UnixSeconds(-5),
            size: 12_345,
            thread: ThreadId(9),
            instance: InstanceId([1; 16]),
            email: EmailId([2; 16]),
            content_hash: [3; 16],
        },
    };
    compare("retained_row_3.bin", &message.encode());
    assert_eq!(RetainedMessage::decode(&message.encode()), Ok(message));
    let mailbox = MailboxId([3; 16]);
    let key = RetainedKey { until: Until(1_700_000_500), mailbox, uid: Uid(258) };
    compare("retained_key_3.bin", &key.to_bytes(ACCOUNT));
}

#[test]
fn annotations_are_written_as_they_were_first() {
    let mut annotations = Annotations::default();
    annotations.set_entries(&[
        EntryChange { of: AccountNumber(0), name: "/comment".into(), value: Some(vec![1, 2]) },
        EntryChange { of: ACCOUNT, name: "/color".into(), value: Some(Vec::new()) },
    ]);
    let taken = Identifier { grantee: Grantee::Account(ACCOUNT), sign: Sign::Negative };
    annotations.set_rights(&[
        (Identifier::ANYONE, Rights::from_letters("lrs").ok()),
        (taken, Rights::from_letters("s").ok()),
    ]);
    annotations.message_limit = Some(300);
    compare("annotations_row_6.bin", &annotations.encode());
    assert_eq!(Annotations::decode(&annotations.encode()), Ok(annotations));
    let key = annotations_key((ACCOUNT, MailboxId([3; 16])));
    assert_eq!(annotated_by(&key), Some((ACCOUNT, MailboxId([3; 16]))));
    compare("annotations_key_6.bin", &key);
}

/// The sealed form: its head is here, what follows is `seal_object.bin`.
#[test]
fn a_sealed_value_begins_with_generation_and_position() {
    let folder = tempfile::tempdir().unwrap();
    let sealer = crate::seal::Sealer::system();
    let root = crate::seal::RootKey::new([1; 16], crate::seal::Key::random(sealer.random()));
    let volume = crate::ids::VolumeId([3; 16]);
    let disk: Arc<dyn crate::disk::Disk> = Arc::new(crate::disk::PlainDisk);
    let keys = crate::seal::KeyTable::create(&disk, folder.path(), &sealer, &root, volume, 1);
    let keys = keys.unwrap();
    keys.add_account(ACCOUNT).unwrap();
    let values = Values::new(sealer, Arc::new(keys));
    let lsn = at(1, 258);
    for (account, generation) in [(ACCOUNT, KeyGeneration(1)), (AccountNumber(0), KeyGeneration(0))]
    {
        let sealed = values.seal(Table::Page, b"key", account, lsn, b"plain").unwrap();
        let head = [generation.0.to_le_bytes().as_slice(), &lsn.bits().to_le_bytes()].concat();
        assert!(sealed.starts_with(&head));
        assert_eq!(sealed.len(), head.len() + 5 + crate::seal::OBJECT_OVERHEAD_BYTES);
        assert_eq!(values.open(Table::Page, b"key", account, &sealed).unwrap(), b"plain");
    }
}

#[test]
fn keys_that_a_segment_names_are_written_as_they_were_first() {
    let mut names = KeyNames::default();
    names.note_record(ACCOUNT, &[1, 0, 0, 0, 9]);
    names.note_record(AccountNumber(7), &[44, 1, 0, 0]);
    let bytes = key_use::encode(&names);
    compare("key_use_row_3.bin", &bytes);
    assert_eq!(key_use::decode(&bytes), Ok(names));
}
