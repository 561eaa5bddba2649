//! What this session itself did elsewhere than in the selected mailbox: its client knows, so NOTIFY
//! does not tell (RFC 5465 section 5).
//!
//! A session only says what it did. Whether that is all that happened is found when the others'
//! news are looked for: what was known before is changed as the session changed it, and what then
//! still differs from now is somebody else's, and told.

use std::collections::VecDeque;

use engine::ids::{AccountNumber, Lsn, MailboxId};
use engine::uid_set::UidSet;
use engine::{Appended, Copied, Listing, MailboxEntry, MetadataScope};

use crate::session::Session;

/// Deeds that are remembered between two tellings; what is beyond is told.
const DEEDS_MAX: usize = 64;
/// The largest value of metadata that is remembered.
const VALUE_BYTES_MAX: usize = 1024;

/// Something that this session did. Names are as the client sees them.
pub(in crate::command) enum Own {
    /// Messages came into a mailbox; later changes have higher MODSEQs.
    Brought {
        mailbox: MailboxId,
        uids: UidSet,
        modseq: Lsn,
    },
    Created {
        mailbox: MailboxId,
        name: String,
    },
    Deleted {
        mailbox: MailboxId,
    },
    Renamed {
        from: String,
        to: String,
    },
    Subscribed {
        name: String,
        subscribed: bool,
    },
    /// An entry of metadata of a mailbox, or of the account.
    Set {
        owner: AccountNumber,
        mailbox: Option<MailboxId>,
        scope: MetadataScope,
        entry: String,
        value: Option<Vec<u8>>,
    },
}

impl Own {
    /// APPEND and REPLACE.
    pub(in crate::command) fn appended(mailbox: MailboxId, appended: &Appended) -> Own {
        let uids = appended.uids.iter().copied().collect();
        Own::Brought { mailbox, uids, modseq: appended.modseq }
    }

    /// COPY and MOVE.
    pub(in crate::command) fn copied(mailbox: MailboxId, copied: &Copied) -> Own {
        let uids = copied.destination.iter().copied().collect();
        Own::Brought { mailbox, uids, modseq: copied.modseq }
    }
}

/// Remembers a deed, if anybody is to be told of such.
pub(in crate::command) fn note(session: &mut Session, deed: Own) {
    if let Some(watching) = &mut session.watching {
        watching.own.push(deed);
    }
}

/// Deeds since the last telling.
#[derive(Default)]
pub(super) struct Deeds(VecDeque<Own>);

impl Deeds {
    fn push(&mut self, deed: Own) {
        let is_large = matches!(&deed, Own::Set { value: Some(value), .. }
            if value.len() > VALUE_BYTES_MAX);
        if self.0.len() < DEEDS_MAX && !is_large {
            self.0.push_back(deed);
        }
    }

    /// Takes out what was brought into a mailbox.
    pub(super) fn brought(&mut self, into: MailboxId) -> Vec<(UidSet, Lsn)> {
        let mut found = Vec::new();
        self.0.retain(|deed| match deed {
            Own::Brought { mailbox, uids, modseq } if *mailbox == into => {
                found.push((uids.clone(), *modseq));
                false
            }
            _ => true,
        });
        found
    }

    /// Takes out all but messages.
    pub(super) fn of_names(&mut self) -> Deeds {
        let (messages, names) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|deed| matches!(deed, Own::Brought { .. }));
        self.0 = messages;
        Deeds(names)
    }

    /// A listing as it would be, had nobody else done anything.
    pub(super) fn apply_to(&self, listing: &mut Listing) {
        for deed in &self.0 {
            match deed {
                Own::Created { mailbox, name } => {
                    let (id, name) = (*mailbox, name.clone());
                    listing.mailboxes.push(MailboxEntry { id, name, special_use: None });
                }
                Own::Deleted { mailbox } => {
                    listing.mailboxes.retain(|entry| entry.id != *mailbox);
                }
                Own::Renamed { from, to } => rename(listing, from, to),
                Own::Subscribed { name, subscribed } => {
                    let place = listing.subscribed.binary_search(name);
                    match (place, subscribed) {
                        (Err(place), true) => listing.subscribed.insert(place, name.clone()),
                        (Ok(place), false) => drop(listing.subscribed.remove(place)),
                        _ => {}
                    }
                }
                Own::Brought { .. } | Own::Set { .. } => {}
            }
        }
    }

    /// Whether an entry of metadata was last set here to what it is now.
    pub(super) fn has_set(
        &self,
        (owner, mailbox, scope): (AccountNumber, Option<MailboxId>, MetadataScope),
        entry: &str,
        now: Option<&[u8]>,
    ) -> bool {
        let last = self.0.iter().rev().find_map(|deed| match deed {
            Own::Set { owner: of, mailbox: at, scope: seen, entry: name, value }
                if (*of, *at, *seen) == (owner, mailbox, scope) && name == entry =>
            {
                Some(value.as_deref())
            }
            _ => None,
        });
        last == Some(now)
    }
}

fn rename(listing: &mut Listing, from: &str, to: &str) {
    for entry in &mut listing.mailboxes {
        let rest = entry.name.strip_prefix(from);
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            entry.name = format!("{to}{rest}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[(u8, &str)]) -> Listing {
        let entry = |(id, name): &(u8, &str)| MailboxEntry {
            id: MailboxId([*id; 16]),
            name: (*name).to_owned(),
            special_use: None,
        };
        Listing { mailboxes: names.iter().map(entry).collect(), subscribed: vec!["b".to_owned()] }
    }

    #[test]
    fn deeds_change_a_listing_in_their_order() {
        let mut deeds = Deeds::default();
        let mailbox = MailboxId([9; 16]);
        deeds.push(Own::Created { mailbox, name: "a/x".to_owned() });
        deeds.push(Own::Renamed { from: "a".to_owned(), to: "c".to_owned() });
        deeds.push(Own::Deleted { mailbox: MailboxId([2; 16]) });
        for (name, subscribed) in [("a", true), ("b", false), ("z", false)] {
            deeds.push(Own::Subscribed { name: name.to_owned(), subscribed });
        }
        let mut found = listing(&[(1, "a"), (2, "b"), (3, "ab")]);
        deeds.apply_to(&mut found);
        let expected = listing(&[(1, "c"), (3, "ab"), (9, "c/x")]);
        assert_eq!(found.mailboxes, expected.mailboxes);
        assert_eq!(found.subscribed, ["a"]);
    }

    #[test]
    fn of_too_many_deeds_the_later_are_told() {
        let mut deeds = Deeds::default();
        let mailbox = MailboxId([1; 16]);
        for uid in 1..100 {
            let uids = UidSet::from_ranges([(uid, uid)]);
            deeds.push(Own::Brought { mailbox, uids, modseq: Lsn::ZERO });
        }
        assert_eq!(deeds.brought(mailbox).len(), DEEDS_MAX);
        assert!(deeds.brought(mailbox).is_empty(), "each once");
    }
}
