//! Two nodes in one process, without a network: what one ships, the other takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::error::TakeError;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{NodeId, Uid, UnixSeconds};
use crate::pair::{Acknowledgement, Away, Shipment, Shipper};
use crate::seal::{Argon2Cost, Secret};
use crate::uid_set::UidSet;

pub(super) const NAME: &str = "anna@example.org";

/// Two directories, and the stores in them.
pub(super) struct Two {
    _folder: tempfile::TempDir,
    pub(super) first: Store,
    pub(super) second: Store,
    shipper: Shipper,
}

fn options(directory: &Path) -> OpenOptions {
    let mut options = OpenOptions::new(KeySource::KeyFile(directory.with_extension("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options
}

fn open(directory: &Path) -> Store {
    Store::open(directory, options(directory)).unwrap().0
}

impl Two {
    pub(super) fn new() -> Two {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = Two::directories(folder.path());
        let key = |directory: &Path| InitOptions {
            key: KeySource::KeyFile(directory.with_extension("key")),
        };
        Store::init(&a, &key(&a)).unwrap();
        let first = open(&a);
        let seed = first.pair_seed().unwrap();
        let (_, key_table) = first.key_table();
        let second = SecondNode { node: NodeId([2; 16]), seed: &seed, key_table: &key_table };
        Store::init_second(&b, &key(&b), &second).unwrap();
        let second = open(&b);
        let shipper = first.ship_behind(second.position());
        Two { _folder: folder, first, second, shipper }
    }

    fn directories(folder: &Path) -> (PathBuf, PathBuf) {
        (folder.join("a"), folder.join("b"))
    }

    /// The second node is a member of the pair from now on.
    pub(super) fn paired(self, mode: Acknowledgement) -> Two {
        self.first.begin_pair(mode);
        self.first.set_follower_there(true);
        self
    }

    /// Ships all there is; answers how many groups' bytes that was.
    pub(super) fn ship(&mut self) -> usize {
        let mut shipped = 0;
        loop {
            match self.shipper.next(1 << 20, Duration::ZERO).unwrap() {
                Shipment::Groups { bytes, end, keys } => {
                    shipped += bytes.len();
                    let (version, table) = self.first.key_table();
                    assert!(version >= keys);
                    if self.second.standing().keys < keys {
                        let refused = self.second.take_groups(&bytes).unwrap_err();
                        assert!(matches!(refused, TakeError::OlderKeys { .. }), "{refused}");
                        self.second.take_key_table(&table).unwrap();
                    }
                    assert_eq!(self.second.take_groups(&bytes).unwrap(), end);
                    self.first.note_follower(end.lsn);
                }
                Shipment::Nothing => return shipped,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Ships in the background, as a link does, until `work` is done.
    fn shipping<T>(&mut self, work: impl FnOnce(&Store) -> T + Send) -> T
    where
        T: Send,
    {
        let first = self.first.clone();
        std::thread::scope(|scope| {
            let working = scope.spawn(move || work(&first));
            while !working.is_finished() {
                self.ship();
                std::thread::yield_now();
            }
            working.join().unwrap()
        })
    }

    pub(super) fn reopen_second(&mut self) {
        let directory = self.second.inner.directory.clone();
        self.second.close();
        let placeholder = self.first.clone();
        drop(std::mem::replace(&mut self.second, placeholder));
        self.second = open(&directory);
        self.shipper = self.first.ship_behind(self.second.position());
    }
}

pub(super) fn make_account(store: &Store, name: &str) {
    let (name, password) = (name.to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
}

pub(super) fn inbox(store: &Store) -> Mailbox {
    store.account(NAME).unwrap().unwrap().mailbox("INBOX").unwrap().unwrap()
}

fn text(number: usize) -> Vec<u8> {
    format!("Subject: number {number}\r\n\r\nHello.\r\n").into_bytes()
}

pub(super) fn append(store: &Store, number: usize) -> Result<Appended, CommitError> {
    let account = store.account(NAME).unwrap().unwrap();
    let prepared = store.prepare(&text(number), &[account.number()])?;
    let (flags, received) = (FlagList::default(), UnixSeconds(7));
    inbox(store).append(vec![NewMessage { prepared, flags, received }]).wait()
}

/// What a client sees: UIDs with their MODSEQs and flags, and the bytes of each message.
pub(super) fn seen(store: &Store) -> Vec<(u32, u64, u8, Vec<u8>)> {
    let account = store.account(NAME).unwrap().unwrap();
    let view = inbox(store).view().unwrap().unwrap();
    let mut seen = Vec::new();
    for row in view.rows_from(Uid(1), 10_000).unwrap() {
        let bytes = account.message(&row).unwrap().read_all().unwrap();
        seen.push((row.uid.0, row.modseq.bits(), row.flags.0, bytes));
    }
    seen
}

pub(super) fn agree(two: &Two) {
    assert_eq!(seen(&two.first), seen(&two.second));
    let problems = two.second.check(&mut |_| {}).unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn a_follower_holds_what_its_primary_holds_also_after_restarts() {
    let mut two = Two::new();
    two.first.add_domain("example.org").unwrap();
    make_account(&two.first, NAME);
    for number in 0..20 {
        append(&two.first, number).unwrap();
        if number % 7 == 3 {
            two.ship();
            agree(&two);
        }
        if number % 7 == 5 {
            two.reopen_second();
        }
    }
    let mailbox = inbox(&two.first);
    let uids = |list: &[u32]| list.iter().copied().map(Uid).collect::<UidSet>();
    let flags = FlagList { system: SystemFlags::SEEN, keywords: Vec::new() };
    mailbox.store_flags(&uids(&[1, 3, 5]), FlagChange::Add, &flags, None).wait().unwrap();
    mailbox.expunge(&uids(&[2, 4])).wait().unwrap();
    assert!(two.ship() > 0);
    agree(&two);
    two.reopen_second();
    assert_eq!(two.ship(), 0, "what it has is not sent again");
    agree(&two);
    let refused = append(&two.second, 99).unwrap_err().to_string();
    assert!(refused.contains("other node"), "{refused}");
}

#[test]
fn in_durable_mode_nobody_sees_or_is_answered_what_the_other_node_lacks() {
    let two = Two::new();
    two.first.add_domain("example.org").unwrap();
    make_account(&two.first, NAME);
    let mut two = two.paired(Acknowledgement::Durable(Away::Refuse));
    two.ship();
    let account = two.first.account(NAME).unwrap().unwrap();
    let prepared = two.first.prepare(&text(1), &[account.number()]).unwrap();
    let (flags, received) = (FlagList::default(), UnixSeconds(7));
    let ticket = inbox(&two.first).append(vec![NewMessage { prepared, flags, received }]);
    // It is durable here as soon as it can be shipped.
    let shipment = two.shipper.next(1 << 20, Duration::from_secs(60)).unwrap();
    let Shipment::Groups { bytes, end, .. } = shipment else { panic!("{shipment:?}") };
    let Err(ticket) = ticket.now() else { panic!("it was answered too early") };
    assert_eq!(seen(&two.first), [], "it is seen too early");
    two.second.take_groups(&bytes).unwrap();
    assert_eq!(seen(&two.second).len(), 1, "both nodes have it");
    two.first.note_follower(end.lsn);
    ticket.wait().unwrap();
    agree(&two);

    two.first.set_follower_there(false);
    let refused = append(&two.first, 2).unwrap_err();
    assert!(matches!(refused, CommitError::ReadOnly { .. }), "{refused}");
    assert!(refused.to_string().contains("away"), "{refused}");
    two.first.set_degraded(true);
    append(&two.first, 3).unwrap();
    two.first.set_follower_there(true);
    two.ship();
    two.first.set_degraded(false);
    two.shipping(|first| append(first, 4)).unwrap();
    assert_eq!(seen(&two.second).len(), 3);
    agree(&two);
}

#[test]
fn accounts_are_made_and_deleted_on_both_nodes_or_on_none() {
    let two = Two::new();
    two.first.add_domain("example.org").unwrap();
    let mut two = two.paired(Acknowledgement::Local);
    two.ship();
    two.first.set_follower_there(false);
    let (name, password) = (NAME.to_owned(), Secret::new("x".into()));
    let refused =
        two.first.create_account(NewAccount { name, password, quota_bytes: None }).unwrap_err();
    assert!(refused.to_string().contains("both nodes"), "{refused}");
    two.first.set_follower_there(true);
    two.shipping(|first| make_account(first, NAME));
    assert!(two.second.account(NAME).unwrap().is_some());
    append(&two.first, 1).unwrap();
    two.ship();
    agree(&two);
    let number = two.first.account(NAME).unwrap().unwrap().number();
    two.shipping(|first| first.delete_account(number).unwrap());
    two.ship();
    assert!(two.second.account(NAME).unwrap().is_none());
    let (_, table) = two.first.key_table();
    two.second.take_key_table(&table).unwrap();
    assert!(two.second.inner.keys.current(number).is_none(), "the key is gone there, too");
    two.reopen_second();
    let problems = two.second.check(&mut |_| {}).unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn what_does_not_continue_the_log_is_refused_and_nothing_is_touched() {
    let mut two = Two::new();
    two.first.add_domain("example.org").unwrap();
    make_account(&two.first, NAME);
    two.ship();
    let before = two.second.position();
    append(&two.first, 1).unwrap();
    append(&two.first, 2).unwrap();
    let all = two.first.ship_behind(before).next(1 << 20, Duration::ZERO).unwrap();
    let Shipment::Groups { bytes, .. } = all else { panic!("{all:?}") };
    let first_length = crate::log::format::group::Group::decode(&bytes).unwrap().stored_len();
    let late = two.second.take_groups(&bytes[first_length..]).unwrap_err();
    assert!(matches!(late, TakeError::NotNext { .. }), "{late}");
    for at in [0, 40, first_length / 2, first_length + 90, bytes.len() - 1] {
        let mut altered = bytes.clone();
        altered[at] ^= 4;
        two.second.take_groups(&altered).unwrap_err();
        let cut = two.second.take_groups(&bytes[..at]);
        assert!(cut.is_err() || at == 0, "cut at {at}");
        assert_eq!(two.second.position(), before, "nothing was taken, not even the good one");
    }
    let stranger = Two::new();
    let foreign = stranger.second.take_groups(&bytes).unwrap_err();
    assert!(matches!(foreign, TakeError::OtherVolume { .. }), "{foreign}");
    two.second.take_groups(&bytes).unwrap();
    agree(&two);
    let again = two.second.take_groups(&bytes).unwrap_err();
    assert!(matches!(again, TakeError::NotNext { .. }), "{again}");
    agree(&two);
}

#[test]
fn a_promoted_follower_goes_on_in_its_own_epoch_with_uids_that_nobody_had() {
    let mut two = Two::new();
    two.first.add_domain("example.org").unwrap();
    make_account(&two.first, NAME);
    (0..3).for_each(|number| drop(append(&two.first, number).unwrap()));
    two.ship();
    // The first node is cut off, and goes on.
    append(&two.first, 50).unwrap();
    let before = seen(&two.second);
    two.second.promote(2).unwrap();
    assert_eq!(seen(&two.second), before, "what was there stays as it was");
    append(&two.second, 60).unwrap();
    let after = seen(&two.second);
    assert_eq!(after[..3], before);
    assert!(after[3].0 > 65_536, "UIDs of the other node's suffix mean something else: {after:?}");
    let history = two.second.standing().history;
    assert_eq!(history.iter().map(|epoch| epoch.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(history[1].parent.map(|(_, fork)| fork.bits()), Some(before[2].1));
    // The first node's end is no part of the new history.
    let mut shipper = two.second.ship_behind(two.first.position());
    assert_eq!(shipper.next(1 << 20, Duration::ZERO).unwrap(), Shipment::Foreign);
    let problems = two.second.check(&mut |_| {}).unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
    assert!(two.second.promote(3).is_err(), "it is primary already");
}
