//! SIGKILL at any moment, under deliveries, appends, flag changes, copies, moves and expunges at
//! once, and under mailboxes that come, change their names and go.
//!
//! `PILLARBOX_KILLS` says how often (200 unless set), `PILLARBOX_KILL_SEED` repeats a run's
//! choices.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Barrier, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use engine::disk::{IoChoice, system_disk};

use crate::filer::Cabinet;
use crate::ledger::{
    Change, Entry, FIELD, Found, FoundMessage, Key, Ledger, Operation, Place, Whole, message_number,
};
use crate::support::imap::{Imap, Reply, quoted};
use crate::support::random::Random;
use crate::support::site::{Kind, OTHER_USER, PASSWORD, Site, USER};
use crate::support::smtp::{Dialect, Smtp};

const USERS: [&str; 2] = [USER, OTHER_USER];
/// The mailboxes of the first user; of the second, only the first is used.
const MAILBOXES: [&str; 3] = ["INBOX", "Ledger/One", "Ledger/Zwölf"];
/// The same on the wire of IMAP4rev1 (modified UTF-7).
const WIRE_NAMES: [&str; 3] = ["INBOX", "Ledger/One", "Ledger/Zw&APY-lf"];
const FLAGS: [&str; 6] = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "$Forwarded", "urgent"];
const KILLS: usize = 200;
const KILLS_OF_SMALL_SEGMENTS: usize = 40;
const CLERKS: usize = 3;
const CARRIERS: usize = 2;
/// With more messages of a user than this, half of them go after a round, so that a check stays
/// quick.
const MESSAGES_MAX: usize = 120;
/// Work of a round ends then even if little was acknowledged.
const ROUND_MAX: Duration = Duration::from_secs(10);

/// The ledger, and a bell that rings at every acknowledgement.
struct Desk {
    ledger: Mutex<Ledger>,
    count: Mutex<usize>,
    bell: Condvar,
    together: Whole,
    cabinet: Cabinet,
}

impl Desk {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    fn begin(&self, what: &'static str, whole: Whole, changes: Vec<Change>) -> u64 {
        let whole = if self.together == Whole::Each { Whole::Each } else { whole };
        self.ledger().begin(Operation { what, whole, changes })
    }

    fn acknowledge(&self, number: u64, uids: Option<Vec<u32>>) {
        self.ledger().acknowledge(number, uids);
        *self.count.lock().unwrap() += 1;
        self.bell.notify_all();
    }

    /// An answer to an IMAP command that adds messages: with the UIDs of its response code.
    fn answer(&self, number: u64, reply: &Reply, uids: Option<Vec<u32>>) {
        if reply.status == "OK" {
            self.acknowledge(number, uids);
        } else {
            self.ledger().refuse(number, &format!("{} {}", reply.status, reply.text));
        }
    }

    /// Waits until so many operations were acknowledged in this round.
    fn await_count(&self, wanted: usize) {
        let begun = Instant::now();
        let mut count = self.count.lock().unwrap();
        while *count < wanted && begun.elapsed() < ROUND_MAX {
            count = self.bell.wait_timeout(count, Duration::from_millis(100)).unwrap().0;
        }
        *count = 0;
    }
}

fn kills(otherwise: usize) -> usize {
    let kills = std::env::var("PILLARBOX_KILLS").ok().and_then(|text| text.parse().ok());
    kills.unwrap_or(otherwise)
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    survive(Site::new(), kills(KILLS));
}

/// Segments are small, so reclaim and checkpoints are busy all the time; over io_uring.
#[test]
fn what_was_acknowledged_survives_kills_of_reclaim_and_checkpoints_over_io_uring() {
    let mut site = Site::new();
    if !site.is_pillarbox() {
        return;
    }
    site.configure_store("segment_bytes = 1048576");
    if system_disk(IoChoice::Uring, &site.folder).is_ok() {
        site.configure_store("io = \"uring\"");
    } else {
        println!("io_uring is forbidden here: plain calls are tested alone");
    }
    survive(site, kills(KILLS_OF_SMALL_SEGMENTS));
}

fn survive(mut site: Site, kills: usize) {
    site.start();
    let seed = Random::seed_from("PILLARBOX_KILL_SEED");
    println!("PILLARBOX_KILL_SEED={seed}");
    let mut random = Random::new(seed);
    let together = if site.kind == Kind::Pillarbox { Whole::Together } else { Whole::Each };
    let desk = Desk {
        ledger: Mutex::new(Ledger::new(seed)),
        count: Mutex::new(0),
        bell: Condvar::new(),
        together,
        cabinet: Cabinet::default(),
    };
    make_mailboxes(&site);
    let mut session = check(&site, &desk, 0);
    let begun = Instant::now();
    let mut opening = Vec::new();
    for kill in 1..=kills {
        work_until_killed(&mut site, &desk, &mut random, session);
        // Now and then the power also fails while the store is being opened.
        if kill % 8 == 0 {
            site.spawn();
            std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
            site.kill9();
        }
        let spawned = Instant::now();
        site.start();
        opening.push(spawned.elapsed());
        session = check(&site, &desk, kill);
        tidy_up(&site, &desk);
    }
    let elapsed = begun.elapsed();
    site.stop();
    if site.is_pillarbox() {
        site.pillarbox(&["check"]).well("check after the kills");
    }
    site.start();
    check(&site, &desk, kills);
    site.stop();
    let ledger = desk.ledger();
    opening.sort();
    println!(
        "{kills} kills in {elapsed:.1?}; acknowledged {:?} and {} changes of mailboxes; cut short: \
         {} found done, {} not; from start to greeting: {:?} half of them, {:?} the longest",
        ledger.acknowledged,
        desk.cabinet.acknowledged(),
        ledger.cut_short.0,
        ledger.cut_short.1,
        opening[opening.len() / 2],
        opening[opening.len() - 1],
    );
    let every = ledger.acknowledged.len() >= 8 && desk.cabinet.acknowledged() > 0;
    assert!(kills < 50 || every, "every kind of operation took place");
    assert!(kills < 50 || ledger.cut_short.0 + ledger.cut_short.1 > 0, "some were cut short");
}

fn make_mailboxes(site: &Site) {
    let mut imap = site.imap();
    for name in &WIRE_NAMES[1..] {
        imap.ok(&format!("CREATE {}", quoted(name))).unwrap();
    }
}

/// Everybody works; after some acknowledgements, the server is killed in the middle of it.
fn work_until_killed(site: &mut Site, desk: &Desk, random: &mut Random, mut session: Imap) {
    let (imap, lmtp) = (site.imap, site.lmtp);
    let wanted = 1 + random.below(60);
    let jitter = Duration::from_micros(random.below(3000) as u64);
    // Checking a password takes longer than all the work: everybody waits for the last login.
    let ready = &Barrier::new(CLERKS + CARRIERS + 2);
    let login = move || {
        let session = Imap::login(imap, USER, PASSWORD);
        ready.wait();
        session
    };
    std::thread::scope(|scope| {
        for clerk in 0..CLERKS {
            let mut random = Random::new(random.next());
            // An error is the crash; everything that was unanswered is pending in the ledger.
            scope.spawn(move || {
                let _ =
                    login().and_then(|mut imap| clerk_works(&mut imap, clerk, desk, &mut random));
            });
        }
        for _ in 0..CARRIERS {
            let mut random = Random::new(random.next());
            scope.spawn(move || {
                let lmtp = Smtp::connect(lmtp, Dialect::Lmtp);
                ready.wait();
                let _ = lmtp.and_then(|mut lmtp| carrier_works(&mut lmtp, desk, &mut random));
            });
        }
        scope.spawn(move || {
            let _ = login().and_then(|mut imap| witness_watches(&mut imap, desk));
        });
        let mut filing = Random::new(random.next());
        scope.spawn(move || {
            ready.wait();
            let _ = desk.cabinet.work(&mut session, &mut filing);
        });
        desk.await_count(wanted);
        std::thread::sleep(jitter);
        site.kill9();
    });
}

/// Delivers by LMTP, to one recipient or to two.
fn carrier_works(lmtp: &mut Smtp, desk: &Desk, random: &mut Random) -> io::Result<()> {
    loop {
        let users = if random.below(3) == 0 { &USERS[..] } else { &USERS[..1] };
        let (number, message) = desk.ledger().new_message();
        let changes = (0..users.len()).map(|user| added((user, 0), number, &[])).collect();
        let what = if users.len() == 1 { "delivery to one" } else { "delivery to two" };
        let operation = desk.begin(what, Whole::Together, changes);
        let replies = lmtp.deliver("ledger@example.com", users, &message)?;
        match replies.iter().find(|reply| reply.code != 250) {
            None => desk.acknowledge(operation, None),
            Some(refusal) => desk.ledger().refuse(operation, &refusal.text),
        }
    }
}

/// Notes what a session is shown of the first mailbox.
fn witness_watches(imap: &mut Imap, desk: &Desk) -> io::Result<()> {
    let mut next = imap.select("INBOX")?.uid_next;
    let items = format!("(UID BODY.PEEK[HEADER.FIELDS ({FIELD})])");
    loop {
        imap.ok("NOOP")?;
        for fetched in imap.fetch(&format!("{next}:*"), &items)? {
            let number = fetched.body.as_deref().and_then(message_number);
            if let Some(message) = number.filter(|_| fetched.uid >= next) {
                desk.ledger().witness(Key { place: (0, 0), message }, fetched.uid);
                next = fetched.uid + 1;
            }
        }
    }
}

/// Appends and changes messages of its own: those whose number leaves `clerk` as remainder.
fn clerk_works(imap: &mut Imap, clerk: usize, desk: &Desk, random: &mut Random) -> io::Result<()> {
    loop {
        let (mine, total) = own_messages(desk, clerk);
        let choice = if total > 2 * MESSAGES_MAX { 8 } else { random.below(12) };
        let (key, entry) = match mine.is_empty() {
            true => {
                append(imap, desk, random, clerk)?;
                continue;
            }
            false => random.pick(&mine).clone(),
        };
        match choice {
            0 => append(imap, desk, random, clerk)?,
            1 => append_three(imap, desk, random)?,
            2 | 3 => store(imap, desk, random, key, &entry)?,
            4 | 5 => relocate(imap, desk, random, key, &entry, "COPY")?,
            6 | 7 => relocate(imap, desk, random, key, &entry, "MOVE")?,
            8 => {
                let mut several = mine;
                several.retain(|(other, _)| other.place == key.place);
                several.truncate(1 + random.below(8));
                imap.select(WIRE_NAMES[key.place.1])?;
                expunge_all(imap, desk, &several)?;
            }
            _ => expunge(imap, desk, key, &entry)?,
        }
    }
}

/// The clerk's messages whose UID is known, and how many there are in all.
fn own_messages(desk: &Desk, clerk: usize) -> (Vec<(Key, Entry)>, usize) {
    let ledger = desk.ledger();
    let mine = ledger.entries.iter().filter(|(key, entry)| {
        key.place.0 == 0 && key.message as usize % CLERKS == clerk && entry.uid.is_some()
    });
    (mine.map(|(key, entry)| (*key, entry.clone())).collect(), ledger.entries.len())
}

fn added(place: Place, message: u64, flags: &[&str]) -> Change {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    Change { key: Key { place, message }, before: None, after: Some(Entry { uid: None, flags }) }
}

fn some_flags(random: &mut Random) -> Vec<&'static str> {
    FLAGS.iter().copied().filter(|_| random.below(3) == 0).collect()
}

fn append(imap: &mut Imap, desk: &Desk, random: &mut Random, clerk: usize) -> io::Result<()> {
    // A number of its own, so that it can work on: others' numbers are left unused.
    let (number, message) = loop {
        let (number, message) = desk.ledger().new_message();
        if number as usize % CLERKS == clerk {
            break (number, message);
        }
    };
    let (mailbox, flags) = (random.below(MAILBOXES.len()), some_flags(random));
    let changes = vec![added((0, mailbox), number, &flags)];
    let operation = desk.begin("append", Whole::Together, changes);
    let options = format!("({})", flags.join(" "));
    let reply = imap.append(WIRE_NAMES[mailbox], &options, &message)?;
    desk.answer(operation, &reply, reply.uids("APPENDUID", 1));
    Ok(())
}

fn append_three(imap: &mut Imap, desk: &Desk, random: &mut Random) -> io::Result<()> {
    let mailbox = random.below(MAILBOXES.len());
    let three: Vec<(u64, Vec<u8>)> = (0..3).map(|_| desk.ledger().new_message()).collect();
    let changes = three.iter().map(|(number, _)| added((0, mailbox), *number, &["\\Seen"]));
    let operation = desk.begin("append of three", Whole::Together, changes.collect());
    let messages: Vec<(&str, &[u8])> =
        three.iter().map(|(_, message)| ("(\\Seen)", message.as_slice())).collect();
    let reply = imap.append_several(WIRE_NAMES[mailbox], &messages)?;
    desk.answer(operation, &reply, reply.uids("APPENDUID", 1));
    Ok(())
}

fn store(
    imap: &mut Imap,
    desk: &Desk,
    random: &mut Random,
    key: Key,
    entry: &Entry,
) -> io::Result<()> {
    imap.select(WIRE_NAMES[key.place.1])?;
    let flags = some_flags(random);
    let named: BTreeSet<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
    let (verb, result) = match random.below(3) {
        0 => ("FLAGS", named),
        1 => ("+FLAGS", entry.flags.union(&named).cloned().collect()),
        _ => ("-FLAGS", entry.flags.difference(&named).cloned().collect()),
    };
    change_flags(imap, desk, (key, entry), verb, &flags, result)
}

fn change_flags(
    imap: &mut Imap,
    desk: &Desk,
    (key, entry): (Key, &Entry),
    verb: &str,
    flags: &[&str],
    result: BTreeSet<String>,
) -> io::Result<()> {
    let after = Some(Entry { uid: entry.uid, flags: result });
    let changes = vec![Change { key, before: Some(entry.clone()), after }];
    let operation = desk.begin("flags", Whole::Each, changes);
    let uid = entry.uid.expect("own messages have a UID");
    let reply = imap.command(&format!("UID STORE {uid} {verb} ({})", flags.join(" ")))?;
    desk.answer(operation, &reply, None);
    Ok(())
}

/// COPY or MOVE to a mailbox that does not hold the message yet.
fn relocate(
    imap: &mut Imap,
    desk: &Desk,
    random: &mut Random,
    key: Key,
    entry: &Entry,
    verb: &str,
) -> io::Result<()> {
    let target = random.below(MAILBOXES.len());
    let to = Key { place: (0, target), message: key.message };
    if desk.ledger().entries.contains_key(&to) {
        return Ok(());
    }
    imap.select(WIRE_NAMES[key.place.1])?;
    let after = Some(Entry { uid: None, flags: entry.flags.clone() });
    let mut changes = vec![Change { key: to, before: None, after }];
    let what = if verb == "MOVE" { "move" } else { "copy" };
    if verb == "MOVE" {
        changes.push(Change { key, before: Some(entry.clone()), after: None });
    }
    let operation = desk.begin(what, Whole::Together, changes);
    let uid = entry.uid.expect("own messages have a UID");
    let reply = imap.command(&format!("UID {verb} {uid} {}", quoted(WIRE_NAMES[target])))?;
    desk.answer(operation, &reply, reply.uids("COPYUID", 2));
    Ok(())
}

/// Expunges the older half where many have gathered: all of it is acknowledged before the next
/// round, and gone from then on.
fn tidy_up(site: &Site, desk: &Desk) {
    for (user, name) in USERS.iter().enumerate() {
        let mut of_user: BTreeMap<Place, Vec<(Key, Entry)>> = BTreeMap::new();
        for (key, entry) in desk.ledger().entries.iter().filter(|(key, _)| key.place.0 == user) {
            of_user.entry(key.place).or_default().push((*key, entry.clone()));
        }
        if of_user.values().map(Vec::len).sum::<usize>() <= MESSAGES_MAX {
            continue;
        }
        let mut imap = Imap::login(site.imap, name, PASSWORD).expect("the login works");
        for (place, mut messages) in of_user {
            messages.truncate(messages.len().div_ceil(2));
            imap.select(WIRE_NAMES[place.1]).unwrap();
            expunge_all(&mut imap, desk, &messages).unwrap();
        }
    }
}

/// Expunges messages of the selected mailbox with two commands.
fn expunge_all(imap: &mut Imap, desk: &Desk, messages: &[(Key, Entry)]) -> io::Result<()> {
    let mut marks = Vec::new();
    let mut removals = Vec::new();
    for (key, entry) in messages {
        let mut marked = entry.clone();
        marked.flags.insert("\\Deleted".to_owned());
        let (key, before) = (*key, Some(entry.clone()));
        marks.push(Change { key, before, after: Some(marked.clone()) });
        removals.push(Change { key, before: Some(marked), after: None });
    }
    let uids: Vec<String> =
        messages.iter().filter_map(|(_, entry)| Some(entry.uid?.to_string())).collect();
    let uids = uids.join(",");
    let operation = desk.begin("flags of several", Whole::Together, marks);
    let reply = imap.command(&format!("UID STORE {uids} +FLAGS.SILENT (\\Deleted)"))?;
    desk.answer(operation, &reply, None);
    let operation = desk.begin("expunge of several", Whole::Together, removals);
    let reply = imap.command(&format!("UID EXPUNGE {uids}"))?;
    desk.answer(operation, &reply, None);
    Ok(())
}

fn expunge(imap: &mut Imap, desk: &Desk, key: Key, entry: &Entry) -> io::Result<()> {
    imap.select(WIRE_NAMES[key.place.1])?;
    let mut marked = entry.clone();
    marked.flags.insert("\\Deleted".to_owned());
    change_flags(imap, desk, (key, entry), "+FLAGS", &["\\Deleted"], marked.flags.clone())?;
    let changes = vec![Change { key, before: Some(marked), after: None }];
    let operation = desk.begin("expunge", Whole::Together, changes);
    let uid = entry.uid.expect("own messages have a UID");
    let reply = imap.command(&format!("UID EXPUNGE {uid}"))?;
    desk.answer(operation, &reply, None);
    Ok(())
}

/// Reads everything back and asks the ledger; answers the first user's session.
fn check(site: &Site, desk: &Desk, kill: usize) -> Imap {
    let mut found = BTreeMap::new();
    let login = |name| Imap::login(site.imap, name, PASSWORD).expect("the login works");
    let mut first = login(USERS[0]);
    for (index, mailbox) in WIRE_NAMES.iter().enumerate() {
        found.insert((0, index), read_mailbox(&mut first, mailbox).expect("it is readable"));
    }
    found.insert((1, 0), read_mailbox(&mut login(USERS[1]), "INBOX").expect("it is readable"));
    let mut wrong = desk.ledger().check(found);
    wrong.extend(desk.cabinet.check(&mut first).expect("mailboxes can be listed"));
    assert!(wrong.is_empty(), "after kill {kill}:\n{}", wrong.join("\n"));
    first
}

fn read_mailbox(imap: &mut Imap, mailbox: &str) -> io::Result<Found> {
    let mut found = Found { selected: imap.select(mailbox)?, messages: Vec::new() };
    imap.fetch_each("1:*", "(UID FLAGS BODY.PEEK[])", |fetched| {
        let flags = fetched.flags.into_iter().filter(|flag| flag != "\\Recent").collect();
        let body = fetched.body.unwrap_or_default();
        found.messages.push(FoundMessage { uid: fetched.uid, flags, body });
    })?;
    Ok(found)
}
