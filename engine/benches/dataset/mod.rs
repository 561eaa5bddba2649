//! A store with one account and generated mail, in a folder that is removed at the end.
//!
//! The folder lies below `TMPDIR`: point that at the disk to be measured.

#![allow(dead_code, reason = "each bench uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::disk::IoChoice;
use engine::flags::FlagList;
use engine::ids::{Uid, UnixSeconds};
use engine::message::generator::Generator;
use engine::seal::{Argon2Cost, Secret};
use engine::uid_set::UidSet;
use engine::{
    Account, DeliverTo, InitOptions, KeySource, Mailbox, NewAccount, NewMessage, OpenOptions, Store,
};

/// Different messages that a bench draws from.
const MESSAGES: usize = 64;
/// When all generated mail was received.
pub(crate) const RECEIVED: UnixSeconds = UnixSeconds(1_700_000_000);

/// A store of its own.
pub(crate) struct Site {
    pub(crate) store: Store,
    directory: PathBuf,
    /// Removed when dropped.
    _folder: tempfile::TempDir,
}

impl Site {
    /// An empty store with one account.
    pub(crate) fn new() -> Site {
        Site::with_io(IoChoice::Auto)
    }

    /// The same, with its log written in that way.
    pub(crate) fn with_io(io: IoChoice) -> Site {
        Site::with(|options| options.io = io)
    }

    /// The same, opened in another way.
    pub(crate) fn with(change: impl FnOnce(&mut OpenOptions)) -> Site {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let directory = folder.path().join("data");
        let key = KeySource::KeyFile(directory.with_extension("key"));
        Store::init(&directory, &InitOptions { key }).expect("a store can be made");
        let store = open(&directory, change);
        store.add_domain("example.org").expect("a domain");
        let password = Secret::new("bench".into());
        let name = "bench@example.org".into();
        store.create_account(NewAccount { name, password, quota_bytes: None }).expect("an account");
        Site { store, directory, _folder: folder }
    }

    pub(crate) fn account(&self) -> Account {
        self.store.account("bench@example.org").expect("a read").expect("the account is there")
    }

    pub(crate) fn inbox(&self) -> Mailbox {
        self.account().mailbox("INBOX").expect("a read").expect("INBOX is there")
    }

    /// Closes the store and opens it again: nothing is in its caches then.
    pub(crate) fn reopen(self) -> Site {
        let Site { store, directory, _folder } = self;
        store.close();
        // The directory is let go with the last handle.
        drop(store);
        Site { store: open(&directory, |_| {}), directory, _folder }
    }

    /// Appends all messages of `messages` to INBOX.
    pub(crate) fn append(&self, messages: &[Vec<u8>]) {
        let (inbox, account) = (self.inbox(), self.account().number());
        for batch in messages.chunks(64) {
            let new = batch.iter().map(|message| NewMessage {
                prepared: self.store.prepare(message, &[account]).expect("it can be prepared"),
                flags: FlagList::default(),
                received: RECEIVED,
            });
            inbox.append(new.collect()).wait().expect("an append");
        }
    }

    /// Makes INBOX hold `count` messages by copying what is there.
    pub(crate) fn grow(&self, count: u32) {
        let inbox = self.inbox();
        let mut present = inbox.view().expect("a read").expect("a view").message_count();
        while present < count {
            let more = present.min(count - present).min(50_000);
            let uids: UidSet = (1..=more).map(Uid).collect();
            inbox.copy(&uids, &inbox).wait().expect("a copy");
            present += more;
        }
    }

    /// Files of the full-text index.
    pub(crate) fn index_files(&self) -> usize {
        let folder = self.directory.join("volumes/main/index");
        std::fs::read_dir(folder).into_iter().flatten().count()
    }

    /// Where a delivery goes.
    pub(crate) fn recipient(&self) -> Vec<DeliverTo> {
        let account = self.account().number();
        vec![DeliverTo { account, mailbox: "INBOX".into(), flags: FlagList::default() }]
    }
}

fn open(directory: &Path, change: impl FnOnce(&mut OpenOptions)) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(directory.with_extension("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    change(&mut options);
    Store::open(directory, options).expect("the store opens").0
}

/// Generated messages of about `bytes` each; the seed makes them the same everywhere.
pub(crate) fn mail(bytes: usize) -> Arc<Vec<Vec<u8>>> {
    let mut generator = Generator::new(20);
    Arc::new((0..MESSAGES).map(|_| generator.message(bytes)).collect())
}

/// Mean size, for throughput.
pub(crate) fn mean_bytes(messages: &[Vec<u8>]) -> u64 {
    let bytes: usize = messages.iter().map(Vec::len).sum();
    u64::try_from(bytes / messages.len()).expect("mail is not that large")
}
