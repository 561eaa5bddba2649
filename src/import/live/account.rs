//! One account brought: its mailboxes, one after the other, and its subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::ProgressBar;

use super::here::{Here, Listing, Place};
use super::mailbox::{Bringer, Done};
use super::names::{Listed, Meaning, Namespaces};
use super::pace::Pace;
use super::pairs::{Step, There, next_step};
use super::remembered::RememberedAccount;
use super::source::{Login, Source};
use super::wire::Address;
use super::{Options, shown};
use crate::admin::Connection;
use crate::failure::{Exit, Failure};

/// Renames and deletions of one run, per mailbox that there is.
const STEPS_PER_MAILBOX: usize = 4;

/// What a run did to an account, in lines for a person.
#[derive(Default)]
pub(super) struct Report {
    pub(super) lines: Vec<String>,
    pub(super) messages: u64,
    /// Why it is not as it should be; nothing if it is.
    pub(super) trouble: Option<Exit>,
}

impl Report {
    fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    fn trouble(&mut self, exit: Exit, line: String) {
        self.trouble.get_or_insert(exit);
        self.lines.push(line);
    }
}

/// All that is known of an account on both sides.
struct Sides {
    there: Vec<There>,
    /// Names there that are subscribed to, as they are called here.
    subscribed: BTreeSet<String>,
    here: Listing,
}

/// Brings one account; an error is one after which nothing more of it can be done.
pub(super) fn bring_account(
    connection: &mut Connection,
    account: &str,
    (address, login): (&Address, &Login),
    options: &Options,
    bar: &ProgressBar,
) -> (Report, Result<(), Failure>) {
    let mut report = Report::default();
    let result = bring(connection, account, (address, login), options, bar, &mut report);
    (report, result)
}

fn bring(
    connection: &mut Connection,
    account: &str,
    (address, login): (&Address, &Login),
    options: &Options,
    bar: &ProgressBar,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut here = Here::new(connection, account);
    // An account that does not exist is said before a password goes anywhere.
    here.list()?;
    let mut source = Source::open(address, login)?;
    let mut pace = Pace::new(options.messages_per_second, options.bytes_per_second);
    let (there, subscribed) = mailboxes(&mut source, options, report)?;
    let listing = here.list()?;
    let mut sides = Sides { there, subscribed, here: listing };
    if !sides.there.iter().any(|one| one.name == "INBOX") && options.chooses("INBOX") {
        let sentence = format!("{} shows no INBOX of {}", address.host, login.user);
        return Err(Failure::new(Exit::Refused, sentence));
    }
    if options.dry_run {
        tell(&sides, &login.user, options, report);
        source.close();
        return Ok(());
    }
    take_steps(&mut here, &mut sides, &login.user, options, report)?;
    let user = login.user.as_str();
    let mut bringer =
        Bringer { source: &mut source, here: &mut here, options, pace: &mut pace, bar, user };
    bring_mailboxes(&mut bringer, &sides, report)?;
    bring_subscriptions(&mut here, &sides, options, report)?;
    if options.is_final {
        let mut bringer =
            Bringer { source: &mut source, here: &mut here, options, pace: &mut pace, bar, user };
        compare(&mut bringer, &sides, report)?;
    }
    source.close();
    Ok(())
}

/// The mailboxes there that are wanted, and all subscriptions.
fn mailboxes(
    source: &mut Source,
    options: &Options,
    report: &mut Report,
) -> Result<(Vec<There>, BTreeSet<String>), Failure> {
    let namespaces = source.namespaces()?;
    let mut found: BTreeMap<String, There> = BTreeMap::new();
    let mut subscribed = BTreeSet::new();
    let mut foreign = Vec::new();
    for listed in source.list()? {
        let Some(name) = name_of(&namespaces, &listed, &mut foreign, report) else { continue };
        if !options.chooses(&name) {
            continue;
        }
        if listed.has("\\subscribed") {
            subscribed.insert(name.clone());
        }
        if !listed.is_mailbox() {
            continue;
        }
        if found.contains_key(&name) {
            let line = format!("  {name}: left out: two mailboxes would be called so");
            report.trouble(Exit::Refused, line);
            continue;
        }
        match source.status(&listed.wire)? {
            Some(numbers) => {
                found.insert(name.clone(), There { name, listed, numbers });
            }
            None => {
                let line = format!("  {name}: left out: it cannot be read at the source");
                report.trouble(Exit::Refused, line);
            }
        }
    }
    if !foreign.is_empty() {
        let line = format!("  left out, because somebody else owns them: {}", foreign.join(", "));
        report.say(line);
    }
    let mut all: Vec<There> = found.into_values().collect();
    // Whoever waits for the first mail looks there.
    all.sort_by_key(|one| one.name != "INBOX");
    Ok((all, subscribed))
}

fn name_of(
    namespaces: &Namespaces,
    listed: &Listed,
    foreign: &mut Vec<String>,
    report: &mut Report,
) -> Option<String> {
    let wire = || shown(&String::from_utf8_lossy(&listed.wire));
    match namespaces.meaning(listed) {
        Meaning::Own(name) => return Some(name),
        Meaning::Foreign => foreign.push(wire()),
        // A level above others need not have a name.
        Meaning::Unreadable if !listed.is_mailbox() => {}
        Meaning::Unreadable => {
            let line = format!("  {}: left out: its name cannot be read", wire());
            report.trouble(Exit::Refused, line);
        }
    }
    None
}

/// What would be done.
fn tell(sides: &Sides, user: &str, options: &Options, report: &mut Report) {
    let is_chosen = |name: &str| options.chooses(name);
    let own = &sides.here.mailboxes;
    if let Some(step) = next_step(user, &sides.there, own, &is_chosen, &BTreeSet::new()) {
        report.say(match step {
            Step::Rename { from, to } => format!("  {from}: would be renamed to {to}, for a start"),
            Step::Delete { name, .. } => format!("  {name}: would be deleted, for a start"),
        });
    }
    for one in &sides.there {
        let there = format!("{} messages there", one.numbers.message_count);
        let here = own.iter().find(|here| here.name == one.name);
        let here = match here {
            None => "would be made".to_owned(),
            Some(here) => format!("{} here", here.message_count),
        };
        report.say(format!("  {}: {there}, {here}", one.name));
    }
}

/// Renames and deletes mailboxes until names here are those there.
fn take_steps(
    here: &mut Here<'_>,
    sides: &mut Sides,
    user: &str,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let is_chosen = |name: &str| options.chooses(name);
    let mut stuck = BTreeSet::new();
    for _ in 0..STEPS_PER_MAILBOX * (sides.there.len() + sides.here.mailboxes.len()) {
        let own = &sides.here.mailboxes;
        let Some(step) = next_step(user, &sides.there, own, &is_chosen, &stuck) else { break };
        let (name, taken, line) = match &step {
            Step::Rename { from, to } => {
                (from, here.rename(from, to), format!("  {from}: renamed to {to}"))
            }
            Step::Delete { name, uid_validity } => {
                let place = Place { name: name.clone(), uid_validity: *uid_validity };
                (name, here.delete(&place), format!("  {name}: deleted, as at the source"))
            }
        };
        match taken {
            Ok(()) => report.say(line),
            Err(failure) if failure.exit == Exit::Refused => {
                report.trouble(Exit::Refused, format!("  {name}: {}", failure.sentence));
                stuck.insert(name.clone());
            }
            Err(failure) => return Err(failure),
        }
        sides.here = here.list()?;
    }
    Ok(())
}

fn bring_mailboxes(
    bringer: &mut Bringer<'_, '_>,
    sides: &Sides,
    report: &mut Report,
) -> Result<(), Failure> {
    for one in &sides.there {
        // Making one may have given another a name.
        let listing = bringer.here.list()?;
        let here = listing.mailboxes.iter().find(|here| here.name == one.name);
        match bringer.bring(one, here) {
            Ok(done) => {
                report.messages += done.brought;
                say(&one.name, &done, report);
            }
            Err(failure) if failure.exit == Exit::Refused => {
                report.trouble(Exit::Refused, format!("  {}: {}", one.name, failure.sentence));
            }
            Err(failure) => {
                let sentence = format!("{}: {}", one.name, failure.sentence);
                return Err(Failure::new(failure.exit, sentence));
            }
        }
    }
    Ok(())
}

fn say(name: &str, done: &Done, report: &mut Report) {
    let mut parts = Vec::new();
    let counts = [
        (done.brought, "new"),
        (done.flagged, "with other flags"),
        (done.removed, "removed"),
        (done.kept, "changed here and left alone"),
    ];
    for (count, what) in counts {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if !parts.is_empty() {
        report.say(format!("  {name}: {}", parts.join(", ")));
    }
    for note in &done.notes {
        report.say(format!("  {name}: {note}"));
    }
}

/// What was subscribed to there, or not any more, since the last run; at the first, all.
fn bring_subscriptions(
    here: &mut Here<'_>,
    sides: &Sides,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let listing = here.list()?;
    let now: BTreeSet<String> = listing.subscribed.into_iter().collect();
    let known = listing.remembered.as_deref().and_then(RememberedAccount::read);
    let before: BTreeSet<String> = match &known {
        Some(known) => known.subscribed.clone(),
        // An account has its first mailboxes subscribed.
        None => sides.there.iter().map(|one| one.name.clone()).collect(),
    };
    let begun = sides.subscribed.iter().filter(|name| match &known {
        Some(known) => !known.subscribed.contains(*name),
        None => true,
    });
    let begun = begun.filter(|name| !now.contains(*name)).map(|name| (name, true));
    let ended = before.iter().filter(|name| {
        options.chooses(name) && !sides.subscribed.contains(*name) && now.contains(*name)
    });
    for (name, subscribed) in begun.chain(ended.map(|name| (name, false))) {
        match here.subscribe(name, subscribed) {
            Err(failure) if failure.exit == Exit::Refused => {
                report
                    .say(format!("  {name}: its subscription was left out: {}", failure.sentence));
            }
            done => done?,
        }
    }
    let others = before.iter().filter(|name| known.is_some() && !options.chooses(name));
    let subscribed = sides.subscribed.iter().chain(others).cloned().collect();
    let new = RememberedAccount { subscribed };
    if known.as_ref() != Some(&new) {
        match here.remember(None, new.text()) {
            Err(failure) if failure.exit == Exit::Refused => report.say(format!(
                "  subscriptions cannot be kept for the next run: {}",
                failure.sentence
            )),
            done => done?,
        }
    }
    Ok(())
}

/// Says of every mailbox whether both sides are equal.
fn compare(
    bringer: &mut Bringer<'_, '_>,
    sides: &Sides,
    report: &mut Report,
) -> Result<(), Failure> {
    let (mut equal, mut messages) = (0, 0);
    for one in &sides.there {
        let compared = bringer.compare(one);
        match compared {
            Ok((count, differences)) if differences.is_empty() => {
                equal += 1;
                messages += count;
            }
            Ok((_, differences)) => {
                let line = format!("  {}: not equal: {}", one.name, differences.join("; "));
                report.trouble(Exit::Refused, line);
            }
            Err(failure) if failure.exit == Exit::Refused => {
                let line = format!("  {}: not compared: {}", one.name, failure.sentence);
                report.trouble(Exit::Refused, line);
            }
            Err(failure) => return Err(failure),
        }
    }
    let listing = bringer.here.list()?;
    for here in listing.mailboxes.iter().filter(|here| here.message_count > 0) {
        let is_there = sides.there.iter().any(|one| one.name == here.name);
        if !is_there && bringer.options.chooses(&here.name) {
            let count = here.message_count;
            report.say(format!("  {}: {count} messages, here alone", here.name));
        }
    }
    report.say(format!(
        "  equal on both sides: {equal} of {} mailboxes, {messages} messages",
        sides.there.len()
    ));
    Ok(())
}
