//! A node of a pair: a store, and the world that it stands on.
//!
//! It opens as often as it must when the power goes meanwhile, and becomes a full copy of another
//! one, hand to hand.

use super::faults;
use super::ledger::ANNA;
use super::world::World;
use crate::disk::simulated::{Dice, Fault};
use crate::full_copy::Ask;
use crate::ids::Lsn;
use crate::pair::Acknowledgement;
use crate::seal::Secret;
use crate::store::{NewAccount, Store, common_position};

pub(super) struct Node {
    pub(super) world: World,
    pub(super) store: Store,
    mode: Acknowledgement,
    /// Calls of its disk fail that should not: anything may be refused.
    is_ill: bool,
}

impl Node {
    /// Two of them: the first is primary and has an account, the second one has nothing yet.
    pub(super) fn two(seed: u64, mode: Acknowledgement) -> [Node; 2] {
        let world = World::new(seed).with_reserve(0);
        let (store, _) = world.open().unwrap();
        let other = world.second_of(&store);
        let (follower, _) = other.open().unwrap();
        store.add_domain("example.org").unwrap();
        let (name, password) = (ANNA.to_owned(), Secret::new("x".into()));
        store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        store.begin_pair(mode);
        follower.begin_pair(mode);
        let node = |world, store| Node { world, store, mode, is_ill: false };
        [node(world, store), node(other, follower)]
    }

    /// Opens it, again and again if the power goes meanwhile; answers how often that was.
    pub(super) fn opened(mut world: World, mode: Acknowledgement) -> (Node, u64) {
        let mut cuts = 0;
        loop {
            match world.open() {
                Ok((store, report)) => {
                    assert_eq!(report.damage, []);
                    store.begin_pair(mode);
                    return (Node { world, store, mode, is_ill: false }, cuts);
                }
                Err(error) => {
                    assert!(world.disk.is_off(), "it does not open: {error}");
                    cuts += 1;
                    world = world.after_power_loss(1).into_iter().next().unwrap();
                }
            }
        }
    }

    /// The power goes, and comes back; answers how often it went.
    pub(super) fn cut(&mut self) -> u64 {
        let world = self.world.after_power_loss(1).into_iter().next().unwrap();
        let cuts;
        (*self, cuts) = Node::opened(world, self.mode);
        1 + cuts
    }

    /// It is closed and opened again, or the power goes instead; with `CutAgain::Maybe` also while
    /// it opens. Answers how often it went then.
    pub(super) fn reopen(&mut self, dice: &mut Dice, again: CutAgain) -> u64 {
        let world = match dice.below(2) {
            0 => self.world.after_kill(),
            _ => self.world.after_power_loss(1).into_iter().next().unwrap(),
        };
        if again == CutAgain::Maybe && dice.below(2) == 0 {
            world.disk.cut_power_at_call(1 + dice.below(60));
        }
        let cuts;
        (*self, cuts) = Node::opened(world, self.mode);
        cuts
    }

    pub(super) fn cut_soon(&self, dice: &mut Dice, within: u64) {
        let disk = &self.world.disk;
        disk.cut_power_at_call(disk.calls() + 1 + dice.below(within));
    }

    /// A call of its disk fails soon, or there is no room.
    pub(super) fn fail_soon(&mut self, dice: &mut Dice) {
        self.is_ill = true;
        let disk = &self.world.disk;
        match dice.below(8) {
            0 => self.world.tables.fail_next_flush(),
            1 => disk.set_hidden_capacity_bytes(disk.used_bytes() + dice.below(20_000)),
            2 => disk.set_capacity_bytes(disk.used_bytes() + dice.below(20_000)),
            _ => match faults::draw(dice, disk) {
                // Who reads would have to know what to expect.
                Fault::Read(_) => disk.inject(Fault::Flush(disk.flushes() + 1)),
                fault => disk.inject(fault),
            },
        }
    }

    /// Whether its disk may have failed.
    pub(super) fn is_ill(&self) -> bool {
        self.is_ill || self.is_off()
    }

    pub(super) fn is_off(&self) -> bool {
        self.world.disk.is_off()
    }
}

/// Whether the power may go while a node opens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CutAgain {
    Maybe,
    Never,
}

/// One node asks the other for a full copy of it, piece by piece, and is to be opened again when
/// all is there; answers as of when that is.
pub(super) fn copy(from: &Store, to: &Store, meanwhile: &mut dyn FnMut()) -> Result<Lsn, String> {
    let [own, other] = [from, to].map(Store::standing);
    let (own, other) = ((&*own.history, own.position.lsn), (&*other.history, other.position.lsn));
    let has = common_position(own, other).unwrap_or(Lsn::ZERO);
    let to_copy = from.lend_copy(has).map_err(|error| error.to_string())?;
    let keys = from.key_table().1;
    to.take_key_table(&keys).map_err(|error| error.to_string())?;
    let mut arrival = to.begin_arrival(&to_copy).map_err(|error| error.to_string())?;
    while let Some(ask) = arrival.next_ask().map_err(|error| error.to_string())? {
        let taken = match ask {
            Ask::Piece { file, offset, length } => {
                let piece = from.lent_piece(file, offset, length);
                let piece = piece.map_err(|error| error.to_string())?;
                arrival.take_piece(file, offset, &piece)
            }
            Ask::Check { file, length, hash } => {
                let is_same = from.lent_begins_with(file, length, hash);
                arrival.take_checked(file, is_same.map_err(|error| error.to_string())?)
            }
        };
        taken.map_err(|error| error.to_string())?;
        meanwhile();
    }
    assert!(arrival.is_complete());
    to.become_copy(&arrival).map_err(|error| error.to_string())?;
    Ok(arrival.at())
}
