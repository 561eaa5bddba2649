//! What messages have in common is stored once, reads as it was, and goes with the last of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::disk::PlainDisk;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{AccountNumber, Uid, UnixSeconds};
use crate::seal::{PART_BYTES_MIN, Secret};
use crate::state::Table;
use crate::uid_set::UidSet;

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
const ATTACHMENT_BYTES: usize = 150_000;

struct Site {
    folder: tempfile::TempDir,
    store: Option<Store>,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let key = KeySource::KeyFile(folder.path().join("key"));
        Store::init(&folder.path().join("data"), &InitOptions { key }).unwrap();
        let mut site = Site { folder, store: None };
        site.open();
        site.store().add_domain("example.org").unwrap();
        for name in [ANNA, BERT] {
            let (name, password) = (name.to_owned(), Secret::new("x".into()));
            site.store().create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        }
        site
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn open(&mut self) {
        self.store = Some(open_at(self.folder.path(), &self.data()));
    }

    fn restart(&mut self) {
        self.store.take().unwrap().close();
        self.open();
    }

    fn restart_without_state(&mut self) {
        self.store.take().unwrap().close();
        std::fs::remove_dir_all(self.data().join("volumes/main/state")).unwrap();
        self.open();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn account(&self, name: &str) -> Account {
        self.store().account(name).unwrap().unwrap()
    }

    fn number(&self, name: &str) -> AccountNumber {
        self.account(name).number()
    }

    fn prepare(&self, name: &str, message: &[u8]) -> PreparedMessage {
        self.store().prepare(message, &[self.number(name)]).unwrap()
    }

    fn append(&self, name: &str, messages: Vec<PreparedMessage>) -> Result<Vec<Uid>, CommitError> {
        let inbox = self.account(name).mailbox("INBOX").unwrap().unwrap();
        let new = |prepared| NewMessage {
            prepared,
            flags: FlagList::default(),
            received: UnixSeconds(7),
        };
        let appended = inbox.append(messages.into_iter().map(new).collect()).wait()?;
        Ok(appended.uids.to_vec())
    }

    fn add(&self, name: &str, message: &[u8]) -> Uid {
        self.append(name, vec![self.prepare(name, message)]).unwrap()[0]
    }

    fn expunge(&self, name: &str, uids: &[Uid]) {
        let uids: UidSet = uids.iter().copied().collect();
        let mailbox = self.account(name).mailbox("INBOX").unwrap().unwrap();
        let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
        mailbox.store_flags(&uids, FlagChange::Add, &deleted, None).wait().unwrap();
        assert_eq!(mailbox.expunge(&uids).wait().unwrap(), uids);
    }

    /// The message, read whole; and some bytes in the midst of it, read alone.
    fn read(&self, name: &str, mailbox: &str, uid: Uid) -> Vec<u8> {
        let account = self.account(name);
        let view = account.mailbox(mailbox).unwrap().unwrap().view().unwrap().unwrap();
        let row = view.row(uid).unwrap().unwrap();
        let whole = account.message(&row).unwrap().read_all().unwrap();
        let mut reader = account.message(&row).unwrap();
        for at in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut some = Vec::new();
            let offset = u64::try_from(at).unwrap();
            let count = reader.append_from(offset, 1000, &mut some).unwrap();
            assert!(count > 0 && whole[at..].starts_with(&some), "from {at} on");
        }
        whole
    }

    /// Settled, and nothing wrong with it; answers the bytes that are alive.
    fn live_bytes(&self) -> u64 {
        assert!(self.store().checkpoint());
        assert!(self.store().checkpoint());
        self.store().compare_space();
        let report = self.store().recount(&mut || true).unwrap().expect("nobody stops it");
        assert_eq!(report.differences, [] as [String; 0]);
        assert_eq!(self.store().check(&mut |_| {}).unwrap().problems, []);
        self.store().status().live_bytes.unwrap()
    }

    fn part_count(&self) -> usize {
        let mut count = 0;
        self.store().checkpoint();
        let tables = &self.store().inner.saved.tables;
        let mut counted = |_: &[u8], _: &[u8]| {
            count += 1;
            Ok(true)
        };
        tables.scan_prefix(Table::Part, &[], &mut counted).unwrap();
        count
    }
}

fn open_at(folder: &Path, data: &Path) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(folder.join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.reclaim_bytes_per_second = 1 << 40;
    let mut surroundings = Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
    surroundings.segment_bytes = 1 << 20;
    Store::open_in(&surroundings, data, options).unwrap().0
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A message with an attachment, which begins at another offset for each number.
fn message(number: usize, attachment: &[u8]) -> Vec<u8> {
    let text = "x".repeat(number * 7 % 60);
    let mut bytes =
        format!("Subject: {number} {text}\r\nMessage-Id: <{number}@x>\r\n\r\n{text}\r\n\r\n");
    for line in attachment.chunks(57) {
        bytes.push_str(&String::from_utf8(crate::seal::base64_for_tests(line)).unwrap());
        bytes.push_str("\r\n");
    }
    bytes.push_str("--x--\r\n");
    bytes.into_bytes()
}

#[test]
fn messages_with_one_attachment_cost_one_and_leave_nothing() {
    let mut site = Site::new();
    let before = site.live_bytes();
    let attachment = noise(1, ATTACHMENT_BYTES);
    let messages: Vec<Vec<u8>> = (0..12).map(|number| message(number, &attachment)).collect();
    let uids: Vec<Uid> = messages.iter().map(|message| site.add(ANNA, message)).collect();
    let most = before + 170_000 + 12 * 2_000;
    for lost in [None, Some("nothing"), Some("state")] {
        match lost {
            None => {}
            Some("nothing") => site.restart(),
            Some(_) => site.restart_without_state(),
        }
        let live = site.live_bytes();
        assert!(live > before + 150_000 && live < most, "{live}, {before} before, lost {lost:?}");
        assert_eq!(site.part_count(), 1);
        for (uid, message) in uids.iter().zip(&messages) {
            assert!(site.read(ANNA, "INBOX", *uid) == *message);
        }
    }
    // The first brought it; any may go first.
    site.expunge(ANNA, &uids[..11]);
    let live = site.live_bytes();
    assert!(live > before + 150_000, "{live} with one left, {before} before");
    assert!(site.read(ANNA, "INBOX", uids[11]) == messages[11]);
    site.restart_without_state();
    assert!(site.read(ANNA, "INBOX", uids[11]) == messages[11]);
    // Found again by the one that is left.
    let again = site.add(ANNA, &message(20, &attachment));
    assert!(site.live_bytes() < most);
    site.expunge(ANNA, &[uids[11]]);
    assert!(site.read(ANNA, "INBOX", again) == message(20, &attachment));
    site.expunge(ANNA, &[again]);
    let after = site.live_bytes();
    assert!(after < before + 1000, "{after} alive after all, {before} before");
    assert_eq!(site.part_count(), 0);
}

#[test]
fn a_part_that_died_before_its_message_was_committed_is_stored_anew() {
    let site = Site::new();
    let attachment = noise(1, ATTACHMENT_BYTES);
    let first = site.add(ANNA, &message(1, &attachment));
    let prepared = site.prepare(ANNA, &message(2, &attachment));
    assert!(prepared.sealed.parts[0].known.is_some(), "it was found");
    site.expunge(ANNA, &[first]);
    let second = site.append(ANNA, vec![prepared]).unwrap()[0];
    let live = site.live_bytes();
    assert!(site.read(ANNA, "INBOX", second) == message(2, &attachment));
    // Once more, with a checkpoint between: what the tables said is gone.
    let prepared = site.prepare(ANNA, &message(3, &attachment));
    site.expunge(ANNA, &[second]);
    assert!(site.live_bytes() < live - 140_000);
    let third = site.append(ANNA, vec![prepared]).unwrap()[0];
    assert!(site.live_bytes().abs_diff(live) < 100, "as much as before");
    assert!(site.read(ANNA, "INBOX", third) == message(3, &attachment));
}

#[test]
fn a_large_message_whose_part_died_is_refused_and_stored_by_the_next_try() {
    let mut site = Site::new();
    let attachment = noise(2, 1_200_000);
    let first = site.add(ANNA, &message(1, &attachment));
    let second = site.add(ANNA, &message(2, &attachment));
    assert!(site.live_bytes() < 1_400_000);
    for uid in [first, second] {
        let number = usize::try_from(uid.0).unwrap();
        assert!(site.read(ANNA, "INBOX", uid) == message(number, &attachment));
    }
    let prepared = site.prepare(ANNA, &message(3, &attachment));
    site.expunge(ANNA, &[first, second]);
    let refused = site.append(ANNA, vec![prepared]).unwrap_err();
    assert!(matches!(refused, CommitError::PartGone), "{refused}");
    assert_eq!(refused.remedy(), crate::error::Remedy::Retry);
    // Nor does it take others along that come with it.
    let third = site.add(ANNA, &message(3, &attachment));
    let prepared = site.prepare(ANNA, &message(4, &attachment));
    site.expunge(ANNA, &[third]);
    let (flags, received) = (FlagList::default(), UnixSeconds(7));
    let beside = site.prepare(ANNA, b"Subject: beside\r\n\r\n");
    let together =
        [beside, prepared].map(|prepared| NewMessage { prepared, flags: flags.clone(), received });
    let inbox = site.account(ANNA).mailbox("INBOX").unwrap().unwrap();
    let answers: Vec<_> =
        inbox.append_each(together.into()).into_iter().map(crate::ticket::Ticket::wait).collect();
    assert!(matches!(answers[1], Err(CommitError::PartGone)), "{answers:?}");
    let beside = answers[0].as_ref().unwrap().uids[0];
    site.expunge(ANNA, &[beside]);
    drop(inbox);
    // A mailbox that the delivery would have made is not left behind.
    let third = site.add(ANNA, &message(3, &attachment));
    let prepared = site.prepare(ANNA, &message(4, &attachment));
    site.expunge(ANNA, &[third]);
    let account = site.account(ANNA);
    let flags = FlagList::default();
    let to = DeliverTo { account: account.number(), mailbox: "New".into(), flags };
    let refused = site.store().deliver(prepared, UnixSeconds(0), vec![to]).wait().remove(0);
    assert!(matches!(refused, Err(CommitError::PartGone)), "{refused:?}");
    assert!(account.mailbox("New").unwrap().is_none());
    drop(account);
    let third = site.add(ANNA, &message(3, &attachment));
    site.restart_without_state();
    assert!(site.read(ANNA, "INBOX", third) == message(3, &attachment));
    site.expunge(ANNA, &[third]);
    assert!(site.live_bytes() < 10_000);
}

#[test]
fn messages_of_one_command_and_of_one_batch_share_what_they_have_in_common() {
    let site = Site::new();
    let attachment = noise(3, ATTACHMENT_BYTES);
    let prepare = |number| site.prepare(ANNA, &message(number, &attachment));
    let uids = site.append(ANNA, vec![prepare(1), prepare(2), prepare(3)]).unwrap();
    let live = site.live_bytes();
    assert!(live < 180_000, "{live}");
    assert_eq!(site.part_count(), 1);
    let twice = [message(4, &attachment), message(5, &attachment)].concat();
    let fourth = site.add(ANNA, &twice);
    assert!(site.live_bytes() < live + 3_000);
    site.expunge(ANNA, &uids);
    assert!(site.read(ANNA, "INBOX", fourth) == twice);
    let (one, two) = (site.prepare(BERT, &message(6, &attachment)), message(7, &attachment));
    let two = site.prepare(BERT, &two);
    assert!(one.sealed.parts[0].known.is_none() && two.sealed.parts[0].known.is_none());
    site.append(BERT, vec![one]).unwrap();
    let seventh = site.append(BERT, vec![two]).unwrap()[0];
    assert!(site.read(BERT, "INBOX", seventh) == message(7, &attachment));
    let live = site.live_bytes();
    assert!(live < 360_000, "{live}: once for each account, and neither knows of the other");
    assert_eq!(site.part_count(), 2);
    site.store().delete_account(site.number(BERT)).unwrap();
    assert!(site.live_bytes() < 180_000);
    assert_eq!(site.part_count(), 1);
}

#[test]
fn copies_and_moves_and_new_keys_keep_a_part_and_it_is_found_by_them() {
    let mut site = Site::new();
    let attachment = noise(4, ATTACHMENT_BYTES);
    let first = site.add(ANNA, &message(1, &attachment));
    let account = site.account(ANNA);
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let archive = account.mailbox("Archive").unwrap().unwrap();
    let uids: UidSet = [first].into_iter().collect();
    inbox.move_to(&uids, &archive).wait().unwrap();
    let live = site.live_bytes();
    let second = site.add(ANNA, &message(2, &attachment));
    assert!(site.live_bytes() < live + 3_000, "found by the row that it was moved to");
    drop((account, inbox, archive));
    site.store().rotate_account_keys(&[site.number(ANNA)]).unwrap();
    let third = site.add(ANNA, &message(3, &attachment));
    assert!(site.live_bytes() < live + 5_000, "the hash is that of the first key");
    site.store().rewrap(None, &mut |_| {}).unwrap();
    site.restart_without_state();
    for (mailbox, uid, number) in
        [("Archive", Uid(1), 1), ("INBOX", second, 2), ("INBOX", third, 3)]
    {
        assert!(site.read(ANNA, mailbox, uid) == message(number, &attachment), "{number}");
    }
    site.store().account(ANNA).unwrap().unwrap().delete_mailbox("Archive").wait().unwrap();
    site.expunge(ANNA, &[second]);
    assert!(site.read(ANNA, "INBOX", third) == message(3, &attachment));
    site.expunge(ANNA, &[third]);
    assert_eq!(site.part_count(), 0);
    assert!(site.live_bytes() < 10_000);
}

#[test]
fn a_damaged_part_takes_no_new_mail_along_and_check_names_who_has_it() {
    let site = Site::new();
    let attachment = noise(5, PART_BYTES_MIN);
    let first = site.add(ANNA, &message(1, &attachment));
    let second = site.add(ANNA, &message(2, &attachment));
    site.live_bytes();
    let view = site.account(ANNA).mailbox("INBOX").unwrap().unwrap().view().unwrap().unwrap();
    let blob = view.row(second).unwrap().unwrap().blob;
    let committed = &site.store().inner.committed;
    let part = committed.blob(blob).unwrap().role.named().1[0].part;
    let places = committed.places(part.0).unwrap();
    let place = places.find(1).unwrap();
    let log = site.data().join("volumes/main/log");
    let path = crate::log::SegmentNumber(places.segment).path(&log);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(place.offset).unwrap() + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let third = site.add(ANNA, &message(3, &attachment));
    assert!(site.read(ANNA, "INBOX", third) == message(3, &attachment));
    let report = site.store().check(&mut |_| {}).unwrap();
    for uid in [first, second] {
        let told = report.problems.iter().any(|problem| problem.uid == Some(uid));
        assert!(told, "{uid:?}: {:?}", report.problems);
    }
    assert!(report.problems.iter().all(|problem| problem.uid != Some(third)));
}
