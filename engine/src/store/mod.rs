//! The façade: `Store` → `Account` → `Mailbox`, in the words of mail.
//!
//! Reads are plain calls that may touch the disk. Changes are prepared on the caller's thread
//! (parsed, compressed, sealed) and hand back a [`Ticket`](crate::Ticket) that is answered once the
//! change is committed.
//!
//! | file | holds |
//! |--|--|
//! | `create`, `open`, `layout` | making and opening a data directory, its files |
//! | `prepare` | a message on its way in: parsed, compressed, sealed |
//! | `deliver` | one message to several recipients; large ones enter ahead |
//! | `read` | a message on its way out, chunk by chunk; summaries |
//! | `account`, `mailbox` | the handles that protocols hold |
//! | `directory` | accounts, domains, aliases, passwords |
//! | `spool` | a large message while it arrives |
//! | `status`, `check` | figures; verification of all that is stored |

mod account;
mod check;
mod create;
mod deliver;
mod directory;
mod layout;
mod mailbox;
mod open;
mod prepare;
mod read;
mod spool;
mod status;
mod types;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

pub use self::account::Account;
pub use self::check::{CheckProgress, CheckReport, Problem};
pub use self::create::{InitOptions, KeySource, verify_backup};
pub use self::mailbox::{Mailbox, Subscription};
pub use self::open::{OpenOptions, OpenReport};
pub use self::prepare::PreparedMessage;
pub use self::read::MessageReader;
pub use self::spool::SpoolFile;
pub use self::status::Status;
pub use self::types::{
    AccountEntry, AliasEntry, Appended, Copied, DeliverTo, FlagsStored, Listing, MailboxEntry,
    NewAccount, NewMessage, Resolution, SpecialUse,
};

use self::prepare::Permits;
use self::read::SummaryCache;
pub use crate::commit::Announcement;
use crate::commit::{Change, CheckpointSlot, CommitterStatus, Queue};
use crate::disk::Disk;
use crate::error::CommitError;
use crate::log::LogReader;
use crate::seal::{Argon2Cost, KeyTable, Sealer};
use crate::state::{Committed, Saved};
use crate::ticket::{Promise, Ticket, ticket};

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What all handles share.
pub(crate) struct Inner {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    sealer: Sealer,
    keys: Arc<KeyTable>,
    committed: Arc<Committed>,
    saved: Arc<Saved>,
    queue: Arc<Queue>,
    checkpoints: Arc<CheckpointSlot>,
    commit_status: Arc<CommitterStatus>,
    reader: LogReader,
    summaries: SummaryCache,
    password_cost: Argon2Cost,
    message_bytes_max: u64,
    /// Bytes of disk below which nothing new is taken.
    reserve_bytes: u64,
    /// Large messages that may be parsed and sealed at a time.
    large_messages: Permits,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held as long as the store is open.
    _lock: layout::DirectoryLock,
}

impl Inner {
    /// Hands a change to the committer.
    fn submit<T: Send + 'static>(
        &self,
        change: impl FnOnce(Promise<Result<T, CommitError>>) -> Change,
    ) -> Ticket<Result<T, CommitError>> {
        let (promise, answer) = ticket();
        if let Err(refused) = self.queue.push(change(promise)) {
            refused.refuse(&|| self.refusal());
        }
        answer
    }

    /// Why the committer takes nothing.
    fn refusal(&self) -> CommitError {
        match self.commit_status.stopped.read().as_ref() {
            Some(reason) => {
                CommitError::ReadOnly { volume: layout::MAIN_VOLUME.into(), reason: reason.clone() }
            }
            None => CommitError::QueueFull,
        }
    }
}
