//! What is damaged on one node is healed from the other, whoever finds it.

use std::path::PathBuf;
use std::sync::Arc;

use super::compare_tests::with_mail;
use super::pair_tests::{NAME, Two, inbox, seen};
use super::*;
use crate::check::Neighbour;
use crate::disk::SystemClock;
use crate::ids::Uid;
use crate::log::SegmentNumber;

/// The other store, as if a link lay between.
struct Beside(Store);

impl Neighbour for Beside {
    fn chunk(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        self.0.answer_chunk(question)
    }
}

fn beside(store: &Store) -> Option<Arc<dyn Neighbour>> {
    Some(Arc::new(Beside(store.clone())))
}

/// The file that has a message, and where in it the bytes are.
fn place(store: &Store, uid: u32) -> (PathBuf, u64) {
    let view = inbox(store).view().unwrap().unwrap();
    let blob = view.row(Uid(uid)).unwrap().unwrap().blob;
    let places = store.inner.committed.places(blob.0).unwrap();
    let chunk = places.chunks.last().unwrap();
    let path = SegmentNumber(places.segment).path(store.inner.reader.directory());
    (path, chunk.offset + u64::from(chunk.length) / 2)
}

fn flip((path, at): &(PathBuf, u64)) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(*at).unwrap()] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn read(store: &Store, uid: u32) -> Result<Vec<u8>, crate::error::ReadError> {
    let account = store.account(NAME).unwrap().unwrap();
    let view = inbox(store).view().unwrap().unwrap();
    let row = view.row(Uid(uid)).unwrap().unwrap();
    account.message(&row)?.read_all()
}

fn two() -> Two {
    let mut two = with_mail();
    two.ship();
    // Closes what was written.
    two.reopen_second();
    two
}

#[test]
fn a_reader_has_what_is_damaged_from_the_other_node_and_the_disk_has_it_afterwards() {
    let mut two = two();
    let good = seen(&two.first);
    let at = place(&two.second, 7);
    let whole = std::fs::read(&at.0).unwrap();
    flip(&at);
    read(&two.second, 7).unwrap_err();
    // One that has nothing to give changes nothing.
    two.second.set_neighbour(beside(&two.second));
    read(&two.second, 7).unwrap_err();
    assert_eq!(two.second.healed(), (0, 0));
    two.second.set_neighbour(beside(&two.first));
    assert_eq!(seen(&two.second), good);
    assert_eq!((two.second.healed(), two.first.healed()), ((1, 0), (0, 1)));
    assert!(std::fs::read(&at.0).unwrap() == whole, "byte for byte");
    two.second.set_neighbour(None);
    assert_eq!(seen(&two.second), good);
    two.reopen_second();
    assert_eq!(seen(&two.second), good);
    assert_eq!(two.second.check(&mut |_| {}).unwrap().problems, []);
}

#[test]
fn the_scrub_and_a_check_heal_and_what_is_damaged_on_both_nodes_is_still_told() {
    let two = two();
    let at = place(&two.second, 9);
    flip(&at);
    assert!(two.second.scrub_once(Arc::new(SystemClock::new())) > 0, "nobody is there to heal it");
    two.second.set_neighbour(beside(&two.first));
    assert_eq!(two.second.scrub_once(Arc::new(SystemClock::new())), 0);
    assert_eq!(two.second.healed().0, 1);
    flip(&at);
    two.second.check(&mut |_| {}).unwrap();
    assert_eq!(two.second.healed().0, 2);
    assert_eq!(two.second.check(&mut |_| {}).unwrap().problems, []);
    flip(&at);
    flip(&place(&two.first, 9));
    read(&two.second, 9).unwrap_err();
    assert_ne!(two.second.check(&mut |_| {}).unwrap().problems, []);
}

#[test]
fn nothing_is_written_where_something_else_belongs_and_a_reader_is_served_all_the_same() {
    let two = two();
    two.second.set_neighbour(beside(&two.first));
    let at = place(&two.second, 11);
    flip(&at);
    let view = inbox(&two.second).view().unwrap().unwrap();
    let blob = view.row(Uid(11)).unwrap().unwrap().blob;
    let places = two.second.inner.committed.places(blob.0).unwrap();
    // The header before the chunk, which says what it is.
    flip(&(at.0.clone(), places.chunks.last().unwrap().offset - 20));
    let damaged = std::fs::read(&at.0).unwrap();
    assert_eq!(read(&two.second, 11).unwrap(), read(&two.first, 11).unwrap());
    assert_eq!(two.second.healed().0, 0);
    assert!(std::fs::read(&at.0).unwrap() == damaged);
    // The primary's own segment is still being written: it is read from the other one.
    let at = place(&two.first, 12);
    two.first.set_neighbour(beside(&two.second));
    flip(&at);
    assert_eq!(read(&two.first, 12).unwrap(), read(&two.second, 12).unwrap());
    assert_eq!(two.first.healed().0, 0);
}
