//! Telling a client what happened in its mailbox: EXPUNGE, EXISTS, FLAGS, FETCH.
//!
//! Called between commands, during IDLE, and by commands that have just changed something. Always
//! legal is EXISTS and FETCH; EXPUNGE and VANISHED only with [`Expunges::Tell`] (RFC 3501 section
//! 7.4.1). A client with CONDSTORE learns the MODSEQ of every change, also of its own.

use std::borrow::Cow;
use std::sync::Arc;

use engine::error::ReadError;
use engine::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use engine::ids::Uid;
use engine::mailbox::{RowRef, Rows, View, ViewChanges};
use engine::uid_set::UidSet;

use super::dialect::Dialect;
use super::news::{FlagsText, put_flags, put_flags_known, put_vanished};
use super::numbering::Ghosts;
use super::selected::Selected;
use super::telling::Telling;
use crate::codec::put;
use crate::command::Contexts;
use crate::stream::{Ended, Wire, asking, blocking};

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
    let news = match News::gather(selected) {
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
    if !selected.contexts.is_empty() {
        blocking(|| Contexts::forget(selected, &news.changes.vanished, &mut wire.out));
    }
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
        let older = &selected.view;
        // Few changes are found faster than another thread takes over what else this one has to do.
        let at_hand = match Arc::ptr_eq(&view, older) {
            true => Some(ViewChanges::default()),
            false => view.changes_at_hand(older),
        };
        let changes = match at_hand {
            Some(changes) => changes,
            None => blocking(|| view.changes_since(older))?,
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
    if vanished.is_empty() && selected.ghosts.count() == 0 {
        return Ok(Ok(()));
    }
    if manner.expunges == Expunges::Hold {
        let mut gone: Vec<Uid> = selected.ghosts.iter().map(|ghost| ghost.uid).collect();
        // `vanished` may be given as ranges with UIDs in them that never were: only those of the
        // old view count.
        let held = match asking(|| selected.view.existing(vanished)) {
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
        let held = match asking(|| selected.view.existing(vanished)) {
            Ok(held) => held,
            Err(error) => return Ok(Err(error)),
        };
        let ghosts = selected.ghosts.iter().map(|ghost| (ghost.uid.0, ghost.uid.0));
        let gone = UidSet::from_ranges(held.ranges().iter().copied().chain(ghosts));
        put_vanished(wire, "", &gone).await?;
        expunges_told(selected, u32::try_from(gone.count()).unwrap_or(u32::MAX));
        return Ok(Ok(()));
    }
    let numbers = match asking(|| expunged_numbers(selected, vanished)) {
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
    let rest;
    let due = match told.answered {
        Answered::Messages(uids) => {
            rest = changed.without(uids);
            &rest
        }
        _ => changed,
    };
    if due.is_empty() {
        return Ok(());
    }
    let mut known = KnownFlags::new(selected, told);
    let dialect = told.manner.dialect;
    let mut text = FlagsText::default();
    let put = |out: &mut Vec<u8>, rank: u32, row: RowRef<'_>| {
        let same = known.are_those_of(row)?;
        let passed_over = match same {
            true => !dialect.condstore,
            false => told.manner.flags == FlagNews::Skip,
        };
        if !passed_over {
            let number = selected.number_at(rank, row.uid());
            put_flags(out, dialect, number, row, (!same).then_some(&mut text), selected);
        }
        Ok(())
    };
    if let Err(error) = Telling::of(due).finish(&selected.view, wire, put).await? {
        tracing::error!(mailbox = %selected.name, %error, "rows could not be read");
    }
    Ok(())
}

/// The flags that the client knows or can work out. Keywords are compared by their index, which is
/// the same in both views.
struct KnownFlags<'a> {
    older: &'a View,
    /// Rows of the page of the older view that was looked at last.
    page: Option<Rows>,
    own: Option<Own<'a>>,
}

/// A change of the session's own.
struct Own<'a> {
    change: &'a OwnChange,
    /// The indexes of its keywords, as far as the mailbox has them.
    keywords: Vec<u16>,
}

impl<'a> KnownFlags<'a> {
    fn new(selected: &Selected, told: &Told<'a>) -> KnownFlags<'a> {
        let own = match told.answered {
            Answered::Known(change) => Some(Own::new(change, selected.view.keywords())),
            _ => None,
        };
        KnownFlags { older: told.older, page: None, own }
    }

    fn are_those_of(&mut self, row: RowRef<'_>) -> Result<bool, ReadError> {
        let uid = row.uid();
        if !self.page.as_ref().is_some_and(|page| page.spans(uid)) {
            self.page = self.older.page_of(uid)?;
        }
        let Some(before) = self.page.as_ref().and_then(|page| page.same_as(row)) else {
            return Ok(false);
        };
        let own = self.own.as_ref().filter(|own| own.change.uids.contains(uid));
        let (flags, keywords) = match own {
            Some(own) => own.after(before.flags(), before.keywords()),
            None => (before.flags(), Cow::Borrowed(before.keywords())),
        };
        Ok(flags == row.flags() && *keywords == *row.keywords())
    }
}

impl<'a> Own<'a> {
    fn new(change: &'a OwnChange, known: &[Keyword]) -> Own<'a> {
        let index = |keyword: &Keyword| {
            known.iter().position(|other| other == keyword).and_then(|at| u16::try_from(at).ok())
        };
        let mut keywords: Vec<u16> = change.flags.keywords.iter().filter_map(index).collect();
        keywords.sort_unstable();
        keywords.dedup();
        Own { change, keywords }
    }

    /// Flags and keywords of a message after it, the latter ascending.
    fn after<'b>(&'b self, flags: SystemFlags, had: &'b [u16]) -> (SystemFlags, Cow<'b, [u16]>) {
        let (given, keywords) = (self.change.flags.system, self.keywords.as_slice());
        let others = || had.iter().filter(|index| !keywords.contains(index)).copied();
        match self.change.change {
            FlagChange::Replace => (given, Cow::Borrowed(keywords)),
            FlagChange::Add if keywords.is_empty() => (flags.union(given), Cow::Borrowed(had)),
            FlagChange::Add => {
                let mut all: Vec<u16> = others().chain(keywords.iter().copied()).collect();
                all.sort_unstable();
                (flags.union(given), Cow::Owned(all))
            }
            FlagChange::Remove if keywords.is_empty() => (flags.without(given), Cow::Borrowed(had)),
            FlagChange::Remove => (flags.without(given), Cow::Owned(others().collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_work_out_what_it_did() {
        let keyword = |name: &&str| Keyword::new(name).unwrap();
        let known: Vec<Keyword> = ["a", "b", "c"].iter().map(keyword).collect();
        let cases: [(_, _, &[&str], _, &[u16]); 6] = [
            (FlagChange::Add, 2, &["b", "A"], 3, &[0, 1, 2]),
            (FlagChange::Add, 2, &[], 3, &[0, 2]),
            (FlagChange::Remove, 1, &["A"], 0, &[2]),
            (FlagChange::Remove, 1, &[], 0, &[0, 2]),
            (FlagChange::Replace, 4, &["c", "B", "c"], 4, &[1, 2]),
            (FlagChange::Replace, 0, &[], 0, &[]),
        ];
        for (change, bits, names, flags, keywords) in cases {
            let system = SystemFlags(bits);
            let given = FlagList { system, keywords: names.iter().map(keyword).collect() };
            let change = OwnChange { uids: UidSet::new(), change, flags: given };
            let own = Own::new(&change, &known);
            let (found, indexes) = own.after(SystemFlags(1), &[0, 2]);
            let what = change.change;
            assert_eq!((found, &*indexes), (SystemFlags(flags), keywords), "{what:?} {names:?}");
        }
    }
}
