//! The engine: what a mail store is, without any protocol.
//!
//! [`Store`] → [`Account`] → [`Mailbox`] is the way in; [`View`](mailbox::View) is what readers
//! see. Everything is learned from one log per volume; see `docs/FORMATS.md` for where each format
//! is drawn.
//!
//! No protocol, no network and no async runtime here: reads are plain calls, and a change hands
//! back a [`Ticket`] that a thread may wait on and a task may await.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests count small things"))]

mod base;
mod check;
mod commit;
pub mod compare;
pub mod disk;
mod encoding;
pub mod error;
pub mod flags;
mod format_level;
mod full_copy;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod golden;
pub mod ids;
pub mod limits;
pub mod log;
pub mod mailbox;
pub mod message;
pub mod pair;
mod purge;
mod reclaim;
mod record;
mod recount;
pub mod rights;
mod sabotage;
pub mod seal;
pub mod search;
#[cfg(test)]
mod simulation;
mod state;
mod store;
mod ticket;
pub mod uid_set;
mod way_back;
pub mod width;

pub use check::{CheckProgress, CheckReport, Loss, Neighbour, Problem};
pub use full_copy::{Arrival, ArrivalError, Ask, LoanError};
pub use state::IndexBounds;
pub use store::{
    AccessEntry, Account, AccountEntry, AccountSubscription, AliasEntry, Announcement, Appended,
    CompareSeat, Consent, Copied, DeliverTo, Epoch, FlagsStored, GiveUpReport, History, IndexDrive,
    IndexStatus, InitOptions, KeySource, Listing, Mailbox, MailboxEntry, MergeError, MergeTally,
    MessageReader, MetadataChange, MetadataEntry, MetadataScope, MetadataState, NewAccount,
    NewMessage, OpenOptions, OpenReport, Opened, PairStanding, PreparedMessage, ProposalError,
    ProposalOutcome, RebuildReport, RecountReport, RepairReport, Resolution, RetainedEntry,
    RetainedKey, RetentionSetting, RetiredKey, RewrapProgress, Route, RouteReply, SearchTexts,
    SecondNode, SpecialUse, SpoolFile, Staging, Standing, Status, Store, Subscription, Summaries,
    Undeleted, Upgrade, Usage, VolumeRetention, VolumeStanding, WayBackError, common_position,
    verify_backup,
};
pub use ticket::Ticket;
