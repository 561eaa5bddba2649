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

use std::collections::{HashMap, VecDeque};

use super::clients::{self, Pending, Told};
use super::model::{Model, Operation, Outcome, SeenAccount, Sight};
use super::world::World;
use crate::commit::CheckpointStep;
use crate::disk::simulated::{Dice, Fault};
use crate::ids::{Lsn, MailboxId, UidValidity};
use crate::reclaim::ReclaimStep;
use crate::sabotage::{self, Sabotage};
use crate::store::Store;

/// What a run did.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    pub(super) steps: u64,
    pub(super) operations: u64,
    /// Worlds that were opened and compared after a cut, a kill or a fault.
    pub(super) crash_points: u64,
    pub(super) faults: u64,
    pub(super) damages: u64,
    pub(super) reclaimed_bytes: u64,
    pub(super) image_rounds: u64,
    /// Worlds of which state was made from base images, because records were dropped.
    pub(super) remnant_worlds: u64,
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
    dice: Dice,
    world: World,
    store: Store,
    model: Model,
    pending: VecDeque<Entry>,
    watches: HashMap<MailboxId, Watch>,
    next_text: u64,
    tally: Tally,
}

impl Run {
    pub(super) fn new(seed: u64) -> Run {
        let world = World::new(seed);
        let (store, _) = world.open().unwrap();
        store.add_domain("example.org").unwrap();
        let mut run = Run {
            dice: Dice::new(seed ^ 0x5EED),
            world,
            store,
            model: Model::default(),
            pending: VecDeque::new(),
            watches: HashMap::new(),
            next_text: 0,
            tally: Tally::default(),
        };
        for account in ["anna@example.org", "bert@example.org"] {
            run.submit(Operation::AddAccount { account: account.into() });
        }
        run.collect();
        run
    }

    /// Takes that many steps, and ends with damage of the log.
    pub(super) fn go(mut self, steps: u64) -> Tally {
        for _ in 0..steps {
            self.tally.steps += 1;
            self.step();
        }
        self.damage();
        self.tally
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..45 => {
                let drawn = clients::draw(&mut self.dice, &self.model, &mut self.next_text);
                if let Some(operation) = drawn {
                    self.submit(operation);
                }
            }
            45..70 => self.store.steps().commit(),
            70..82 => drop(self.store.steps().checkpoint()),
            82..85 => self.store.want_checkpoint(),
            85 => self.world.tables.flush_unasked(),
            86..89 if self.dice.below(4) == 0 => self.change_keys(),
            86..89 => {
                let steps = 1 + self.dice.below(8);
                self.reclaim(steps);
            }
            89 => self.make_images(),
            90 => self.verify(),
            91..94 => self.look_at_images(),
            94..97 => self.cut_soon(),
            97..99 => self.fail_soon(),
            _ => self.restart(),
        }
        self.collect();
        if self.world.disk.is_off() {
            self.go_on_after_cut();
        } else if self.store.status().stopped.is_some() {
            self.go_on_after_fault();
        }
    }

    fn submit(&mut self, operation: Operation) {
        if std::env::var_os("PILLARBOX_TRACE").is_some() {
            println!("{}: {operation:?}", self.tally.steps);
        }
        if let Some(pending) = clients::submit(&self.store, operation) {
            self.tally.operations += 1;
            self.pending.push_back(Entry::Waiting(pending));
        }
    }

    /// Takes the answers that have come, in order, and compares each with the model's.
    fn collect(&mut self) {
        let mut later = VecDeque::new();
        while let Some(entry) = self.pending.pop_front() {
            let Entry::Waiting(pending) = entry else {
                later.push_back(entry);
                continue;
            };
            match pending.answered() {
                Err(pending) => later.push_back(Entry::Waiting(*pending)),
                Ok((_, Told::NotDone)) => {}
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
    fn verify(&mut self) {
        self.collect();
        if self.world.disk.is_off() || self.store.status().stopped.is_some() {
            return;
        }
        let seen = clients::sight(&self.store).expect("an intact store is read");
        assert_same(&seen, &self.model.sight(), "while it runs");
        watch(&self.store, &mut self.watches);
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
    fn survivor(&mut self, world: &World) -> (Store, Model) {
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
        let report = store.check(&mut |_| {}).expect("an intact store is checked");
        assert_eq!(report.problems, []);
        watch(&store, &mut self.watches.clone());
        (store, model)
    }

    /// A new generation of an account's key, or what older ones seal is taken over. Nobody sees
    /// either; what fails half-way is gone on with at another time.
    fn change_keys(&mut self) {
        if self.dice.below(2) == 0 {
            drop(self.store.rewrap(None, &mut |_| {}));
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
            match self.store.steps().reclaim() {
                Ok(ReclaimStep::Idle) => return,
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
        self.tally.image_rounds += self.store.status().image_rounds - before;
    }

    fn cut_soon(&mut self) {
        let calls = 1 + self.dice.below(12);
        self.world.disk.cut_power_at_call(self.world.disk.calls() + calls);
    }

    fn fail_soon(&mut self) {
        self.tally.faults += 1;
        let disk = &self.world.disk;
        let ahead = 1 + self.dice.below(3);
        match self.dice.below(5) {
            0 => disk.inject(Fault::Write(disk.writes() + ahead)),
            1 => disk.inject(Fault::ShortWrite(disk.writes() + ahead)),
            2 => disk.inject(Fault::Flush(disk.flushes() + ahead)),
            3 => {
                let more = self.dice.below(60_000);
                disk.set_capacity_bytes(disk.used_bytes() + more);
            }
            _ => self.world.tables.fail_next_flush(),
        }
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
            again.disk.cut_power_at_call(1 + self.dice.below(10));
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
        self.pending.clear();
        for account in self.model.accounts.values_mut() {
            account.mailboxes.iter_mut().for_each(|mailbox| mailbox.id = None);
        }
        self.learn_ids();
    }

    /// Bits flip in the log: what is read is what was written, and what is missing is reported.
    fn damage(&mut self) {
        for _ in 0..4 {
            let world = self.world.after_kill();
            let (whole, expected) = self.survivor(&world);
            whole.close();
            drop(whole);
            let world = world.after_kill();
            let segments = world.segments();
            for _ in 0..1 + self.dice.below(3) {
                let chosen = self.dice.below(u64::try_from(segments.len()).unwrap());
                let path = &segments[usize::try_from(chosen).unwrap()];
                let at = self.dice.below(world.disk.length(path).max(1));
                world.disk.flip_bit(path, at, 3);
            }
            self.tally.damages += 1;
            let Ok((store, report)) = world.open() else { continue };
            let cold = world.segments().len().saturating_sub(1);
            let names: Vec<_> = world.segments().into_iter().take(cold).collect();
            let is_cold = |about: &str| {
                let name = about.split([' ', ',']).nth(1).unwrap_or_default();
                names.iter().any(|path| path.ends_with(name))
            };
            if let Ok(found) = store.check(&mut |_| {}) {
                let of_cold = found.problems.iter().filter(|problem| {
                    problem.about.starts_with("segment ") && is_cold(&problem.about)
                });
                // Copies of headers it heals.
                let of_cold = of_cold.filter(|problem| !problem.what.starts_with("copy")).count();
                let scrubbed = store.scrub_once(world.clock());
                assert!(of_cold == 0 || scrubbed > 0, "a scrub finds it: {:?}", found.problems);
            }
            let reported = store.check(&mut |_| {}).is_ok_and(|report| report.problem_count > 0)
                || !report.damage.is_empty();
            let is_whole = clients::sight(&store).is_ok_and(|seen| seen == expected.sight());
            assert!(is_whole || reported, "what is missing is reported");
        }
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
fn assert_same(seen: &Sight, expected: &Sight, when: &str) {
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

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |given| given.parse().expect("a number"))
}

/// Runs seeds from `first` on; answers the sum of what they did, or the first that found a
/// violation.
fn run_seeds(first: u64, count: u64, steps: u64) -> Result<Tally, u64> {
    let mut total = Tally::default();
    for seed in first..first + count {
        let run = std::panic::catch_unwind(|| Run::new(seed).go(steps));
        let tally = run.map_err(|_| seed)?;
        total.steps += tally.steps;
        total.operations += tally.operations;
        total.crash_points += tally.crash_points;
        total.faults += tally.faults;
        total.damages += tally.damages;
        total.reclaimed_bytes += tally.reclaimed_bytes;
        total.image_rounds += tally.image_rounds;
        total.remnant_worlds += tally.remnant_worlds;
    }
    Ok(total)
}

/// `make simulate` chooses other seeds than the ordinary ones, and may break a promise.
#[test]
fn random_runs_keep_every_promise() {
    let first = number("PILLARBOX_SEED", 1);
    let count = number("PILLARBOX_SEEDS", 80);
    let steps = number("PILLARBOX_STEPS", 250);
    let broken = std::env::var("PILLARBOX_BREAK").unwrap_or_default();
    let broken = Sabotage::ALL.into_iter().find(|(_, name)| *name == broken);
    sabotage::set(broken.map(|(which, _)| which));
    match run_seeds(first, count, steps) {
        Ok(total) => println!("{count} seeds: {total:?}"),
        Err(seed) => panic!(
            "seed {seed} found a violation; replay it with: make simulate SEED={seed} SEEDS=1 \
             STEPS={steps}{}",
            broken.map(|(_, name)| format!(" BREAK={name}")).unwrap_or_default()
        ),
    }
}

#[test]
fn every_broken_promise_is_noticed() {
    // What is broken on purpose need not be told step by step.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    for (which, name) in Sabotage::ALL {
        sabotage::set(Some(which));
        match run_seeds(1, 60, 250) {
            Ok(_) => unnoticed.push(name),
            Err(seed) => println!("{name}: noticed with seed {seed}"),
        }
    }
    sabotage::set(None);
    drop(std::panic::take_hook());
    assert!(unnoticed.is_empty(), "breaking these was not noticed: {unnoticed:?}");
}
