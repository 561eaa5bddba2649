//! Two nodes that were apart: the one goes back to what both have, and what it had alone is merged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use crate::ids::{Lsn, NodeId, RequestId, Uid, UnixSeconds};
use crate::pair::{Acknowledgement, Shipment};
use crate::seal::{Argon2Cost, Secret};
use crate::uid_set::UidSet;

pub(super) const NAME: &str = "anna@example.org";

/// Two directories. The first node is primary in the beginning.
pub(super) struct Apart {
    _folder: tempfile::TempDir,
    pub(super) directories: [PathBuf; 2],
    pub(super) first: Store,
    pub(super) second: Store,
}

pub(super) fn options(directory: &Path) -> OpenOptions {
    let mut options = OpenOptions::new(KeySource::KeyFile(directory.with_extension("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.pair = Some(Acknowledgement::Local);
    options
}

/// Ships what `to` lacks.
pub(super) fn ship(from: &Store, to: &Store) {
    let mut shipper = from.ship_behind(to.position());
    loop {
        match shipper.next(1 << 20, Duration::ZERO).unwrap() {
            Shipment::Groups { bytes, keys, .. } => {
                if to.standing().keys < keys {
                    to.take_key_table(&from.key_table().1).unwrap();
                }
                let end = to.take_groups(&bytes).unwrap();
                from.note_follower(end.lsn);
            }
            Shipment::Nothing => return,
            other => panic!("{other:?}"),
        }
    }
}

/// The way of a follower's changes to a primary in the same process.
struct Direct {
    primary: Store,
    asked: Arc<Mutex<Vec<(ProposalOutcome, RouteReply)>>>,
}

impl Route for Direct {
    fn propose(&self, request: RequestId, proposal: Vec<u8>, reply: RouteReply) {
        let asked = Arc::clone(&self.asked);
        let done = move |outcome| asked.lock().push((outcome, reply));
        self.primary.propose(request, &proposal, done).unwrap();
    }
}

/// Does `work` while what `primary` commits is shipped to `follower`, whose changes go there.
pub(super) fn linked<T: Send>(
    primary: &Store,
    follower: &Store,
    work: impl FnOnce() -> T + Send,
) -> T {
    let asked = Arc::default();
    let direct = Direct { primary: primary.clone(), asked: Arc::clone(&asked) };
    follower.set_route(Some(Arc::new(direct)));
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ship(primary, follower);
                let at = follower.position().lsn;
                let mut waiting = asked.lock();
                let ready: Vec<_> =
                    waiting.extract_if(.., |(outcome, _)| outcome.at <= at).collect();
                drop(waiting);
                ready.into_iter().for_each(|(outcome, reply)| reply(Ok(outcome)));
                std::thread::yield_now();
            }
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    });
    follower.set_route(None);
    done
}

pub(super) fn account(store: &Store) -> Account {
    store.account(NAME).unwrap().unwrap()
}

pub(super) fn mailbox(store: &Store, name: &str) -> Mailbox {
    account(store).mailbox(name).unwrap().unwrap_or_else(|| panic!("there is no {name}"))
}

pub(super) fn append(store: &Store, name: &str, subject: &str) -> Uid {
    let account = account(store);
    let text = format!("Subject: {subject}\r\n\r\nof {subject}\r\n");
    let prepared = store.prepare(text.as_bytes(), &[account.number()]).unwrap();
    let (flags, received) = (FlagList::default(), UnixSeconds(7));
    let message = NewMessage { prepared, flags, received };
    mailbox(store, name).append(vec![message]).wait().unwrap().uids[0]
}

/// Returns when stamps of either node are later than all before: those of the first node may be
/// some ahead of its clock, one for each record.
fn await_later_stamps() {
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(2) {
        std::thread::yield_now();
    }
}

fn only(uid: Uid) -> UidSet {
    std::iter::once(uid).collect()
}

fn flag(store: &Store, name: &str, uid: Uid, change: FlagChange, flags: SystemFlags) {
    let flags = FlagList { system: flags, keywords: Vec::new() };
    let stored = mailbox(store, name).store_flags(&only(uid), change, &flags, None).wait();
    assert!(!stored.unwrap().changed.is_empty());
}

pub(super) fn expunge(store: &Store, name: &str, uid: Uid) {
    flag(store, name, uid, FlagChange::Add, SystemFlags::DELETED);
    assert_eq!(mailbox(store, name).expunge(&only(uid)).wait().unwrap(), only(uid));
}

fn move_to(store: &Store, from: &str, uid: Uid, to: &str) -> Uid {
    let to = mailbox(store, to);
    mailbox(store, from).move_to(&only(uid), &to).wait().unwrap().destination[0]
}

/// Subjects and flags of what is in a mailbox, by UID.
pub(super) fn content(store: &Store, name: &str) -> BTreeMap<u32, (String, SystemFlags)> {
    let account = account(store);
    let view = mailbox(store, name).view().unwrap().unwrap();
    let rows = view.rows_from(Uid(1), usize::MAX).unwrap();
    let one = |row: crate::mailbox::Row| {
        let bytes = account.message(&row).unwrap().read_all().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let subject = text.lines().next().unwrap().strip_prefix("Subject: ").unwrap();
        (row.uid.0, (subject.to_owned(), row.flags))
    };
    rows.into_iter().map(one).collect()
}

pub(super) fn subjects(store: &Store, name: &str) -> Vec<String> {
    content(store, name).into_values().map(|(subject, _)| subject).collect()
}

pub(super) fn names(store: &Store) -> Vec<String> {
    let listing = account(store).listing().unwrap();
    listing.mailboxes.iter().map(|entry| entry.name.clone()).collect()
}

impl Apart {
    /// Both nodes have what `begin` does; then the first one is alone.
    pub(super) fn after(begin: impl FnOnce(&Store) + Send) -> Apart {
        let folder = tempfile::tempdir().unwrap();
        let directories = [folder.path().join("a"), folder.path().join("b")];
        let [a, b] = &directories;
        let key = |directory: &Path| InitOptions {
            key: KeySource::KeyFile(directory.with_extension("key")),
        };
        Store::init(a, &key(a)).unwrap();
        let (first, _) = Store::open(a, options(a)).unwrap();
        let seed = first.pair_seed().unwrap();
        let (_, key_table) = first.key_table();
        let second = SecondNode { node: NodeId([2; 16]), seed: &seed, key_table: &key_table };
        Store::init_second(b, &key(b), &second).unwrap();
        let (second, _) = Store::open(b, options(b)).unwrap();
        first.set_follower_there(true);
        linked(&first, &second, || {
            first.add_domain("example.org").unwrap();
            let (name, password) = (NAME.to_owned(), Secret::new("x".into()));
            first.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
            begin(&first);
        });
        ship(&first, &second);
        // What both have is held by both.
        assert!(first.checkpoint() && second.checkpoint());
        first.set_follower_there(false);
        Apart { _folder: folder, directories, first, second }
    }

    pub(super) fn common(&self) -> Lsn {
        let (first, second) = (self.first.standing(), self.second.standing());
        let of = |standing: &VolumeStanding| (standing.history.clone(), standing.position.lsn);
        let (first, second) = (of(&first), of(&second));
        common_position((&first.0, first.1), (&second.0, second.1)).unwrap()
    }

    fn reopen_first(&mut self) {
        let [a, _] = &self.directories;
        self.first.close();
        let placeholder = self.second.clone();
        drop(std::mem::replace(&mut self.first, placeholder));
        self.first = Store::open(a, options(a)).unwrap().0;
    }

    /// The first node goes back, follows, and merges.
    fn meet(&mut self) -> MergeTally {
        let common = self.common();
        self.first.go_back(common).unwrap();
        self.reopen_first();
        assert!(self.first.standing().follows);
        assert_eq!(self.first.position().lsn, common);
        ship(&self.second, &self.first);
        let first = self.first.clone();
        let tally = linked(&self.second, &self.first, move || first.merge(&|| true).unwrap());
        ship(&self.second, &self.first);
        assert!(!self.first.has_merge().unwrap());
        for store in [&self.first, &self.second] {
            assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
        }
        assert_eq!(names(&self.first), names(&self.second));
        for name in names(&self.first) {
            assert_eq!(content(&self.first, &name), content(&self.second, &name), "{name}");
        }
        tally.unwrap()
    }
}

#[test]
fn mail_of_both_sides_is_there_after_the_way_back_and_no_uid_changes_its_meaning() {
    let mut apart = Apart::after(|store| {
        append(store, "INBOX", "both");
    });
    let Apart { first, second, .. } = &apart;
    let alone = append(first, "INBOX", "of the first");
    second.promote(2).unwrap();
    let other = append(second, "INBOX", "of the second");
    assert!(alone.0 == 2 && other.0 > 65_536);
    let common = apart.common();
    apart.first.go_back(common).unwrap();
    let [a, _] = &apart.directories;
    let steps = std::fs::read(a.join("volumes/main/way-back/steps")).unwrap();
    for word in ["of the first", "Subject", "INBOX", "example.org"] {
        let is_there = steps.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(!is_there, "{word} can be read on the disk");
    }
    let tally = apart.meet();
    assert_eq!((tally.steps, tally.messages_added), (2, 1), "the message, and its mailbox's floor");
    assert_eq!(subjects(&apart.first, "INBOX"), ["both", "of the second", "of the first"]);
    assert!(!content(&apart.first, "INBOX").contains_key(&alone.0), "that number is gone for good");
}

#[test]
fn b3_a_new_epoch_shows_at_once_in_mailboxes_that_are_open_on_either_node() {
    let mut apart = Apart::after(|store| {
        append(store, "INBOX", "both");
    });
    let next = |store: &Store| {
        let view = mailbox(store, "INBOX").view().unwrap().unwrap();
        (view.uid_next().unwrap(), view.highest_modseq())
    };
    assert_eq!(next(&apart.second).0, Uid(2));
    apart.second.promote(2).unwrap();
    let (uid, modseq) = next(&apart.second);
    assert!(uid.0 > 65_536 && modseq.epoch() == 2, "{uid} {modseq}");
    apart.meet();
    let told = [next(&apart.first), next(&apart.second)];
    assert_eq!(told[0], told[1]);
}

#[test]
fn b10_what_each_side_did_to_the_same_message_is_united_by_rule() {
    let mut apart = Apart::after(|store| {
        for subject in ["flags", "expunged", "moved", "moved twice", "gone", "copied"] {
            append(store, "INBOX", subject);
        }
    });
    let Apart { first, second, .. } = &apart;
    let [flags, expunged, moved, twice, gone, copied] = [1, 2, 3, 4, 5, 6].map(Uid);
    flag(first, "INBOX", flags, FlagChange::Add, SystemFlags::SEEN);
    flag(first, "INBOX", flags, FlagChange::Add, SystemFlags::FLAGGED);
    expunge(first, "INBOX", expunged);
    let there = move_to(first, "INBOX", moved, "Archive");
    flag(first, "Archive", there, FlagChange::Add, SystemFlags::ANSWERED);
    move_to(first, "INBOX", twice, "Archive");
    flag(first, "INBOX", gone, FlagChange::Add, SystemFlags::SEEN);
    mailbox(first, "INBOX").copy(&only(copied), &mailbox(first, "Archive")).wait().unwrap();
    second.promote(2).unwrap();
    // Later than what the first node did: the other takes \Flagged away, and moves.
    await_later_stamps();
    flag(second, "INBOX", flags, FlagChange::Add, SystemFlags::FLAGGED);
    flag(second, "INBOX", flags, FlagChange::Remove, SystemFlags::FLAGGED);
    flag(second, "INBOX", expunged, FlagChange::Add, SystemFlags::SEEN);
    move_to(second, "INBOX", twice, "Junk");
    expunge(second, "INBOX", gone);
    expunge(second, "INBOX", copied);
    let tally = apart.meet();
    let inbox: Vec<_> = content(&apart.second, "INBOX").into_values().collect();
    assert_eq!(inbox, [("flags".to_owned(), SystemFlags::SEEN)], "{tally:?}");
    let archive: Vec<_> = content(&apart.second, "Archive").into_values().collect();
    let expected = [("moved", SystemFlags::ANSWERED), ("copied", SystemFlags::default())];
    assert_eq!(archive, expected.map(|(subject, flags)| (subject.to_owned(), flags)));
    assert_eq!(subjects(&apart.second, "Junk"), ["moved twice"], "where the winner put it");
    assert_eq!((tally.messages_moved, tally.moves_dropped), (1, 1));
    assert_eq!((tally.messages_expunged, tally.messages_added), (1, 1));
    assert!(tally.flags_dropped > 0);
}

#[test]
fn mailboxes_made_renamed_and_deleted_on_both_sides_come_together() {
    let mut apart = Apart::after(|store| {
        for name in ["Old", "Renamed", "Emptied", "Grown", "Lost"] {
            account(store).create_mailbox(name, None).wait().unwrap();
            append(store, name, name);
        }
    });
    let Apart { first, second, .. } = &apart;
    let (one, other) = (account(first), account(second));
    one.create_mailbox("Both", None).wait().unwrap();
    append(first, "Both", "in both, of the first");
    one.create_mailbox("New", None).wait().unwrap();
    one.create_mailbox("New/Below", None).wait().unwrap();
    append(first, "New/Below", "below");
    one.rename_mailbox("Renamed", "Renamed by the first").wait().unwrap();
    one.rename_mailbox("Old", "Older").wait().unwrap();
    one.delete_mailbox("Emptied").wait().unwrap();
    one.delete_mailbox("Grown").wait().unwrap();
    append(first, "Lost", "late");
    one.subscribe("New").wait().unwrap();
    second.promote(2).unwrap();
    await_later_stamps();
    other.create_mailbox("Both", None).wait().unwrap();
    append(second, "Both", "in both, of the second");
    other.rename_mailbox("Renamed", "Renamed by the second").wait().unwrap();
    append(second, "Grown", "grown");
    other.delete_mailbox("Lost").wait().unwrap();
    drop((one, other));
    let tally = apart.meet();
    let all = names(&apart.second);
    let has = |name: &str| all.iter().any(|other| other == name);
    assert!(has("Renamed by the second") && !has("Renamed by the first"), "the later one: {all:?}");
    assert!(has("Older") && !has("Old") && !has("Emptied") && has("New"), "{all:?}");
    assert_eq!(subjects(&apart.second, "New/Below"), ["below"]);
    let both = ["in both, of the second", "in both, of the first"];
    assert_eq!(subjects(&apart.second, "Both"), both);
    assert_eq!(subjects(&apart.second, "Grown"), ["Grown", "grown"], "mail came into it");
    assert_eq!(subjects(&apart.second, "Lost (recovered)"), ["late"]);
    assert!(!has("Lost"));
    let subscribed = account(&apart.second).listing().unwrap().subscribed.clone();
    assert!(subscribed.iter().any(|name| name == "New"), "{subscribed:?}");
    assert_eq!((tally.mailboxes_deleted, tally.mailboxes_kept), (1, 1));
    assert_eq!((tally.mailboxes_made, tally.mailboxes_same), (2, 1));
    assert_eq!(tally.messages_recovered, 1);
}

#[test]
fn a_suffix_is_merged_once_whatever_is_interrupted() {
    let mut apart = Apart::after(|store| {
        append(store, "INBOX", "both");
    });
    for number in 0..40 {
        append(&apart.first, "INBOX", &format!("alone {number}"));
    }
    apart.second.promote(2).unwrap();
    let common = apart.common();
    apart.first.go_back(common).unwrap();
    // Asked again, as after a crash before it was closed.
    apart.reopen_first();
    for stops_at in [0, 7, 7, 20, 39, 1000] {
        ship(&apart.second, &apart.first);
        let steps = AtomicBool::new(false);
        let left = Mutex::new(stops_at);
        let first = apart.first.clone();
        let goes_on = || {
            let mut left = left.lock();
            steps.store(true, Ordering::Relaxed);
            *left -= 1;
            *left >= 0
        };
        let merged = linked(&apart.second, &apart.first, || first.merge(&goes_on));
        drop(first);
        match merged {
            Err(MergeError::Stopped) => apart.reopen_first(),
            Ok(Some(tally)) => assert_eq!(tally.messages_added, 40),
            other => panic!("{other:?}"),
        }
    }
    ship(&apart.second, &apart.first);
    for store in [&apart.first, &apart.second] {
        let mut found = subjects(store, "INBOX");
        found.sort();
        found.dedup();
        assert_eq!((found.len(), content(store, "INBOX").len()), (41, 41));
    }
}

/// Requests and what they propose, on their way to nobody.
type Sent = Arc<Mutex<Vec<(RequestId, Vec<u8>)>>>;

#[test]
fn what_a_request_of_the_other_node_did_is_not_done_again() {
    let mut apart = Apart::after(|store| {
        append(store, "INBOX", "both");
    });
    let keyword = Keyword::new("$Junk").unwrap();
    // The follower's client asks; the primary commits, and dies before anybody hears of it.
    let asked: Sent = Arc::default();
    struct Lost(Sent);
    impl Route for Lost {
        fn propose(&self, request: RequestId, proposal: Vec<u8>, reply: RouteReply) {
            self.0.lock().push((request, proposal));
            drop(reply);
        }
    }
    apart.second.set_route(Some(Arc::new(Lost(Arc::clone(&asked)))));
    let number = account(&apart.second).number();
    let prepared = apart.second.prepare(b"Subject: routed\r\n\r\n", &[number]).unwrap();
    let flags = FlagList { system: SystemFlags::SEEN, keywords: vec![keyword] };
    let message = NewMessage { prepared, flags, received: UnixSeconds(1) };
    drop(mailbox(&apart.second, "INBOX").append(vec![message]));
    apart.second.set_route(None);
    let (request, proposal) = asked.lock().pop().unwrap();
    let (promise, answer) = crate::ticket::ticket();
    let done = move |outcome| crate::ticket::Promise::answer(promise, outcome);
    apart.first.propose(request, &proposal, done).unwrap();
    answer.wait();
    assert_eq!(subjects(&apart.first, "INBOX"), ["both", "routed"]);
    // The follower is promoted and does it itself.
    apart.second.promote(2).unwrap();
    let (promise, answer) = crate::ticket::ticket();
    let done = move |outcome| crate::ticket::Promise::answer(promise, outcome);
    apart.second.propose(request, &proposal, done).unwrap();
    answer.wait();
    let tally = apart.meet();
    assert_eq!(tally.requests_there, 1);
    assert_eq!(subjects(&apart.second, "INBOX"), ["both", "routed"]);
}

/// The value of an entry of INBOX that all see.
fn entry(store: &Store, name: &str) -> Option<Vec<u8>> {
    let inbox = mailbox(store, "INBOX").id();
    let entries = account(store).metadata(Some(inbox), account(store).number()).into_iter();
    let mut own = entries.filter(|entry| entry.name == name);
    own.next().map(|entry| entry.value)
}

fn set_entry(store: &Store, name: &str, value: &str) {
    let inbox = mailbox(store, "INBOX").id();
    let (scope, value) = (MetadataScope::Shared, Some(value.as_bytes().to_vec()));
    let change = MetadataChange { scope, name: name.to_owned(), value };
    account(store).set_metadata(Some(inbox), vec![change]).wait().unwrap();
}

#[test]
fn settings_of_both_sides_stay_and_of_one_thing_the_later_setting_counts() {
    let mut apart = Apart::after(|store| {
        append(store, "INBOX", "both");
    });
    let Apart { first, second, .. } = &apart;
    let (number, inbox) = (account(first).number(), mailbox(first, "INBOX").id());
    let secret = |text: &str| Secret::new(text.to_owned());
    set_entry(first, "/comment", "of the first");
    set_entry(first, "/color", "red");
    let rights = crate::rights::Rights::from_letters("lr").unwrap();
    let anyone = crate::rights::Identifier::ANYONE;
    account(first).set_rights(inbox, anyone, Some(rights)).wait().unwrap();
    first.set_password(number, &secret("new")).unwrap();
    let alias =
        |address: &str| AliasEntry { address: address.to_owned(), targets: vec![NAME.to_owned()] };
    first.add_alias(alias("info@example.org")).unwrap();
    first.add_alias(alias("gone@example.org")).unwrap();
    append(first, "INBOX", "over the quota of the other side");
    second.promote(2).unwrap();
    await_later_stamps();
    set_entry(second, "/comment", "of the second");
    second.add_alias(alias("gone@example.org")).unwrap();
    second.delete_alias("gone@example.org").unwrap();
    second.set_message_limit(number, Some(1)).unwrap();
    let tally = apart.meet();
    for store in [&apart.first, &apart.second] {
        assert_eq!(entry(store, "/comment").unwrap(), b"of the second");
        assert_eq!(entry(store, "/color").unwrap(), b"red");
        let access = account(store).access_list(mailbox(store, "INBOX").id());
        assert!(access.iter().any(|entry| entry.identifier == anyone), "{access:?}");
        assert!(store.authenticate(NAME, &secret("new")).is_ok());
        let aliases = store.aliases().unwrap();
        let addresses: Vec<&str> = aliases.iter().map(|alias| alias.address.as_str()).collect();
        assert_eq!(addresses, ["info@example.org"]);
    }
    let all = ["both", "over the quota of the other side"];
    assert_eq!(subjects(&apart.second, "INBOX"), all, "it was acknowledged");
    assert_eq!((tally.settings_taken, tally.settings_dropped), (4, 2));
}
