//! One worker who makes, renames, subscribes and deletes mailboxes while the server is killed.
//!
//! It works alone on names of its own, so at most one of its commands is unanswered at a crash:
//! afterwards the names are those before it or those after it, and nothing in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Mutex;

use crate::support::imap::{Imap, quoted};
use crate::support::random::Random;

/// Above all of its mailboxes.
const ROOT: &str = "Filer";
/// How many there are at most.
const MAILBOXES_MAX: usize = 12;

/// The mailboxes as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Folders {
    /// By name, with a number that each gets when it is made.
    identities: BTreeMap<String, u64>,
    /// Names, which stay when the mailbox goes or changes its name (RFC 3501 section 6.3.6).
    subscribed: BTreeSet<String>,
}

/// What the filer was told, and what it waits for.
#[derive(Default)]
pub(crate) struct Cabinet {
    inner: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    folders: Folders,
    pending: Option<(String, Folders)>,
    next_identity: u64,
    /// Which mailbox a name with a UIDVALIDITY has ever meant (RFC 3501 section 2.3.1.1).
    meanings: BTreeMap<(String, u32), u64>,
    complaints: Vec<String>,
    acknowledged: u64,
}

impl Cabinet {
    /// Works until the connection breaks.
    pub(crate) fn work(&self, imap: &mut Imap, random: &mut Random) -> io::Result<()> {
        loop {
            let command = {
                let mut contents = self.inner.lock().unwrap();
                let (command, after) = contents.choose(random);
                contents.pending = Some((command.clone(), after));
                command
            };
            let reply = imap.command(&command)?;
            let mut contents = self.inner.lock().unwrap();
            let (_, after) = contents.pending.take().expect("set above");
            if reply.status == "OK" {
                contents.folders = after;
                contents.acknowledged += 1;
            } else {
                contents.complaints.push(format!("{command}: {} {}", reply.status, reply.text));
            }
        }
    }

    /// How many commands were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.inner.lock().unwrap().acknowledged
    }

    /// Compares with what is there after a restart, and adopts it. Answers everything wrong.
    pub(crate) fn check(&self, imap: &mut Imap) -> io::Result<Vec<String>> {
        let listed = names(imap, &format!("LIST {ROOT} *"), "* LIST ")?;
        let subscribed = names(imap, &format!("LSUB {ROOT} *"), "* LSUB ")?;
        let mut contents = self.inner.lock().unwrap();
        let mut wrong = std::mem::take(&mut contents.complaints);
        let agrees = |folders: &Folders| {
            folders.identities.keys().eq(listed.iter()) && folders.subscribed.iter().eq(&subscribed)
        };
        let pending = contents.pending.take();
        let after = pending.clone().map(|(_, after)| after).filter(&agrees);
        match after {
            Some(after) => contents.folders = after,
            None if agrees(&contents.folders) => {}
            None => wrong.push(format!(
                "mailboxes {listed:?}, subscribed {subscribed:?}; acknowledged {:?}, pending \
                 {pending:?}",
                contents.folders
            )),
        }
        for (name, identity) in contents.folders.identities.clone() {
            let reply = imap.ok(&format!("STATUS {} (UIDVALIDITY)", quoted(&name)))?;
            let text = reply.untagged.iter().map(|response| response.text()).collect::<String>();
            let validity = text.rsplit(' ').next().and_then(|word| word.strip_suffix(')'));
            let validity: u32 = validity.and_then(|word| word.parse().ok()).unwrap_or(0);
            let key = (name, validity);
            let meaning = *contents.meanings.entry(key.clone()).or_insert(identity);
            if validity == 0 || meaning != identity {
                wrong.push(format!("{key:?} meant mailbox {meaning}, now {identity}: {text}"));
            }
        }
        Ok(wrong)
    }
}

impl Contents {
    /// A command, and the mailboxes that there are after it.
    fn choose(&mut self, random: &mut Random) -> (String, Folders) {
        let mut after = self.folders.clone();
        let names: Vec<String> = self.folders.identities.keys().cloned().collect();
        let choice = if names.len() >= MAILBOXES_MAX { 8 } else { random.below(10) };
        if names.is_empty() || choice < 3 {
            self.next_identity += 1;
            let parent = match names.is_empty() || random.below(2) == 0 {
                true => ROOT.to_owned(),
                false => random.pick(&names).clone(),
            };
            let name = format!("{parent}/{}", self.unused_name(random));
            after.identities.insert(name.clone(), self.next_identity);
            return (format!("CREATE {}", quoted(&name)), after);
        }
        let name = random.pick(&names).clone();
        match choice {
            3 | 4 => {
                let old = after.subscribed.first().cloned().filter(|_| random.below(3) == 0);
                let name = old.unwrap_or(name);
                let verb = match after.subscribed.remove(&name) {
                    true => "UNSUBSCRIBE",
                    false => "SUBSCRIBE",
                };
                if verb == "SUBSCRIBE" {
                    after.subscribed.insert(name.clone());
                }
                (format!("{verb} {}", quoted(&name)), after)
            }
            5..8 => {
                let to = format!("{ROOT}/{}", self.unused_name(random));
                let inside = format!("{name}/");
                let moved: Vec<String> = names
                    .into_iter()
                    .filter(|other| *other == name || other.starts_with(&inside))
                    .collect();
                for old in moved {
                    let identity = after.identities.remove(&old).expect("it is one of them");
                    after.identities.insert(format!("{to}{}", &old[name.len()..]), identity);
                }
                (format!("RENAME {} {}", quoted(&name), quoted(&to)), after)
            }
            _ => {
                // One without children, so that the name goes with it.
                let has_children = |name: &String| {
                    let inside = format!("{name}/");
                    names.iter().any(|other| other.starts_with(&inside))
                };
                let leaves: Vec<&String> = names.iter().filter(|it| !has_children(it)).collect();
                let leaf = (*random.pick(&leaves)).clone();
                after.identities.remove(&leaf);
                (format!("DELETE {}", quoted(&leaf)), after)
            }
        }
    }

    /// A word that none of the mailboxes has at its place; few, so that names come again.
    fn unused_name(&self, random: &mut Random) -> String {
        let used: BTreeSet<&str> =
            self.folders.identities.keys().flat_map(|name| name.split('/')).collect();
        loop {
            let word = format!("m{}", random.below(40));
            if !used.contains(word.as_str()) {
                return word;
            }
        }
    }
}

/// The names that LIST or LSUB answers, without those that only have children.
fn names(imap: &mut Imap, command: &str, prefix: &str) -> io::Result<Vec<String>> {
    let reply = imap.ok(command)?;
    let texts = reply.untagged.iter().map(|response| response.text());
    let mut names: Vec<String> = texts
        .filter(|text| text.starts_with(prefix))
        .filter(|text| prefix == "* LSUB " || !text.contains("\\Noselect"))
        .filter_map(|text| Some(text.rsplit(' ').next()?.trim_matches('"').to_owned()))
        .filter(|name| name != ROOT)
        .collect();
    names.sort();
    Ok(names)
}
