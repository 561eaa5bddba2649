//! A real store on a real disk is killed between two system calls, and the folders that this and a
//! power cut may leave are opened and compared with what was acknowledged.
//!
//! The simulator has tables of its own; here are RocksDB's files as they lie after each call. A
//! worker, which is this test binary once more, does one order after the other under strace, and is
//! killed as it enters its n-th call of some kind (`tests/support/traced.rs`). It is started again
//! in the same folder, so that the next kill meets what the one before left. Opened after each
//! kill, as copies:
//!
//! | world | what it is like |
//! |--|--|
//! | as it is | a kill |
//! | flushed | a power cut: files of state hold what their last flush covered, or are not there |
//! | older | state as of an earlier kill, in which the log has all segments of now |
//! | outdated | the same, but segments of then are gone: state is refused or holds all |
//! | bare | there is no state |
//!
//! The log of every second store is written by io_uring, where that is allowed.
//!
//! `PILLARBOX_KILL_POINTS` says how often, `PILLARBOX_KILL_SEED` repeats the choices. Where no
//! program may be traced, the worker is killed from outside at any moment, and the second world is
//! left out.

mod flushed;
mod ledger;
mod worker;

#[path = "../../../tests/support/traced.rs"]
#[allow(dead_code, reason = "its other users need other parts")]
mod traced;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::flushed::Flushed;
use self::ledger::{Ledger, Seen};
use self::traced::{Call, Point};
use super::live_copy::copy_live;
use crate::disk::simulated::Dice;
use crate::disk::{IoChoice, system_disk};

/// Kills, unless the environment says otherwise.
const POINTS: u64 = 24;
/// Kills of one store before a new one takes its place.
const OF_ONE_STORE: u64 = 8;
/// Orders that a worker is given if it lives so long.
const ORDERS: usize = 18;
/// Stores that are attacked at a time: most of the time is spent waiting for the disk.
const THREADS: usize = 3;
/// Which calls are waited for, and how often of all.
const CALLS: [(&str, u64); 10] = [
    ("write", 6),
    ("pwrite64", 5),
    ("io_uring_enter", 5),
    ("fdatasync", 4),
    ("fsync", 2),
    ("rename", 2),
    ("unlink", 2),
    ("ftruncate", 1),
    ("link", 1),
    ("fallocate", 1),
];

fn number_in(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// How a worker is killed.
#[derive(Debug)]
enum Kill {
    Never,
    At(Point),
    /// From outside, so long after that many answers.
    After(usize, Duration),
}

/// A store that is killed again and again.
struct Site {
    _folder: tempfile::TempDir,
    /// Without symbolic links, as strace shows paths.
    root: PathBuf,
    /// Whether the log is written by io_uring.
    over_uring: bool,
    ledger: Ledger,
    flushed: Flushed,
    /// State and the names of segments, after each kill.
    earlier: Vec<(PathBuf, BTreeSet<OsString>)>,
    worlds: BTreeMap<&'static str, u64>,
    images: u64,
    segments: u64,
}

/// A worker at work.
struct Running {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Site {
    fn new(seed: u64, over_uring: bool) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let ledger = Ledger::new(seed, worker::make(&root));
        let flushed = Flushed::new(&state_of(&root.join("data")));
        Site {
            _folder: folder,
            root,
            over_uring,
            ledger,
            flushed,
            earlier: Vec::new(),
            worlds: BTreeMap::new(),
            images: 0,
            segments: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A worker does what it is told until it is killed or everything is done. Answers whether it
    /// was killed, and the calls that it made.
    fn round(&mut self, kill: &Kill, is_traced: bool) -> (bool, Vec<Call>) {
        let log = self.path("calls");
        let program = std::env::current_exe().unwrap();
        let mut command = match kill {
            _ if !is_traced => Command::new(&program),
            Kill::At(point) => traced::command(&log, Some(point)),
            _ => traced::command(&log, None),
        };
        if is_traced {
            command.arg(&program);
        }
        if self.over_uring {
            command.env(worker::OVER_URING, "1");
        }
        let mut running = Running::start(command, &self.root);
        let mut told = 0;
        if running.answer().is_some() {
            for number in 0..=ORDERS {
                let order = match number {
                    ORDERS => "close".to_owned(),
                    _ => self.ledger.next_order(),
                };
                running.tell(&order);
                if matches!(kill, Kill::After(answers, _) if *answers == number) {
                    let Kill::After(_, time) = kill else { break };
                    std::thread::sleep(*time);
                    running.child.kill().unwrap();
                }
                let Some(answer) = running.answer() else { break };
                told += 1;
                self.take_figures(&answer);
                self.ledger.acknowledge(&answer);
            }
        }
        let Running { mut child, orders, .. } = running;
        drop(orders);
        let status = child.wait().unwrap();
        let is_killed = status.signal() == Some(9);
        assert!(is_killed || status.success(), "the worker ended by itself: {status}, {kill:?}");
        assert!(is_killed || told > ORDERS, "it ended early: {told} answers");
        let calls = if is_traced { traced::calls(&log) } else { Vec::new() };
        self.flushed.follow(&calls);
        (is_killed, calls)
    }

    fn take_figures(&mut self, answer: &[String]) {
        for line in answer {
            if let ["reclaimed", segments, images] = ledger::words(line)[..] {
                self.segments += segments.parse::<u64>().unwrap();
                self.images += images.parse::<u64>().unwrap();
            }
        }
    }

    /// Opens all that a stop at this moment may leave.
    fn verify(&mut self, about: &str, dice: &mut Dice, is_traced: bool) {
        let data = self.path("data");
        let log = names(&data.join("volumes/main/log"));
        let mut worlds = vec![("as it is", self.copy_as("as-it-is"))];
        let bare = self.copy_as("bare");
        std::fs::remove_dir_all(state_of(&bare)).unwrap();
        worlds.push(("bare", bare));
        if is_traced {
            let flushed = self.copy_as("flushed");
            self.flushed.cut(&state_of(&flushed), dice.below(2) == 0);
            worlds.push(("flushed", flushed));
        }
        for (name, is_whole) in [("older", true), ("outdated", false)] {
            let fits = |(_, then): &&(PathBuf, _)| log.is_superset(then) == is_whole;
            let fitting: Vec<_> = self.earlier.iter().filter(fits).collect();
            let Some(choice) = dice.next().checked_rem(fitting.len() as u64) else { continue };
            let copy = self.copy_as(name);
            std::fs::remove_dir_all(state_of(&copy)).unwrap();
            copy_live(&fitting[choice as usize].0, &state_of(&copy));
            worlds.push((name, copy));
        }
        let ledger = &self.ledger;
        let open = |(name, world): &(&'static str, PathBuf)| {
            let found = worker::look(world).or_else(|error| {
                assert_eq!(*name, "outdated", "{about}: {error}");
                // It was refused: then nothing is lost without it.
                std::fs::remove_dir_all(state_of(world)).unwrap();
                worker::look(world)
            });
            let found = found.unwrap_or_else(|error| panic!("{about}, {name}: {error}"));
            std::fs::remove_dir_all(world).unwrap();
            (*name, found)
        };
        let found: Vec<(&str, Seen)> = std::thread::scope(|scope| {
            let halves = worlds.chunks(worlds.len().div_ceil(2));
            let looking = halves.map(|half| scope.spawn(|| half.iter().map(open).collect()));
            let looking: Vec<_> = looking.collect();
            looking.into_iter().flat_map(|half| -> Vec<_> { half.join().unwrap() }).collect()
        });
        for (name, _) in &found {
            *self.worlds.entry(name).or_default() += 1;
        }
        let (_, first) = found.first().expect("one is as it is").clone();
        for (name, seen) in &found {
            assert_eq!(*seen, first, "{about}: {name} shows other than what the log holds");
        }
        if let Err(wrong) = ledger.judge(&first) {
            panic!("{about}: {wrong}");
        }
        let kept = self.path(&format!("state-{}", self.earlier.len()));
        copy_live(&state_of(&data), &kept);
        self.earlier.push((kept, log));
        self.ledger.adopt(first);
    }

    fn copy_as(&self, name: &str) -> PathBuf {
        let copy = self.path("worlds").join(name);
        copy_live(&self.path("data"), &copy);
        copy
    }
}

impl Running {
    fn start(mut command: Command, folder: &Path) -> Running {
        command.args(["--exact", worker::NAME, "--nocapture", "--test-threads=1"]);
        command.env(worker::FOLDER, folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        // strace says who was killed.
        let errors = std::fs::File::create(folder.join("errors")).unwrap();
        let mut child = command.stderr(errors).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Running { child, orders, answers }
    }

    fn tell(&mut self, order: &str) {
        // A worker that is dead is seen when it does not answer.
        let _ = writeln!(self.orders, "{order}");
    }

    /// The lines of an answer; `None` if none comes any more.
    fn answer(&mut self) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line).ok()? == 0 || !line.ends_with('\n') {
                return None;
            }
            let Some((_, told)) = line.trim_end().split_once('@') else { continue };
            lines.push(told.to_owned());
            if told.starts_with("done") {
                return Some(lines);
            }
        }
    }
}

fn state_of(data: &Path) -> PathBuf {
    data.join("volumes/main/state")
}

fn names(folder: &Path) -> BTreeSet<OsString> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".segment")).collect()
}

/// One of these points: of rare kinds of calls more than their share.
fn draw(points: &[Point], dice: &mut Dice) -> Point {
    let of = |call: &str| -> Vec<&Point> { points.iter().filter(|p| p.call == call).collect() };
    let there = || CALLS.iter().filter(|(call, _)| !of(call).is_empty());
    let mut choice = dice.below(there().map(|(_, weight)| weight).sum());
    for (call, weight) in there() {
        if choice < *weight {
            let points = of(call);
            return points[dice.below(points.len() as u64) as usize].clone();
        }
        choice -= weight;
    }
    unreachable!("the choice is below the sum")
}

/// Of which kind of file a call was, for the summary.
fn kind_of(call: &Call) -> String {
    let path = call.file().map(Path::to_path_buf).or_else(|| call.paths().pop());
    let name = path.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_default();
    let is_number = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    format!("{} {}", call.name, name.trim_matches(is_number))
}

/// What the kills of a store came to.
#[derive(Default)]
struct Summary {
    kills: u64,
    worlds: BTreeMap<&'static str, u64>,
    images: u64,
    segments: u64,
    calls: BTreeMap<String, u64>,
}

impl Summary {
    fn add(&mut self, other: Summary) {
        self.kills += other.kills;
        self.images += other.images;
        self.segments += other.segments;
        for (name, count) in other.worlds {
            *self.worlds.entry(name).or_default() += count;
        }
        for (call, count) in other.calls {
            *self.calls.entry(call).or_default() += count;
        }
    }
}

/// Kills one store so often.
fn attack(seed: u64, store: u64, kills: u64, is_traced: bool) -> Summary {
    let mut dice = Dice::new(seed.wrapping_mul(1000).wrapping_add(store));
    // Every second store.
    let over_uring = store % 2 == 1 && system_disk(IoChoice::Uring, &std::env::temp_dir()).is_ok();
    let mut site = Site::new(dice.next(), over_uring);
    let (_, calls) = site.round(&Kill::Never, is_traced);
    let points = traced::points(&calls, &site.root);
    let mut calls_killed: BTreeMap<String, u64> = BTreeMap::new();
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        let kill = match is_traced {
            true => Kill::At(draw(&points, &mut dice)),
            false => {
                let answers = usize::try_from(dice.below(ORDERS as u64)).unwrap();
                Kill::After(answers, Duration::from_micros(dice.below(4000)))
            }
        };
        rounds += 1;
        assert!(rounds < 4 * kills + 10, "most workers live too long");
        let (is_killed, calls) = site.round(&kill, is_traced);
        if !is_killed {
            continue;
        }
        killed += 1;
        if let Some(last) = calls.iter().rfind(|call| call.result.is_none()) {
            *calls_killed.entry(kind_of(last)).or_default() += 1;
        }
        let about = format!("seed {seed}, store {store}, kill {killed}, {kill:?}");
        site.verify(&about, &mut dice, is_traced);
    }
    let Site { worlds, images, segments, .. } = site;
    Summary { kills, worlds, images, segments, calls: calls_killed }
}

#[test]
fn whatever_call_a_store_is_killed_in_every_folder_that_may_be_left_holds_all_that_was_told() {
    let refusal = traced::refusal();
    if let Some(why) = &refusal {
        eprintln!("no images between system calls, but kills at any moment: {why}");
    }
    let seed = number_in("PILLARBOX_KILL_SEED", 1);
    let points = number_in("PILLARBOX_KILL_POINTS", POINTS);
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let attack_stores = || {
        let mut summary = Summary::default();
        loop {
            let store = next.fetch_add(1, Ordering::Relaxed);
            let left = points.saturating_sub(store * OF_ONE_STORE);
            if left == 0 {
                return summary;
            }
            summary.add(attack(seed, store, left.min(OF_ONE_STORE), refusal.is_none()));
        }
    };
    let mut all = Summary::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(attack_stores)).collect();
        threads.into_iter().for_each(|thread| all.add(thread.join().unwrap()));
    });
    let Summary { kills, worlds, images, segments, calls } = all;
    println!(
        "{kills} kills, opened {worlds:?}, {segments} segments rewritten, {images} rounds of base \
         images, in {:.1?}; killed in {calls:?}",
        begun.elapsed()
    );
}
