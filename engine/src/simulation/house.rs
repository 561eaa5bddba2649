//! A store with two accounts and small segments in a simulated world, for scripts.

use std::path::Path;

use super::world::World;
use crate::error::{CommitError, ReadError};
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{AccountNumber, Uid, UnixSeconds};
use crate::log::format::segment::GROUPS_AT;
use crate::log::{Item, SegmentFile};
use crate::reclaim::ReclaimStep;
use crate::seal::Secret;
use crate::store::{NewAccount, NewMessage, Store};
use crate::uid_set::UidSet;

pub(super) const ANNA: &str = "anna@example.org";
pub(super) const BERT: &str = "bert@example.org";

/// A store with two accounts and small segments.
pub(super) struct House {
    pub(super) world: World,
    pub(super) store: Store,
}

pub(super) fn text(number: u64) -> Vec<u8> {
    let key = blake3::hash(&number.to_le_bytes());
    let mut bytes = vec![0; 4000];
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl House {
    pub(super) fn new(seed: u64, reserve_bytes: u64) -> House {
        let world = World::new(seed)
            .with_segment_bytes(64 << 10)
            .with_group_bytes(6 << 10)
            .with_reserve(reserve_bytes);
        let (store, _) = world.open().unwrap();
        store.add_domain("example.org").unwrap();
        for name in [ANNA, BERT] {
            let (name, password) = (name.to_owned(), Secret::new("x".into()));
            store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        }
        House { world, store }
    }

    pub(super) fn number(&self, name: &str) -> AccountNumber {
        self.store.account(name).unwrap().unwrap().number()
    }

    pub(super) fn append(
        &self,
        name: &str,
        texts: std::ops::Range<u64>,
    ) -> Result<(), CommitError> {
        let account = self.store.account(name).unwrap().unwrap();
        let inbox = account.mailbox("INBOX").unwrap().unwrap();
        for number in texts {
            let prepared = self.store.prepare(&text(number), &[account.number()])?;
            let (flags, received) = (FlagList::default(), UnixSeconds(7));
            inbox.append(vec![NewMessage { prepared, flags, received }]).wait()?;
        }
        Ok(())
    }

    /// What was appended as the first, second, ... goes where `goes` says so of its number.
    pub(super) fn expunge(&self, name: &str, goes: impl Fn(u32) -> bool) {
        let account = self.store.account(name).unwrap().unwrap();
        let inbox = account.mailbox("INBOX").unwrap().unwrap();
        let going: UidSet = (1..200).filter(|uid| goes(*uid)).map(Uid).collect();
        let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
        inbox.store_flags(&going, FlagChange::Add, &deleted, None).wait().unwrap();
        inbox.expunge(&going).wait().unwrap();
    }

    /// Steps of reclaim until it waits for a checkpoint.
    pub(super) fn reclaim_until_published(&self) {
        loop {
            match self.store.steps().reclaim().unwrap() {
                ReclaimStep::Waiting => return,
                ReclaimStep::Copied(_) => {}
                ReclaimStep::Idle => panic!("there is something to reclaim"),
            }
        }
    }

    /// Reclaims until nothing is left to do; answers how often it failed.
    pub(super) fn reclaim_all(&self) -> u32 {
        let (mut failures, mut rests) = (0, 0);
        while rests < 3 {
            match self.store.steps().reclaim() {
                Ok(ReclaimStep::Copied(_)) => {}
                Ok(ReclaimStep::Waiting) => assert!(self.store.checkpoint()),
                Ok(ReclaimStep::Idle) => {
                    rests += 1;
                    assert!(self.store.checkpoint());
                }
                Err(_) => failures += 1,
            }
        }
        failures
    }

    /// A whole round of base images.
    pub(super) fn make_images(&self) {
        let before = self.store.status().image_rounds;
        for _ in 0..1000 {
            // Taken up when reclaim is at nothing else.
            self.store.steps().want_images();
            self.store.steps().commit();
            self.store.steps().checkpoint();
            self.store.steps().reclaim().unwrap();
            if self.store.status().image_rounds > before {
                return;
            }
        }
        panic!("no images were made");
    }

    /// INBOX of whoever it is, also after a kill and after power cuts, is what it was.
    pub(super) fn assert_whole(&self, name: &str) {
        let expected = inbox(&self.store, name).unwrap();
        let mut worlds = self.world.after_power_loss(3);
        worlds.push(self.world.after_kill());
        worlds.push(self.world.after_kill().without_tables());
        for world in worlds {
            let (store, report) = world.open().unwrap();
            assert_eq!(report.damage, []);
            assert!(inbox(&store, name).unwrap() == expected);
            assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
        }
    }

    /// Records of that type in the log.
    pub(super) fn records(&self, kind: u8) -> usize {
        let mut count = 0;
        let mut buffer = Vec::new();
        for path in self.world.segments() {
            let file = SegmentFile::open_cached(&self.world.disk, Path::new(&path)).unwrap();
            let mut at = GROUPS_AT;
            while let Ok((found, group)) = file.group_at(at, &mut buffer).unwrap() {
                for placed in group.items() {
                    if let Item::Record { header, .. } = placed.item {
                        count += usize::from(header.record_type == kind);
                    }
                }
                at = found.end();
            }
        }
        count
    }
}

/// UIDs and texts.
pub(super) fn inbox(store: &Store, name: &str) -> Result<Vec<(u32, Vec<u8>)>, ReadError> {
    let account = store.account(name)?.unwrap();
    let view = account.mailbox("INBOX")?.unwrap().view()?.unwrap();
    let rows = view.rows_from(Uid(1), usize::MAX)?.into_iter();
    rows.map(|row| Ok((row.uid.0, account.message(&row)?.read_all()?))).collect()
}
