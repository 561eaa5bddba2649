//! What a disk does to a running store without losing power: calls that fail, and no room.

use super::clients;
use super::run::{Run, assert_same};
use crate::disk::simulated::{Dice, Fault, SimulatedDisk};
use crate::error::{OpenError, ReadError};

/// A call soon to come that is to fail.
pub(super) fn draw(dice: &mut Dice, disk: &SimulatedDisk) -> Fault {
    let ahead = 1 + dice.below(4);
    let [removes, renames, syncs, reads] = disk.other_calls();
    match dice.below(7) {
        0 => Fault::Write(disk.writes() + ahead),
        1 => Fault::ShortWrite(disk.writes() + ahead),
        2 => Fault::Flush(disk.flushes() + ahead),
        3 => Fault::Remove(removes + 1),
        4 => Fault::Rename(renames + 1),
        5 => Fault::SyncDir(syncs + ahead),
        _ => Fault::Read(reads + 4 * ahead),
    }
}

impl Run {
    pub(super) fn fail_soon(&mut self) {
        self.tally.faults += 1;
        self.may_stop = true;
        let disk = &self.world.disk;
        match self.dice.below(8) {
            0 => self.world.tables.fail_next_flush(),
            1 => {
                // Nobody could know: another process took the space.
                let more = self.dice.below(60_000);
                disk.set_hidden_capacity_bytes(disk.used_bytes() + more);
            }
            _ => match draw(&mut self.dice, disk) {
                // Reads have a step of their own, which knows what to expect.
                Fault::Read(_) => disk.inject(Fault::Flush(disk.flushes() + 1)),
                fault => disk.inject(fault),
            },
        }
    }

    /// The disk fills up, or has room again.
    pub(super) fn change_room(&mut self) {
        let disk = &self.world.disk;
        if self.is_full {
            disk.set_capacity_bytes(u64::MAX);
            // What was refused while it was full may still be on its way to whoever asked.
            self.collect();
            self.is_full = false;
            return;
        }
        let reserve = self.world.bounds.reserve_bytes;
        let more = self.dice.below(reserve * 5 / 4 + 40_000);
        disk.set_capacity_bytes(disk.used_bytes() + more);
        self.is_full = true;
        // Without a reserve nobody asks before a commit.
        self.may_stop |= reserve == 0;
    }

    /// A read fails once: whoever reads is told, and the next one is served.
    pub(super) fn fail_a_read(&mut self) {
        self.collect();
        if self.world.disk.is_off() || self.store.status().stopped.is_some() {
            return;
        }
        let image = self.world.after_kill();
        image.disk.inject(Fault::Read(1 + self.dice.below(30)));
        match image.open() {
            Ok((_, report)) => assert_eq!(report.damage, [], "a read that failed is no damage"),
            Err(error) => {
                self.tally.failed_reads += 1;
                let message = error.to_string();
                let is_told = matches!(error, OpenError::Disk(_)) || message.contains("pread");
                assert!(is_told, "the failed read is named: {message}");
            }
        }
        self.survivor(&image.after_kill());
        let [.., reads] = self.world.disk.other_calls();
        self.world.disk.inject(Fault::Read(reads + 1 + self.dice.below(12)));
        match clients::sight(&self.store) {
            Ok(seen) => assert_same(&seen, &self.model.sight(), "beside a read that failed"),
            Err(ReadError::Disk(_)) => self.tally.failed_reads += 1,
            Err(error) => panic!("a read that failed became another error: {error}"),
        }
        self.world.disk.forget_faults();
        let seen = clients::sight(&self.store).expect("the next read is served");
        assert_same(&seen, &self.model.sight(), "after a read that failed");
    }
}
