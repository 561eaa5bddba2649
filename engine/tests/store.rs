//! The façade as its callers use it: mail in, mail out, and all of it again after every kind of
//! stop.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

use std::path::Path;

use engine::disk::{IoChoice, system_disk};
use engine::error::CommitError;
use engine::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use engine::ids::{Uid, UnixSeconds};
use engine::message::generator::Generator;
use engine::seal::{Argon2Cost, Secret};
use engine::uid_set::UidSet;
use engine::{
    Account, AliasEntry, DeliverTo, InitOptions, KeySource, Mailbox, NewAccount, NewMessage,
    OpenOptions, Resolution, Store,
};

fn options(directory: &Path) -> OpenOptions {
    let mut options = OpenOptions::new(KeySource::KeyFile(directory.with_extension("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    // Plain calls are the default, which scenarios test; here io_uring where it works.
    if system_disk(IoChoice::Uring, directory).is_ok() {
        options.io = IoChoice::Uring;
    }
    options
}

fn open(directory: &Path) -> Store {
    Store::open(directory, options(directory)).unwrap().0
}

/// A new store with the account demo@example.org.
fn new_store(directory: &Path) -> Store {
    let key = KeySource::KeyFile(directory.with_extension("key"));
    Store::init(directory, &InitOptions { key }).unwrap();
    let store = open(directory);
    store.add_domain("example.org").unwrap();
    new_account(&store, "demo@example.org");
    store
}

fn new_account(store: &Store, name: &str) {
    let password = Secret::new("demo".into());
    store.create_account(NewAccount { name: name.into(), password, quota_bytes: None }).unwrap();
}

fn demo(store: &Store) -> Account {
    store.account("demo@example.org").unwrap().unwrap()
}

fn inbox(store: &Store) -> Mailbox {
    demo(store).mailbox("inbox").unwrap().unwrap()
}

fn append(store: &Store, mailbox: &Mailbox, message: &[u8]) -> Uid {
    let prepared = store.prepare(message, &[demo(store).number()]).unwrap();
    let new = NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(1_000) };
    mailbox.append(vec![new]).wait().unwrap().uids[0]
}

fn bytes_of(store: &Store, mailbox: &Mailbox, uid: Uid) -> Vec<u8> {
    let row = mailbox.view().unwrap().unwrap().row(uid).unwrap().expect("the message is there");
    demo(store).message(&row).unwrap().read_all().unwrap()
}

fn uids(set: &[u32]) -> UidSet {
    set.iter().map(|&uid| Uid(uid)).collect()
}

fn check(store: &Store) {
    let report = store.check(&mut |_| {}).unwrap();
    assert_eq!(report.problems, [], "every promise holds");
}

#[test]
fn mail_reads_back_as_it_came_in_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let mut generator = Generator::new(7);
    let mut messages: Vec<Vec<u8>> = (0..40).map(|size| generator.message(size * 500)).collect();
    messages.push(Vec::new());
    messages.push(b"no header\r\n".to_vec());
    // Enters the log ahead of its record.
    messages.push(generator.message(3_000_000));
    let mailbox = inbox(&store);
    for message in &messages {
        append(&store, &mailbox, message);
    }
    let verify = |store: &Store| {
        let mailbox = inbox(store);
        for (message, uid) in messages.iter().zip(1..) {
            assert!(bytes_of(store, &mailbox, Uid(uid)) == *message, "message {uid}");
        }
        check(store);
    };
    verify(&store);
    store.close();
    drop(mailbox);
    drop(store);
    let store = open(&directory);
    verify(&store);
}

#[test]
fn what_was_not_checkpointed_is_replayed_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let copy = folder.path().join("copy");
    let store = new_store(&directory);
    let mailbox = inbox(&store);
    for text in ["a", "b", "c", "d"] {
        append(&store, &mailbox, text.as_bytes());
    }
    let archive = demo(&store).mailbox("Archive").unwrap().unwrap();
    mailbox.copy(&uids(&[1]), &archive).wait().unwrap();
    mailbox.move_to(&uids(&[2]), &archive).wait().unwrap();
    let flags =
        FlagList { system: SystemFlags::DELETED, keywords: vec![Keyword::new("$Junk").unwrap()] };
    mailbox.store_flags(&uids(&[3, 4]), FlagChange::Add, &flags, None).wait().unwrap();
    mailbox.expunge(&uids(&[3])).wait().unwrap();
    demo(&store).rename_mailbox("Archive", "Old/2020").wait().unwrap();
    // What a kill leaves: files as they are, nothing closed.
    copy_directory(&directory, &copy);
    std::fs::copy(directory.with_extension("key"), copy.with_extension("key")).unwrap();

    let store = open(&copy);
    let mailbox = inbox(&store);
    let view = mailbox.view().unwrap().unwrap();
    assert_eq!(view.existing(&uids(&[1, 2, 3, 4, 5])).unwrap(), uids(&[1, 4]));
    assert_eq!(view.uid_next(), Some(Uid(5)));
    let row = view.row(Uid(4)).unwrap().unwrap();
    assert!(row.flags.contains(SystemFlags::DELETED));
    assert_eq!(view.keywords()[usize::from(row.keywords[0])].as_str(), "$Junk");
    let old = demo(&store).mailbox("Old/2020").unwrap().unwrap();
    assert_eq!(bytes_of(&store, &old, Uid(1)), b"a");
    assert_eq!(bytes_of(&store, &old, Uid(2)), b"b");
    assert!(demo(&store).mailbox("Archive").unwrap().is_none());
    check(&store);
}

#[test]
fn one_delivery_to_several_recipients_is_stored_once_and_read_by_each() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    new_account(&store, "eva@example.org");
    let message = Generator::new(1).message(20_000);
    let accounts: Vec<_> =
        store.accounts().unwrap().into_iter().map(|account| account.number).collect();
    let prepared = store.prepare(&message, &accounts).unwrap();
    let to = |account| DeliverTo { account, mailbox: "INBOX".into(), flags: FlagList::default() };
    let before = store.status().log_bytes;
    let recipients = accounts.iter().map(|&account| to(account)).collect();
    for answer in store.deliver(prepared, UnixSeconds(5), recipients).wait() {
        assert_eq!(answer.unwrap().uids, [Uid(1)]);
    }
    let written = store.status().log_bytes - before;
    assert!(written < 20_000 + 4_000, "{written} bytes for one message");
    for name in ["demo@example.org", "eva@example.org"] {
        let account = store.account(name).unwrap().unwrap();
        let mailbox = account.mailbox("INBOX").unwrap().unwrap();
        let row = mailbox.view().unwrap().unwrap().row(Uid(1)).unwrap().unwrap();
        assert!(account.message(&row).unwrap().read_all().unwrap() == message);
    }
    // Shredding one account takes nothing from the other, and leaves its key in no table.
    let demo = demo(&store).number();
    let in_key_tables = || -> usize {
        let folder = directory.join("volumes/main/keys");
        let copies = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let number = demo.0.to_le_bytes();
        let holds = |path: &std::path::PathBuf| {
            std::fs::read(path).unwrap().windows(8).any(|bytes| bytes == number)
        };
        copies.filter(holds).count()
    };
    assert_eq!(in_key_tables(), 2);
    store.delete_account(demo).unwrap();
    assert_eq!(in_key_tables(), 0);
    let eva = store.account("eva@example.org").unwrap().unwrap();
    let view = eva.mailbox("INBOX").unwrap().unwrap().view().unwrap().unwrap();
    let row = view.row(Uid(1)).unwrap().unwrap();
    assert!(eva.message(&row).unwrap().read_all().unwrap() == message);
    assert!(store.account("demo@example.org").unwrap().is_none());
    store.close();
    drop((eva, view));
    drop(store);
    let store = open(&directory);
    assert_eq!(store.accounts().unwrap().len(), 1);
    check(&store);
}

#[test]
fn addresses_lead_to_accounts_by_name_detail_alias_and_catch_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let number = demo(&store).number();
    let alias = |address: &str, target: &str| AliasEntry {
        address: address.into(),
        targets: vec![target.into()],
    };
    store.add_alias(alias("info@example.org", "demo@example.org")).unwrap();
    store.add_domain("example.net").unwrap();
    store.add_alias(alias("@example.net", "info@example.org")).unwrap();
    // A loop ends.
    store.add_alias(alias("x@example.org", "y@example.org")).unwrap();
    store.add_alias(alias("y@example.org", "x@example.org")).unwrap();
    let account = |detail: Option<&str>| Resolution::Accounts {
        accounts: vec![number],
        detail: detail.map(str::to_owned),
    };
    for (address, expected, why) in [
        ("demo@example.org", account(None), "its name"),
        ("DEMO+lists@Example.ORG", account(Some("lists")), "a detail, any case"),
        ("info@example.org", account(None), "an alias"),
        ("anybody@example.net", account(None), "a catch-all that leads to an alias"),
        ("nobody@example.org", Resolution::NoSuchUser, "our domain, no such user"),
        ("x@example.org", Resolution::NoSuchUser, "aliases in a loop"),
        ("demo@example.com", Resolution::NoSuchDomain, "not our domain"),
        ("demo", Resolution::NoSuchUser, "no domain"),
        ("Postmaster", account(None), "the postmaster of any of our domains"),
    ] {
        assert_eq!(store.resolve(address).unwrap(), expected, "{why}");
    }
}

#[test]
fn a_password_is_checked_and_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let secret = |text: &str| Secret::new(text.into());
    assert!(store.authenticate("Demo@Example.org", &secret("demo")).is_ok());
    assert!(store.authenticate("demo@example.org", &secret("Demo")).is_err());
    assert!(store.authenticate("nobody@example.org", &secret("demo")).is_err());
    store.set_password(demo(&store).number(), &secret("new")).unwrap();
    assert!(store.authenticate("demo@example.org", &secret("demo")).is_err());
    assert!(store.authenticate("demo@example.org", &secret("new")).is_ok());
}

#[test]
fn a_right_password_is_known_again_until_it_changes_or_its_account_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let number = demo(&store).number();
    let known = |text: &str| {
        let found = store.authenticate_again("demo@example.org", &Secret::new(text.into()));
        found.unwrap().map(|account| account.number())
    };
    assert_eq!(known("demo"), None, "not before it was checked");
    assert!(store.authenticate("demo@example.org", &Secret::new("Demo".into())).is_err());
    assert_eq!(known("Demo"), None, "a wrong one is never known");
    assert!(store.authenticate("demo@example.org", &Secret::new("demo".into())).is_ok());
    assert_eq!((known("demo"), known("Demo")), (Some(number), None));
    store.set_password(number, &Secret::new("new".into())).unwrap();
    assert_eq!((known("demo"), known("new")), (None, None));
    assert!(store.authenticate("demo@example.org", &Secret::new("new".into())).is_ok());
    assert_eq!(known("new"), Some(number));
    store.delete_account(number).unwrap();
    assert_eq!(known("new"), None);
}

#[test]
fn scram_keys_of_nobody_look_like_those_of_an_account_and_stay_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let demo = store.scram_keys("Demo@Example.org").unwrap();
    assert!(demo == store.scram_keys("demo@example.org").unwrap());
    let nobody = store.scram_keys("Nobody@Example.org").unwrap();
    assert_eq!((demo.iterations, demo.salt.len()), (nobody.iterations, nobody.salt.len()));
    assert_ne!(nobody.salt, store.scram_keys("nobody2@example.org").unwrap().salt);
    assert!(nobody == store.scram_keys("nobody@example.org").unwrap());
    store.set_password(self::demo(&store).number(), &Secret::new("new".into())).unwrap();
    assert!(demo != store.scram_keys("demo@example.org").unwrap());
    store.close();
    drop(store);
    let store = open(&directory);
    assert!(nobody == store.scram_keys("nobody@example.org").unwrap(), "after a restart, too");
}

/// SCRAM clients hash the prepared form (RFC 4013), so the other logins must take all forms, and
/// what has none is refused when it is set.
#[test]
fn a_password_opens_in_every_form_in_which_it_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let secret = |text: &str| Secret::new(text.into());
    let opens = |text: &str| store.authenticate("demo@example.org", &secret(text)).is_ok();
    store.set_password(demo(&store).number(), &secret("cafe\u{301} ﬁne")).unwrap();
    for typed in ["café fine", "cafe\u{301} fine", "café\u{a0}ﬁne", "ca\u{ad}fé ﬁne"] {
        assert!(opens(typed), "{typed:?}");
    }
    for typed in ["cafe fine", "Café fine", "café fine\u{1f600}", ""] {
        assert!(!opens(typed), "{typed:?}");
    }
    for unfit in ["\u{1f600}", "a\u{7}", "\u{627}1", "", "\u{ad}"] {
        let refused = store.set_password(demo(&store).number(), &secret(unfit));
        assert!(matches!(refused, Err(CommitError::UnfitPassword(_))), "{unfit:?}");
        let (name, password) = ("two@example.org".into(), secret(unfit));
        let refused = store.create_account(NewAccount { name, password, quota_bytes: None });
        assert!(matches!(refused, Err(CommitError::UnfitPassword(_))), "{unfit:?}");
    }
    assert!(opens("café fine"), "a refusal changes nothing");
    assert!(store.account("two@example.org").unwrap().is_none());
}

#[test]
fn conditions_of_one_batch_are_judged_against_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let mailbox = inbox(&store);
    append(&store, &mailbox, b"one");
    let modseq = mailbox.view().unwrap().unwrap().highest_modseq();
    let seen = FlagList { system: SystemFlags::SEEN, keywords: vec![] };
    // Both are handed in before either is answered: exactly one may win.
    let tickets: Vec<_> = (0..8)
        .map(|_| mailbox.store_flags(&uids(&[1]), FlagChange::Add, &seen, Some(modseq)))
        .collect();
    let answers: Vec<_> = tickets.into_iter().map(|ticket| ticket.wait().unwrap()).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.changed.is_empty()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| !answer.modified.is_empty()).count(), 7);
}

#[test]
fn a_deleted_mailbox_takes_its_mail_along_and_its_name_comes_back_with_a_higher_uidvalidity() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let account = demo(&store);
    account.create_mailbox("Work", None).wait().unwrap();
    account.create_mailbox("Work/2020", None).wait().unwrap();
    let work = account.mailbox("Work").unwrap().unwrap();
    append(&store, &work, b"text");
    let validity = work.view().unwrap().unwrap().uid_validity();
    store.checkpoint();
    account.delete_mailbox("Work").wait().unwrap();
    assert!(work.view().unwrap().is_none());
    assert!(account.mailbox("Work").unwrap().is_none());
    assert!(account.mailbox("Work/2020").unwrap().is_some(), "children stay");
    account.create_mailbox("Work", None).wait().unwrap();
    let again = account.mailbox("Work").unwrap().unwrap();
    assert!(again.view().unwrap().unwrap().uid_validity() > validity);
    assert_eq!(again.view().unwrap().unwrap().message_count(), 0);
    check(&store);
    store.close();
    drop((account, work, again));
    drop(store);
    check(&open(&directory));
}

#[test]
fn a_directory_in_use_or_without_a_store_or_with_a_wrong_key_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let refusal = |directory: &Path, key: KeySource| {
        let mut options = options(directory);
        options.key = key;
        Store::open(directory, options).err().expect("refused").to_string()
    };
    let key = || KeySource::KeyFile(directory.with_extension("key"));
    let in_use = refusal(&directory, key());
    assert!(in_use.contains("is in use by process"), "{in_use}");
    store.close();
    drop(store);
    let elsewhere = refusal(folder.path(), key());
    assert!(elsewhere.contains("is not a Pillarbox data directory"), "{elsewhere}");
    let other = folder.path().join("other.key");
    std::fs::write(&other, [7; 32]).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&other, mode).unwrap();
    let wrong = refusal(&directory, KeySource::KeyFile(other));
    assert!(wrong.contains("is not the key of this data directory"), "{wrong}");
    let passphrase = refusal(&directory, KeySource::Passphrase(Secret::new("guess".into())));
    assert!(passphrase.contains("key file"), "says which key it wants: {passphrase}");
    let again = Store::init(&directory, &InitOptions { key: key() });
    assert!(again.unwrap_err().to_string().contains("is not empty"));
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_spool_gives_back_what_it_was_given_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let mut spool = store.spool().unwrap();
    let blocks: Vec<Vec<u8>> = [engine::SpoolFile::BLOCK_BYTES, engine::SpoolFile::BLOCK_BYTES, 10]
        .into_iter()
        .zip(1u8..)
        .map(|(length, fill)| vec![fill; length])
        .collect();
    for block in &blocks {
        spool.write_block(block).unwrap();
    }
    let mut read = Vec::new();
    for index in (0..4).rev() {
        read.clear();
        spool.read_block(index, &mut read).unwrap();
        assert!(read == blocks.get(index).cloned().unwrap_or_default(), "block {index}");
    }
    assert_eq!(std::fs::read_dir(directory.join("spool")).unwrap().count(), 0);
}

#[test]
fn with_the_key_lost_the_recovery_key_opens_every_account_and_takes_a_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let key = || KeySource::KeyFile(directory.with_extension("key"));
    let recovery = Store::init(&directory, &InitOptions { key: key() }).unwrap();
    let store = open(&directory);
    store.add_domain("example.org").unwrap();
    // Made after the recovery key was shown.
    new_account(&store, "demo@example.org");
    append(&store, &inbox(&store), b"text");
    store.close();
    drop(store);
    std::fs::remove_file(directory.with_extension("key")).unwrap();

    let typed = || Secret::new(recovery.expose().to_lowercase().replace('-', " "));
    engine::verify_backup(&directory, &typed()).unwrap();
    let mut with_recovery = options(&directory);
    with_recovery.key = KeySource::RecoveryKey(typed());
    let (store, _) = Store::open(&directory, with_recovery).unwrap();
    assert_eq!(bytes_of(&store, &inbox(&store), Uid(1)), b"text");
    store.close();
    drop(store);

    Store::rotate_key(&directory, &KeySource::RecoveryKey(typed()), &key()).unwrap();
    let store = open(&directory);
    assert_eq!(bytes_of(&store, &inbox(&store), Uid(1)), b"text");
    drop(store);
    let other = Secret::new("0000-0000-0000-0000".into());
    assert!(engine::verify_backup(&directory, &other).is_err());
}

#[test]
fn a_command_whose_record_would_be_too_large_is_refused_and_the_store_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let mailbox = inbox(&store);
    let long = |number: u32| Keyword::new(&format!("{number:0>250}")).unwrap();
    let many = |count: u32| -> Vec<NewMessage> {
        let message = |_| NewMessage {
            prepared: store.prepare(b"text", &[demo(&store).number()]).unwrap(),
            flags: FlagList {
                system: SystemFlags::default(),
                keywords: (0..250).map(long).collect(),
            },
            received: UnixSeconds(0),
        };
        (0..count).map(message).collect()
    };
    let refused = mailbox.append(many(80)).wait().unwrap_err();
    assert!(refused.to_string().contains("exceeds the limit"), "{refused}");
    assert_eq!(mailbox.append(many(40)).wait().unwrap().uids[0], Uid(1));
    assert_eq!(mailbox.append(many(40)).wait().unwrap().uids[0], Uid(41));
    let archive = demo(&store).mailbox("Archive").unwrap().unwrap();
    let all = UidSet::from_ranges([(1, 80)]);
    assert!(mailbox.copy(&all, &archive).wait().is_err(), "as large as what was refused");
    assert_eq!(bytes_of(&store, &mailbox, append(&store, &mailbox, b"more")), b"more");
    check(&store);
}

/// Where a message's sealed bytes lie: in the one segment of a small log, found by what changed.
fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory.join("volumes/main/log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "segment"))
        .collect();
    paths.sort();
    paths
}

/// Flips a bit in the last group of the log that brought more than `bytes`; answers its offset.
fn damage_last_large_group(directory: &Path, bytes: u32) -> u64 {
    let mut found = None;
    for path in segments(directory) {
        let content = std::fs::read(&path).unwrap();
        for at in (8192..content.len()).step_by(4096) {
            let is_group = content[at..].starts_with(b"PBXg");
            if is_group && u32::from_le_bytes(content[at + 8..at + 12].try_into().unwrap()) > bytes
            {
                found = Some((path.clone(), at));
            }
        }
    }
    let (path, at) = found.expect("there is such a group");
    let mut content = std::fs::read(&path).unwrap();
    content[at + 3000] ^= 1;
    std::fs::write(&path, content).unwrap();
    u64::try_from(at).unwrap()
}

/// Noise that does not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn damage_that_state_has_applied_costs_one_message_and_the_store_serves_all_others() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let inbox_before = inbox(&store);
    append(&store, &inbox_before, b"Subject: before\r\n\r\none\r\n");
    let victim = append(&store, &inbox_before, &noise(20_000));
    append(&store, &inbox_before, b"Subject: after\r\n\r\ntwo\r\n");
    store.close();
    drop((store, inbox_before));
    let offset = damage_last_large_group(&directory, 15_000);

    let (store, report) = Store::open(&directory, options(&directory)).unwrap();
    let [damage] = &report.damage[..] else { panic!("{:?}", report.damage) };
    assert_eq!(damage.damage.offset, offset);
    let mailbox = inbox(&store);
    let view = mailbox.view().unwrap().unwrap();
    assert_eq!(view.message_count(), 3, "flags, sizes and dates are all there");
    let row = view.row(victim).unwrap().unwrap();
    let unread = demo(&store).message(&row).and_then(|mut reader| reader.read_all());
    let sentence = unread.unwrap_err().to_string();
    assert!(sentence.contains(".segment at offset"), "{sentence}");
    assert_eq!(bytes_of(&store, &mailbox, Uid(3)), b"Subject: after\r\n\r\ntwo\r\n");
    append(&store, &mailbox, b"Subject: new\r\n\r\nthree\r\n");
    let found = store.check(&mut |_| {}).unwrap();
    let about: Vec<_> = found.problems.iter().map(|problem| problem.uid).collect();
    assert_eq!(about, [Some(victim), None], "{:?}", found.problems);
}

#[test]
fn damage_above_state_leaves_a_store_that_is_read_and_takes_no_changes() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    append(&store, &inbox(&store), b"Subject: saved\r\n\r\none\r\n");
    store.checkpoint();
    append(&store, &inbox(&store), &noise(20_000));
    append(&store, &inbox(&store), b"Subject: lost sight of\r\n\r\ntwo\r\n");
    // As a kill leaves it: no checkpoint, and the log goes on.
    let image = folder.path().join("image");
    copy_directory(&directory, &image);
    std::fs::copy(directory.with_extension("key"), image.with_extension("key")).unwrap();
    drop(store);
    let offset = damage_last_large_group(&image, 15_000);
    let before: Vec<_> = segments(&image).iter().map(|path| std::fs::read(path).unwrap()).collect();

    for _ in 0..2 {
        let (store, report) = Store::open(&image, options(&image)).unwrap();
        let [damage] = &report.damage[..] else { panic!("{:?}", report.damage) };
        assert_eq!(damage.damage.offset, offset);
        let mailbox = inbox(&store);
        assert_eq!(bytes_of(&store, &mailbox, Uid(1)), b"Subject: saved\r\n\r\none\r\n");
        let all = uids(&[1]);
        let seen = FlagList { system: SystemFlags::SEEN, keywords: Vec::new() };
        let refused = mailbox.store_flags(&all, FlagChange::Add, &seen, None).wait().unwrap_err();
        assert!(refused.to_string().contains("read-only"), "{refused}");
        assert!(store.status().stopped.is_some());
        let found = store.check(&mut |_| {}).unwrap();
        assert_eq!(found.problem_count, 1, "{:?}", found.problems);
        store.close();
    }
    let after: Vec<_> = segments(&image).iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(before == after, "nothing of the log was touched");
}

#[test]
fn a_store_opened_for_reading_is_checked_without_a_change_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    append(&store, &inbox(&store), b"Subject: saved\r\n\r\none\r\n");
    store.checkpoint();
    append(&store, &inbox(&store), b"Subject: not saved\r\n\r\ntwo\r\n");
    let moved = inbox(&store);
    let archive = demo(&store).mailbox("Archive").unwrap().unwrap();
    moved.move_to(&uids(&[1]), &archive).wait().unwrap();
    let image = folder.path().join("image");
    copy_directory(&directory, &image);
    std::fs::copy(directory.with_extension("key"), image.with_extension("key")).unwrap();
    let names = |directory: &Path| segments(directory).len();
    let before = names(&image);
    let mut reading = options(&image);
    reading.mode = engine::disk::OpenMode::Read;
    let (store, _) = Store::open(&image, reading).unwrap();
    assert_eq!(store.status().message_count, 2);
    assert_eq!(store.status().stopped, None, "nothing is wrong with it");
    check(&store);
    store.close();
    drop(store);
    assert_eq!(names(&image), before);
    check(&open(&image));
}

#[test]
fn a_refused_delivery_leaves_no_mailbox_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let account = demo(&store);
    let deliver = |keyword_count: u32| {
        let keyword = |number: u32| Keyword::new(&format!("k{number}")).unwrap();
        let flags = FlagList {
            system: SystemFlags::default(),
            keywords: (0..keyword_count).map(keyword).collect(),
        };
        let to = DeliverTo { account: account.number(), mailbox: "New".into(), flags };
        let prepared = store.prepare(b"text", &[account.number()]).unwrap();
        store.deliver(prepared, UnixSeconds(0), vec![to]).wait().remove(0)
    };
    let refused = deliver(1001).unwrap_err();
    assert!(matches!(refused, CommitError::TooLarge { .. }), "{refused}");
    assert!(account.mailbox("New").unwrap().is_none());
    // The quota is a reason as well.
    store.set_quota(account.number(), Some(1)).unwrap();
    assert!(matches!(deliver(0), Err(CommitError::OverQuota { .. })));
    assert!(account.mailbox("New").unwrap().is_none());
    store.set_quota(account.number(), None).unwrap();
    deliver(1000).unwrap();
    assert!(account.mailbox("New").unwrap().is_some());
    check(&store);
}

/// The one segment of a new store, and how much of it is written.
fn segment(directory: &Path) -> (std::path::PathBuf, usize) {
    let log = directory.join("volumes/main/log");
    let path = std::fs::read_dir(log).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes.iter().rposition(|&byte| byte != 0).unwrap())
}

fn flip(path: &Path, offset: usize) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let (mut byte, offset) = ([0], offset as u64);
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

#[test]
fn a_changed_byte_is_never_served_and_named_by_segment_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let mailbox = inbox(&store);
    let mut generator = Generator::new(11);
    // One chunk, two chunks, and chunks that enter ahead of their record.
    let sizes = [3_000, 400_000, 3_000_000];
    let messages: Vec<Vec<u8>> = sizes.iter().map(|&size| generator.message(size)).collect();
    let uids: Vec<Uid> = messages.iter().map(|message| append(&store, &mailbox, message)).collect();
    let view = mailbox.view().unwrap().unwrap();
    let rows: Vec<_> = uids.iter().map(|&uid| view.row(uid).unwrap().unwrap()).collect();
    let account = demo(&store);
    let (path, end) = segment(&directory);
    let mut noticed = 0;
    for offset in (0..end).step_by(end / 150) {
        flip(&path, offset);
        for (row, message) in rows.iter().zip(&messages) {
            match account.message(row).and_then(|mut reader| reader.read_all()) {
                Ok(found) => assert!(found == *message, "a flip at {offset} was served"),
                Err(engine::error::ReadError::Damage(damage)) => {
                    noticed += 1;
                    assert_eq!(damage.file, path);
                    assert!(damage.what.contains("does not have its hash"), "{damage}");
                    let begin = usize::try_from(damage.offset).unwrap();
                    assert!((begin..begin + (1 << 19)).contains(&offset), "{damage}, not {offset}");
                }
                Err(error) => panic!("{offset}: {error}"),
            }
        }
        flip(&path, offset);
    }
    assert!(noticed > 100, "most of the log is mail, and {noticed} flips were noticed");
    check(&store);
    flip(&path, end / 2);
    let report = store.check(&mut |_| {}).unwrap();
    // The message, and the place in the log.
    assert_eq!(report.problem_count, 2, "{:?}", report.problems);
    assert!(report.problems[0].what.contains("does not have its hash"), "{:?}", report.problems);
}

#[test]
fn a_message_reads_the_same_whole_in_parts_and_appended() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let mailbox = inbox(&store);
    let message = Generator::new(12).message(700_000);
    let uid = append(&store, &mailbox, &message);
    let row = mailbox.view().unwrap().unwrap().row(uid).unwrap().unwrap();
    let mut reader = demo(&store).message(&row).unwrap();
    for (offset, count_max) in [(0, 10), (5, 1 << 20), (300_000, 7), (262_144, 1 << 18), (0, 1)] {
        let (begin, mut out) = (usize::try_from(offset).unwrap(), b"before".to_vec());
        let count = reader.append_from(offset, count_max, &mut out).unwrap();
        let end = begin + usize::try_from(count).unwrap();
        assert!(count > 0 && count <= count_max);
        assert!(out == [b"before", &message[begin..end]].concat(), "{offset}");
        let piece = reader.read_from(offset).unwrap();
        assert!(!piece.is_empty() && message[begin..].starts_with(piece), "{offset}");
    }
    let at_end = u64::try_from(message.len()).unwrap();
    assert_eq!(reader.append_from(at_end, 9, &mut Vec::new()).unwrap(), 0);
    assert!(reader.read_all().unwrap() == message);
}
