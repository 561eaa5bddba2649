//! Whether both sides are equal: what `--final` asks before somebody switches over.

use std::collections::BTreeMap;

use engine::ids::Uid;
use engine::uid_set::UidSet;

use super::here::Place;
use super::mailbox::{Bringer, is_same, normal, well};
use super::pairs::There;
use super::response::Fetched;
use super::source::Since;
use crate::admin::ranges_of;
use crate::failure::Failure;

/// Bytes of a list of UIDs that is shown.
const SHOWN_BYTES_MAX: usize = 60;

/// A message as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    flags: Vec<String>,
    received: i64,
    bytes: u64,
}

impl Bringer<'_, '_> {
    /// How a mailbox differs; nothing if it does not.
    pub(super) fn compare(&mut self, there: &There) -> Result<(u64, Vec<String>), Failure> {
        let numbers = self.source.examine(&there.listed.wire)?;
        let mut messages = BTreeMap::new();
        if numbers.message_count > 0 {
            let mut hear = |fetched: Fetched| {
                if let Fetched {
                    uid: Some(uid),
                    flags: Some(flags),
                    received: Some(received),
                    size: Some(bytes),
                    ..
                } = fetched
                {
                    messages.insert(uid, Message { flags: normal(&flags), received, bytes });
                }
                Ok(())
            };
            let items = "(UID FLAGS INTERNALDATE RFC822.SIZE)";
            let answer = self.source.fetch("1:*", items, Since::Ever, &mut hear, &mut |_| {})?;
            well(&answer)?;
        }
        let listing = self.here.list()?;
        let Some(here) = listing.mailboxes.iter().find(|one| one.name == there.name) else {
            return Ok((0, vec!["it is not here".to_owned()]));
        };
        let mut differences = Vec::new();
        if here.uid_validity != numbers.uid_validity {
            let (there, here) = (numbers.uid_validity, here.uid_validity);
            differences.push(format!("UIDVALIDITY {there} there, {here} here"));
        }
        if here.uid_next != numbers.uid_next {
            let (there, here) = (numbers.uid_next, here.uid_next);
            differences.push(format!("UIDNEXT {there} there, {here} here"));
        }
        let place = Place { name: here.name.clone(), uid_validity: here.uid_validity };
        let own = self.here.messages(&place, 1)?.into_iter().map(|one| {
            let flags = normal(&one.flags);
            (one.uid, Message { flags, received: one.received, bytes: one.message_bytes })
        });
        let own: BTreeMap<u32, Message> = own.collect();
        differences.extend(differences_of(&messages, &own));
        Ok((u64::from(here.message_count), differences))
    }
}

fn differences_of(there: &BTreeMap<u32, Message>, here: &BTreeMap<u32, Message>) -> Vec<String> {
    let both = || there.iter().filter_map(|(uid, one)| Some((*uid, one, here.get(uid)?)));
    let only = |one: &BTreeMap<u32, Message>, other: &BTreeMap<u32, Message>| {
        one.keys().copied().filter(|uid| !other.contains_key(uid)).map(Uid).collect::<UidSet>()
    };
    let which = |differs: &dyn Fn(&Message, &Message) -> bool| {
        both().filter(|(_, one, other)| differs(one, other)).map(|(uid, ..)| Uid(uid)).collect()
    };
    let kinds: [(&str, UidSet); 5] = [
        ("not here", only(there, here)),
        ("here alone", only(here, there)),
        ("with other flags", which(&|one, other| !is_same(&one.flags, &other.flags))),
        ("of another size", which(&|one, other| one.bytes != other.bytes)),
        ("of another date", which(&|one, other| one.received != other.received)),
    ];
    let found = kinds.into_iter().filter(|(_, uids)| !uids.is_empty());
    found
        .map(|(what, uids)| {
            let mut text = ranges_of(&uids);
            if text.len() > SHOWN_BYTES_MAX {
                text.truncate(SHOWN_BYTES_MAX);
                text.push('…');
            }
            format!("{} {what} (UID {text})", uids.count())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named() {
        let message = |flag: &str, received, bytes| {
            let flags = normal(&[flag.to_owned()]);
            Message { flags, received, bytes }
        };
        let there: BTreeMap<u32, Message> = [
            (1, message("\\Seen", 1, 1)),
            (2, message("$a", 1, 1)),
            (3, message("a", 1, 1)),
            (4, message("a", 1, 1)),
        ]
        .into();
        let here: BTreeMap<u32, Message> = [
            (2, message("$A", 1, 1)),
            (3, message("b", 1, 2)),
            (4, message("a", 2, 1)),
            (9, message("a", 1, 1)),
        ]
        .into();
        assert_eq!(
            differences_of(&there, &here),
            [
                "1 not here (UID 1)",
                "1 here alone (UID 9)",
                "1 with other flags (UID 3)",
                "1 of another size (UID 3)",
                "1 of another date (UID 4)",
            ]
        );
        assert!(differences_of(&there, &there).is_empty());
    }
}
