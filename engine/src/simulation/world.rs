//! A world for one store: it can be copied at any moment as a power cut may leave it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::commit::CommitBounds;
use crate::disk::simulated::{Dice, SimulatedDisk};
use crate::disk::{Clock, Disk, durable};
use crate::ids::NodeId;
use crate::log::ZerosAhead;
use crate::seal::{Argon2Cost, Randomness, Sealer};
use crate::state::{IndexBounds, MemoryTables, TableStore};
use crate::store::{
    Consent, Drive, GiveUpReport, InitOptions, KeySource, OpenOptions, OpenReport, SecondNode,
    Store, Surroundings,
};

/// Where the store lies in every world.
const DIRECTORY: &str = "/data";

/// What a simulated store stands on.
pub(super) struct World {
    pub(super) disk: SimulatedDisk,
    pub(super) tables: MemoryTables,
    seed: u64,
    pub(super) bounds: Bounds,
    time: Arc<Time>,
    /// A key file of the real disk, which all worlds of a process share.
    key: PathBuf,
}

/// Sizes that are large in production; they follow from the seed.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    segment_bytes: u64,
    zeros_bytes: u64,
    /// What is kept free for deleting, reclaim and checkpoints.
    pub(super) reserve_bytes: u64,
    /// Longer messages enter ahead of their records.
    inline_bytes: usize,
    commit: CommitBounds,
}

impl Bounds {
    /// Of every four seeds one has the sizes that find most: groups of several commands in segments
    /// of several groups.
    fn of(seed: u64) -> Bounds {
        let pick = |values: [u64; 4], salt: u64| {
            let at = Dice::new(seed.wrapping_add(salt)).below(4);
            values[usize::try_from(at).unwrap()]
        };
        let group_bytes = pick([2 << 10, 6 << 10, 16 << 10, 4 << 20], 1);
        Bounds {
            segment_bytes: pick([32 << 10, 64 << 10, 96 << 10, 256 << 10], 2),
            zeros_bytes: pick([4 << 10, 16 << 10, 16 << 10, 64 << 10], 3),
            reserve_bytes: pick([0, 512 << 10, 768 << 10, 1 << 20], 4),
            inline_bytes: 6 << 10,
            commit: CommitBounds {
                group_bytes: usize::try_from(group_bytes).unwrap(),
                checkpoint_log_bytes: pick([24 << 10, 96 << 10, 1 << 20, 64 << 20], 5),
                ..CommitBounds::SINGLE_THREAD
            },
        }
    }
}

/// When every simulation begins, in milliseconds since 1970.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// A clock that goes on a little whenever it is asked. All worlds of a simulation share the time
/// that passes; what a clock on the wall says is each one's own.
#[derive(Default)]
struct Time {
    passed_ms: Arc<AtomicU64>,
    /// How far the wall clock is ahead, in milliseconds; negative: behind.
    ahead_ms: AtomicI64,
}

impl Time {
    fn pass(&self, ms: u64) -> u64 {
        self.passed_ms.fetch_add(ms, Ordering::Relaxed)
    }
}

impl Clock for Time {
    fn unix_ms(&self) -> u64 {
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        (BEGIN_MS + self.pass(1)).saturating_add_signed(ahead_ms)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.pass(1))
    }
}

/// Randomness that follows from a seed.
struct Seeded(Mutex<Dice>);

impl Randomness for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.0.lock();
        for piece in bytes.chunks_mut(8) {
            let drawn = dice.next().to_le_bytes();
            piece.copy_from_slice(&drawn[..piece.len()]);
        }
    }
}

impl World {
    /// A world with a new store in it, which is closed.
    pub(super) fn new(seed: u64) -> World {
        let key = std::env::temp_dir().join("pillarbox-simulated.key");
        if !key.exists() {
            // Whoever comes first writes it; its content is the same for all.
            let thread = format!("{}.{:?}", std::process::id(), std::thread::current().id());
            let own = key.with_extension(thread);
            std::fs::write(&own, "5".repeat(64)).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&own, mode).unwrap();
            std::fs::rename(own, &key).unwrap();
        }
        let world = World {
            disk: SimulatedDisk::new(seed),
            tables: MemoryTables::new(),
            seed,
            bounds: Bounds::of(seed),
            time: Arc::default(),
            key,
        };
        durable::create_dir_durable(&world.disk, Path::new(DIRECTORY)).unwrap();
        let key = KeySource::KeyFile(world.key.clone());
        let options = InitOptions { key };
        Store::init_in(&world.surroundings(), Path::new(DIRECTORY), &options).unwrap();
        world
    }

    /// A world for the second node of the pair whose first one is open in this one.
    pub(super) fn second_of(&self, first: &Store) -> World {
        let world = World {
            disk: SimulatedDisk::new(self.seed ^ 0x5ec0),
            tables: MemoryTables::new(),
            seed: self.seed ^ 0x5ec0,
            bounds: self.bounds,
            time: Arc::new(Time { passed_ms: Arc::clone(&self.time.passed_ms), ..Time::default() }),
            key: self.key.clone(),
        };
        durable::create_dir_durable(&world.disk, Path::new(DIRECTORY)).unwrap();
        let options = InitOptions { key: KeySource::KeyFile(self.key.clone()) };
        let (directory, seed) = (Path::new(DIRECTORY), first.pair_seed().unwrap());
        let surroundings = world.surroundings();
        let (_, key_table) = first.key_table();
        let second = SecondNode { node: NodeId([2; 16]), seed: &seed, key_table: &key_table };
        Store::init_second_in(&surroundings, directory, &options, &second).unwrap();
        world
    }

    fn surroundings(&self) -> Surroundings {
        let tables = self.tables.clone();
        // Another incarnation draws other keys and ids, also where the wall clock was set back.
        let now = BEGIN_MS + self.time.pass(1);
        let drawn = self.seed ^ now.rotate_left(32) ^ self.disk.calls();
        Surroundings {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::<Time>::clone(&self.time),
            sealer: Sealer::new(Box::new(Seeded(Mutex::new(Dice::new(drawn))))),
            tables: Arc::new(move |_, _| -> Result<Arc<dyn TableStore>, _> {
                Ok(Arc::new(tables.clone()))
            }),
            kept: Arc::new(self.tables.clone()),
            drive: Drive::Stepped,
            zeros: Some(ZerosAhead::Inline { step_bytes: self.bounds.zeros_bytes }),
            segment_bytes: self.bounds.segment_bytes,
            image_bytes_min: 2_000,
            spare_part: 1,
            inline_message_bytes_max: self.bounds.inline_bytes,
            // Mailboxes here are small, and so that they have several.
            summary_run_uids: 8,
            commit_bounds: self.bounds.commit,
        }
    }

    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new(KeySource::KeyFile(self.key.clone()));
        options.password_cost = Argon2Cost::CHEAP;
        options.reserve_bytes = self.bounds.reserve_bytes;
        options.index_bounds = IndexBounds {
            tail_messages: 3,
            tail_bytes: 30_000,
            split_messages: 60,
            merged_splits: 3,
            builder_bytes: 100_000,
        };
        options
    }

    /// Opens the store.
    pub(super) fn open(&self) -> Result<(Store, OpenReport), crate::error::OpenError> {
        let options = self.options();
        Store::open_in(&self.surroundings(), Path::new(DIRECTORY), options)
    }

    /// Gives damage up.
    pub(super) fn give_up(
        &self,
        consent: Consent,
    ) -> Result<GiveUpReport, crate::error::OpenError> {
        let options = self.options();
        let surroundings = self.surroundings();
        Store::give_up_in(&surroundings, (Path::new(DIRECTORY), &options), consent, &mut |_, _| {})
    }

    /// The same world with that reserve.
    pub(super) fn with_reserve(mut self, reserve_bytes: u64) -> World {
        self.bounds.reserve_bytes = reserve_bytes;
        self
    }

    /// The same world with messages up to that size in the groups of their records.
    pub(super) fn with_inline_bytes(mut self, inline_bytes: usize) -> World {
        self.bounds.inline_bytes = inline_bytes;
        self
    }

    /// The same world with groups of about that size.
    pub(super) fn with_group_bytes(mut self, group_bytes: usize) -> World {
        self.bounds.commit.group_bytes = group_bytes;
        self
    }

    /// The same world with segments of that size.
    pub(super) fn with_segment_bytes(mut self, segment_bytes: u64) -> World {
        self.bounds.segment_bytes = segment_bytes;
        self
    }

    /// Worlds as a power cut at this moment may leave them: every change of the disk that was not
    /// flushed lost, kept or torn, the tables as after any flush since the last that was asked for.
    pub(super) fn after_power_loss(&self, count: usize) -> Vec<World> {
        let images = self.disk.images_after_power_loss(count);
        images.into_iter().map(|disk| self.with(disk)).collect()
    }

    /// The world after a kill: everything written is seen.
    pub(super) fn after_kill(&self) -> World {
        self.with(self.disk.image_after_kill())
    }

    /// The same world without its tables: all of state is to be made from the log.
    pub(super) fn without_tables(self) -> World {
        World { tables: MemoryTables::new(), ..self }
    }

    fn with(&self, disk: SimulatedDisk) -> World {
        World {
            disk,
            tables: self.tables.flushed(),
            seed: self.seed,
            bounds: self.bounds,
            time: Arc::clone(&self.time),
            key: self.key.clone(),
        }
    }

    /// Its wall clock is set forward by so much, or back.
    pub(super) fn jump_clock(&self, ms: i64) {
        self.time.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Time passes, in all worlds of the simulation.
    pub(super) fn pass(&self, time: Duration) {
        self.time.pass(u64::try_from(time.as_millis()).unwrap());
    }

    /// Its clock.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::<Time>::clone(&self.time)
    }

    /// Whether the file of a released segment waits to become the next one.
    pub(super) fn has_spare(&self) -> bool {
        let log = Path::new(DIRECTORY).join("volumes/main/log");
        let is_spare = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "spare");
        self.disk.list(&log).is_ok_and(|files| files.iter().any(is_spare))
    }

    /// What is to be merged, or to be gone back to.
    pub(super) fn way_back_files(&self) -> Vec<PathBuf> {
        let folder = Path::new(DIRECTORY).join("volumes/main/way-back");
        self.disk.list(&folder).unwrap_or_default()
    }

    /// The files of the log, oldest first.
    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let log = Path::new(DIRECTORY).join("volumes/main/log");
        let mut paths = self.disk.list(&log).unwrap();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "segment"));
        paths
    }
}
