//! Which right a deed needs (RFC 4314 section 4), and how a lack of it is answered.
//!
//! Whoever owns a mailbox has every right, so none of this is ever in the way of somebody who uses
//! no mailbox of others. Without the right to see a mailbox, the lack of any other is answered as
//! if the mailbox were not there.

use engine::Account;
use engine::flags::FlagList;
use engine::ids::{AccountNumber, MailboxId};
use engine::rights::Rights;

use super::Answer;
use crate::session::changeable;

/// What a command does to a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deed {
    /// LIST, LSUB.
    Lookup,
    /// SELECT, EXAMINE, STATUS, GETQUOTAROOT; COPY and MOVE out of it; all of the selected one.
    Read,
    /// APPEND; COPY and MOVE into it.
    Insert,
    /// CREATE and RENAME: of the mailbox above the new name.
    MakeBelow,
    /// DELETE, RENAME.
    Remove,
    /// EXPUNGE; CLOSE, which closes without expunging where it is missing.
    Expunge,
    /// MOVE out of it.
    MoveAway,
    /// GETACL, SETACL, DELETEACL, LISTRIGHTS.
    Administer,
    /// GETMETADATA; SETMETADATA of private entries (RFC 5464 section 3.3).
    ReadMetadata,
    /// SETMETADATA of shared entries.
    WriteMetadata,
}

/// The table: every right of a row is needed.
pub(super) const fn needs(deed: Deed) -> Rights {
    match deed {
        Deed::Lookup => Rights::LOOKUP,
        Deed::Read => Rights::READ,
        Deed::Insert => Rights::INSERT,
        Deed::MakeBelow => Rights::CREATE,
        Deed::Remove => Rights::DELETE_MAILBOX,
        Deed::Expunge => Rights::EXPUNGE,
        Deed::MoveAway => Rights::DELETE_MESSAGES.with(Rights::EXPUNGE),
        Deed::Administer => Rights::ADMINISTER,
        Deed::ReadMetadata => Rights::LOOKUP.with(Rights::READ),
        Deed::WriteMetadata => Rights::LOOKUP.with(Rights::READ).with(Rights::WRITE),
    }
}

/// Whether somebody may look into a mailbox, and know of it.
pub(super) fn may_read(owner: &Account, mailbox: MailboxId, viewer: AccountNumber) -> bool {
    let needed = needs(Deed::Lookup).with(needs(Deed::Read));
    owner.rights_of(mailbox, viewer).contains(needed)
}

/// One of these is enough for MYRIGHTS.
pub(super) const KNOWS_OF: Rights = Rights::LOOKUP
    .with(Rights::READ)
    .with(Rights::INSERT)
    .with(Rights::CREATE)
    .with(Rights::DELETE_MAILBOX)
    .with(Rights::ADMINISTER);

/// One of these makes a mailbox one that can be changed: `[READ-WRITE]`.
pub(super) const CHANGES: Rights = Rights::SEEN
    .with(Rights::WRITE)
    .with(Rights::INSERT)
    .with(Rights::DELETE_MESSAGES)
    .with(Rights::EXPUNGE);

/// Lets a deed pass, or answers as befits who may not even know of the mailbox: as `absent` does.
pub(super) fn permit(rights: Rights, deed: Deed, absent: fn() -> Answer) -> Result<(), Answer> {
    if rights.contains(needs(deed)) {
        Ok(())
    } else if rights.contains(needs(Deed::Lookup)) {
        Err(Answer::no_permission())
    } else {
        Err(absent())
    }
}

/// What is left of flags when those go that these rights cannot change (RFC 4314 section 4: the
/// others are stored all the same).
pub(super) fn permitted(rights: Rights, mut flags: FlagList) -> FlagList {
    let changeable = changeable(rights);
    let forbidden = flags.system.without(changeable);
    flags.system = flags.system.without(forbidden);
    if !rights.contains(Rights::WRITE) {
        flags.keywords.clear();
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::flags::{Keyword, SystemFlags};

    #[test]
    fn flags_fall_into_three_kinds() {
        let all = FlagList {
            system: SystemFlags::SEEN.union(SystemFlags::DELETED).union(SystemFlags::FLAGGED),
            keywords: vec![Keyword::new("$Work").unwrap()],
        };
        for (letters, system, keywords) in [
            ("s", SystemFlags::SEEN, 0),
            ("t", SystemFlags::DELETED, 0),
            ("w", SystemFlags::FLAGGED, 1),
            ("lri", SystemFlags(0), 0),
            ("stw", all.system, 1),
        ] {
            let left = permitted(Rights::from_letters(letters).unwrap(), all.clone());
            assert_eq!((left.system, left.keywords.len()), (system, keywords), "{letters}");
        }
    }

    #[test]
    fn who_may_not_see_a_mailbox_learns_nothing_of_it() {
        let code = |letters: &str, deed| {
            let rights = Rights::from_letters(letters).unwrap();
            permit(rights, deed, Answer::no_mailbox).map_err(|answer| answer.code)
        };
        assert_eq!(code("r", Deed::Read), Ok(()), "what is given is given");
        assert_eq!(code("l", Deed::Read), Err("NOPERM".into()));
        assert_eq!(code("i", Deed::Read), Err("NONEXISTENT".into()));
    }
}
