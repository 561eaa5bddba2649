//! Two nodes of a pair, each in a world of its own, and a wire between them that loses what is on
//! it: power cuts of either at any call of its disk, and in the end a promotion.
//!
//! # What is checked
//! 1. After every crash and every reconnection the follower holds exactly what the primary held at
//!    the follower's position, and never less than what it has noted.
//! 2. A primary that comes back has everything that its follower has.
//! 3. In `durable` mode whatever was acknowledged is on the follower when it is promoted, and what
//!    it then shows was submitted.
//! 4. `check` finds nothing wrong with either.
//! 5. At the end the tables of both hold the same, part by part (`compare/`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::world::World;
use crate::disk::simulated::Dice;
use crate::error::CommitError;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{Lsn, Uid, UnixSeconds};
use crate::pair::{Acknowledgement, Away, Position, Shipment, Shipper};
use crate::seal::Secret;
use crate::store::{Appended, Mailbox, NewAccount, NewMessage, Store};
use crate::ticket::Ticket;
use crate::uid_set::UidSet;

const ANNA: &str = "anna@example.org";

/// UID, flags, and the text of each message of INBOX.
type Inbox = Vec<(u32, u8, Vec<u8>)>;

struct Node {
    world: World,
    store: Store,
}

/// What goes from the primary to its follower.
enum Sent {
    Keys(Vec<u8>),
    Groups(Vec<u8>),
}

struct Run {
    dice: Dice,
    first: Node,
    second: Node,
    mode: Acknowledgement,
    shipper: Option<Shipper>,
    keys_sent: u64,
    wire: VecDeque<Sent>,
    notes: VecDeque<Lsn>,
    noted: Lsn,
    /// What the primary showed, by its position then.
    held: BTreeMap<Lsn, Inbox>,
    waiting: Vec<(u64, Ticket<Result<Appended, CommitError>>)>,
    acknowledged: BTreeSet<u64>,
    submitted: u64,
    crashes: u64,
}

fn text(number: u64, large: bool) -> Vec<u8> {
    numbered(number, if large { 20_000 } else { 300 })
}

/// A message that says its number and is of about that length; nothing in it can be compressed
/// much.
pub(super) fn numbered(number: u64, byte_count: usize) -> Vec<u8> {
    let mut bytes = format!("Subject: {number}\r\n\r\n").into_bytes();
    let mut noise = vec![0; byte_count];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
    bytes.extend(noise.iter().map(|byte| b' ' + byte % 90));
    bytes
}

fn inbox(store: &Store) -> Mailbox {
    store.account(ANNA).unwrap().unwrap().mailbox("INBOX").unwrap().unwrap()
}

fn shown(store: &Store) -> Inbox {
    let Some(account) = store.account(ANNA).unwrap() else { return Inbox::new() };
    let Some(mailbox) = account.mailbox("INBOX").unwrap() else { return Inbox::new() };
    let rows = mailbox.view().unwrap().unwrap().rows_from(Uid(1), usize::MAX).unwrap();
    let read = |row| account.message(row).unwrap().read_all().unwrap();
    rows.iter().map(|row| (row.uid.0, row.flags.0, read(row))).collect()
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut dice = Dice::new(seed ^ 0x9a1f);
        let world = World::new(seed).with_reserve(0);
        let (store, _) = world.open().unwrap();
        let other = world.second_of(&store);
        let (follower, _) = other.open().unwrap();
        store.add_domain("example.org").unwrap();
        let (name, password) = (ANNA.to_owned(), Secret::new("x".into()));
        store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        let mode = match dice.below(2) {
            0 => Acknowledgement::Local,
            _ => Acknowledgement::Durable(Away::Refuse),
        };
        let mut run = Run {
            dice,
            first: Node { world, store },
            second: Node { world: other, store: follower },
            mode,
            shipper: None,
            keys_sent: 0,
            wire: VecDeque::new(),
            notes: VecDeque::new(),
            noted: Lsn::ZERO,
            held: BTreeMap::new(),
            waiting: Vec::new(),
            acknowledged: BTreeSet::new(),
            submitted: 0,
            crashes: 0,
        };
        run.first.store.begin_pair(mode);
        run.note_held();
        run.connect();
        run
    }

    fn is_local(&self) -> bool {
        self.mode == Acknowledgement::Local
    }

    fn note_held(&mut self) {
        self.held.insert(self.first.store.position().lsn, shown(&self.first.store));
    }

    /// Whatever was on the wire is lost; the follower says where it stands.
    fn connect(&mut self) {
        self.wire.clear();
        self.notes.clear();
        let at = self.second.store.position();
        self.shipper = Some(self.first.store.ship_behind(at));
        self.keys_sent = 0;
        self.notes.push_back(at.lsn);
        self.first.store.set_follower_there(true);
    }

    fn disconnect(&mut self) {
        self.shipper = None;
        self.wire.clear();
        self.notes.clear();
        self.first.store.set_follower_there(false);
    }

    fn ship(&mut self) {
        let Some(shipper) = &mut self.shipper else { return };
        match shipper.next(2_000, Duration::ZERO).unwrap() {
            Shipment::Groups { bytes, keys, .. } => {
                if keys.0 > self.keys_sent {
                    let (version, table) = self.first.store.key_table();
                    self.keys_sent = version.0;
                    self.wire.push_back(Sent::Keys(table));
                }
                self.wire.push_back(Sent::Groups(bytes));
            }
            Shipment::Nothing => {}
            other => panic!("the follower is at {:?}: {other:?}", shipper.position()),
        }
    }

    /// The follower takes what comes first; answers whether its disk let it.
    fn take(&mut self) -> bool {
        let store = &self.second.store;
        let taken: Result<Option<Position>, String> = match self.wire.pop_front() {
            None => Ok(None),
            Some(Sent::Keys(table)) => match store.take_key_table(&table) {
                Ok(_) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
            Some(Sent::Groups(bytes)) => {
                store.take_groups(&bytes).map(Some).map_err(|error| error.to_string())
            }
        };
        match taken {
            Ok(end) => {
                self.notes.extend(end.map(|end| end.lsn));
                true
            }
            Err(why) => {
                assert!(self.second.world.disk.is_off(), "it refuses: {why}");
                false
            }
        }
    }

    fn note(&mut self) {
        if let Some(lsn) = self.notes.pop_front() {
            self.noted = self.noted.max(lsn);
            self.first.store.note_follower(lsn);
        }
    }

    fn gather(&mut self) {
        for (number, ticket) in std::mem::take(&mut self.waiting) {
            match ticket.now() {
                Ok(Ok(_)) => drop(self.acknowledged.insert(number)),
                Ok(Err(_)) => {}
                Err(ticket) => self.waiting.push((number, ticket)),
            }
        }
    }

    /// Something that a client wants; answers whether the primary's disk let it.
    fn ask(&mut self) -> bool {
        let store = self.first.store.clone();
        let account = store.account(ANNA).unwrap().unwrap();
        let is_append = !self.is_local() || self.dice.below(3) > 0;
        if is_append {
            let large = self.is_local() && self.dice.below(5) == 0;
            self.submitted += 1;
            let number = self.submitted;
            let prepared = store.prepare(&text(number, large), &[account.number()]);
            let Ok(prepared) = prepared else { return false };
            let (flags, received) = (FlagList::default(), UnixSeconds(7));
            let ticket = inbox(&store).append(vec![NewMessage { prepared, flags, received }]);
            if !self.is_local() {
                self.waiting.push((number, ticket));
                return true;
            }
            if ticket.wait().is_err() {
                return false;
            }
            self.acknowledged.insert(number);
        } else {
            let last = shown(&store).last().map_or(1, |(uid, ..)| *uid);
            let any =
                |dice: &mut Dice| Uid(u32::try_from(dice.below(u64::from(last))).unwrap() + 1);
            let uids: UidSet = [any(&mut self.dice), any(&mut self.dice)].into_iter().collect();
            let flags = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
            let stored = inbox(&store).store_flags(&uids, FlagChange::Add, &flags, None).wait();
            if stored.is_err() {
                return false;
            }
            self.note_held();
            if self.dice.below(2) == 0 && inbox(&store).expunge(&uids).wait().is_err() {
                return false;
            }
        }
        self.note_held();
        true
    }

    /// The follower shows what the primary showed at that position.
    fn compare(&self) {
        let at = self.second.store.position().lsn;
        assert!(at >= self.noted, "noted {}, and now it is at {at}", self.noted);
        if self.is_local() {
            let held = self.held.range(..=at).next_back().map(|(_, held)| held.as_slice());
            assert!(shown(&self.second.store) == held.unwrap_or_default(), "they differ at {at}");
        }
        assert_eq!(self.second.store.check(&mut |_| {}).unwrap().problems, []);
    }

    fn crash_second(&mut self) {
        self.crashes += 1;
        self.disconnect();
        let worlds = self.second.world.after_power_loss(1);
        let world = worlds.into_iter().next().unwrap();
        let (store, report) = world.open().unwrap();
        assert_eq!(report.damage, []);
        self.second = Node { world, store };
        assert!(self.second.store.standing().follows);
        self.compare();
        self.connect();
    }

    fn crash_first(&mut self) {
        self.crashes += 1;
        self.disconnect();
        self.gather();
        self.waiting.clear();
        let worlds = self.first.world.after_power_loss(1);
        let world = worlds.into_iter().next().unwrap();
        let (store, report) = world.open().unwrap();
        assert_eq!(report.damage, []);
        self.first = Node { world, store };
        self.first.store.begin_pair(self.mode);
        // What was written and not answered may be there, or not.
        let (at, now) = (self.first.store.position().lsn, shown(&self.first.store));
        self.held.retain(|lsn, _| *lsn < at);
        self.held.insert(at, now);
        self.connect();
    }

    fn step(&mut self) {
        let first_goes = self.first.world.disk.is_off();
        if first_goes || self.second.world.disk.is_off() {
            if first_goes {
                self.crash_first()
            } else {
                self.crash_second()
            }
            return;
        }
        match self.dice.below(20) {
            0..=4 => {
                self.ask();
            }
            5..=7 => self.first.store.steps().commit(),
            8..=10 => self.ship(),
            11..=13 => {
                self.take();
            }
            14..=15 => self.note(),
            16 => match self.dice.below(4) {
                0 => self.connect(),
                1 => self.crash_first(),
                2 => self.crash_second(),
                _ => self.compare(),
            },
            17 => {
                let node = if self.dice.below(2) == 0 { &self.first } else { &self.second };
                node.world
                    .disk
                    .cut_power_at_call(node.world.disk.calls() + 1 + self.dice.below(12));
            }
            18 => {
                drop(self.first.store.steps().reclaim());
                drop(self.second.store.steps().reclaim());
            }
            _ => {
                self.first.store.steps().checkpoint();
                self.second.store.want_checkpoint();
                self.take();
                self.second.store.steps().checkpoint();
            }
        }
        self.gather();
    }

    /// Both nodes have the same in their tables, if both are there; answers whether they are.
    fn compare_parts(&mut self) -> bool {
        if self.first.world.disk.is_off() || self.second.world.disk.is_off() {
            return false;
        }
        self.first.world.disk.cut_power_at_call(u64::MAX);
        self.second.world.disk.cut_power_at_call(u64::MAX);
        self.disconnect();
        self.connect();
        let stores = [self.first.store.clone(), self.second.store.clone()];
        for _ in 0..200 {
            self.first.store.steps().commit();
            self.ship();
            assert!(self.take());
            self.note();
            self.gather();
        }
        let are_written = stores.iter().all(|store| store.checkpoint());
        let [first, second] = stores;
        if !are_written || first.state_position() != second.state_position() {
            return false;
        }
        assert_eq!(first.parts_now(), second.parts_now());
        true
    }

    /// The first node is gone for good.
    fn promote(mut self) -> u64 {
        if self.second.world.disk.is_off() {
            self.crash_second();
        }
        self.second.world.disk.cut_power_at_call(u64::MAX);
        self.gather();
        self.compare();
        let Run { second: Node { store, .. }, acknowledged, submitted, crashes, mode, .. } = self;
        let before = shown(&store);
        store.promote(2).unwrap();
        assert!(shown(&store) == before);
        let number = |(_, _, bytes): &(u32, u8, Vec<u8>)| {
            (1..=submitted).find(|&n| *bytes == text(n, false) || *bytes == text(n, true))
        };
        let there: BTreeSet<u64> =
            before.iter().map(|message| number(message).expect("it was submitted")).collect();
        if mode != Acknowledgement::Local {
            assert!(there.is_superset(&acknowledged), "{acknowledged:?} of {there:?}");
            assert_eq!(there.len(), before.len(), "nothing is there twice");
        }
        // Cut off before it had even that.
        let Some(account) = store.account(ANNA).unwrap() else { return crashes };
        let prepared = store.prepare(&text(submitted + 1, true), &[account.number()]).unwrap();
        let (flags, received) = (FlagList::default(), UnixSeconds(7));
        inbox(&store).append(vec![NewMessage { prepared, flags, received }]).wait().unwrap();
        assert_eq!(shown(&store).len(), before.len() + 1);
        assert!(shown(&store).last().unwrap().0 > 65_536);
        assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
        crashes
    }
}

fn run_seeds(first: u64) {
    let count = std::env::var("PILLARBOX_SEEDS").ok().and_then(|count| count.parse().ok());
    let (mut crashes, mut compared) = (0, 0);
    for seed in first..first + count.unwrap_or(1000) {
        let run = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..200 {
                run.step();
            }
            let compared = run.compare_parts();
            (run.promote(), u64::from(compared))
        });
        let (crashed, same) = run.unwrap_or_else(|_| panic!("seed {seed}"));
        (crashes, compared) = (crashes + crashed, compared + same);
    }
    assert!(count.is_some() || crashes > 1000, "{crashes}");
    assert!(count.is_some() || compared > 300, "{compared}");
}

#[test]
fn b7_two_nodes_never_disagree_and_a_promoted_follower_has_what_was_promised() {
    run_seeds(0);
}

// The same, for as many processors as there are.
#[test]
fn b7_two_nodes_never_disagree_in_a_second_thousand_of_runs() {
    run_seeds(1_000_000);
}
