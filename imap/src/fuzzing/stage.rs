//! A store on which sessions are played, one after another: opening one for each would take most
//! of the time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::seal::{Argon2Cost, Secret};
use engine::{InitOptions, KeySource, NewAccount, OpenOptions, Store};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::session::{PASSWORD, Session, USER, Written, round};
use crate::{Config, Limits, Transport, serve_connection};

/// Sessions on the mailbox.
const SESSIONS: usize = 2;
/// Rounds of commands; what is left of the bytes then says nothing.
const ROUNDS_MAX: usize = 50;
/// How the folders are called, before the number of the process.
const FOLDER: &str = "pillarbox-fuzz-session-";

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// A conversation that the bytes choose.
pub(super) fn play(bytes: &[u8]) {
    STAGE.with_borrow_mut(|stage| stage.get_or_insert_with(Stage::new).play(bytes));
}

struct Stage {
    store: Store,
    config: Arc<Config>,
    runtime: Runtime,
    _folder: Folder,
}

/// Removed when the thread ends; a process that is killed leaves it to the next one.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new() -> Folder {
        let parent = std::env::temp_dir();
        for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(FOLDER).and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let thread = format!("{:?}", std::thread::current().id());
        let number: String = thread.chars().filter(char::is_ascii_digit).collect();
        let path = parent.join(format!("{FOLDER}{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a temporary folder can be made");
        Folder(path)
    }
}

impl Stage {
    fn new() -> Stage {
        let folder = Folder::new();
        let directory = folder.0.join("data");
        let key = || KeySource::KeyFile(folder.0.join("data.key"));
        Store::init(&directory, &InitOptions { key: key() }).expect("a store can be made");
        let mut options = OpenOptions::new(key());
        options.password_cost = Argon2Cost::CHEAP;
        options.reserve_bytes = 0;
        let (store, _) = Store::open(&directory, options).expect("the store opens");
        store.add_domain("example.org").expect("a new domain");
        let password = Secret::new(PASSWORD.to_owned());
        let account = NewAccount { name: USER.to_owned(), password, quota_bytes: None };
        store.create_account(account).expect("a new account");
        // Whoever speaks at random says much that is no command.
        let limits = Limits { bad_commands_max: u32::MAX, ..Limits::default() };
        let config = Arc::new(Config::new(limits, "fuzz".to_owned(), None, true));
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let runtime = threads.worker_threads(2).enable_all().build().expect("threads");
        Stage { store, config, runtime, _folder: folder }
    }

    fn play(&self, bytes: &[u8]) {
        self.runtime.block_on(async {
            let (stop, shutdown) = watch::channel(false);
            let (mut sessions, mut served) = (Vec::new(), Vec::new());
            for _ in 0..SESSIONS {
                let (ours, theirs) = tokio::io::duplex(1 << 20);
                let peer = SocketAddr::from(([127, 0, 0, 1], 1));
                let (store, config) = (self.store.clone(), Arc::clone(&self.config));
                let shutdown = shutdown.clone();
                let plain = Transport::Plain;
                served.push(tokio::spawn(serve_connection(
                    store, theirs, peer, plain, config, shutdown,
                )));
                sessions.push(Session::new(ours).await);
            }
            if let Some(first) = sessions.first_mut() {
                first.say("UID STORE 1:* +FLAGS.SILENT (\\Deleted)").await;
                first.say("EXPUNGE").await;
                first.hear().await;
            }
            let mut choices = Written(bytes);
            for session in &mut sessions {
                session.enable(&mut choices).await;
            }
            for _ in 0..ROUNDS_MAX {
                if choices.0.is_empty() {
                    break;
                }
                round(&mut sessions, &mut choices).await;
            }
            let stored = self.stored();
            for mut session in sessions {
                let picture = session.picture().await;
                session.check(picture == stored, "a session sees what is stored");
                session.end().await;
            }
            for task in served {
                task.await.expect("a session ends without a panic");
            }
            drop(stop);
        });
    }

    /// The UIDs in INBOX.
    fn stored(&self) -> Vec<u32> {
        let account = self.store.account(USER).expect("readable").expect("the account");
        let inbox = account.mailbox("INBOX").expect("readable").expect("INBOX");
        let view = inbox.view().expect("readable").expect("INBOX");
        let uid = |rank| view.uid_at(rank).expect("readable").expect("a message").0;
        (0..view.message_count()).map(uid).collect()
    }
}
