//! The store beside the model: opening and stopping it, its keys and its accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use engine::disk::{IoChoice, system_disk};
use engine::seal::{Argon2Cost, Secret};
use engine::{
    Account, AliasEntry, IndexBounds, IndexDrive, InitOptions, KeySource, NewAccount, OpenOptions,
    Resolution, Store, VolumeRetention,
};

use crate::expected::{self, Keep, Mailbox, Model};
use crate::operation::{ACCOUNTS, NAMES, Opener, Operation, Reopening};
use crate::texts::Texts;

/// Where mail is taken, as long as it is.
const SECOND_DOMAIN: &str = "second.example";

pub(crate) struct Run {
    folder: tempfile::TempDir,
    directory: PathBuf,
    images: u32,
    pub(crate) store: Option<Store>,
    pub(crate) model: Model,
    pub(crate) texts: u32,
    pub(crate) texts_seen: Texts,
    /// What opens the store, and the number of the next such.
    opener: Opener,
    openers: u32,
    recovery: Secret,
    passwords: u32,
    /// How the log is written, in turn.
    disks: std::iter::Cycle<std::vec::IntoIter<IoChoice>>,
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

impl Run {
    pub(crate) fn new() -> Run {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("data");
        let key = KeySource::KeyFile(folder.path().join("key0"));
        let recovery = Store::init(&directory, &InitOptions { key }).unwrap();
        let mut run = Run {
            disks: disks(folder.path()),
            folder,
            directory,
            images: 0,
            store: None,
            model: Model { keep: Keep::Off, ..Model::default() },
            texts: 0,
            texts_seen: Texts::default(),
            opener: Opener::KeyFile(0),
            openers: 0,
            recovery,
            passwords: 0,
        };
        run.open(Reopening::Plain);
        run.store().add_domain("example.org").unwrap();
        run.model.domains.insert("example.org".to_owned());
        run.add_account(ACCOUNTS[0]);
        // So that there is something to bring back.
        run.step(&Operation::KeepAll { keep: Keep::Years });
        run
    }

    fn source(&self, opener: Opener) -> KeySource {
        match opener {
            Opener::KeyFile(number) => {
                KeySource::KeyFile(self.folder.path().join(format!("key{number}")))
            }
            Opener::Passphrase(number) => {
                KeySource::Passphrase(Secret::new(format!("a passphrase of mine, {number}")))
            }
        }
    }

    fn options(&mut self, reopening: Reopening) -> OpenOptions {
        let key = match reopening {
            Reopening::Recovery => {
                KeySource::RecoveryKey(Secret::new(self.recovery.expose().to_owned()))
            }
            _ => self.source(self.opener),
        };
        let mut options = OpenOptions::new(key);
        options.password_cost = Argon2Cost::CHEAP;
        options.reserve_bytes = 0;
        options.segment_bytes = 1 << 20;
        options.reclaim_bytes_per_second = u64::MAX / 2_000_000;
        // Small, so that little mail has an index of several pieces.
        options.index_bounds = IndexBounds {
            tail_messages: 5,
            tail_bytes: 1 << 20,
            split_messages: 80,
            merged_splits: 3,
            builder_bytes: 100_000,
        };
        options.index_drive = IndexDrive::Caller;
        // The disks take turns: what one wrote, the other goes on with.
        options.io = self.disks.next().unwrap();
        options
    }

    fn open(&mut self, reopening: Reopening) {
        let options = self.options(reopening);
        let (store, report) = Store::open(&self.directory, options).unwrap();
        assert_eq!(report.damage, []);
        self.store = Some(store);
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn account(&self, name: &str) -> Account {
        self.store().account(name).unwrap().expect("the model has it")
    }

    /// One of the accounts that there are.
    pub(crate) fn chosen(&self, account: usize) -> Option<String> {
        let count = self.model.accounts.len();
        let at = account.checked_rem(count)?;
        self.model.accounts.keys().nth(at).cloned()
    }

    /// One of the mailboxes that there are.
    pub(crate) fn place(&self, (account, mailbox): (usize, usize)) -> Option<(String, String)> {
        let account = self.chosen(account)?;
        let mailboxes = &self.model.accounts[&account].mailboxes;
        let mailbox = mailboxes.keys().nth(mailbox % mailboxes.len()).unwrap().clone();
        Some((account, mailbox))
    }

    pub(crate) fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Quota { account, limit } => {
                let Some(name) = self.chosen(*account) else { return };
                let number = self.account(&name).number();
                self.store().set_quota(number, *limit).unwrap();
                self.model.accounts.get_mut(&name).unwrap().quota = *limit;
            }
            Operation::MessageLimit { account, limit } => {
                let Some(name) = self.chosen(*account) else { return };
                let number = self.account(&name).number();
                self.store().set_message_limit(number, *limit).unwrap();
                self.model.accounts.get_mut(&name).unwrap().message_limit = *limit;
            }
            Operation::Password { account } => self.change_password(*account),
            Operation::AddAccount { name } => self.add_account(ACCOUNTS[*name]),
            Operation::DeleteAccount { name } => self.delete_account(ACCOUNTS[*name]),
            Operation::Domain { added } => {
                let domain = SECOND_DOMAIN.to_owned();
                let (store, domains) = (self.store.as_ref().unwrap(), &mut self.model.domains);
                if *added {
                    assert_eq!(store.add_domain(&domain).is_ok(), domains.insert(domain));
                } else {
                    assert_eq!(store.delete_domain(&domain).is_ok(), domains.remove(&domain));
                }
            }
            Operation::Alias { number, target } => self.set_alias(*number, *target),
            Operation::KeepAll { keep } => {
                let retention = VolumeRetention { setting: keep.setting(), shortened: false };
                self.store().set_retention(retention).unwrap();
                self.model.keep = *keep;
            }
            Operation::Keep { account, keep } => {
                let Some(name) = self.chosen(*account) else { return };
                // What the setting of before let go may be gone by now.
                self.compare_kept(&name);
                let number = self.account(&name).number();
                self.store().set_account_retention(number, keep.setting()).unwrap();
                self.model.accounts.get_mut(&name).unwrap().keep = *keep;
            }
            Operation::RotateKeys { account } => self.rotate_keys(*account),
            Operation::Rewrap { account } => self.rewrap(*account),
            Operation::ChangeKey { passphrase } => {
                let next = self.next_opener(*passphrase);
                self.store().change_key(&self.source(next)).unwrap();
                self.opener = next;
            }
            Operation::RecoveryKey => self.recovery = self.store().new_recovery_key().unwrap(),
            Operation::Index { steps } => {
                for _ in 0..*steps {
                    self.store().index_step();
                }
            }
            Operation::Checkpoint => assert!(self.store().checkpoint()),
            Operation::Reopen(reopening) => self.reopen(*reopening),
            Operation::Kill => self.kill(),
            mail => self.mail(mail),
        }
    }

    fn next_opener(&mut self, passphrase: bool) -> Opener {
        self.openers += 1;
        if passphrase { Opener::Passphrase(self.openers) } else { Opener::KeyFile(self.openers) }
    }

    fn add_account(&mut self, name: &str) {
        self.passwords += 1;
        let text = format!("password {}", self.passwords);
        let password = Secret::new(text.clone());
        let new = NewAccount { name: name.to_owned(), password, quota_bytes: None };
        let made = self.store().create_account(new);
        assert_eq!(made.is_ok(), !self.model.accounts.contains_key(name), "{made:?}");
        let Ok(number) = made else { return };
        let is_new = |(of, _, _): &&(u64, String, u32)| *of != number.0;
        assert!(self.model.validities.keys().all(|key| is_new(&key)), "a number comes once");
        let listing = self.account(name).listing().unwrap();
        let mailboxes = &listing.mailboxes;
        let new = expected::Account {
            number,
            password: text,
            quota: None,
            message_limit: None,
            mailboxes: mailboxes
                .iter()
                .map(|entry| (entry.name.clone(), Mailbox::new(entry.id)))
                .collect::<BTreeMap<_, _>>(),
            subscribed: listing.subscribed.iter().cloned().collect(),
            keep: Keep::Store,
            kept: Vec::new(),
        };
        self.model.accounts.insert(name.to_owned(), new);
    }

    fn delete_account(&mut self, name: &str) {
        let Some(account) = self.model.accounts.get(name) else { return };
        let deleted = self.store().delete_account(account.number);
        assert_eq!(deleted.is_ok(), account.keep != Keep::Hold, "{deleted:?}");
        if deleted.is_ok() {
            self.model.accounts.remove(name);
            for other in self.model.accounts.values_mut() {
                for mailbox in other.mailboxes.values_mut() {
                    mailbox.rights.remove(&Some(name.to_owned()));
                }
            }
            assert!(self.store().account(name).unwrap().is_none());
        }
    }

    fn change_password(&mut self, account: usize) {
        let Some(name) = self.chosen(account) else { return };
        self.passwords += 1;
        let text = format!("password {}", self.passwords);
        let number = self.account(&name).number();
        self.store().set_password(number, &Secret::new(text.clone())).unwrap();
        let account = self.model.accounts.get_mut(&name).unwrap();
        let before = std::mem::replace(&mut account.password, text);
        assert!(self.store().authenticate(&name, &Secret::new(before)).is_err());
    }

    fn set_alias(&mut self, number: usize, target: Option<usize>) {
        let address = format!("alias{number}@example.org");
        let Some(target) = target else {
            let was_there = self.model.aliases.remove(&address).is_some();
            assert_eq!(self.store().delete_alias(&address).is_ok(), was_there);
            return;
        };
        let targets = vec![ACCOUNTS[target].to_owned()];
        let alias = AliasEntry { address: address.clone(), targets: targets.clone() };
        self.store().add_alias(alias).unwrap();
        self.model.aliases.insert(address, targets);
    }

    /// Who takes mail and who has a password, as it should be.
    pub(crate) fn compare_directory(&self) {
        let store = self.store();
        assert_eq!(store.domains().unwrap(), Vec::from_iter(self.model.domains.clone()));
        let entry = |alias: AliasEntry| (alias.address, alias.targets);
        let aliases: BTreeMap<_, _> = store.aliases().unwrap().into_iter().map(entry).collect();
        assert_eq!(aliases, self.model.aliases);
        for (address, targets) in &self.model.aliases {
            let there = self.model.accounts.get(&targets[0]).map(|account| account.number);
            let expected = match there {
                Some(number) => Resolution::Accounts { accounts: vec![number], detail: None },
                None => Resolution::NoSuchUser,
            };
            assert_eq!(store.resolve(address).unwrap(), expected, "{address}");
        }
        let names: Vec<String> =
            store.accounts().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, self.model.accounts.keys().cloned().collect::<Vec<_>>());
        for (name, account) in &self.model.accounts {
            let password = Secret::new(account.password.clone());
            assert_eq!(store.authenticate(name, &password).unwrap().number(), account.number);
        }
        assert_eq!(store.retention().setting, self.model.keep.setting());
    }

    fn rotate_keys(&mut self, account: Option<usize>) {
        let names: Vec<String> = match account {
            Some(account) => self.chosen(account).into_iter().collect(),
            None => self.model.accounts.keys().cloned().collect(),
        };
        let numbers: Vec<_> = names.iter().map(|name| self.model.accounts[name].number).collect();
        self.store().rotate_account_keys(&numbers).unwrap();
    }

    /// Nothing comes meanwhile, so all retired keys go.
    fn rewrap(&mut self, account: Option<usize>) {
        let only = account.and_then(|account| self.chosen(account));
        let only = only.map(|name| self.model.accounts[&name].number);
        for key in self.store().rewrap(only, &mut |_| {}).unwrap() {
            assert!(key.is_destroyed, "{key:?}");
            assert!(only.is_none_or(|only| only == key.account));
        }
        let retired = self.store().status().retired_keys;
        let is_left = |key: &engine::RetiredKey| only.is_some_and(|only| only != key.account);
        assert!(retired.iter().all(is_left), "{retired:?}");
    }

    fn close(&mut self) {
        self.store.take().unwrap().close();
    }

    fn reopen(&mut self, reopening: Reopening) {
        self.close();
        let state = self.directory.join("volumes/main/state");
        match reopening {
            Reopening::Plain | Reopening::Recovery => {}
            Reopening::KeyChanged => {
                let next = self.next_opener(false);
                let (old, new) = (self.source(self.opener), self.source(next));
                Store::rotate_key(&self.directory, &old, &new).unwrap();
                assert!(Store::key_backup(&self.directory, &old).is_err(), "it opens no more");
                self.opener = next;
            }
            Reopening::WithoutState => std::fs::remove_dir_all(state).unwrap(),
            Reopening::Rebuilt => {
                let options = self.options(reopening);
                let report = Store::rebuild(&self.directory, options, &mut |_, _| {}).unwrap();
                // What may go at any moment may go when the store is opened for it, by a record.
                let mut accounts = self.model.accounts.iter();
                let goes = accounts.any(|(name, account)| {
                    let now = self.keeps(name);
                    account.kept.iter().any(|kept| kept.is_over(now))
                });
                assert!(report.compared || goes, "state was of the log's end");
                assert_eq!(report.differences, [] as [String; 0]);
            }
        }
        self.open(reopening);
    }

    /// Goes on with an image of the directory as it is now.
    fn kill(&mut self) {
        self.images += 1;
        let image = self.folder.path().join(format!("image{}", self.images));
        // RocksDB and reclaim remove files; an image taken meanwhile is none, so it is taken anew.
        loop {
            // Files that come meanwhile may be named by what is copied later.
            let before = state_files(&self.directory);
            let copied = copy_directory(&self.directory, &image);
            if copied.is_ok() && before == state_files(&self.directory) {
                break;
            }
            std::fs::remove_dir_all(&image).unwrap();
        }
        self.close();
        let before = std::mem::replace(&mut self.directory, image);
        std::fs::remove_dir_all(before).unwrap();
        self.open(Reopening::Plain);
    }

    /// What a mailbox of that number is called.
    pub(crate) fn name(number: usize) -> String {
        NAMES[number % NAMES.len()].to_owned()
    }
}

fn state_files(directory: &Path) -> BTreeSet<std::ffi::OsString> {
    let entries = std::fs::read_dir(directory.join("volumes/main/state")).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
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
