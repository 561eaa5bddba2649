//! One mailbox made as it is at the source: new messages, flags, expunges.
//!
//! ```text
//! EXAMINE ─► where the numbers stand ─► flags and expunges of known UIDs ─► new ones ─► UIDNEXT
//!                │ new here, or never used: made with the source's UIDVALIDITY
//!                │ as the import left it: goes on at `next`
//!                │ more than that: brought before the last run was broken off, or come in here
//!                └ else: refused, or with --allow-reset put aside and taken again
//! ```
//!
//! # Invariants
//! 1. No message here is removed but one that the source does not have when it is asked for it.
//! 2. Flags that were changed here since the last run are left alone, unless the operator says
//!    otherwise.
//! 3. What is remembered is never ahead of what is durable here: a run that is broken off anywhere
//!    is gone on with by the next.

use std::collections::{BTreeMap, BTreeSet};

use engine::flags::SystemFlags;
use engine::ids::Uid;
use engine::uid_set::UidSet;
use indicatif::ProgressBar;

use super::here::{Here, Place};
use super::pace::Pace;
use super::pairs::{There, remembered_of};
use super::remembered::Remembered;
use super::source::{Numbers, Since, Source};
use super::{Options, shown};
use crate::admin::{NumberedMailbox, flag_list, ranges_of, set_of};
use crate::failure::{Exit, Failure};

/// Ranges of UIDs in one command.
const COMMAND_RANGES_MAX: usize = 200;

/// What was done to a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) brought: u64,
    pub(super) flagged: u64,
    pub(super) removed: u64,
    /// Changed here: left alone.
    pub(super) kept: u64,
    /// What somebody should know.
    pub(super) notes: Vec<String>,
}

/// Brings mailboxes of one account.
pub(super) struct Bringer<'a, 'c> {
    pub(super) source: &'a mut Source,
    pub(super) here: &'a mut Here<'c>,
    pub(super) options: &'a Options,
    pub(super) pace: &'a mut Pace,
    pub(super) bar: &'a ProgressBar,
    /// Whose mail it is at the source.
    pub(super) user: &'a str,
}

/// A mailbox while it is brought.
pub(super) struct Work {
    pub(super) place: Place,
    pub(super) remembered: Remembered,
    /// What the mailbox here gives next.
    pub(super) next: u64,
    /// Whether messages came in here alone: no new ones can come from there.
    has_own: bool,
    /// UIDs that we changed since `remembered.modseq`.
    pub(super) ours: BTreeSet<u32>,
    pub(super) done: Done,
}

impl Bringer<'_, '_> {
    /// Makes a mailbox as it is at the source.
    pub(super) fn bring(
        &mut self,
        there: &There,
        here: Option<&NumberedMailbox>,
    ) -> Result<Done, Failure> {
        let known = here.and_then(remembered_of);
        if let (Some(here), Some(known)) = (here, &known)
            && is_settled(&there.numbers, here, known)
            && !(self.options.overwrite_flags && known.has_changes_here())
        {
            return Ok(Done::default());
        }
        let numbers = self.source.examine(&there.listed.wire)?;
        let mut work = self.stand(there, &numbers, here, known)?;
        work.remembered.name = there.name.clone();
        work.remembered.identity = numbers.identity.clone();
        if work.next > 1 {
            self.bring_flags(&mut work, &numbers)?;
        }
        if !work.has_own {
            self.bring_new(&mut work, numbers.uid_next)?;
            if let (Ok(next), true) =
                (u32::try_from(numbers.uid_next), numbers.uid_next > work.next)
            {
                self.here.leave_out(&work.place, low(work.next), next)?;
                work.next = numbers.uid_next;
            }
        }
        work.remembered.source_modseq = numbers.modseq;
        self.keep(&mut work)?;
        Ok(work.done)
    }

    /// Where the mailbox here stands, made if need be.
    fn stand(
        &mut self,
        there: &There,
        numbers: &Numbers,
        here: Option<&NumberedMailbox>,
        known: Option<Remembered>,
    ) -> Result<Work, Failure> {
        let place = Place { name: there.name.clone(), uid_validity: numbers.uid_validity };
        let Some(here) = here else {
            self.here.create(&place, there.special_use(), false)?;
            return self.begin(place);
        };
        let Some(known) = known else {
            if here.is_unused {
                if here.uid_validity != place.uid_validity {
                    self.here.create(&place, there.special_use(), false)?;
                }
                return self.begin(place);
            }
            let why = format!("it has {} messages of its own", here.message_count);
            return self.take_again(there, place, here, &why);
        };
        if known.uid_validity != numbers.uid_validity || here.uid_next < known.next {
            let why = format!(
                "it was made anew at the source (UIDVALIDITY {}, before {})",
                numbers.uid_validity, known.uid_validity
            );
            return self.take_again(there, place, here, &why);
        }
        let mut work = Work {
            place,
            next: here.uid_next,
            has_own: false,
            remembered: known,
            ours: BTreeSet::new(),
            done: Done::default(),
        };
        if here.uid_next > work.remembered.next
            && let Some(why) = self.tell_apart(&mut work, numbers)?
        {
            return self.take_again(there, work.place, here, &why);
        }
        Ok(work)
    }

    /// A mailbox that nothing was brought into yet.
    fn begin(&mut self, place: Place) -> Result<Work, Failure> {
        let (modseq, _) = self.here.changed(&place, 0)?;
        let remembered = Remembered {
            user: self.user.to_owned(),
            name: place.name.clone(),
            uid_validity: place.uid_validity,
            next: 1,
            modseq,
            ..Remembered::default()
        };
        self.here.remember(Some(&place.name), remembered.text())?;
        let (ours, done) = (BTreeSet::new(), Done::default());
        Ok(Work { place, remembered, next: 1, has_own: false, ours, done })
    }

    /// Whether what stands here above what is remembered was brought, by a run that was broken off.
    /// Answers why the source's next messages cannot come, if so.
    fn tell_apart(
        &mut self,
        work: &mut Work,
        numbers: &Numbers,
    ) -> Result<Option<String>, Failure> {
        let (first, next) = (work.remembered.next, work.next);
        let own: BTreeMap<u32, (i64, u64)> = self
            .here
            .messages(&work.place, low(first))?
            .into_iter()
            .map(|message| (message.uid, (message.received, message.message_bytes)))
            .collect();
        let mut there = BTreeMap::new();
        if numbers.uid_next > first {
            let uids = format!("{first}:{}", next - 1);
            let mut hear = |fetched: super::response::Fetched| {
                if let (Some(uid), Some(received), Some(size)) =
                    (fetched.uid, fetched.received, fetched.size)
                {
                    there.insert(uid, (received, size));
                }
                Ok(())
            };
            let items = "(UID INTERNALDATE RFC822.SIZE)";
            self.source.fetch(&uids, items, Since::Ever, &mut hear, &mut |_| {})?;
            there.retain(|uid, _| (first..next).contains(&u64::from(*uid)));
        }
        let left_out = work.remembered.left_out();
        let is_foreign = |(uid, what): &(&u32, &(i64, u64))| there.get(uid) != Some(what);
        let foreign: Vec<u32> = own.iter().filter(is_foreign).map(|(uid, _)| *uid).collect();
        let passed = |uid: &&u32| !own.contains_key(uid) && !left_out.contains(Uid(**uid));
        let passed: Vec<u32> = there.keys().filter(passed).copied().collect();
        if numbers.uid_next > first && !(foreign.is_empty() && passed.is_empty()) {
            let count = foreign.len().max(1);
            let first = foreign.iter().chain(&passed).min().copied().unwrap_or_default();
            return Ok(Some(format!(
                "{count} messages came in here, from UID {first} on, and the source has given \
                 the same UIDs to others"
            )));
        }
        if !foreign.is_empty() {
            work.has_own = true;
            let count = foreign.len();
            work.done.notes.push(format!("{count} messages came in here, and stay"));
        }
        Ok(None)
    }

    /// Puts what is here aside and begins anew, if the operator has said so.
    fn take_again(
        &mut self,
        there: &There,
        place: Place,
        here: &NumberedMailbox,
        why: &str,
    ) -> Result<Work, Failure> {
        let aside = format!("{} (before the import)", place.name);
        if !self.options.allow_reset {
            let sentence = format!(
                "{why}; nothing was changed here. With --allow-reset all messages of it are moved \
                 to '{aside}', and it is taken again under the source's numbers: mail programs \
                 that have read it here must then be told to forget it"
            );
            return Err(Failure::new(Exit::Refused, sentence));
        }
        let old = Place { name: here.name.clone(), uid_validity: here.uid_validity };
        let messages = self.here.messages(&old, 1)?;
        if !messages.is_empty() {
            let uids = messages.iter().map(|message| Uid(message.uid)).collect();
            self.here.put_aside(&old, &uids, &aside)?;
        }
        self.here.create(&place, there.special_use(), true)?;
        let mut work = self.begin(place)?;
        let count = messages.len();
        work.done.notes.push(match count {
            0 => why.to_owned(),
            count => format!("{why}; {count} messages lie in '{aside}' now"),
        });
        Ok(work)
    }

    /// Keeps what was reached, once it is durable.
    pub(super) fn keep(&mut self, work: &mut Work) -> Result<(), Failure> {
        let (modseq, changed) = self.here.changed(&work.place, work.remembered.modseq)?;
        let others = changed.iter().filter(|uid| !work.ours.contains(&uid.0));
        let others: UidSet = others.filter(|uid| u64::from(uid.0) < work.next).collect();
        if let Some(before) = work.remembered.changed_here() {
            let ranges = before.ranges().iter().chain(others.ranges()).copied();
            work.remembered.keep_changed_here(&UidSet::from_ranges(ranges));
        }
        if !work.has_own {
            work.remembered.next = work.next;
        }
        work.remembered.modseq = modseq;
        work.ours.clear();
        self.here.remember(Some(&work.place.name), work.remembered.text())
    }

    /// Flags and expunges of messages that are here.
    fn bring_flags(&mut self, work: &mut Work, numbers: &Numbers) -> Result<(), Failure> {
        let before = work.remembered.modseq;
        let (modseq, changed_since) = self.here.changed(&work.place, before)?;
        let mut rows = BTreeMap::new();
        // What came in here alone is nothing that the source could tell about.
        let known_below = if work.has_own { work.remembered.next } else { work.next };
        for message in self.here.messages(&work.place, 1)? {
            if u64::from(message.uid) < known_below {
                rows.insert(message.uid, normal(&message.flags));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let was_changed = work.remembered.changed_here();
        let is_changed_here = |uid: u32| {
            let is_old = u64::from(uid) < work.remembered.next;
            let was = was_changed.as_ref().is_none_or(|uids| uids.contains(Uid(uid)));
            is_old && (was || changed_since.contains(Uid(uid)))
        };
        let here_changed: BTreeSet<u32> =
            rows.keys().copied().filter(|uid| is_changed_here(*uid)).collect();
        let news = self.news(work, numbers, &rows, &here_changed)?;
        self.remove_gone(work, &news.gone)?;
        let mut wanted: BTreeMap<Vec<String>, BTreeSet<u32>> = BTreeMap::new();
        let mut still_changed = here_changed.clone();
        for (uid, flags) in news.flags {
            let Some(row) = rows.get(&uid) else { continue };
            let is_equal = is_same(row, &flags);
            if is_equal || self.options.overwrite_flags {
                still_changed.remove(&uid);
            } else if here_changed.contains(&uid) {
                work.done.kept += 1;
                continue;
            }
            if !is_equal {
                wanted.entry(flags).or_default().insert(uid);
            }
        }
        for uid in news.gone.iter() {
            still_changed.remove(&uid.0);
        }
        work.remembered.modseq = modseq;
        for (flags, uids) in wanted {
            let uids: UidSet = uids.into_iter().map(Uid).collect();
            let alone = self.here.set_flags(&work.place, &uids, flags, modseq)?;
            work.done.kept += alone.count();
            work.done.flagged += uids.without(&alone).count();
            still_changed.extend(alone.iter().map(|uid| uid.0));
            work.ours.extend(uids.without(&alone).iter().map(|uid| uid.0));
        }
        let kept = still_changed.into_iter().map(Uid).collect();
        work.remembered.keep_changed_here(&kept);
        Ok(())
    }

    /// Flags at the source, of all messages or of those that may have others than here, and which
    /// messages it does not have.
    fn news(
        &mut self,
        work: &Work,
        numbers: &Numbers,
        rows: &BTreeMap<u32, Vec<String>>,
        here_changed: &BTreeSet<u32>,
    ) -> Result<News, Failure> {
        let last = rows.keys().next_back().copied().unwrap_or(1);
        let all = format!("1:{last}");
        let since = work.remembered.source_modseq.filter(|_| {
            // What a run that was broken off has brought may have changed since.
            let is_whole = work.next == work.remembered.next || work.has_own;
            is_whole && numbers.modseq.is_some() && self.source.can("QRESYNC")
        });
        let mut flags = BTreeMap::new();
        let mut vanished = Vec::new();
        let answer = self.source.fetch(
            &all,
            "(UID FLAGS)",
            since.map_or(Since::Ever, Since::Modseq),
            &mut |fetched| {
                if let (Some(uid), Some(found)) = (fetched.uid, fetched.flags) {
                    flags.insert(uid, normal(&found));
                }
                Ok(())
            },
            &mut |text| vanished.extend(set_of(text)),
        )?;
        well(&answer)?;
        let gone: UidSet = match since {
            Some(_) => {
                let is_gone = |uid: &u32| vanished.iter().any(|set| set.contains(Uid(*uid)));
                rows.keys().copied().filter(is_gone).map(Uid).collect()
            }
            None => rows.keys().copied().filter(|uid| !flags.contains_key(uid)).map(Uid).collect(),
        };
        if since.is_some() && self.options.overwrite_flags {
            let asked: UidSet = here_changed.iter().copied().map(Uid).collect();
            for uids in commands(&asked) {
                let hear = &mut |fetched: super::response::Fetched| {
                    if let (Some(uid), Some(found)) = (fetched.uid, fetched.flags) {
                        flags.insert(uid, normal(&found));
                    }
                    Ok(())
                };
                let answer =
                    self.source.fetch(&uids, "(UID FLAGS)", Since::Ever, hear, &mut |_| {})?;
                well(&answer)?;
            }
        }
        Ok(News { flags, gone })
    }

    /// Removes what the source does not have, asked for it once more.
    fn remove_gone(&mut self, work: &mut Work, gone: &UidSet) -> Result<(), Failure> {
        for uids in commands(gone) {
            let mut found = None;
            let hear = &mut |fetched: super::response::Fetched| {
                let asked = fetched.uid.filter(|uid| gone.contains(Uid(*uid)));
                found = found.or(asked);
                Ok(())
            };
            let answer = self.source.fetch(&uids, "(UID)", Since::Ever, hear, &mut |_| {})?;
            well(&answer)?;
            if let Some(uid) = found {
                let sentence = format!("the source says both that UID {uid} is there and is not");
                return Err(Failure::new(Exit::Refused, sentence));
            }
        }
        if !gone.is_empty() {
            self.here.remove(&work.place, gone)?;
            work.done.removed += gone.count();
        }
        Ok(())
    }
}

/// What changed at the source.
struct News {
    flags: BTreeMap<u32, Vec<String>>,
    gone: UidSet,
}

/// Whether nothing has changed on either side since the last run.
fn is_settled(there: &Numbers, here: &NumberedMailbox, known: &Remembered) -> bool {
    there.uid_validity == known.uid_validity
        && there.modseq.is_some()
        && there.modseq == known.source_modseq
        && there.uid_next == known.next
        && there.message_count == u64::from(here.message_count)
        && here.uid_next == known.next
        && here.modseq == known.modseq
}

/// Flags as both sides compare them: those that can be kept here, without `\Recent`, sorted.
pub(super) fn normal(flags: &[String]) -> Vec<String> {
    let list = flag_list(flags);
    let system = SystemFlags::ALL.iter().filter(|(flag, _)| list.system.contains(*flag));
    let system = system.map(|(_, name)| (*name).to_owned());
    let mut all: Vec<String> =
        system.chain(list.keywords.iter().map(|keyword| keyword.as_str().to_owned())).collect();
    all.sort_by_key(|flag| flag.to_ascii_lowercase());
    all
}

/// Whether both are the same flags: keywords have no case.
pub(super) fn is_same(one: &[String], other: &[String]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// Sets of UIDs that fit into commands.
fn commands(uids: &UidSet) -> Vec<String> {
    let pieces = uids.ranges().chunks(COMMAND_RANGES_MAX);
    pieces.map(|ranges| ranges_of(&UidSet::from_ranges(ranges.iter().copied()))).collect()
}

/// A number that the caller knows to be a UID.
pub(super) fn low(next: u64) -> u32 {
    u32::try_from(next).unwrap_or(u32::MAX)
}

/// Refuses to go on where the source did not do what it was asked for.
pub(super) fn well(answer: &super::response::Status) -> Result<(), Failure> {
    if answer.kind == "OK" {
        return Ok(());
    }
    let sentence = format!("the source does not show its messages: {}", shown(&answer.text));
    Err(Failure::new(Exit::Refused, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_compared_as_they_can_be_kept() {
        let flags = ["$Junk", "\\Recent", "\\seen", "a b", "$Forwarded"].map(str::to_owned);
        assert_eq!(normal(&flags), ["$Forwarded", "$Junk", "\\Seen"]);
        let other = ["$forwarded", "$junk", "\\Seen"].map(str::to_owned);
        assert!(is_same(&normal(&flags), &normal(&other)));
        assert!(!is_same(&normal(&flags), &normal(&other[1..])));
    }

    #[test]
    fn long_sets_become_several_commands() {
        let uids = UidSet::from_ranges((1..=450).map(|uid| (3 * uid, 3 * uid)));
        let commands = commands(&uids);
        assert_eq!(commands.len(), 3);
        let back = commands.iter().map(|text| set_of(text).unwrap().count()).sum::<u64>();
        assert_eq!(back, 450);
    }
}
