//! Copies that the engine cannot make by itself: into another account, whose key seals them anew,
//! and into a mailbox where the client may not set every flag.
//!
//! Messages are read, prepared and appended in batches, under the budget of messages that are read
//! back from the spool. Several batches are staged where nobody sees them, and handed over in one
//! move: a copy is all or nothing (RFC 3501 section 6.4.7) whatever fails, and if the server ends
//! in between. A MOVE removes the originals last, so that it never loses one.

use std::sync::Arc;

use engine::error::{CommitError, ReadError};
use engine::flags::{FlagChange, FlagList, SystemFlags};
use engine::mailbox::{Row, View};
use engine::uid_set::UidSet;
use engine::{Account, Appended, Copied, Mailbox, NewMessage, Staging};

use super::place::Found;
use super::rights::permitted;
use super::{Answer, Talk};
use crate::codec::command::TransferKind;
use crate::codec::put;
use crate::config::budget_units;
use crate::stream::blocking;

/// Bytes of messages that are held at a time, if they are several.
const BATCH_BYTES: u64 = 8 << 20;
/// Messages that are appended at a time.
const BATCH_MESSAGES: usize = 256;

/// Why a copy was given up.
enum Failure {
    Commit(CommitError),
    Read(ReadError),
    /// A message was expunged meanwhile.
    Gone,
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Failure {
        Failure::Commit(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        Failure::Read(error)
    }
}

/// Messages on their way.
struct Crossing {
    source: Mailbox,
    owner: Account,
    view: Arc<View>,
    rows: Vec<Row>,
}

/// Copies or moves messages of the selected mailbox; all or none.
pub(super) async fn transfer(
    talk: &Talk,
    kind: TransferKind,
    uids: &UidSet,
    to: &Found,
) -> Result<Copied, Answer> {
    let selected = talk.selected()?;
    let (source, owner) = (selected.mailbox.clone(), selected.owner.clone());
    let gathered = blocking(|| gather(&source, uids));
    let (view, rows) = match gathered {
        Ok(Some(found)) => found,
        Ok(None) => return Err(Answer::no_mailbox()),
        Err(error) => return Err(Answer::unreadable(&talk.session, &error)),
    };
    let crossing = Crossing { source, owner, view, rows };
    let failure = match copy_all(talk, &crossing, to).await {
        Ok(copied) if kind == TransferKind::Copy => return Ok(copied),
        Ok(copied) => match remove(&crossing.source, crossing.uids()).await {
            Ok(()) => return Ok(copied),
            Err(failure) => {
                let uids = copied.destination.into_iter().collect();
                if let Err(Failure::Commit(error)) = remove(&to.mailbox, uids).await {
                    tracing::warn!(%error, "a move that was given up left its copies behind");
                }
                failure
            }
        },
        Err(failure) => failure,
    };
    Err(match failure {
        Failure::Commit(error) => Answer::refused(&talk.session, &error),
        Failure::Read(error) => Answer::unreadable(&talk.session, &error),
        Failure::Gone => Answer::expunge_issued(),
    })
}

/// What a mailbox holds, and rows of it.
type Gathered = Option<(Arc<View>, Vec<Row>)>;

/// The messages that are named and there.
fn gather(source: &Mailbox, uids: &UidSet) -> Result<Gathered, ReadError> {
    let Some(view) = source.view()? else { return Ok(None) };
    let mut rows = Vec::new();
    view.visit(uids, &mut |row| {
        rows.push(row.clone());
        true
    })?;
    Ok(Some((view, rows)))
}

impl Crossing {
    fn uids(&self) -> UidSet {
        self.rows.iter().map(|row| row.uid).collect()
    }

    /// The rows from there on that make up one batch.
    fn batch(&self, from: usize) -> &[Row] {
        let rest = self.rows.get(from..).unwrap_or_default();
        let mut bytes = 0;
        let fits = |row: &&Row| {
            bytes += u64::from(row.size);
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(BATCH_MESSAGES).take_while(fits).count();
        rest.get(..count.max(1).min(rest.len())).unwrap_or_default()
    }

    /// A message, sealed for whoever will have it.
    fn prepare(&self, talk: &Talk, row: &Row, to: &Found) -> Result<NewMessage, Failure> {
        let read = self.owner.message(row).and_then(|mut reader| reader.read_all());
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                let there = self.source.view()?.map(|view| view.row(row.uid)).transpose()?;
                return match there.flatten() {
                    Some(_) => Err(error.into()),
                    None => Err(Failure::Gone),
                };
            }
        };
        let prepared = talk.session.store.prepare(&bytes, &[to.place.owner.number()])?;
        let flags = put::flag_list(row, self.view.keywords());
        let flags = permitted(to.rights, flags);
        Ok(NewMessage { prepared, flags, received: row.received })
    }
}

async fn copy_all(talk: &Talk, crossing: &Crossing, to: &Found) -> Result<Copied, Failure> {
    check_quota(crossing, to)?;
    let source = crossing.rows.iter().map(|row| row.uid).collect();
    if crossing.batch(0).len() == crossing.rows.len() {
        let Appended { uid_validity, uids, modseq } =
            append_batch(talk, crossing, 0, (to, None)).await?;
        return Ok(Copied { uid_validity, source, destination: uids, modseq });
    }
    let owner = &to.place.owner;
    let staged = owner.stage().await?;
    let staging = blocking(|| owner.staged(staged))?;
    let mut done = 0;
    while done < crossing.rows.len() {
        done += append_batch(talk, crossing, done, (to, Some(&staging))).await?.uids.len();
    }
    Ok(Copied { source, ..staging.hand_over(&to.mailbox).await? })
}

/// Reads, seals and appends the messages from there on that make up one batch.
async fn append_batch(
    talk: &Talk,
    crossing: &Crossing,
    from: usize,
    (to, staging): (&Found, Option<&Staging>),
) -> Result<Appended, Failure> {
    let config = &talk.session.config;
    let batch = crossing.batch(from);
    let bytes = batch.iter().map(|row| u64::from(row.size)).sum();
    let units = budget_units(bytes).min(budget_units(config.limits.append_budget_bytes));
    let _held = Arc::clone(&config.spooled_budget).acquire_many_owned(units).await;
    let prepared = blocking(|| {
        batch.iter().map(|row| crossing.prepare(talk, row, to)).collect::<Result<Vec<_>, _>>()
    })?;
    // Large ones enter the log ahead, while the caller waits.
    let ticket = blocking(|| match staging {
        Some(staging) => staging.append(prepared),
        None => to.mailbox.append(prepared),
    });
    Ok(ticket.await?)
}

/// Asked before anything is copied, so that nothing has to go again.
fn check_quota(crossing: &Crossing, to: &Found) -> Result<(), CommitError> {
    let usage = to.place.owner.usage();
    let bytes: u64 = crossing.rows.iter().map(|row| u64::from(row.size)).sum();
    if let Some(limit) = usage.byte_limit.filter(|limit| usage.byte_count + bytes > *limit) {
        return Err(CommitError::OverQuota { limit_bytes: limit });
    }
    let count = engine::width::u64_of(crossing.rows.len());
    match usage.message_limit.filter(|limit| usage.message_count + count > *limit) {
        Some(limit) => Err(CommitError::TooManyMessages { limit }),
        None => Ok(()),
    }
}

/// Removes messages of a mailbox.
async fn remove(mailbox: &Mailbox, uids: UidSet) -> Result<(), Failure> {
    if uids.is_empty() {
        return Ok(());
    }
    let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
    mailbox.store_flags(&uids, FlagChange::Add, &deleted, None).await?;
    mailbox.expunge(&uids).await?;
    Ok(())
}
