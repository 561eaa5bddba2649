//! A run: clients, committer, checkpointer, faults and power cuts, all drawn from one seed.
//!
//! After every cut, several worlds that it may have left are opened and compared with the model:
//! what was acknowledged is there, what was not is there wholly or not at all and in order, and
//! `check` finds nothing. Then the run goes on in one of them. A violation panics; whoever started
//! the run prints its seed.
//!
//! # Invariants that are attacked
//! 1. Acknowledged is present, bit for bit, also after a cut during recovery itself.
//! 2. Not acknowledged is absent or present as a whole, and nothing later without all earlier.
//! 3. UIDNEXT, UIDVALIDITY and HIGHESTMODSEQ never fall, and no UID means another message.
//! 4. Counters, heads and references equal a recount.
//! 5. The log alone brings back all of state.
//! 6. Keys of accounts may change at any time, and no key goes that something needs.
//! 7. Damage is reported, and never read as something else than was written.
//! 8. A page of summaries says what the messages' own summaries say, and has none that is gone.
//! 9. The full-text index says of a message what its text says, or that it is to be asked.
//! 10. A volume stops for no other reason than a call that failed; a full disk stops nothing.

use std::collections::{HashMap, VecDeque};

use super::clients::{self, Pending, Told};
use super::faults;
use super::model::{Model, Operation, Outcome, SeenAccount, Sight};
use super::world::World;
use crate::commit::CheckpointStep;
use crate::disk::simulated::Dice;
use crate::ids::{Lsn, MailboxId, UidValidity};
use crate::reclaim::ReclaimStep;
use crate::store::Store;

/// What a run did.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) operations: u64,
    /// Worlds that were opened and compared after a cut, a kill or a fault.
    pub(super) crash_points: u64,
    pub(super) faults: u64,
    /// Changes that a full disk refused.
    pub(super) refusals: u64,
    /// Messages whose part died while they waited.
    pub(super) parts_gone: u64,
    /// Openings or readings that met a read that failed once.
    pub(super) failed_reads: u64,
    /// Worlds with flipped bits or misdirected writes, and those of them that did not open.
    pub(super) damages: u64,
    pub(super) unopened: u64,
    pub(super) misdirected: u64,
    pub(super) reclaimed_bytes: u64,
    pub(super) image_rounds: u64,
    /// Steps of the maker of summary pages, and pages that were read.
    pub(super) summary_pages: u64,
    pub(super) summary_pages_read: u64,
    /// Steps of the indexer, and messages of which the index decided something.
    pub(super) index_steps: u64,
    pub(super) index_decided: u64,
    /// Retired keys that re-wrapping destroyed, and those that something still named.
    pub(super) keys_destroyed: u64,
    pub(super) keys_kept: u64,
    /// Times that files of released segments lay ready to become the next ones.
    pub(super) spares: u64,
    /// Worlds of which state was made from base images, because records were dropped.
    pub(super) remnant_worlds: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.steps += other.steps;
        self.operations += other.operations;
        self.crash_points += other.crash_points;
        self.faults += other.faults;
        self.refusals += other.refusals;
        self.parts_gone += other.parts_gone;
        self.failed_reads += other.failed_reads;
        self.damages += other.damages;
        self.unopened += other.unopened;
        self.misdirected += other.misdirected;
        self.reclaimed_bytes += other.reclaimed_bytes;
        self.image_rounds += other.image_rounds;
        self.summary_pages += other.summary_pages;
        self.summary_pages_read += other.summary_pages_read;
        self.index_steps += other.index_steps;
        self.index_decided += other.index_decided;
        self.keys_destroyed += other.keys_destroyed;
        self.keys_kept += other.keys_kept;
        self.spares += other.spares;
        self.remnant_worlds += other.remnant_worlds;
    }
}

/// What must never fall.
#[derive(Clone, Copy)]
struct Watch {
    uid_validity: UidValidity,
    uid_next: u32,
    highest_modseq: Lsn,
}

enum Entry {
    Waiting(Pending),
    /// The client was told that the store takes no changes.
    Unknown(Operation),
}

pub(super) struct Run {
    seed: u64,
    pub(super) dice: Dice,
    pub(super) world: World,
    pub(super) store: Store,
    pub(super) model: Model,
    pending: VecDeque<Entry>,
    watches: HashMap<MailboxId, Watch>,
    next_text: u64,
    /// Something was made to fail, so the volume may stop.
    pub(super) may_stop: bool,
    /// The disk has no room, or had none when it was asked last.
    pub(super) is_full: bool,
    pub(super) tally: Tally,
}

impl Run {
    pub(super) fn new(seed: u64) -> Run {
        let world = World::new(seed);
        let (store, _) = world.open().unwrap();
        store.add_domain("example.org").unwrap();
        let mut run = Run {
            seed,
            dice: Dice::new(seed ^ 0x5EED),
            world,
            store,
            model: Model::default(),
            pending: VecDeque::new(),
            watches: HashMap::new(),
            next_text: 0,
            may_stop: false,
            is_full: false,
            tally: Tally::default(),
        };
        for account in ["anna@example.org", "bert@example.org"] {
            run.submit(Operation::AddAccount { account: account.into() });
        }
        run.collect();
        run
    }

    /// Takes those of the steps 1, 2, ... that are chosen. What a step draws depends on the seed
    /// and its number alone, so that a run from which steps are taken out is still much the same.
    /// The one behind the last, `steps + 1`, is damage of the disk.
    pub(super) fn go(mut self, steps: u64, chosen: &dyn Fn(u64) -> bool) -> Tally {
        for number in (1..=steps + 1).filter(|number| chosen(*number)) {
            self.dice = Dice::new(self.seed ^ number.wrapping_mul(0x9E6C_63D0_876A_9A35));
            self.next_text = number * 41;
            if number > steps {
                self.damage();
            } else {
                self.tally.steps += 1;
                self.step();
            }
        }
        self.tally
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..43 => {
                let drawn = clients::draw(&mut self.dice, &self.model, &mut self.next_text);
                if let Some(operation) = drawn {
                    self.submit(operation);
                }
            }
            43..68 => self.store.steps().commit(),
            68..80 => drop(self.store.steps().checkpoint()),
            80..83 => self.store.want_checkpoint(),
            83 => self.world.tables.flush_unasked(),
            84..87 if self.dice.below(4) == 0 => self.change_keys(),
            84..87 => {
                let steps = 1 + self.dice.below(8);
                self.reclaim(steps);
            }
            87 => self.make_images(),
            88..90 => self.verify(),
            90..92 => self.look_at_images(),
            92..95 => self.cut_soon(),
            95 => self.fail_a_read(),
            96..98 => self.fail_soon(),
            98 => self.change_room(),
            _ => self.restart(),
        }
        if self.dice.below(4) == 0 {
            self.tally.summary_pages += self.store.make_summary_pages(1 + self.dice.below(6));
        }
        // Drawn apart, so that a step draws the same with it and without it; every other seed has
        // no index.
        let mut dice = Dice::new(self.seed ^ self.tally.steps.wrapping_mul(0xD1B5_4A32_D192_ED03));
        if self.seed.is_multiple_of(2) && dice.below(3) == 0 {
            self.tally.index_steps += self.store.make_index(1 + dice.below(6));
        }
        self.collect();
        if self.world.disk.is_off() {
            self.go_on_after_cut();
        } else if let Some(why) = self.store.status().stopped {
            assert!(self.may_stop, "it stopped without a fault: {why}");
            self.go_on_after_fault();
        }
    }

    pub(super) fn submit(&mut self, operation: Operation) {
        if std::env::var_os("PILLARBOX_TRACE").is_some() {
            println!("{}: {operation:?}", self.tally.steps);
        }
        let pending = match clients::submit_together(&self.store, &operation) {
            Some(pending) => pending,
            None => clients::submit(&self.store, operation).into_iter().collect(),
        };
        self.tally.operations += u64::try_from(pending.len()).unwrap();
        self.pending.extend(pending.into_iter().map(Entry::Waiting));
    }

    /// Takes the answers that have come, in order, and compares each with the model's.
    pub(super) fn collect(&mut self) {
        let mut later = VecDeque::new();
        while let Some(entry) = self.pending.pop_front() {
            let Entry::Waiting(pending) = entry else {
                later.push_back(entry);
                continue;
            };
            match pending.answered() {
                Err(pending) => later.push_back(Entry::Waiting(*pending)),
                Ok((operation, Told::NotDone)) => {
                    assert!(self.is_full, "no room for {operation:?}");
                    self.tally.refusals += 1;
                    // A deletion of an account takes several steps, and may have come half-way.
                    if self.settled(&operation) == Some(true) {
                        self.model.apply(&operation);
                    }
                }
                // A part that it shares died while it waited; its sender comes back.
                Ok((_, Told::TryAgain)) => self.tally.parts_gone += 1,
                Ok((operation, Told::RefusedAtOnce)) => {
                    let expected = self.model.clone().apply(&operation);
                    assert_eq!(Outcome::Refused, expected, "{operation:?}");
                }
                Ok((operation, Told::Unknown)) => match self.settled(&operation) {
                    Some(true) => drop(self.model.apply(&operation)),
                    Some(false) => {}
                    None => later.push_back(Entry::Unknown(operation)),
                },
                Ok((operation, Told::Outcome(outcome))) => {
                    assert!(later.is_empty(), "{operation:?} was answered before an earlier one");
                    let expected = self.model.apply(&operation);
                    assert_eq!(outcome, expected, "{operation:?}");
                }
            }
        }
        self.pending = later;
        if self.pending.iter().all(|entry| matches!(entry, Entry::Waiting(_))) {
            self.learn_ids();
        }
    }

    /// Whether an account whose making or deletion failed half-way is there, while the store goes
    /// on.
    fn settled(&self, operation: &Operation) -> Option<bool> {
        if self.world.disk.is_off() || self.store.status().stopped.is_some() {
            return None;
        }
        let is_there = self.store.account(operation.account()).ok()?.is_some();
        match operation {
            Operation::AddAccount { .. } => Some(is_there),
            Operation::DeleteAccount { .. } => Some(!is_there),
            _ => None,
        }
    }

    /// The identities of mailboxes that were made since.
    fn learn_ids(&mut self) {
        for (name, account) in &mut self.model.accounts {
            let unknown = account.mailboxes.iter_mut().filter(|mailbox| mailbox.id.is_none());
            let Ok(Some(handle)) = self.store.account(name) else { continue };
            let Ok(listing) = handle.listing() else { continue };
            for mailbox in unknown {
                let found = listing.mailboxes.iter().find(|entry| entry.name == mailbox.name);
                mailbox.id = found.map(|entry| entry.id);
            }
        }
    }

    /// The store shows exactly what was acknowledged.
    pub(super) fn verify(&mut self) {
        self.collect();
        if self.world.disk.is_off() || self.store.status().stopped.is_some() {
            return;
        }
        let seen = clients::sight(&self.store).expect("an intact store is read");
        assert_same(&seen, &self.model.sight(), "while it runs");
        watch(&self.store, &mut self.watches);
        self.tally.index_decided +=
            super::index::compare(&self.store).expect("an intact store is read");
        while self.store.steps().checkpoint() == CheckpointStep::Again {}
        if self.store.status().stopped.is_none() {
            self.store.compare_space();
            let report = self.store.recount(&mut || true).expect("intact tables are read");
            let differences = report.map(|report| report.differences).unwrap_or_default();
            assert_eq!(differences, [] as [String; 0], "a recount");
        }
    }

    /// Opens worlds as a cut or a kill at this moment would leave them.
    fn look_at_images(&mut self) {
        let mut worlds = self.world.after_power_loss(3);
        worlds.push(self.world.after_kill());
        worlds.push(self.world.after_power_loss(3).swap_remove(2).without_tables());
        for world in worlds {
            self.survivor(&world);
        }
    }

    /// Opens a world after a stop, and finds out how much of what was not acknowledged is there.
    pub(super) fn survivor(&mut self, world: &World) -> (Store, Model) {
        self.tally.crash_points += 1;
        let (store, report) = world.open().unwrap_or_else(|error| panic!("opening: {error}"));
        assert_eq!(report.damage, [], "no cut does damage");
        self.tally.remnant_worlds += u64::from(report.log.remnants > 0);
        let seen = clients::sight(&store).expect("an intact store is read");
        let mut model = self.model.clone();
        let mut operations = self.pending.iter().map(|entry| match entry {
            Entry::Waiting(pending) => &pending.operation,
            Entry::Unknown(operation) => operation,
        });
        while model.sight() != seen {
            let Some(next) = operations.next() else {
                assert_same(&seen, &self.model.sight(), "after a stop, whatever is taken with it");
                unreachable!("they differ");
            };
            model.apply(next);
        }
        self.tally.index_decided += super::index::compare(&store).expect("an intact store is read");
        self.tally.summary_pages_read += store.opened().summary_page_count;
        let report = store.check(&mut |_| {}).expect("an intact store is checked");
        assert_eq!(report.problems, []);
        watch(&store, &mut self.watches.clone());
        (store, model)
    }

    /// A new generation of an account's key, or what older ones seal is taken over. Nobody sees
    /// either; what fails half-way is gone on with at another time.
    fn change_keys(&mut self) {
        if self.dice.below(2) == 0 {
            if let Ok(keys) = self.store.rewrap(None, &mut |_| {}) {
                self.verify_ended(&keys);
            }
            return;
        }
        let names: Vec<&String> = self.model.accounts.keys().collect();
        let some = usize::try_from(self.dice.below(64)).unwrap();
        let Some(name) = some.checked_rem(names.len()).map(|at| names[at]) else { return };
        if let Ok(Some(account)) = self.store.account(name) {
            drop(self.store.rotate_account_keys(&[account.number()]));
        }
    }

    /// Some steps of reclaim; a checkpoint, for which it waits, goes on between them.
    fn reclaim(&mut self, steps: u64) {
        for _ in 0..steps {
            self.tally.spares += u64::from(self.world.has_spare());
            match self.store.steps().reclaim() {
                Ok(ReclaimStep::Idle) => {
                    self.store.end_unnamed_keys();
                    return;
                }
                Ok(ReclaimStep::Copied(bytes)) => self.tally.reclaimed_bytes += bytes,
                Ok(ReclaimStep::Waiting) => {
                    self.store.steps().commit();
                    self.store.steps().checkpoint();
                }
                // The disk is off or fails: what was begun is given up.
                Err(_) => return,
            }
        }
    }

    /// Base images, perhaps not to their end; then segments without the records that they cover.
    fn make_images(&mut self) {
        let before = self.store.status().image_rounds;
        self.store.steps().want_images();
        let steps = self.dice.below(200);
        self.reclaim(steps);
        let status = self.store.status();
        self.tally.image_rounds += status.image_rounds - before;
        assert_eq!(status.images_refused, 0, "state is not what was changed");
    }

    fn cut_soon(&mut self) {
        let calls = 1 + self.dice.below(12);
        self.world.disk.cut_power_at_call(self.world.disk.calls() + calls);
    }

    fn go_on_after_cut(&mut self) {
        let mut worlds = self.world.after_power_loss(4);
        for world in &worlds {
            self.survivor(world);
        }
        let chosen = self.dice.below(4);
        let world = worlds.swap_remove(usize::try_from(chosen).unwrap());
        self.go_on_in(world);
    }

    /// The volume stopped: reads go on, and after a restart or a cut it is as it was.
    fn go_on_after_fault(&mut self) {
        let worlds = [self.world.after_kill(), self.world.after_power_loss(3).swap_remove(2)];
        let [kill, cut] = worlds;
        for world in [&kill, &cut] {
            self.survivor(world);
        }
        let world = if self.dice.below(2) == 0 { kill } else { cut };
        self.go_on_in(world);
    }

    fn restart(&mut self) {
        self.store.close();
        self.collect();
        if self.world.disk.is_off() || self.store.status().stopped.is_some() {
            return;
        }
        assert!(self.pending.is_empty(), "closing answers everybody");
        let world = self.world.after_kill();
        self.go_on_in(world);
    }

    /// Goes on in a world; the power may go once more while it is opened.
    fn go_on_in(&mut self, mut world: World) {
        while self.dice.below(4) == 0 {
            let again = world.after_kill();
            if self.dice.below(2) == 0 {
                again.disk.cut_power_at_call(1 + self.dice.below(10));
            } else {
                let fault = faults::draw(&mut self.dice, &again.disk);
                again.disk.inject(fault);
            }
            drop(again.open());
            let mut images = again.after_power_loss(3);
            for image in &images {
                self.survivor(image);
            }
            world = images.swap_remove(2);
        }
        let (store, model) = self.survivor(&world);
        watch(&store, &mut self.watches);
        self.store = store;
        self.world = world;
        self.model = model;
        (self.may_stop, self.is_full) = (false, false);
        self.pending.clear();
        for account in self.model.accounts.values_mut() {
            account.mailboxes.iter_mut().for_each(|mailbox| mailbox.id = None);
        }
        self.learn_ids();
    }
}

/// Notes what readers saw, and that it did not fall.
fn watch(store: &Store, watches: &mut HashMap<MailboxId, Watch>) {
    for entry in store.accounts().unwrap() {
        let account = store.account(&entry.name).unwrap().unwrap();
        for mailbox in &account.listing().unwrap().mailboxes {
            let view = account.mailbox_by_id(mailbox.id).unwrap().unwrap().view().unwrap().unwrap();
            let now = Watch {
                uid_validity: view.uid_validity(),
                uid_next: view.uid_next().map_or(u32::MAX, |uid| uid.0),
                highest_modseq: view.highest_modseq(),
            };
            if let Some(before) = watches.insert(mailbox.id, now) {
                assert_eq!(before.uid_validity, now.uid_validity, "UIDVALIDITY stays");
                assert!(before.uid_next <= now.uid_next, "UIDNEXT never falls");
                assert!(before.highest_modseq <= now.highest_modseq, "HIGHESTMODSEQ never falls");
            }
        }
    }
}

/// Panics with the first difference.
pub(super) fn assert_same(seen: &Sight, expected: &Sight, when: &str) {
    if seen == expected {
        return;
    }
    let names = |sight: &Sight| sight.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(seen), names(expected), "accounts {when}");
    for ((account, found), wanted) in seen.iter().zip(expected.values()) {
        assert_eq!(found.subscribed, wanted.subscribed, "subscriptions of {account} {when}");
        assert_eq!(found.quota, wanted.quota, "quota of {account} {when}");
        assert_eq!(found.keep, wanted.keep, "retention of {account} {when}");
        assert_eq!(found.kept, wanted.kept, "what is kept of {account} {when}");
        let names = |of: &SeenAccount| of.mailboxes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(found), names(wanted), "mailboxes of {account} {when}");
        for (name, shown) in &found.mailboxes {
            assert_eq!(Some(shown), wanted.mailboxes.get(name), "{account} {name} {when}");
        }
    }
}
