//! Random operations against the store and against a small map; both must agree, also after every
//! restart, kill and checkpoint.
//!
//! A kill is an image of the data directory taken while the store is open: what the system would
//! have if the process ended now. (Un-flushed writes are lost in the tests of the log, on the
//! simulated disk.)

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]
#![allow(missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::disk::{IoChoice, system_disk};
use engine::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use engine::ids::{Lsn, Uid, UnixSeconds};
use engine::seal::{Argon2Cost, Secret};
use engine::uid_set::UidSet;
use engine::width::{u64_of, usize_of_u32};
use engine::{
    Account, InitOptions, KeySource, Mailbox, NewAccount, NewMessage, OpenOptions, Store,
};
use proptest::prelude::*;

/// What a mailbox is expected to hold.
#[derive(Clone, Default, Debug)]
struct ModelMailbox {
    messages: BTreeMap<u32, ModelMessage>,
    uid_next: u32,
    highest_modseq: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct ModelMessage {
    text: Vec<u8>,
    seen: bool,
    deleted: bool,
    keyword: bool,
}

type Model = BTreeMap<String, ModelMailbox>;

#[derive(Clone, Debug)]
enum Operation {
    Append {
        mailbox: usize,
        size: usize,
        count: usize,
    },
    Copy {
        from: usize,
        to: usize,
        pick: u32,
    },
    Move {
        from: usize,
        to: usize,
        pick: u32,
    },
    Flags {
        mailbox: usize,
        pick: u32,
        change: FlagChange,
        seen: bool,
        deleted: bool,
        keyword: bool,
    },
    Expunge {
        mailbox: usize,
    },
    Create {
        name: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    Delete {
        mailbox: usize,
    },
    Checkpoint,
    Restart,
    Kill,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let change =
        prop_oneof![Just(FlagChange::Add), Just(FlagChange::Remove), Just(FlagChange::Replace)];
    let place = 0usize..5;
    let operation = prop_oneof![
        6 => (place.clone(), 0usize..3_000, 1usize..60)
            .prop_map(|(mailbox, size, count)| Operation::Append { mailbox, size, count }),
        1 => (place.clone(), 1_100_000usize..1_400_000)
            .prop_map(|(mailbox, size)| Operation::Append { mailbox, size, count: 1 }),
        3 => (place.clone(), place.clone(), any::<u32>())
            .prop_map(|(from, to, pick)| Operation::Copy { from, to, pick }),
        3 => (place.clone(), place.clone(), any::<u32>())
            .prop_map(|(from, to, pick)| Operation::Move { from, to, pick }),
        4 => (place.clone(), any::<u32>(), change, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(mailbox, pick, change, seen, deleted, keyword)| Operation::Flags {
                mailbox, pick, change, seen, deleted, keyword
            }),
        3 => place.clone().prop_map(|mailbox| Operation::Expunge { mailbox }),
        1 => (0usize..8).prop_map(|name| Operation::Create { name }),
        1 => (place.clone(), 0usize..8).prop_map(|(from, to)| Operation::Rename { from, to }),
        1 => place.prop_map(|mailbox| Operation::Delete { mailbox }),
        2 => Just(Operation::Checkpoint),
        1 => Just(Operation::Restart),
        2 => Just(Operation::Kill),
    ];
    prop::collection::vec(operation, 1..40)
}

/// The disks of this machine.
fn disks(folder: &Path) -> std::iter::Cycle<std::vec::IntoIter<IoChoice>> {
    let all = match system_disk(IoChoice::Uring, folder) {
        Ok(_) => vec![IoChoice::Uring, IoChoice::Plain],
        // Many containers forbid it.
        Err(_) => vec![IoChoice::Plain],
    };
    all.into_iter().cycle()
}

struct Run {
    folder: tempfile::TempDir,
    directory: PathBuf,
    images: u32,
    store: Option<Store>,
    model: Model,
    texts: u32,
    /// How the log is written, in turn.
    disks: std::iter::Cycle<std::vec::IntoIter<IoChoice>>,
}

impl Run {
    fn new() -> Run {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("data");
        let key = KeySource::KeyFile(folder.path().join("key"));
        Store::init(&directory, &InitOptions { key }).unwrap();
        let mut run = Run {
            disks: disks(folder.path()),
            folder,
            directory,
            images: 0,
            store: None,
            model: Model::new(),
            texts: 0,
        };
        run.open();
        let store = run.store.as_ref().unwrap();
        store.add_domain("example.org").unwrap();
        let name = "demo@example.org".into();
        let password = Secret::new("demo".into());
        store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        for entry in &run.account().listing().unwrap().mailboxes {
            run.model
                .insert(entry.name.clone(), ModelMailbox { uid_next: 1, ..Default::default() });
        }
        run
    }

    fn open(&mut self) {
        let mut options = OpenOptions::new(KeySource::KeyFile(self.folder.path().join("key")));
        options.password_cost = Argon2Cost::CHEAP;
        options.reserve_bytes = 0;
        // The disks take turns: what one wrote, the other goes on with.
        options.io = self.disks.next().unwrap();
        self.store = Some(Store::open(&self.directory, options).unwrap().0);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn account(&self) -> Account {
        self.store().account("demo@example.org").unwrap().unwrap()
    }

    fn mailbox(&self, name: &str) -> Mailbox {
        self.account().mailbox(name).unwrap().expect("the model has it")
    }

    fn name(&self, place: usize) -> String {
        self.model.keys().nth(place % self.model.len()).unwrap().clone()
    }

    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Append { mailbox, size, count } => self.append(*mailbox, *size, *count),
            Operation::Copy { from, to, pick } => self.transfer(*from, *to, *pick, false),
            Operation::Move { from, to, pick } => self.transfer(*from, *to, *pick, true),
            Operation::Flags { mailbox, pick, change, seen, deleted, keyword } => {
                self.flags(*mailbox, *pick, *change, (*seen, *deleted, *keyword));
            }
            Operation::Expunge { mailbox } => self.expunge(*mailbox),
            Operation::Create { name } => {
                let name = format!("Made {name}");
                let made = self.account().create_mailbox(&name, None).wait();
                assert_eq!(made.is_ok(), !self.model.contains_key(&name));
                let new = ModelMailbox { uid_next: 1, ..Default::default() };
                self.model.entry(name).or_insert(new);
            }
            Operation::Rename { from, to } => self.rename(*from, *to),
            Operation::Delete { mailbox } => {
                let name = self.name(*mailbox);
                let deleted = self.account().delete_mailbox(&name).wait();
                assert_eq!(deleted.is_ok(), name != "INBOX");
                if name != "INBOX" {
                    self.model.remove(&name);
                }
            }
            Operation::Checkpoint => assert!(self.store().checkpoint()),
            Operation::Restart => {
                let store = self.store.take().unwrap();
                store.close();
                drop(store);
                self.open();
            }
            Operation::Kill => self.kill(),
        }
    }

    fn append(&mut self, place: usize, size: usize, count: usize) {
        let name = self.name(place);
        let account = self.account().number();
        let mut new = Vec::new();
        let mut texts = Vec::new();
        for _ in 0..count {
            self.texts += 1;
            let mut text = format!("Subject: {}\r\n\r\n", self.texts).into_bytes();
            text.resize(text.len() + size, b'x');
            let prepared = self.store().prepare(&text, &[account]).unwrap();
            let received = UnixSeconds(i64::from(self.texts));
            new.push(NewMessage { prepared, flags: FlagList::default(), received });
            texts.push(text);
        }
        let answer = self.mailbox(&name).append(new).wait().unwrap();
        let model = self.model.get_mut(&name).unwrap();
        for (uid, text) in answer.uids.iter().zip(texts) {
            assert_eq!(uid.0, model.uid_next);
            model.uid_next += 1;
            let message = ModelMessage { text, seen: false, deleted: false, keyword: false };
            model.messages.insert(uid.0, message);
        }
    }

    /// Every third message or so, by the bits of `pick`.
    fn picked(&self, name: &str, pick: u32) -> Vec<u32> {
        let chosen = |uid: &u32| pick.rotate_left(*uid) & 3 == 0;
        self.model[name].messages.keys().copied().filter(chosen).collect()
    }

    fn transfer(&mut self, from: usize, to: usize, pick: u32, moving: bool) {
        let (from, to) = (self.name(from), self.name(to));
        let picked = self.picked(&from, pick);
        let uids: UidSet = picked.iter().map(|&uid| Uid(uid)).collect();
        let (source, target) = (self.mailbox(&from), self.mailbox(&to));
        let ticket =
            if moving { source.move_to(&uids, &target) } else { source.copy(&uids, &target) };
        let copied = ticket.wait().unwrap();
        let sources: Vec<u32> = copied.source.iter().map(|uid| uid.0).collect();
        assert_eq!(sources, picked);
        for (source, destination) in copied.source.iter().zip(&copied.destination) {
            let message = self.model[&from].messages[&source.0].clone();
            if moving {
                self.model.get_mut(&from).unwrap().messages.remove(&source.0);
            }
            let target = self.model.get_mut(&to).unwrap();
            assert_eq!(destination.0, target.uid_next);
            target.uid_next += 1;
            target.messages.insert(destination.0, message);
        }
    }

    fn flags(
        &mut self,
        place: usize,
        pick: u32,
        change: FlagChange,
        (seen, deleted, keyword): (bool, bool, bool),
    ) {
        let name = self.name(place);
        let picked = self.picked(&name, pick);
        let uids: UidSet = picked.iter().map(|&uid| Uid(uid)).collect();
        let mut list = FlagList::default();
        if seen {
            list.system = list.system.union(SystemFlags::SEEN);
        }
        if deleted {
            list.system = list.system.union(SystemFlags::DELETED);
        }
        if keyword {
            list.keywords.push(Keyword::new("$Work").unwrap());
        }
        let stored = self.mailbox(&name).store_flags(&uids, change, &list, None).wait().unwrap();
        let mut changed = UidSet::new();
        for uid in picked {
            let message = self.model.get_mut(&name).unwrap().messages.get_mut(&uid).unwrap();
            let before = message.clone();
            let next = |had: bool, named: bool| match change {
                FlagChange::Add => had || named,
                FlagChange::Remove => had && !named,
                FlagChange::Replace => named,
            };
            message.seen = next(message.seen, seen);
            message.deleted = next(message.deleted, deleted);
            message.keyword = next(message.keyword, keyword);
            if *message != before {
                changed.push(Uid(uid));
            }
        }
        assert_eq!(stored.changed, changed);
    }

    fn expunge(&mut self, place: usize) {
        let name = self.name(place);
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        let gone = self.mailbox(&name).expunge(&all).wait().unwrap();
        let model = self.model.get_mut(&name).unwrap();
        let deleted = |(uid, message): (&u32, &ModelMessage)| message.deleted.then_some(Uid(*uid));
        let expected: UidSet = model.messages.iter().filter_map(deleted).collect();
        assert_eq!(gone, expected);
        model.messages.retain(|_, message| !message.deleted);
    }

    fn rename(&mut self, from: usize, to: usize) {
        let (from, to) = (self.name(from), format!("Made {to}"));
        if from == "INBOX" {
            return;
        }
        let renamed = self.account().rename_mailbox(&from, &to).wait();
        assert_eq!(renamed.is_ok(), !self.model.contains_key(&to));
        if renamed.is_ok() {
            let mailbox = self.model.remove(&from).unwrap();
            self.model.insert(to, mailbox);
        }
    }

    /// Goes on with an image of the directory as it is now.
    fn kill(&mut self) {
        self.images += 1;
        let image = self.folder.path().join(format!("image{}", self.images));
        // RocksDB removes files that it replaced; an image taken meanwhile is none, so it is
        // taken anew.
        while copy_directory(&self.directory, &image).is_err() {
            std::fs::remove_dir_all(&image).unwrap();
        }
        let store = self.store.take().unwrap();
        store.close();
        drop(store);
        self.directory = image;
        self.open();
    }

    fn compare(&mut self) {
        let account = self.account();
        let listing = account.listing().unwrap();
        let mut names: Vec<&String> = listing.mailboxes.iter().map(|entry| &entry.name).collect();
        names.sort();
        assert_eq!(names, self.model.keys().collect::<Vec<_>>());
        let mut bytes = 0;
        for (name, model) in &mut self.model {
            let mailbox = account.mailbox(name).unwrap().unwrap();
            let view = mailbox.view().unwrap().unwrap();
            assert_eq!(view.uid_next(), Some(Uid(model.uid_next)), "{name}");
            let modseq: Lsn = view.highest_modseq();
            assert!(modseq.bits() >= model.highest_modseq, "HIGHESTMODSEQ of {name} fell");
            model.highest_modseq = modseq.bits();
            let rows = view.rows_from(Uid(1), usize::MAX >> 1).unwrap();
            let found: Vec<u32> = rows.iter().map(|row| row.uid.0).collect();
            assert_eq!(found, model.messages.keys().copied().collect::<Vec<_>>(), "{name}");
            let unseen = model.messages.values().filter(|message| !message.seen).count();
            assert_eq!(usize_of_u32(view.unseen_count()), unseen, "{name}");
            for (row, (uid, message)) in rows.iter().zip(&model.messages) {
                let text = account.message(row).unwrap().read_all().unwrap();
                assert!(text == message.text, "text of {name} {uid}");
                assert_eq!(row.flags.contains(SystemFlags::SEEN), message.seen, "{name} {uid}");
                assert_eq!(row.flags.contains(SystemFlags::DELETED), message.deleted);
                assert_eq!(!row.keywords.is_empty(), message.keyword, "{name} {uid}");
                bytes += u64_of(text.len());
            }
        }
        assert_eq!(account.quota().unwrap().0, bytes, "quota equals a recount");
    }
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    let mut entries: Vec<_> = std::fs::read_dir(from)?.collect::<Result<_, _>>()?;
    // Tables before the log: the image's tables are never newer than its log, as after a kill.
    entries.sort_by_key(|entry| entry.file_name() != "state");
    for entry in entries {
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_store_reads_like_a_map_after_any_operations_and_stops(operations in operations()) {
        let mut run = Run::new();
        for operation in &operations {
            run.step(operation);
            if matches!(operation, Operation::Restart | Operation::Kill) {
                run.compare();
            }
        }
        run.compare();
        let report = run.store().check(&mut |_| {}).unwrap();
        prop_assert_eq!(report.problems, []);
    }
}
