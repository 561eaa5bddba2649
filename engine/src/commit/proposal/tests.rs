//! Changes and outcomes read back as they were written, and nothing else is taken for one.

use std::sync::Arc;

use proptest::prelude::*;

use super::collected::Collected;
use super::outcome::{Told, decode_result, encode_result};
use super::*;
use crate::commit::change::{
    Answer, CopyKind, PendingMessage, RecipientCopy, SealedMessage, SealedPart,
};
use crate::commit::merged::{Merged, Unchanged};
use crate::disk::simulated::Dice;
use crate::encoding::{Decoder, Encoder};
use crate::error::{ReadError, UnfitPassword};
use crate::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use crate::ids::{
    BlobId, BlobTag, EmailId, MailboxId, PartHash, ThreadId, Uid, UidValidity, UnixSeconds,
};
use crate::record::{AccountUpdate, BlobShape, EntryChange, PolicyChange, SharingBody};
use crate::rights::{Identifier, Rights};
use crate::seal::SealedChunk;
use crate::state::{PartUse, RetainedKey, RetentionSetting, Until, VolumeRetention};
use crate::store::{Appended, Copied, FlagsStored, SpecialUse, Undeleted};
use crate::ticket::{Promise, ticket};
use crate::uid_set::UidSet;

/// Draws things of every kind.
struct Draw(Dice);

impl Draw {
    fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.0.below(limit)).unwrap()
    }

    fn is(&mut self) -> bool {
        self.0.below(2) == 0
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| u8::try_from(self.0.below(256)).unwrap())
    }

    fn some<T>(&mut self, draw: impl FnOnce(&mut Draw) -> T) -> Option<T> {
        if self.is() { Some(draw(self)) } else { None }
    }

    fn list<T>(&mut self, at_most: u64, mut draw: impl FnMut(&mut Draw) -> T) -> Vec<T> {
        (0..self.below(at_most + 1)).map(|_| draw(self)).collect()
    }

    fn account(&mut self) -> AccountNumber {
        AccountNumber(self.0.next())
    }

    fn mailbox(&mut self) -> MailboxId {
        MailboxId(self.bytes())
    }

    fn lsn(&mut self) -> Lsn {
        Lsn::from_bits(self.0.next() >> 1).unwrap()
    }

    fn uid(&mut self) -> Uid {
        Uid(1 + u32::try_from(self.0.below(u64::from(u32::MAX))).unwrap())
    }

    fn uids(&mut self) -> UidSet {
        let range = |draw: &mut Draw| {
            let (one, other) = (draw.uid().0, draw.uid().0);
            (one.min(other), one.max(other))
        };
        UidSet::from_ranges(self.list(6, range))
    }

    fn text(&mut self) -> String {
        let texts = ["", "INBOX", "Grüße/收件箱", "a\u{0}b", "x".repeat(900).leak()];
        texts[self.below(5)].to_owned()
    }

    fn seconds(&mut self) -> UnixSeconds {
        UnixSeconds(self.0.next().cast_signed() >> self.below(64))
    }

    fn flags(&mut self) -> FlagList {
        let keywords = ["$Junk", "NonJunk", "x", "$label1"];
        let system = SystemFlags(u8::try_from(self.below(32)).unwrap());
        let keyword = |draw: &mut Draw| Keyword::new(keywords[draw.below(4)]).unwrap();
        FlagList { system, keywords: self.list(4, keyword) }
    }

    fn chunk(&mut self, number: u32) -> SealedChunk {
        let bytes = self.list(300, |draw| draw.bytes::<1>()[0]);
        SealedChunk { number, hash: blake3::hash(&bytes).into(), bytes }
    }

    fn blob(&mut self) -> (BlobShape, Vec<SealedChunk>, Option<Vec<Lsn>>) {
        let chunk_count = 1 + u32::try_from(self.below(5)).unwrap();
        let (tag, plain_bytes) = (BlobTag(self.bytes()), self.0.next());
        let shape = BlobShape { tag, chunk_count, plain_bytes };
        if self.is() {
            return (shape, Vec::new(), Some((0..chunk_count).map(|_| self.lsn()).collect()));
        }
        (shape, (0..chunk_count).map(|number| self.chunk(number)).collect(), None)
    }

    fn part(&mut self) -> SealedPart {
        let (shape, mut chunks, mut ahead) = self.blob();
        let known = self.some(|draw| PartUse {
            part: BlobId(draw.lsn()),
            blob: BlobId(draw.lsn()),
            mailbox: draw.mailbox(),
            uid: draw.uid(),
        });
        if known.is_some() && self.is() {
            (chunks, ahead) = (Vec::new(), None);
        }
        let unreadable = self.some(|draw| BlobId(draw.lsn()));
        SealedPart { hash: PartHash(self.bytes()), shape, chunks, ahead, known, unreadable }
    }

    fn message(&mut self) -> SealedMessage {
        let (shape, chunks, ahead) = self.blob();
        SealedMessage {
            shape,
            chunks,
            ahead,
            parts: self.list(3, Draw::part),
            size: self.uid().0,
            email: EmailId(self.bytes()),
            summary: None,
            room: None,
            accounts: self.list(3, |draw| (draw.account(), draw.bytes(), ThreadId(draw.0.next()))),
        }
    }

    fn pending(&mut self) -> PendingMessage {
        let (sealed, flags) = (self.message(), self.flags());
        PendingMessage { sealed, flags, received: self.seconds() }
    }

    fn policy(&mut self) -> PolicyChange {
        match self.below(4) {
            0 => PolicyChange::DomainPut(self.text()),
            1 => PolicyChange::DomainDelete(self.text()),
            2 => PolicyChange::AliasPut { address: self.text(), targets: self.list(3, Draw::text) },
            _ => PolicyChange::AliasDelete(self.text()),
        }
    }

    fn sharing(&mut self) -> SharingBody {
        let mailbox = self.mailbox();
        match self.below(3) {
            0 => SharingBody::Metadata {
                mailbox,
                entries: self.list(3, |draw| EntryChange {
                    of: draw.account(),
                    name: draw.text(),
                    value: draw.some(|draw| draw.bytes::<5>().to_vec()),
                }),
            },
            1 => SharingBody::Rights {
                mailbox,
                entries: self.list(3, |draw| {
                    let rights = draw.some(|_| Rights::from_letters("lr").unwrap());
                    (Identifier::account(draw.account()), rights)
                }),
            },
            _ => SharingBody::Limits { messages: self.some(|draw| draw.0.next()) },
        }
    }

    fn retention(&mut self, kind: usize) -> RetentionChange {
        let settings = [
            RetentionSetting::Volume,
            RetentionSetting::Off,
            RetentionSetting::Seconds(self.0.next()),
            RetentionSetting::Hold,
        ];
        let (account, setting) = (self.account(), settings[self.below(4)]);
        match kind {
            16 => RetentionChange::Account { account, setting, promise: nobody() },
            17 => {
                let retention = VolumeRetention { setting, shortened: self.is() };
                RetentionChange::Volume { retention, promise: nobody() }
            }
            _ => RetentionChange::Undelete {
                account,
                keys: self.list(3, |draw| RetainedKey {
                    until: Until(draw.0.next()),
                    mailbox: draw.mailbox(),
                    uid: draw.uid(),
                }),
                promise: nobody(),
            },
        }
    }

    /// A change of that kind.
    fn change(&mut self, kind: usize) -> Change {
        let (account, mailbox) = (self.account(), self.mailbox());
        match kind {
            1 => Change::Deliver {
                message: self.message(),
                received: self.seconds(),
                recipients: self.list(3, |draw| RecipientCopy {
                    account: draw.account(),
                    mailbox: draw.text(),
                    flags: draw.flags(),
                }),
                promise: Promise::calling(drop),
            },
            2 => {
                let messages = self.list(3, Draw::pending);
                Change::Append { account, mailbox, messages, promise: nobody() }
            }
            3 => {
                let messages = self.list(3, Draw::pending);
                let promises = messages.iter().map(|_| nobody()).collect();
                Change::AppendEach { account, mailbox, messages, promises }
            }
            4 => Change::Transfer {
                kind: if self.is() { CopyKind::Copy } else { CopyKind::Move },
                account,
                source: mailbox,
                destination: self.mailbox(),
                uids: self.uids(),
                promise: nobody(),
            },
            5 => Change::Flags {
                account,
                mailbox,
                uids: self.uids(),
                change: [FlagChange::Add, FlagChange::Remove, FlagChange::Replace][self.below(3)],
                flags: self.flags(),
                unchanged_since: self.some(Draw::lsn),
                promise: nobody(),
            },
            6 => Change::Expunge { account, mailbox, uids: self.uids(), promise: nobody() },
            7 => Change::Replace {
                account,
                source: mailbox,
                uid: self.uid(),
                destination: self.mailbox(),
                message: Box::new(self.pending()),
                promise: nobody(),
            },
            _ => self.small_change(kind, (account, mailbox)),
        }
    }

    fn small_change(
        &mut self,
        kind: usize,
        (account, mailbox): (AccountNumber, MailboxId),
    ) -> Change {
        let name = self.text();
        match kind {
            8 => {
                let special_use = self.some(|_| SpecialUse::Junk);
                Change::CreateMailbox { account, name, special_use, promise: nobody() }
            }
            9 => Change::Stage { account, promise: nobody() },
            10 => {
                let to = self.text();
                Change::RenameMailbox { account, from: name, to, promise: nobody() }
            }
            11 => Change::DeleteMailbox { account, name, promise: nobody() },
            12 => {
                let subscribed = self.is();
                Change::Subscribe { account, name, subscribed, promise: nobody() }
            }
            13 => {
                let (credentials, quota_bytes) =
                    (self.bytes::<9>().to_vec(), self.some(|draw| draw.0.next()));
                let update = AccountUpdate { name, credentials, quota_bytes };
                Change::UpdateAccount { account, update, promise: nobody() }
            }
            14 => Change::Policy { changes: self.list(3, Draw::policy), promise: nobody() },
            15 => {
                let (body, guest_entries_max) = (self.sharing(), self.below(1000));
                Change::Sharing { account, body, guest_entries_max, promise: nobody() }
            }
            16..=18 => Change::Retention(self.retention(kind)),
            19 => {
                let number = u32::try_from(self.below(4098)).unwrap();
                let (first, tag) = (self.some(Draw::lsn), BlobTag(self.bytes()));
                Change::ChunkAhead { first, tag, chunk: self.chunk(number), promise: nobody() }
            }
            20 => Change::EndAhead { first: self.lsn() },
            21 => Change::Fence { promise: nobody() },
            23 => {
                let unchanged = self.some(|draw| Unchanged {
                    account: draw.account(),
                    mailbox: draw.mailbox(),
                    since: draw.lsn(),
                });
                let kind = [2, 4, 5, 11, 24][self.below(5)];
                Change::Merged(Box::new(Merged { change: self.change(kind), unchanged }))
            }
            24 => {
                let uids = self.uids();
                Change::Numbered(NumberedChange::Remove {
                    account,
                    mailbox,
                    uids,
                    promise: nobody(),
                })
            }
            25 => Change::Numbered(NumberedChange::LeaveOut {
                account,
                mailbox,
                expected: self.uid(),
                next: self.uid(),
                promise: nobody(),
            }),
            _ => {
                let (uids, messages) = (self.uids(), self.list(2, Draw::pending));
                Change::GiveUp { account, mailbox, uids, messages, promise: nobody() }
            }
        }
    }
}

const KINDS: usize = 25;

fn nobody<T: 'static>() -> Answer<T> {
    Promise::calling(drop)
}

fn draw(seed: u64, kind: usize) -> Change {
    Draw(Dice::new(seed)).change(kind)
}

fn done() -> Done {
    Box::new(drop)
}

/// What a proposal came to be.
fn received(bytes: &[u8]) -> Result<Change, Broken> {
    let change = Change::from_proposal(RequestId([1; 16]), bytes, done())?;
    let Change::Proposed(proposed) = change else { panic!("it is a proposal") };
    Ok(proposed.change)
}

/// One of each kind, as it is told over the link for ever.
#[test]
fn proposals_are_written_as_they_were_first() {
    let mut all = Encoder::default();
    for kind in 1..=KINDS {
        let bytes = command::encode(&draw(7, kind)).unwrap();
        all.blob(&bytes);
    }
    crate::golden::compare("proposals_9.bin", &all.bytes);
}

proptest! {
    #[test]
    fn any_change_reads_back_as_written(seed in any::<u64>(), kind in 1..=KINDS) {
        let (bytes, _reply) = draw(seed, kind).into_proposal().ok().unwrap();
        let received = received(&bytes).unwrap();
        prop_assert_eq!(received.account(), draw(seed, kind).account());
        prop_assert_eq!(received.group_bytes(), draw(seed, kind).group_bytes());
        prop_assert_eq!(command::encode(&received), Some(bytes));
    }

    #[test]
    fn a_proposal_cut_short_or_altered_is_refused_or_another_one(
        seed in any::<u64>(),
        kind in 1..=KINDS,
        at in any::<prop::sample::Index>(),
        byte in 1u8..,
    ) {
        let mut bytes = command::encode(&draw(seed, kind)).unwrap();
        let at = at.index(bytes.len());
        prop_assert!(received(&bytes[..at]).is_err());
        bytes[at] ^= byte;
        if let Ok(change) = received(&bytes) {
            prop_assert!(change.into_proposal().is_ok());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for kind in 0..=30 {
            let bytes = [&[1, kind], bytes.as_slice()].concat();
            fuzzing::proposal(&bytes);
            fuzzing::outcome(&bytes);
        }
    }
}

fn errors() -> Vec<CommitError> {
    vec![
        CommitError::NoSuchMailbox,
        CommitError::NoSuchAccount,
        CommitError::AlreadyExists { what: "the mailbox Grüße".into() },
        CommitError::NotFound { what: "alias x@example.org".into() },
        CommitError::BadName { name: "a*".into(), why: "it contains a wildcard of LIST" },
        CommitError::UnfitPassword(UnfitPassword::Empty),
        CommitError::UnfitPassword(UnfitPassword::Prohibited),
        CommitError::NotPermitted { what: "INBOX cannot be deleted" },
        CommitError::MessagesGone,
        CommitError::OverQuota { limit_bytes: 1 << 30 },
        CommitError::TooManyMessages { limit: 100 },
        CommitError::TooManyEntries { limit: 500 },
        CommitError::TooLarge { what: "the number of messages", limit: 4096 },
        CommitError::PartGone,
        CommitError::OutOfUids,
        CommitError::QueueFull,
        CommitError::DiskFull,
        CommitError::ReadOnly { volume: "main".into(), reason: "a flush failed".into() },
        CommitError::Primary { words: "it burns".into() },
    ]
}

/// One outcome of each kind of answer, and of each error.
fn outcomes() -> Vec<Vec<u8>> {
    let lsn = Lsn::new(1, 77).unwrap();
    let uid_validity = UidValidity(9);
    let uids: Vec<Uid> = [5, 6, 7, 9, 8, u32::MAX].map(Uid).to_vec();
    let set = UidSet::from_ranges([(1, 3), (9, 9)]);
    let appended = Appended { uid_validity, uids: vec![Uid(5)], modseq: lsn };
    let copied =
        Copied { uid_validity, source: uids.clone(), destination: uids.clone(), modseq: lsn };
    let stored = FlagsStored {
        changed: set.clone(),
        modified: UidSet::new(),
        gone: set.clone(),
        modseq: Some(lsn),
    };
    let undeleted = Undeleted { mailbox: "INBOX".into(), uids };
    let mut all = vec![
        told(appended.clone()),
        told(copied),
        told(stored),
        told(set),
        told(MailboxId([3; 16])),
        told(lsn),
        told(undeleted),
        told(()),
    ];
    all.extend(errors().iter().map(refusal));
    let collected = Arc::new(Collected::default());
    let [one, other] = <[_; 2]>::try_from(collected.each(2)).ok().unwrap();
    other.answer(Ok(appended));
    one.answer(Err(CommitError::DiskFull));
    all.push(collected.take(usize::MAX));
    all
}

/// What the primary says, and that the node that proposed reads the same.
fn told<T: Told + Clone + PartialEq + std::fmt::Debug>(value: T) -> Vec<u8> {
    let bytes = encode_result(&Ok(value.clone()));
    let mut from = Decoder::new(&bytes);
    assert_eq!(decode_result::<T>(&mut from).unwrap().unwrap(), value);
    from.end().unwrap();
    let collected = Arc::new(Collected::default());
    collected.one::<T>().answer(Ok(value));
    collected.take(usize::MAX)
}

#[test]
fn outcomes_read_back_and_are_written_as_they_were_first() {
    let mut all = Encoder::default();
    outcomes().iter().for_each(|outcome| all.blob(outcome));
    crate::golden::compare("outcomes_9.bin", &all.bytes);
}

#[test]
fn an_error_says_on_either_node_the_same_and_asks_for_the_same_remedy() {
    for error in errors() {
        let (promise, answer) = ticket::<Result<(), CommitError>>();
        let change = Change::Fence { promise };
        let (_, reply) = change.into_proposal().ok().unwrap();
        reply.answer(&refusal(&error));
        let heard = answer.wait().unwrap_err();
        assert_eq!(heard.to_string(), error.to_string());
        assert_eq!(heard.remedy(), error.remedy());
        let kind = |error: &CommitError| std::mem::discriminant(error);
        assert_eq!(kind(&heard), kind(&error));
    }
    let unread = ReadError::Undecodable { what: "mailbox page", why: "it is missing" };
    let heard = refusal(&CommitError::Read(unread));
    let (promise, answer) = ticket::<Result<(), CommitError>>();
    Change::Fence { promise }.into_proposal().ok().unwrap().1.answer(&heard);
    let heard = answer.wait().unwrap_err();
    assert!(heard.to_string().contains("primary") && heard.to_string().contains("mailbox page"));
}

#[test]
fn whoever_waits_is_answered_whatever_the_primary_says() {
    let mut strange = outcomes();
    strange.extend([vec![], vec![9], vec![1, 2, 1], vec![1, 1], vec![1, 2, 2, 1]]);
    for outcome in strange {
        for kind in 1..=KINDS {
            let (_, reply) = draw(3, kind).into_proposal().ok().unwrap();
            reply.answer(&outcome);
        }
        let (promise, answer) = ticket();
        let mut delivery = draw(3, 1);
        if let Change::Deliver { promise: place, recipients, .. } = &mut delivery {
            *place = promise;
            recipients.truncate(0);
            let copy = |account| RecipientCopy {
                account,
                mailbox: "INBOX".into(),
                flags: FlagList::default(),
            };
            recipients.extend([AccountNumber(1), AccountNumber(2)].map(copy));
        }
        delivery.into_proposal().ok().unwrap().1.answer(&outcome);
        assert_eq!(answer.wait().len(), 2, "one result a recipient");
    }
}

#[test]
fn what_only_a_primary_does_stays_with_it() {
    let account = AccountNumber(7);
    let update = AccountUpdate { name: "a@b".into(), credentials: Vec::new(), quota_bytes: None };
    let new = crate::commit::NewAccountChange {
        number: account,
        generation: crate::ids::KeyGeneration(1),
        update,
    };
    let purge =
        RetentionChange::Purge { account, keys: Vec::new(), low_space: false, promise: nobody() };
    let changes = [
        Change::CreateAccount { new, promise: nobody() },
        Change::DeleteAccount { account, promise: nobody() },
        Change::AccountDestroyed { account, promise: nobody() },
        Change::KeysBegun { keys: Vec::new(), promise: nobody() },
        Change::RaiseLevel { level: 9, promise: nobody() },
        Change::BaseBegin { accounts: Vec::new(), promise: nobody() },
        Change::Retention(purge),
    ];
    for change in changes {
        assert!(change.into_proposal().is_err());
    }
}

#[test]
fn a_change_that_is_too_large_is_refused_before_it_travels() {
    let (promise, answer) = ticket();
    let name = "x".repeat(PROPOSAL_BYTES_MAX);
    let change = Change::DeleteMailbox { account: AccountNumber(7), name, promise };
    change.into_proposal().err().unwrap().refuse();
    assert!(matches!(answer.wait(), Err(CommitError::TooLarge { .. })));
}

#[test]
fn an_answer_that_is_too_long_says_that_and_no_more() {
    let lsn = Lsn::new(1, 77).unwrap();
    let scattered: Vec<Uid> = (1..200_000).map(|uid| Uid(uid * 2)).collect();
    let (source, destination) = (scattered.clone(), scattered);
    let copied = Copied { uid_validity: UidValidity(9), source, destination, modseq: lsn };
    let collected = Arc::new(Collected::default());
    collected.one().answer(Ok(copied.clone()));
    assert!(collected.take(usize::MAX).len() > 400_000);
    collected.one().answer(Ok(copied));
    let outcome = collected.take(10_000);
    let (promise, answer) = ticket::<Result<(), CommitError>>();
    Change::Fence { promise }.into_proposal().ok().unwrap().1.answer(&outcome);
    let heard = answer.wait().unwrap_err().to_string();
    assert!(heard.contains("the change is made"), "{heard}");
    // Nor do a few bytes become many UIDs.
    let mut bomb = Encoder::default();
    bomb.raw(&[1, 9]);
    bomb.count(1);
    bomb.signed(1);
    bomb.varint(u64::from(u32::MAX - 1));
    bomb.lsn(lsn);
    assert!(decode_result::<Appended>(&mut Decoder::new(&bomb.bytes)).is_err());
}
