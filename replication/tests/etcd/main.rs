//! The directory against Debian's etcd, as it comes: its rules, its outages, its locks, and what
//! takes itself for an etcd. Each test starts servers of its own on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

mod access;
mod certificates;
mod impostor;
mod keys;
mod leases;
mod outages;
#[path = "../../../tests/support/ports.rs"]
mod ports;
mod race;
#[expect(dead_code, reason = "the tests of the whole server use more of it")]
#[path = "../../../tests/support/random.rs"]
mod random;
mod server;
mod status;

use std::time::{Duration, Instant};

use engine::ids::{EpochId, Lsn, NodeId};
use replication::directory::Directory;
use replication::directory::client::Client;
use replication::directory::options::EtcdOptions;
use replication::directory::place::Place;
use replication::directory::standing::Epoch;

/// The nodes of the tests.
const A: NodeId = NodeId([0xAA; 16]);
const B: NodeId = NodeId([0xBB; 16]);
const C: NodeId = NodeId([0xCC; 16]);

/// Long enough for whatever happens on a machine that builds at the same time.
const LONG: Duration = Duration::from_secs(30);

/// Options that wait as long as a busy machine needs.
fn options(endpoints: &[&str]) -> EtcdOptions {
    EtcdOptions {
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(10),
        ..EtcdOptions::new(endpoints)
    }
}

/// Options that wait only this long, for one endpoint.
fn hurried(endpoints: &[&str], answer_timeout: Duration) -> EtcdOptions {
    EtcdOptions { answer_timeout, ..options(endpoints) }
}

fn directory(options: EtcdOptions) -> Directory {
    Directory::new(Client::new(options).unwrap(), place("main"))
}

fn place(volume: &str) -> Place {
    Place::new("pillarbox", "home", volume).unwrap()
}

/// An epoch whose id says its number and node.
fn epoch(number: u16, node: NodeId) -> Epoch {
    let mut id = node.0;
    id[..2].copy_from_slice(&number.to_be_bytes());
    let fork = if number == 1 { Lsn::ZERO } else { Lsn::new(number - 1, 7).unwrap() };
    Epoch::new(number, EpochId(id), node, fork).unwrap()
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "not within {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Does something, and says how long it took.
fn timed<T>(deed: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let outcome = deed();
    (outcome, start.elapsed())
}
