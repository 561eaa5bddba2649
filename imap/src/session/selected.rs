//! A selected mailbox: the view that the client knows, and its message numbers.

use std::sync::Arc;

use engine::error::ReadError;
use engine::flags::SystemFlags;
use engine::ids::{AccountNumber, Uid};
use engine::mailbox::View;
use engine::rights::Rights;
use engine::uid_set::UidSet;
use engine::{Account, History, Mailbox};

use super::numbering::Ghosts;
use crate::codec::SequenceSet;
use crate::codec::command::{Access, Numbers};
use crate::codec::sequence_set::Bound;
use crate::command::Contexts;
use crate::stream::{Unanswered, asking, blocking};

/// All that changing any flag needs.
pub(crate) const ALL_FLAGS: Rights = Rights::SEEN.with(Rights::WRITE).with(Rights::DELETE_MESSAGES);

/// The system flags that these rights can change (RFC 4314 section 4).
pub(crate) fn changeable(rights: Rights) -> SystemFlags {
    let of = |right, flags| if rights.contains(right) { flags } else { SystemFlags(0) };
    let all = SystemFlags::ALL.iter().fold(SystemFlags(0), |all, (flag, _)| all.union(*flag));
    let others = all.without(SystemFlags::SEEN).without(SystemFlags::DELETED);
    of(Rights::SEEN, SystemFlags::SEEN)
        .union(of(Rights::DELETE_MESSAGES, SystemFlags::DELETED))
        .union(of(Rights::WRITE, others))
}

/// Whose a mailbox is, and who has it open.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) owner: Account,
    pub(crate) viewer: AccountNumber,
}

/// A selected mailbox.
pub(crate) struct Selected {
    pub(crate) mailbox: Mailbox,
    pub(crate) owner: Account,
    viewer: AccountNumber,
    pub(crate) name: String,
    pub(crate) access: Access,
    /// What the client has been told, but for ghosts.
    pub(crate) view: Arc<View>,
    pub(crate) ghosts: Ghosts,
    /// Which MODSEQs of the view count.
    pub(crate) history: History,
    /// The last EXISTS less the expunges told since.
    pub(crate) told_count: u32,
    /// Keywords in the last FLAGS.
    pub(crate) told_keywords: usize,
    /// What `$` means: the messages that a search saved (RFC 5182); some may be gone since.
    pub(crate) saved_result: UidSet,
    /// Searches whose results are kept current (RFC 5267).
    pub(crate) contexts: Contexts,
    /// Messages that came and of which NOTIFY tells more than that; `None` if it does not.
    pub(crate) arrived: Option<UidSet>,
}

/// The messages that a command names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Targets {
    /// Ranges of UIDs; in them exactly the messages of the view that were named.
    pub(crate) uids: UidSet,
    /// Whether ghosts were named, too.
    pub(crate) ghosts: bool,
}

/// Why a set names no messages.
#[derive(Debug)]
pub(crate) enum TargetError {
    /// A sequence number above the mailbox's count.
    TooHigh {
        /// The number.
        number: u32,
        /// The count.
        count: u32,
    },
    /// The view could not be read.
    Read(ReadError),
}

impl Unanswered for TargetError {
    fn is_not_at_hand(&self) -> bool {
        matches!(self, TargetError::Read(error) if error.is_not_at_hand())
    }
}

impl From<ReadError> for TargetError {
    fn from(error: ReadError) -> TargetError {
        TargetError::Read(error)
    }
}

/// Looks up what a set names: at once if that is little, else as [`blocking`] does. The call has no
/// effect but its answer, and reads nothing but pages.
pub(crate) fn looked_up<T>(
    set: &SequenceSet,
    look: impl FnMut() -> Result<T, TargetError>,
) -> Result<T, TargetError> {
    if set.is_short() { asking(look) } else { blocking(look) }
}

impl Selected {
    /// As SELECT shows it: nothing told yet but what the view holds.
    pub(crate) fn new(
        (mailbox, reach): (Mailbox, Reach),
        name: String,
        access: Access,
        view: Arc<View>,
    ) -> Selected {
        let Reach { owner, viewer } = reach;
        let told_count = view.message_count();
        let told_keywords = view.keywords().len();
        let (ghosts, history) = (Ghosts::default(), mailbox.history());
        Selected {
            mailbox,
            owner,
            viewer,
            name,
            access,
            view,
            ghosts,
            history,
            told_count,
            told_keywords,
            saved_result: UidSet::new(),
            contexts: Contexts::default(),
            arrived: None,
        }
    }

    /// What whoever has it open may do now.
    pub(crate) fn rights(&self) -> Rights {
        if self.owner.number() == self.viewer {
            return Rights::ALL;
        }
        self.owner.rights_of(self.mailbox.id(), self.viewer)
    }

    /// Messages as the client counts them.
    pub(crate) fn count(&self) -> u32 {
        self.view.message_count().saturating_add(self.ghosts.count())
    }

    /// The sequence number of a message of the view.
    pub(crate) fn number_of(&self, uid: Uid) -> Result<Option<u32>, ReadError> {
        Ok(self.view.rank(uid)?.ok().map(|rank| self.number_at(rank, uid)))
    }

    /// The sequence number of the message with that rank and UID.
    pub(crate) fn number_at(&self, rank: u32, uid: Uid) -> u32 {
        self.ghosts.number_at(rank, uid)
    }

    /// The highest UID that the client may know: what `*` means in a set of UIDs.
    fn highest_uid(&self) -> u32 {
        self.view.last_uid().max(self.ghosts.last_uid()).map_or(0, |uid| uid.0)
    }

    /// The messages that `set` names.
    pub(crate) fn targets(
        &self,
        numbers: Numbers,
        set: &SequenceSet,
    ) -> Result<Targets, TargetError> {
        if set.is_saved_result {
            // What was expunged meanwhile drops out without a word (RFC 5182 section 2.1).
            return Ok(Targets { uids: self.saved_result.clone(), ghosts: false });
        }
        match numbers {
            Numbers::Uid => {
                let highest = self.highest_uid();
                let uids = UidSet::from_ranges(set.resolve(highest).filter(|&(_, b)| b > 0));
                Ok(Targets { uids, ghosts: false })
            }
            Numbers::Sequence => self.targets_by_number(set),
        }
    }

    fn targets_by_number(&self, set: &SequenceSet) -> Result<Targets, TargetError> {
        let count = self.count();
        // `1:*` in an empty mailbox is what clients send before they look: it names nothing.
        if count == 0 && set.names_highest() {
            return Ok(Targets::default());
        }
        let mut ranges = Vec::new();
        let mut ghosts = false;
        for (first, last) in set.resolve(count) {
            if last > count {
                return Err(TargetError::TooHigh { number: last, count });
            }
            let (ranks, some) = self.ghosts.ranks(first, last);
            ghosts |= some;
            let Some((low, high)) = ranks else { continue };
            if let (Some(low), Some(high)) = (self.view.uid_at(low)?, self.view.uid_at(high)?) {
                ranges.push((low.0, high.0));
            }
        }
        Ok(Targets { uids: UidSet::from_ranges(ranges), ghosts })
    }

    /// The UIDs that a set of SEARCH names: numbers beyond the mailbox name nothing.
    pub(crate) fn searched(
        &self,
        numbers: Numbers,
        set: &SequenceSet,
    ) -> Result<UidSet, ReadError> {
        if set.is_saved_result {
            return Ok(self.saved_result.clone());
        }
        if numbers == Numbers::Uid {
            // `5:*` goes on, for searches that are kept current (RFC 5267) while messages come.
            let highest = self.highest_uid();
            let resolved = set.resolve(highest).zip(set.ranges.iter());
            let open = resolved.map(|((first, last), (a, b))| match a == b {
                false if *a == Bound::Highest || *b == Bound::Highest => (first, u32::MAX),
                _ => (first, last),
            });
            return Ok(UidSet::from_ranges(open));
        }
        let count = self.count();
        let mut ranges = Vec::new();
        for (first, last) in set.resolve(count) {
            if first > count || count == 0 {
                continue;
            }
            let (ranks, _) = self.ghosts.ranks(first.max(1), last.min(count));
            let Some((low, high)) = ranks else { continue };
            if let (Some(low), Some(high)) = (self.view.uid_at(low)?, self.view.uid_at(high)?) {
                ranges.push((low.0, high.0));
            }
        }
        Ok(UidSet::from_ranges(ranges))
    }

    /// The sequence number of the first message without `\Seen`.
    pub(crate) fn first_unseen(&self) -> Result<Option<u32>, ReadError> {
        let Some(rank) = self.view.first_unseen()? else { return Ok(None) };
        let uid = self.view.uid_at(rank)?;
        Ok(uid.map(|uid| self.number_at(rank, uid)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use engine::flags::{FlagChange, FlagList};
    use engine::ids::UnixSeconds;
    use engine::seal::{Argon2Cost, Secret};
    use engine::{InitOptions, KeySource, NewAccount, NewMessage, OpenOptions, Store};

    /// What a test says of a message.
    pub(crate) struct TestMessage {
        pub(crate) text: Vec<u8>,
        pub(crate) flags: FlagList,
        pub(crate) received: UnixSeconds,
    }

    /// One of no interest.
    pub(crate) fn message() -> TestMessage {
        let text = b"Subject: x\r\n\r\n".to_vec();
        TestMessage { text, flags: FlagList::default(), received: UnixSeconds(1) }
    }

    /// A mailbox of these messages, of which some have been expunged since.
    pub(crate) fn selected(
        folder: &std::path::Path,
        messages: Vec<TestMessage>,
        holes: &UidSet,
    ) -> Selected {
        let key = || KeySource::KeyFile(folder.join("key"));
        Store::init(&folder.join("data"), &InitOptions { key: key() }).unwrap();
        let mut options = OpenOptions::new(key());
        options.password_cost = Argon2Cost::CHEAP;
        options.reserve_bytes = 0;
        let store = Store::open(&folder.join("data"), options).unwrap().0;
        store.add_domain("x.org").unwrap();
        let name = "a@x.org".to_owned();
        let password = Secret::new("p".into());
        store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        let account = store.account("a@x.org").unwrap().unwrap();
        let inbox = account.mailbox("INBOX").unwrap().unwrap();
        let new = |message: TestMessage| {
            let prepared = store.prepare(&message.text, &[account.number()]).unwrap();
            NewMessage { prepared, flags: message.flags, received: message.received }
        };
        inbox.append(messages.into_iter().map(new).collect()).wait().unwrap();
        let deleted = FlagList { system: SystemFlags::DELETED, keywords: vec![] };
        inbox.store_flags(holes, FlagChange::Add, &deleted, None).wait().unwrap();
        inbox.expunge(holes).wait().unwrap();
        let view = inbox.view().unwrap().unwrap();
        let reach = Reach { viewer: account.number(), owner: account };
        Selected::new((inbox, reach), "INBOX".into(), Access::ReadOnly, view)
    }
}
