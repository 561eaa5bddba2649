//! Which mailbox here is which one there, whatever they are called by now.
//!
//! By what stays there when a name changes (Dovecot's GUID, MAILBOXID), else by name and
//! UIDVALIDITY; what an import has never seen is known by its name. Pure: the steps are told, and
//! somebody else takes them.

use std::collections::BTreeSet;

use super::names::Listed;
use super::remembered::Remembered;
use super::source::Numbers;
use crate::admin::NumberedMailbox;

/// A mailbox at the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct There {
    /// What it is called here.
    pub(super) name: String,
    pub(super) listed: Listed,
    pub(super) numbers: Numbers,
}

impl There {
    /// Its special use as it is called here.
    pub(super) fn special_use(&self) -> Option<String> {
        let uses = ["\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"];
        let found = uses.iter().find(|name| self.listed.has(&name.to_ascii_lowercase()));
        found.map(|name| (*name).to_owned())
    }
}

/// What brings the names here nearer to those there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Rename {
        from: String,
        to: String,
    },
    /// It went there, or was never used and is in the way.
    Delete {
        name: String,
        uid_validity: u32,
    },
}

/// What an import remembers of a mailbox, if it is the same still.
pub(super) fn remembered_of(here: &NumberedMailbox) -> Option<Remembered> {
    let remembered = Remembered::read(here.remembered.as_deref()?)?;
    (remembered.uid_validity == here.uid_validity).then_some(remembered)
}

/// The mailbox there that is meant by what is remembered here.
fn meant<'a>(remembered: &Remembered, there: &'a [There]) -> Option<&'a There> {
    if remembered.identity.is_some() && there.iter().any(|one| one.numbers.identity.is_some()) {
        return there.iter().find(|one| one.numbers.identity == remembered.identity);
    }
    let same = |one: &&There| one.numbers.uid_validity == remembered.uid_validity;
    let mut all = there.iter().filter(same);
    let named = all.clone().find(|one| one.name == remembered.name);
    match (named, all.next(), all.next()) {
        (Some(named), ..) => Some(named),
        // Of several nobody knows which it was.
        (None, Some(only), None) => Some(only),
        _ => None,
    }
}

/// The next step, if there is one. Ask again with what is here after it. `is_chosen` says which
/// names the import is about; `stuck` are names that could not be changed.
pub(super) fn next_step(
    user: &str,
    there: &[There],
    here: &[NumberedMailbox],
    is_chosen: &dyn Fn(&str) -> bool,
    stuck: &BTreeSet<String>,
) -> Option<Step> {
    let own = here.iter().filter(|one| one.name != "INBOX" && !stuck.contains(&one.name));
    for mailbox in own {
        let Some(remembered) = remembered_of(mailbox).filter(|found| found.user == user) else {
            continue;
        };
        let name = &mailbox.name;
        match meant(&remembered, there) {
            Some(one) if one.name == *name || one.name == "INBOX" => {}
            Some(one) => {
                let Some(other) = here.iter().find(|other| other.name == one.name) else {
                    return Some(Step::Rename { from: name.clone(), to: one.name.clone() });
                };
                if let Some(step) = out_of_the_way(other, there) {
                    return Some(step);
                }
            }
            // One of that name was made anew there: that is for whoever brings its mail.
            None if there.iter().any(|one| one.name == *name) => {}
            // What came in here stays.
            None if is_chosen(name) && mailbox.uid_next == remembered.next => {
                let uid_validity = mailbox.uid_validity;
                return Some(Step::Delete { name: name.clone(), uid_validity });
            }
            None => {}
        }
    }
    None
}

/// A mailbox that has the name of another: one that will be called otherwise gets a name for the
/// time being, one that was never used goes.
fn out_of_the_way(other: &NumberedMailbox, there: &[There]) -> Option<Step> {
    let name = &other.name;
    if other.is_unused && other.remembered.is_none() {
        let uid_validity = other.uid_validity;
        return Some(Step::Delete { name: name.clone(), uid_validity });
    }
    let meant = meant(&remembered_of(other)?, there)?;
    (meant.name != *name).then(|| {
        let to = format!("{name} (on its way to another name)");
        Step::Rename { from: name.clone(), to }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(name: &str, identity: &str, uid_validity: u32) -> There {
        let identity = (!identity.is_empty()).then(|| identity.to_owned());
        let numbers = Numbers { uid_validity, identity, ..Numbers::default() };
        There { name: name.to_owned(), numbers, ..There::default() }
    }

    fn here(name: &str, was: &str, identity: &str, uid_validity: u32) -> NumberedMailbox {
        let remembered = Remembered {
            user: "u".to_owned(),
            name: was.to_owned(),
            identity: (!identity.is_empty()).then(|| identity.to_owned()),
            uid_validity,
            next: 5,
            ..Remembered::default()
        };
        NumberedMailbox {
            name: name.to_owned(),
            uid_validity,
            uid_next: 5,
            modseq: 1,
            message_count: 1,
            is_unused: false,
            special_use: None,
            remembered: (!was.is_empty()).then(|| remembered.text()),
        }
    }

    /// Takes all steps, and answers the names with what each was.
    fn settle(there: &[There], mut here: Vec<NumberedMailbox>) -> Vec<(String, u32)> {
        for _ in 0..20 {
            let step = next_step("u", there, &here, &|_| true, &BTreeSet::new());
            match step {
                None => {
                    let names = here.into_iter().map(|one| (one.name, one.uid_validity));
                    let mut names: Vec<_> = names.collect();
                    names.sort();
                    return names;
                }
                Some(Step::Delete { name, .. }) => here.retain(|one| one.name != name),
                Some(Step::Rename { from, to }) => {
                    assert!(here.iter().all(|one| one.name != to), "{to} is free");
                    for one in &mut here {
                        if let Some(rest) = one.name.strip_prefix(&from)
                            && (rest.is_empty() || rest.starts_with('/'))
                        {
                            one.name = format!("{to}{rest}");
                        }
                    }
                }
            }
        }
        panic!("the steps do not end");
    }

    fn names(expected: &[(&str, u32)]) -> Vec<(String, u32)> {
        expected.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn names_follow_the_source() {
        let exchanged = settle(
            &[there("b", "A", 1), there("a", "B", 2)],
            vec![here("a", "a", "A", 1), here("b", "b", "B", 2)],
        );
        assert_eq!(exchanged, names(&[("a", 2), ("b", 1)]), "exchanged");
        let with_levels = settle(
            &[there("new", "A", 1), there("new/c", "C", 3)],
            vec![here("old", "old", "A", 1), here("old/c", "old/c", "C", 3)],
        );
        assert_eq!(with_levels, names(&[("new", 1), ("new/c", 3)]), "with all below");
        let gone = settle(&[there("INBOX", "I", 9)], vec![here("a", "a", "A", 1)]);
        assert_eq!(gone, names(&[]), "deleted there");
        let no_identity = settle(&[there("new", "", 1)], vec![here("old", "old", "", 1)]);
        assert_eq!(no_identity, names(&[("new", 1)]), "known by its UIDVALIDITY");
        let several =
            settle(&[there("x", "", 1), there("y", "", 1)], vec![here("old", "old", "", 1)]);
        assert_eq!(several, names(&[]), "nobody knows which it was");
    }

    #[test]
    fn what_is_not_of_the_source_stays() {
        let mut grown = here("a", "a", "A", 1);
        grown.uid_next = 6;
        assert_eq!(settle(&[], vec![grown]), names(&[("a", 1)]), "mail came in here");
        assert_eq!(settle(&[], vec![here("mine", "", "", 4)]), names(&[("mine", 4)]));
        let inbox = settle(&[there("Old", "I", 1)], vec![here("INBOX", "INBOX", "I", 1)]);
        assert_eq!(inbox, names(&[("INBOX", 1)]), "INBOX is never called otherwise");
        let mut unused = here("new", "", "", 7);
        unused.is_unused = true;
        let taken = settle(&[there("new", "A", 1)], vec![here("old", "old", "A", 1), unused]);
        assert_eq!(taken, names(&[("new", 1)]), "what was never used is not in the way");
        let used = settle(
            &[there("new", "A", 1)],
            vec![here("old", "old", "A", 1), here("new", "", "", 7)],
        );
        assert_eq!(used, names(&[("new", 7), ("old", 1)]), "what was used is");
        let anew = settle(&[there("a", "B", 2)], vec![here("a", "a", "A", 1)]);
        assert_eq!(anew, names(&[("a", 1)]), "made anew there: nothing is deleted here");
    }
}
