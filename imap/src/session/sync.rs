//! Telling a client what happened in its mailbox: EXPUNGE, EXISTS, FLAGS, FETCH.
//!
//! Called between commands, during IDLE, and by commands that have just changed something. Always
//! legal is EXISTS and FETCH; EXPUNGE and VANISHED only with [`Expunges::Tell`] (RFC 3501 section
//! 7.4.1). A client with CONDSTORE learns the MODSEQ of every change, also of its own.

use std::sync::Arc;

use engine::error::ReadError;
use engine::flags::{FlagChange, FlagList};
use engine::ids::Uid;
use engine::mailbox::{Row, View, ViewChanges};
use engine::uid_set::UidSet;

use super::dialect::Dialect;
use super::news::{put_flags, put_flags_known, put_vanished};
use super::numbering::Ghosts;
use super::selected::Selected;
use crate::codec::put;
use crate::command::Contexts;
use crate::stream::{Ended, Wire, blocking};

/// Rows told in one piece.
const BATCH_ROWS: usize = 256;
/// Keywords above which they are not told again with each new one.
const LONG_LIST: usize = 1000;

/// Whether expunges may be told now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expunges {
    /// Yes.
    Tell,
    /// No: the messages become ghosts.
    Hold,
}

/// How news are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Which answers the client understands.
    pub(crate) dialect: Dialect,
    /// Whether expunges may be told now.
    pub(crate) expunges: Expunges,
    /// Whether flags are told that others changed.
    pub(crate) flags: FlagNews,
}

/// Whether a client wants to know of flags that others changed (RFC 5465 section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlagNews {
    /// Yes.
    Tell,
    /// No: it has said so.
    Skip,
}

/// A change that this session made itself and whose effect its client can work out.
pub(crate) struct OwnChange {
    /// Of these messages.
    pub(crate) uids: UidSet,
    /// What was done.
    pub(crate) change: FlagChange,
    /// With these.
    pub(crate) flags: FlagList,
}

/// Changes of flags that need not be told.
pub(crate) enum Answered {
    /// None: tell all.
    Nothing,
    /// The command itself answers the flags of these messages.
    Messages(UidSet),
    /// The client knows what it did; only what differs from that is told.
    Known(OwnChange),
}

/// How a sync ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Synced {
    /// The client knows all it may.
    Current,
    /// The mailbox is no more.
    Gone,
}

/// Brings the client up to date with the mailbox.
pub(crate) async fn sync(
    selected: &mut Selected,
    wire: &mut Wire,
    manner: Manner,
    answered: Answered,
) -> Result<Synced, Ended> {
    let news = match blocking(|| News::gather(selected)) {
        Ok(Some(news)) => news,
        Ok(None) => return Ok(Synced::Gone),
        Err(error) => {
            // The client keeps its old view, which is still right in itself.
            tracing::error!(mailbox = %selected.name, %error, "mailbox could not be read");
            return Ok(Synced::Current);
        }
    };
    let Some(news) = news.or_ghosts(selected, manner.expunges) else { return Ok(Synced::Current) };
    // Before the expunges: their numbers mean these messages until then (RFC 5267 section 4.3.4).
    blocking(|| Contexts::forget(selected, &news.changes.vanished, &mut wire.out));
    if let Err(error) = tell_expunges(selected, wire, &news, manner).await? {
        tracing::error!(mailbox = %selected.name, %error, "mailbox could not be read");
        return Ok(Synced::Current);
    }
    let older = std::mem::replace(&mut selected.view, news.view);
    selected.history = selected.mailbox.history();
    selected.contexts.note(&news.changes);
    if let Some(arrived) = &mut selected.arrived {
        let ranges = arrived.ranges().iter().chain(news.changes.added.ranges());
        *arrived = UidSet::from_ranges(ranges.copied());
    }
    tell_keywords(selected, wire);
    tell_count(selected, wire, manner.dialect);
    let told = Told { manner, older: &older, answered: &answered };
    tell_flags(selected, wire, &news.changes.changed, &told).await?;
    Ok(Synced::Current)
}

struct News {
    view: Arc<View>,
    changes: ViewChanges,
}

impl News {
    /// The newest view and what it changes; `None` when the mailbox is gone.
    fn gather(selected: &Selected) -> Result<Option<News>, ReadError> {
        let Some(view) = selected.mailbox.view()? else { return Ok(None) };
        let changes = if Arc::ptr_eq(&view, &selected.view) {
            ViewChanges::default()
        } else {
            view.changes_since(&selected.view)?
        };
        Ok(Some(News { view, changes }))
    }

    /// Itself, if there is anything to tell.
    fn or_ghosts(self, selected: &Selected, expunges: Expunges) -> Option<News> {
        let ghosts_due = expunges == Expunges::Tell && selected.ghosts.count() > 0;
        let same = Arc::ptr_eq(&self.view, &selected.view);
        (!same || ghosts_due).then_some(self)
    }
}

/// Tells expunges from the highest number down, so that no number told is changed by one before it;
/// or makes ghosts of the messages.
async fn tell_expunges(
    selected: &mut Selected,
    wire: &mut Wire,
    news: &News,
    manner: Manner,
) -> Result<Result<(), ReadError>, Ended> {
    let vanished = &news.changes.vanished;
    if manner.expunges == Expunges::Hold {
        if vanished.is_empty() && selected.ghosts.count() == 0 {
            return Ok(Ok(()));
        }
        let mut gone: Vec<Uid> = selected.ghosts.iter().map(|ghost| ghost.uid).collect();
        // `vanished` may be given as ranges with UIDs in them that never were: only those of the
        // old view count.
        let held = match blocking(|| selected.view.existing(vanished)) {
            Ok(held) => held,
            Err(error) => return Ok(Err(error)),
        };
        gone.extend(held.iter());
        gone.sort_unstable();
        let rank = |uid| news.view.rank(uid).map(|rank| rank.unwrap_or_else(|rank| rank));
        match blocking(|| Ghosts::new(gone, rank)) {
            Ok(ghosts) => selected.ghosts = ghosts,
            Err(error) => return Ok(Err(error)),
        }
        return Ok(Ok(()));
    }
    if manner.dialect.tells_vanished() {
        let held = match blocking(|| selected.view.existing(vanished)) {
            Ok(held) => held,
            Err(error) => return Ok(Err(error)),
        };
        let ghosts = selected.ghosts.iter().map(|ghost| (ghost.uid.0, ghost.uid.0));
        let gone = UidSet::from_ranges(held.ranges().iter().copied().chain(ghosts));
        put_vanished(wire, "", &gone).await?;
        expunges_told(selected, u32::try_from(gone.count()).unwrap_or(u32::MAX));
        return Ok(Ok(()));
    }
    let numbers = match blocking(|| expunged_numbers(selected, vanished)) {
        Ok(numbers) => numbers,
        Err(error) => return Ok(Err(error)),
    };
    for number in numbers.iter().rev() {
        wire.out.extend_from_slice(b"* ");
        put::number(&mut wire.out, u64::from(*number));
        wire.out.extend_from_slice(b" EXPUNGE\r\n");
        wire.relieve().await?;
    }
    expunges_told(selected, engine::width::u32_of(numbers.len()));
    Ok(Ok(()))
}

fn expunges_told(selected: &mut Selected, count: u32) {
    selected.told_count = selected.told_count.saturating_sub(count);
    selected.ghosts = Ghosts::default();
}

/// Numbers of ghosts and of vanished messages as the client counts now, ascending.
fn expunged_numbers(selected: &Selected, vanished: &UidSet) -> Result<Vec<u32>, ReadError> {
    let mut numbers: Vec<u32> = selected.ghosts.iter().map(|ghost| ghost.number).collect();
    for &(first, last) in vanished.ranges() {
        // Ranks of a range of UIDs are consecutive, whatever holes it has.
        let low = selected.view.rank(Uid(first))?.unwrap_or_else(|rank| rank);
        let high = match selected.view.rank(Uid(last))? {
            Ok(rank) => rank.saturating_add(1),
            Err(rank) => rank,
        };
        for rank in low..high {
            if let Some(uid) = selected.view.uid_at(rank)? {
                numbers.push(selected.number_at(rank, uid));
            }
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// FLAGS and PERMANENTFLAGS when the mailbox has a keyword that the client has not been told of.
/// Long lists are told again when they are a sixteenth longer, or each new keyword would cost all
/// that there are; until then FETCH shows it (RFC 9051 section 7.3.5 asks for the system flags).
fn tell_keywords(selected: &mut Selected, wire: &mut Wire) {
    let (count, told) = (selected.view.keywords().len(), selected.told_keywords);
    if count == told || (told > LONG_LIST && count > told && count - told < told / 16) {
        return;
    }
    put_flags_known(selected, wire);
    selected.told_keywords = selected.view.keywords().len();
}

fn tell_count(selected: &mut Selected, wire: &mut Wire, dialect: Dialect) {
    let count = selected.count();
    if count != selected.told_count {
        wire.line(&format!("* {count} EXISTS"));
        if !dialect.rev2 {
            wire.line("* 0 RECENT");
        }
        selected.told_count = count;
    }
}

/// What a client knows of changed messages.
struct Told<'a> {
    manner: Manner,
    older: &'a View,
    answered: &'a Answered,
}

async fn tell_flags(
    selected: &Selected,
    wire: &mut Wire,
    changed: &UidSet,
    told: &Told<'_>,
) -> Result<(), Ended> {
    for &(first, last) in changed.ranges() {
        let mut next = Some(first);
        while let Some(from) = next.filter(|&from| from <= last) {
            let batch = blocking(|| tell_batch(selected, wire, (from, last), told));
            next = match batch {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(mailbox = %selected.name, %error, "rows could not be read");
                    return Ok(());
                }
            };
            wire.relieve().await?;
        }
    }
    Ok(())
}

/// Tells flags of some rows in a range of UIDs; answers where the next batch begins.
fn tell_batch(
    selected: &Selected,
    wire: &mut Wire,
    (from, last): (u32, u32),
    told: &Told<'_>,
) -> Result<Option<u32>, ReadError> {
    let rows = selected.view.rows_from(Uid(from), BATCH_ROWS)?;
    for row in rows.iter().take_while(|row| row.uid.0 <= last) {
        let known = is_known(selected, row, told)?;
        let passed_over = match known {
            Known::All => true,
            Known::Flags => !told.manner.dialect.condstore,
            Known::Nothing => told.manner.flags == FlagNews::Skip,
        };
        if passed_over {
            continue;
        }
        let flags = (known == Known::Nothing).then_some(row.flags);
        if let Some(number) = selected.number_of(row.uid)? {
            put_flags(&mut wire.out, told.manner.dialect, number, row, flags, selected);
        }
    }
    Ok(rows.last().and_then(|row| row.uid.0.checked_add(1)).filter(|_| rows.len() == BATCH_ROWS))
}

/// What the client knows of a changed row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The command answers it itself.
    All,
    /// The flags, but not that they have another MODSEQ.
    Flags,
    /// Not even the flags.
    Nothing,
}

/// What the client knows of the flags that this row has now.
fn is_known(selected: &Selected, row: &Row, told: &Told<'_>) -> Result<Known, ReadError> {
    let own = match told.answered {
        Answered::Messages(uids) if uids.contains(row.uid) => return Ok(Known::All),
        Answered::Known(own) if own.uids.contains(row.uid) => Some(own),
        _ => None,
    };
    let Some(before) = told.older.row(row.uid)? else { return Ok(Known::Nothing) };
    let before = put::flag_list(&before, told.older.keywords());
    let now = put::flag_list(row, selected.view.keywords());
    let expected = match own {
        Some(own) => after_change(before, own.change, &own.flags),
        None => before,
    };
    Ok(if same_flags(&expected, &now) { Known::Flags } else { Known::Nothing })
}

/// Flags after a change.
fn after_change(mut flags: FlagList, change: FlagChange, given: &FlagList) -> FlagList {
    match change {
        FlagChange::Replace => given.clone(),
        FlagChange::Add => {
            flags.system = flags.system.union(given.system);
            for keyword in &given.keywords {
                if !flags.keywords.contains(keyword) {
                    flags.keywords.push(keyword.clone());
                }
            }
            flags
        }
        FlagChange::Remove => {
            flags.system = flags.system.without(given.system);
            flags.keywords.retain(|keyword| !given.keywords.contains(keyword));
            flags
        }
    }
}

fn same_flags(a: &FlagList, b: &FlagList) -> bool {
    if a.system != b.system || a.keywords.len() != b.keywords.len() {
        return false;
    }
    // In the same order, unless the client's own words come into it.
    a.keywords == b.keywords || a.keywords.iter().all(|keyword| b.keywords.contains(keyword))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::flags::{Keyword, SystemFlags};

    #[test]
    fn a_client_can_work_out_what_it_did() {
        let list = |bits, words: &[&str]| FlagList {
            system: SystemFlags(bits),
            keywords: words.iter().map(|word| Keyword::new(word).unwrap()).collect(),
        };
        for (change, given, after) in [
            (FlagChange::Add, list(2, &["b", "A"]), list(3, &["b", "a"])),
            (FlagChange::Remove, list(1, &["A"]), list(0, &[])),
            (FlagChange::Replace, list(4, &["c"]), list(4, &["c"])),
        ] {
            let found = after_change(list(1, &["a"]), change, &given);
            assert!(same_flags(&found, &after), "{change:?}: {found:?}");
        }
        assert!(!same_flags(&list(1, &["a"]), &list(1, &["b"])));
    }
}
