//! Every record reads back as it was written, and nothing else is taken for one.

use proptest::prelude::*;

use super::*;
use crate::ids::PartHash;
use crate::rights::{Grantee, Identifier, Rights, Sign};
use crate::state::{RetainedKey, RetentionSetting, Until, VolumeRetention};

fn row(uid: u32) -> NewRow {
    NewRow {
        uid: Uid(uid),
        flags: SystemFlags::SEEN,
        keywords: vec![Keyword::new("$Forwarded").unwrap()],
        received: UnixSeconds(1_700_000_000),
        saved: UnixSeconds(-5),
        size: 12_345,
        thread: ThreadId(9),
        instance: InstanceId([1; 16]),
        email: EmailId([2; 16]),
        content_hash: [3; 16],
    }
}

/// One record of every type.
fn samples() -> Vec<Record> {
    let lsn = Lsn::new(1, 77).unwrap();
    let mailbox = MailboxId([7; 16]);
    let shape = BlobShape { tag: BlobTag([4; 16]), chunk_count: 3, plain_bytes: 12_345 };
    let transfer = Transfer { source_uid: Uid(5), blob: lsn, row: row(6) };
    let bodies = vec![
        Body::Epoch(EpochBegin {
            number: 1,
            id: EpochId([5; 16]),
            parent: Some((EpochId([6; 16]), lsn)),
            node: NodeId([8; 16]),
        }),
        Body::Members(vec![(NodeId([8; 16]), 1)]),
        Body::FormatLevel(1),
        Body::AccountCreate { account: AccountNumber(99), generation: KeyGeneration(1) },
        Body::AccountDelete { account: AccountNumber(99) },
        Body::AccountDestroyed { account: AccountNumber(99) },
        Body::Policy(vec![
            PolicyChange::DomainPut("example.org".into()),
            PolicyChange::DomainDelete("example.net".into()),
            PolicyChange::AliasPut {
                address: "@example.org".into(),
                targets: vec!["a@example.org".into()],
            },
            PolicyChange::AliasDelete("x@example.org".into()),
        ]),
        Body::AccountUpdate(AccountUpdate {
            name: "demo@example.org".into(),
            credentials: vec![1, 2, 3],
            quota_bytes: Some(1 << 30),
        }),
        Body::Append {
            mailbox,
            messages: vec![
                Arrival { row: row(1), blob: ArrivalBlob::Inline(shape) },
                Arrival {
                    row: row(2),
                    blob: ArrivalBlob::Ahead(shape, vec![lsn, lsn.next().unwrap()]),
                },
                Arrival { row: row(3), blob: ArrivalBlob::SharedBare(lsn) },
            ],
        },
        Body::Copy { mailbox, messages: vec![transfer.clone()] },
        Body::Move { source: MailboxId([9; 16]), mailbox, messages: vec![transfer] },
        Body::Flags {
            mailbox,
            changes: vec![FlagsChanged {
                uids: UidSet::from_ranges([(1, 3), (9, 9)]),
                add: SystemFlags::SEEN,
                remove: SystemFlags::DELETED,
                add_keywords: vec![Keyword::new("$Junk").unwrap()],
                remove_keywords: vec![],
            }],
        },
        Body::Expunge { mailbox, uids: UidSet::from_ranges([(1, 3), (9, 9)]) },
        Body::MailboxCreate {
            mailbox,
            name: "Grüße/收件箱".into(),
            uid_validity: UidValidity(7),
            special_use: Some(SpecialUse::Junk),
        },
        Body::MailboxRename(vec![(mailbox, "Neu".into())]),
        Body::MailboxDelete { mailbox },
        Body::Subscribe { name: "Neu".into(), subscribed: true },
    ];
    let mut records: Vec<Record> =
        bodies.into_iter().map(|body| Record::new(Stamp(42), body)).collect();
    let mut full = records[8].clone();
    full.node = Some(NodeId([8; 16]));
    full.request = Some(RequestId([9; 16]));
    full.run = Some(Run { first: lsn, last: true });
    records.push(full);
    records
}

/// The records of base images, which came with format level 3.
fn base_samples() -> Vec<Record> {
    let lsn = Lsn::new(1, 77).unwrap();
    let row = |table, value: &[u8]| DumpedRow { table, key: vec![1, 2, 3], value: value.to_vec() };
    let rows = vec![row(2, b"a row"), row(10, b"")];
    let unit = base::BaseUnit { hash: base::unit_hash(&rows), lsn, bytes: 19 };
    let part = BasePart {
        begun: lsn,
        first: true,
        digest: base::digest([&unit]),
        units: vec![unit, unit],
    };
    let bodies = [
        Body::BaseBegin { accounts: vec![AccountNumber(99), AccountNumber(7)] },
        Body::BaseDump { rows },
        Body::BaseImage(part),
    ];
    bodies.into_iter().map(|body| Record::new(Stamp(42), body)).collect()
}

#[test]
fn records_of_base_images_are_written_as_they_always_were() {
    let payloads: Vec<Vec<u8>> = base_samples().iter().map(Record::encode).collect();
    crate::golden::compare("record_base_3.bin", &payloads.concat());
}

#[test]
fn every_type_reads_back_as_written() {
    for record in samples().into_iter().chain(base_samples()) {
        assert_eq!(Record::decode(record.kind(), &record.encode()), Ok(record));
    }
}

/// Those of retention.
fn retention_samples() -> Vec<Record> {
    let mailbox = MailboxId([7; 16]);
    let lsn = Lsn::new(1, 77).unwrap();
    let transfer = |uid| Transfer { source_uid: Uid(uid), blob: lsn, row: row(uid + 10) };
    let until = Until(1_700_000_500);
    let volume = VolumeRetention { setting: RetentionSetting::Seconds(5), shortened: true };
    let bodies = vec![
        RetentionBody::Account(RetentionSetting::Volume),
        RetentionBody::Account(RetentionSetting::Off),
        RetentionBody::Account(RetentionSetting::Hold),
        RetentionBody::Volume(volume),
        RetentionBody::Retain { mailbox, until, uids: Some(UidSet::from_ranges([(1, 3), (9, 9)])) },
        RetentionBody::Retain { mailbox, until: Until::HOLD, uids: None },
        RetentionBody::Undelete {
            source: MailboxId([9; 16]),
            mailbox,
            messages: vec![(until, transfer(5)), (Until::HOLD, transfer(6))],
        },
        RetentionBody::Purge(vec![RetainedKey { until, mailbox, uid: Uid(300) }]),
    ];
    let record = |body| Record::new(Stamp(42), Body::Retention(body));
    bodies.into_iter().map(record).collect()
}

fn compare_with(golden: &str, records: &[Record]) {
    let mut bytes = Vec::new();
    for record in records {
        let payload = record.encode();
        bytes.push(record.kind());
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&payload);
    }
    crate::golden::compare(golden, &bytes);
}

#[test]
fn records_of_retention_read_back_and_are_written_as_they_always_were() {
    for record in retention_samples() {
        let payload = record.encode();
        assert!(Record::decode(record.kind(), &payload[..payload.len() - 1]).is_err());
        assert_eq!(Record::decode(record.kind(), &payload), Ok(record));
    }
    assert_eq!(retention_samples()[6].position_count(), 2, "one a message");
    compare_with("records_retention_3.bin", &retention_samples());
}

#[test]
fn yesterdays_records_still_read() {
    compare_with("records_1.bin", &samples());
}

#[test]
fn a_shared_blob_is_told_whole_in_the_record_of_every_account() {
    let shape = BlobShape { tag: BlobTag([4; 16]), chunk_count: 3, plain_bytes: 12_345 };
    let lsn = Lsn::new(1, 77).unwrap();
    let shared = |ahead| ArrivalBlob::Shared { blob: lsn, shape, ahead };
    let messages = vec![
        Arrival { row: row(1), blob: shared(None) },
        Arrival { row: row(2), blob: shared(Some(vec![lsn, lsn.next().unwrap()])) },
    ];
    let body = Body::Append { mailbox: MailboxId([5; 16]), messages };
    let record = Record::new(Stamp(42), body);
    let bytes = record.encode();
    assert_eq!(Record::decode(record.kind(), &bytes), Ok(record));
    let golden = "tests/golden/record_append_shared_2.bin";
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
    if std::env::var_os("PILLARBOX_WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &bytes).unwrap();
    }
    assert_eq!(std::fs::read(golden).unwrap(), bytes, "the format of records changed");
}

#[test]
fn a_message_with_parts_says_where_each_of_them_is() {
    let shape = BlobShape { tag: BlobTag([4; 16]), chunk_count: 2, plain_bytes: 20_000 };
    let lsn = Lsn::new(1, 77).unwrap();
    let part = |seed, blob| ArrivalPart { hash: PartHash([seed; 32]), blob };
    let parts = vec![
        part(1, PartBlob::Inline(shape)),
        part(2, PartBlob::Ahead(shape, vec![lsn, lsn.next().unwrap()])),
        part(3, PartBlob::Known(lsn)),
    ];
    let with = |blob, parts| ArrivalBlob::WithParts(Box::new(blob), parts);
    let messages = vec![
        Arrival { row: row(1), blob: with(ArrivalBlob::Inline(shape), parts) },
        Arrival { row: row(2), blob: with(ArrivalBlob::Ahead(shape, vec![lsn]), Vec::new()) },
    ];
    let record = Record::new(Stamp(42), Body::Append { mailbox: MailboxId([5; 16]), messages });
    assert_eq!(record.position_count(), 3, "one a message, and one for the part that is inline");
    let bytes = record.encode();
    assert!(Record::decode(record.kind(), &bytes[..bytes.len() - 1]).is_err());
    assert_eq!(Record::decode(record.kind(), &bytes), Ok(record));
    crate::golden::compare("record_append_parts_4.bin", &bytes);
}

#[test]
fn a_record_with_a_byte_missing_or_left_over_is_refused() {
    for record in samples() {
        let payload = record.encode();
        assert!(Record::decode(record.kind(), &payload[..payload.len() - 1]).is_err());
        let mut longer = payload.clone();
        longer.push(0);
        assert!(Record::decode(record.kind(), &longer).is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        kind in 0u8..44,
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = Record::decode(kind, &payload);
    }
}

#[test]
fn records_of_sharing_read_back_and_are_written_as_they_were_first() {
    let mailbox = MailboxId([7; 16]);
    let entry = |of, name: &str, value: Option<&[u8]>| EntryChange {
        of: AccountNumber(of),
        name: name.to_owned(),
        value: value.map(<[u8]>::to_vec),
    };
    let who = |grantee, sign| Identifier { grantee, sign };
    let rights = |letters| Some(Rights::from_letters(letters).unwrap());
    let bodies = [
        SharingBody::Metadata {
            mailbox,
            entries: vec![
                entry(0, "/comment", Some("Grüße".as_bytes())),
                entry(99, "/comment", Some(b"")),
                entry(99, "/specialuse", None),
            ],
        },
        SharingBody::Rights {
            mailbox,
            entries: vec![
                (who(Grantee::Anyone, Sign::Positive), rights("lr")),
                (who(Grantee::Account(AccountNumber(99)), Sign::Positive), rights("lrswipkxtea")),
                (who(Grantee::Account(AccountNumber(7)), Sign::Negative), rights("w")),
                (who(Grantee::Anyone, Sign::Negative), None),
            ],
        },
        SharingBody::Limits { messages: Some(100_000) },
        SharingBody::Limits { messages: None },
    ];
    let records = bodies.map(|body| Record::new(Stamp(42), Body::Sharing(body)));
    for record in &records {
        let payload = record.encode();
        assert!(Record::decode(record.kind(), &payload[..payload.len() - 1]).is_err());
        assert_eq!(Record::decode(record.kind(), &payload).as_ref(), Ok(record));
    }
    compare_with("records_sharing_6.bin", &records);
}

#[test]
fn records_of_keys_are_written_as_they_were_first() {
    let keys = [(AccountNumber(99), KeyGeneration(2)), (AccountNumber(7), KeyGeneration(300))];
    let bodies = [
        Body::KeysBegun(keys.to_vec()),
        Body::KeyDestroyed { account: AccountNumber(99), generation: KeyGeneration(1) },
    ];
    let mut bytes = Vec::new();
    for record in bodies.map(|body| Record::new(Stamp(42), body)) {
        assert_eq!(Record::decode(record.kind(), &record.encode()).as_ref(), Ok(&record));
        bytes.push(record.kind());
        bytes.extend(record.encode());
    }
    crate::golden::compare("records_keys_3.bin", &bytes);
}

#[test]
fn records_of_answers_are_written_as_they_were_first() {
    let outcome = vec![1, 1, 1, 2, 3];
    let body = Body::Answered { request: RequestId([9; 16]), outcome };
    let mut in_run = Record::new(Stamp(42), body);
    in_run.request = Some(RequestId([9; 16]));
    let alone = in_run.clone();
    in_run.run = Some(Run { first: Lsn::new(1, 77).unwrap(), last: true });
    for record in [&alone, &in_run] {
        let payload = record.encode();
        assert!(Record::decode(41, &payload[..payload.len() - 1]).is_err());
        assert_eq!(Record::decode(41, &payload).as_ref(), Ok(record));
    }
    compare_with("records_answered_9.bin", &[alone, in_run]);
}

#[test]
fn the_record_of_uids_that_were_given_elsewhere_is_written_as_it_was_first() {
    let mailbox = MailboxId([7; 16]);
    let records = [1, 1 << 32].map(|next| Record::new(Stamp(42), Body::UidNext { mailbox, next }));
    for record in &records {
        let payload = record.encode();
        assert!(Record::decode(record.kind(), &payload[..payload.len() - 1]).is_err());
        assert_eq!(Record::decode(record.kind(), &payload).as_ref(), Ok(record));
    }
    compare_with("record_uid_next_9.bin", &records);
}
