//! The façade: `Store` → `Account` → `Mailbox`, in the words of mail.
//!
//! Reads are plain calls that may touch the disk. Changes are prepared on the caller's thread
//! (parsed, compressed, sealed) and hand back a [`Ticket`](crate::Ticket) that is answered once the
//! change is committed.
//!
//! | file | holds |
//! |--|--|
//! | `create`, `open`, `replay` | making and opening a data directory |
//! | `foundation`, `layout` | what is opened; its files |
//! | `surroundings`, `drive` | what it stands on; what makes its machines go on |
//! | `prepare` | a message on its way in: parsed, compressed, sealed |
//! | `deliver` | one message to several recipients; large ones enter ahead |
//! | `read` | a message on its way out, chunk by chunk; its summary |
//! | `summaries`, `summary_cache` | summaries of many messages from pages; what is opened |
//! | `summary_maker` | makes these pages |
//! | `index_maker`, `search` | makes the full-text index follow the log; asks it |
//! | `account`, `mailbox` | the handles that protocols hold |
//! | `propose` | changes that travel: to the primary, and from other nodes |
//! | `directory` | accounts, domains, aliases, passwords |
//! | `recent_passwords` | passwords that need no slow hash for some minutes |
//! | `retention` | messages that are kept after they were expunged |
//! | `sharing` | metadata, rights that accounts give each other, limits |
//! | `spool` | a large message while it arrives |
//! | `status`, `recount`, `check`, `check_index` | figures; verification of all that is stored |
//! | `repair`, `rebuild` | a closed store mended from a copy; its state made anew from the log |
//! | `give_up/` | damage that no copy mends is given up: kept aside, and the store goes on |
//! | `pair` | what the link to a second node uses: shipping, taking, changing roles |
//! | `keys/` | keys of accounts: new generations, re-wrapping, destroying |
//! | `upgrade` | raising the format level |
//! | `full_copy` | lending a checkpoint to the other node; becoming one of the other node |
//! | `way_back`, `merge/` | what only this node has is put aside; it is done once more |

mod account;
#[cfg(test)]
mod altered;
#[cfg(test)]
mod append_tests;
mod check;
mod check_index;
mod compare;
#[cfg(test)]
mod compare_tests;
mod create;
mod deliver;
mod directory;
mod drive;
mod foundation;
mod full_copy;
#[cfg(test)]
mod full_copy_tests;
pub(crate) mod fuzzing;
mod give_up;
#[cfg(test)]
mod heal_tests;
mod index_maker;
#[cfg(test)]
mod index_tests;
mod keys;
#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod kill_tests;
mod layout;
#[cfg(test)]
mod leak_tests;
#[cfg(test)]
mod live_copy;
mod mailbox;
mod merge;
#[cfg(test)]
mod newer_format_tests;
mod numbered;
#[cfg(test)]
mod numbered_tests;
mod open;
mod pair;
#[cfg(test)]
mod pair_tests;
mod parts;
#[cfg(test)]
mod parts_tests;
mod prepare;
mod propose;
#[cfg(test)]
mod propose_tests;
mod read;
mod rebuild;
mod recent_passwords;
mod recount;
mod repair;
mod replay;
mod retention;
#[cfg(test)]
mod retention_tests;
mod search;
mod sharing;
#[cfg(test)]
mod sharing_tests;
mod spool;
mod staging;
#[cfg(test)]
mod staging_tests;
mod status;
mod summaries;
mod summary_cache;
mod summary_maker;
#[cfg(test)]
mod summary_tests;
mod surroundings;
mod text_cache;
mod types;
mod upgrade;
mod way_back;
#[cfg(test)]
mod way_back_tests;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub use self::account::{Account, AccountSubscription};
pub use self::compare::CompareSeat;
pub use self::create::{InitOptions, KeySource, SecondNode, verify_backup};
pub use self::give_up::{Consent, GiveUpReport};
use self::index_maker::Indexing;
pub use self::index_maker::{IndexDrive, IndexStatus};
use self::keys::Ending;
pub use self::keys::{RetiredKey, RewrapProgress};
pub use self::mailbox::{Mailbox, Subscription};
pub use self::merge::{MergeError, MergeTally};
pub use self::numbered::Standing;
use self::open::Beginning;
pub use self::open::{OpenOptions, OpenReport};
pub use self::pair::{Epoch, PairStanding, VolumeStanding, common_position};
pub use self::prepare::PreparedMessage;
pub use self::propose::{ProposalError, Route, RouteReply};
pub use self::read::MessageReader;
pub use self::rebuild::RebuildReport;
pub use self::repair::RepairReport;
pub use self::retention::RetainedEntry;
pub use self::search::SearchTexts;
pub use self::sharing::{
    AccessEntry, MetadataChange, MetadataEntry, MetadataScope, MetadataState, Usage,
};
pub use self::spool::SpoolFile;
pub use self::staging::Staging;
pub use self::status::{Opened, Status};
pub use self::summaries::Summaries;
pub use self::types::{
    AccountEntry, AliasEntry, Appended, Copied, DeliverTo, FlagsStored, Listing, MailboxEntry,
    NewAccount, NewMessage, Resolution, SpecialUse,
};
pub use self::upgrade::Upgrade;
pub use self::way_back::WayBackError;

use self::drive::{Driver, Steps};
use self::prepare::Permits;
#[cfg(test)]
pub(crate) use self::propose::Loopback;
use self::recent_passwords::RecentPasswords;
use self::summary_cache::SummaryCache;
#[cfg(test)]
pub(crate) use self::surroundings::{Drive, Surroundings};
use crate::check::{Healer, ScrubFigures};
pub use crate::commit::{Announcement, ProposalOutcome, Undeleted};
use crate::commit::{Change, CheckpointSlot, CommitterStatus, Follower, Queue, Room};
use crate::disk::{Clock, Disk, OpenMode};
use crate::error::CommitError;
use crate::log::{LogDamage, LogReader};
use crate::pair::PairState;
use crate::reclaim::ReclaimFigures;
use crate::recount::LastRecount;
pub use crate::recount::RecountReport;
use crate::seal::{Argon2Cost, KeyTable, Sealer};
use crate::state::{Committed, Saved, SpaceUse};
pub use crate::state::{History, RetainedKey, RetentionSetting, VolumeRetention};
use crate::ticket::{Promise, Pump, Ticket, ticket};
use crate::way_back::Held;

/// The format of the directory, for the list in `tests/golden/constants.txt`.
#[cfg(test)]
pub(crate) const FORMATS: [(&str, u32); 1] = [("data directory", layout::DIRECTORY_FORMAT)];

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
    /// What serves the second node.
    pair: Arc<PairState>,
    /// The checkpoint that the other node has reached.
    held: Arc<Held>,
    /// Takes the other node's groups, where this one follows.
    follower: Mutex<Option<Follower>>,
    /// What a role begins with that is taken on later.
    beginning: Beginning,
    /// Of a node that is not primary.
    route: RwLock<Option<Arc<dyn Route>>>,
    checkpoints: Arc<CheckpointSlot>,
    commit_status: Arc<CommitterStatus>,
    /// Living bytes of each segment.
    space: Arc<SpaceUse>,
    reclaimed: Arc<ReclaimFigures>,
    recounted: Arc<LastRecount>,
    ending: Ending,
    clock: Arc<dyn Clock>,
    scrubbed: Arc<ScrubFigures>,
    reader: Arc<LogReader>,
    /// Fetches from the other node what is damaged here.
    healer: Arc<Healer>,
    summaries: SummaryCache,
    indexing: Indexing,
    password_cost: Argon2Cost,
    recent_passwords: RecentPasswords,
    message_bytes_max: u64,
    /// A message whose chunks exceed this enters ahead of its record.
    inline_message_bytes_max: usize,
    /// What the disk has left for new mail.
    room: Arc<Room>,
    /// Large messages that may be parsed and sealed at a time.
    large_messages: Permits,
    /// Whether it may be changed.
    mode: OpenMode,
    /// Acknowledged groups that opening could not read.
    log_damage: Vec<LogDamage>,
    driver: Driver,
    /// Instead of threads, in a simulation.
    steps: Option<Arc<Steps>>,
    /// Held as long as the store is open.
    _lock: Box<dyn Send + Sync>,
}

impl Inner {
    /// Hands a change to the committer.
    fn submit<T: Send + 'static>(
        &self,
        change: impl FnOnce(Promise<Result<T, CommitError>>) -> Change,
    ) -> Ticket<Result<T, CommitError>> {
        let (promise, answer) = self.ticket();
        self.push(change(promise), &[]);
        answer
    }

    /// A ticket that whoever waits for it drives, where no thread does.
    fn ticket<T>(&self) -> (Promise<T>, Ticket<T>) {
        let (promise, answer) = ticket();
        let pump = self.steps.clone().map(|steps| -> Arc<dyn Pump> { steps });
        (promise, answer.pumped(pump))
    }

    /// Why the committer takes nothing.
    fn refusal(&self) -> CommitError {
        let follows = self.pair.follows().then(|| {
            "this node follows; changes are made on the other node of the pair".to_owned()
        });
        match self.commit_status.stopped().or(follows) {
            Some(reason) => CommitError::ReadOnly { volume: layout::MAIN_VOLUME.into(), reason },
            None => CommitError::QueueFull,
        }
    }
}
