//! The second node is made anew from the files of a checkpoint of the first.

use std::path::Path;

use super::way_back_tests::*;
use super::*;
use crate::full_copy::{Arrival, Ask};
use crate::ids::Lsn;

/// What was asked for on the way.
#[derive(Default)]
struct Asked {
    pieces: u64,
    checks: u64,
}

/// Copies until all is there or so many pieces have come.
fn copy(from: &Store, to: &Store, pieces_max: u64, asked: &mut Asked) -> Arrival {
    let offer = from.lend_copy(Lsn::ZERO).unwrap();
    to.take_key_table(&from.key_table().1).unwrap();
    let mut arrival = to.begin_arrival(&offer).unwrap();
    let end = asked.pieces.saturating_add(pieces_max);
    while asked.pieces < end {
        let Some(ask) = arrival.next_ask().unwrap() else { break };
        match ask {
            Ask::Piece { file, offset, length } => {
                asked.pieces += 1;
                let piece = from.lent_piece(file, offset, length).unwrap();
                arrival.take_piece(file, offset, &piece).unwrap();
            }
            Ask::Check { file, length, hash } => {
                asked.checks += 1;
                let is_same = from.lent_begins_with(file, length, hash).unwrap();
                arrival.take_checked(file, is_same).unwrap();
            }
        }
    }
    arrival
}

fn reopen(store: &mut Store, directory: &Path, placeholder: &Store) {
    store.close();
    drop(std::mem::replace(store, placeholder.clone()));
    *store = Store::open(directory, options(directory)).unwrap().0;
}

fn become_copy(apart: &mut Apart, arrival: &Arrival) {
    apart.second.become_copy(arrival).unwrap();
    let (placeholder, directory) = (apart.first.clone(), apart.directories[1].clone());
    reopen(&mut apart.second, &directory, &placeholder);
    assert!(apart.second.standing().follows);
    assert!(apart.second.position().lsn >= arrival.at());
    assert!(!apart.second.has_arrival().unwrap());
}

fn assert_same(apart: &Apart) {
    let Apart { first, second, .. } = apart;
    assert_eq!(names(first), names(second));
    for name in names(first) {
        assert_eq!(content(first, &name), content(second, &name), "{name}");
    }
    for store in [first, second] {
        assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
    }
}

/// The first node has mail that the second lacks.
fn ahead() -> Apart {
    let apart = Apart::after(|store| {
        append(store, "INBOX", "both");
    });
    let first = &apart.first;
    first.set_follower_there(false);
    for number in 0..40 {
        append(first, "INBOX", &format!("message {number}"));
    }
    append(first, "Archive", "kept");
    apart
}

#[test]
fn a_node_that_is_a_full_copy_has_everything_and_follows_from_there() {
    let mut apart = ahead();
    let mut asked = Asked::default();
    let offer = apart.first.lend_copy(Lsn::ZERO).unwrap();
    let lent = apart.first.lent_at().unwrap();
    let arrival = copy(&apart.first, &apart.second, 2, &mut asked);
    // Mail comes meanwhile; it is not part of the copy and is shipped behind it.
    append(&apart.first, "INBOX", "meanwhile");
    let uid = *content(&apart.first, "INBOX").keys().next().unwrap();
    expunge(&apart.first, "INBOX", crate::ids::Uid(uid));
    drop(arrival);
    let arrival = copy(&apart.first, &apart.second, u64::MAX, &mut asked);
    assert!(arrival.is_complete());
    let (arrived, of) = arrival.progress();
    assert!(arrived == of && of > 10_000, "{arrived} of {of}");
    assert_eq!(arrival.at(), lent);
    assert_eq!(subjects(&apart.second, "INBOX"), ["both"], "the old content answers until then");
    become_copy(&mut apart, &arrival);
    assert_eq!(subjects(&apart.second, "INBOX").len(), 41);
    ship(&apart.first, &apart.second);
    assert_same(&apart);
    assert!(subjects(&apart.second, "INBOX").contains(&"meanwhile".to_owned()));
    assert_eq!(apart.first.lend_copy(Lsn::ZERO).unwrap(), offer, "until it is ended");
    assert!(apart.first.end_loan().unwrap());
    assert_eq!(apart.first.lent_at(), None);
    let left = std::fs::read_dir(apart.directories[0].join("volumes/main/held/copy/log")).unwrap();
    assert_eq!(left.count(), 0);
    // And it can be primary.
    apart.first.close();
    apart.second.promote(2).unwrap();
    append(&apart.second, "Archive", "of the second");
    assert_eq!(subjects(&apart.second, "Archive"), ["kept", "of the second"]);
}

#[test]
fn what_has_arrived_is_not_asked_for_again_even_of_another_checkpoint() {
    let mut apart = ahead();
    let mut asked = Asked::default();
    drop(copy(&apart.first, &apart.second, u64::MAX, &mut asked));
    let all = std::mem::take(&mut asked);
    let (placeholder, directory) = (apart.first.clone(), apart.directories[1].clone());
    reopen(&mut apart.second, &directory, &placeholder);
    assert!(apart.second.has_arrival().unwrap());
    drop(copy(&apart.first, &apart.second, u64::MAX, &mut asked));
    assert_eq!((asked.pieces, asked.checks), (0, 0), "the same checkpoint after a restart");
    append(&apart.first, "INBOX", "later");
    apart.first.end_loan().unwrap();
    let arrival = copy(&apart.first, &apart.second, u64::MAX, &mut asked);
    assert!(asked.checks > 0 && asked.pieces < all.pieces, "{} of {}", asked.pieces, all.pieces);
    become_copy(&mut apart, &arrival);
    assert_same(&apart);
    assert!(subjects(&apart.second, "INBOX").contains(&"later".to_owned()));
}

#[test]
fn a_beginning_that_is_damaged_is_asked_for_again() {
    let mut apart = ahead();
    let mut asked = Asked::default();
    let arrival = copy(&apart.first, &apart.second, u64::MAX, &mut asked);
    assert!(arrival.is_complete());
    drop(arrival);
    // As if the power had gone before its name was on the disk, and its bytes were torn.
    let log = apart.directories[1].join("volumes/main/held/copy/log");
    let path = std::fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[9_000] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(crate::disk::durable::unfinished(&path), &bytes).unwrap();
    let before = asked.pieces;
    let arrival = copy(&apart.first, &apart.second, u64::MAX, &mut asked);
    assert!(asked.checks == 1 && asked.pieces > before);
    become_copy(&mut apart, &arrival);
    assert_same(&apart);
}

#[test]
fn a_node_is_not_made_primary_while_a_copy_is_on_its_way() {
    let apart = ahead();
    drop(copy(&apart.first, &apart.second, 2, &mut Asked::default()));
    let refused = apart.second.promote(2).unwrap_err().to_string();
    assert!(refused.contains("full copy") && refused.contains("--stop"), "{refused}");
    apart.second.give_up_arrival().unwrap();
    apart.second.promote(2).unwrap();
    assert_eq!(subjects(&apart.second, "INBOX"), ["both"]);
}

#[test]
fn what_is_no_offer_and_what_was_not_asked_for_is_refused_and_changes_nothing() {
    let apart = ahead();
    let refused = apart.second.begin_arrival(b"PBcopy").err().unwrap().to_string();
    assert!(refused.contains("cannot be read"), "{refused}");
    assert!(!apart.second.has_arrival().unwrap());
    let offer = apart.first.lend_copy(Lsn::ZERO).unwrap();
    let mut arrival = apart.second.begin_arrival(&offer).unwrap();
    for (file, offset) in [(0, 7), (1, 0), (u32::MAX, 0), (0, u64::MAX)] {
        let refused = arrival.take_piece(file, offset, b"x").unwrap_err().to_string();
        assert!(refused.contains("not asked for"), "{refused}");
    }
    assert!(arrival.take_checked(0, true).is_err());
    for (file, offset) in [(u32::MAX, 0), (0, u64::MAX)] {
        assert!(apart.first.lent_piece(file, offset, 1).is_err());
    }
    assert!(!apart.first.lent_begins_with(0, u64::MAX, [0; 32]).unwrap());
    apart.first.end_loan().unwrap();
    let gone = apart.first.lent_piece(0, 0, 1).unwrap_err().to_string();
    assert!(gone.contains("begin anew"), "{gone}");
}

#[test]
fn nothing_readable_is_on_the_disk_while_a_copy_arrives() {
    let apart = ahead();
    drop(copy(&apart.first, &apart.second, u64::MAX, &mut Asked::default()));
    let mut bytes = Vec::new();
    let mut folders = vec![apart.directories[1].join("volumes/main/held")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => bytes.extend(std::fs::read(path).unwrap()),
            }
        }
    }
    assert!(bytes.len() > 10_000);
    for word in ["message 7", "Subject", "INBOX", "Archive", "example.org"] {
        let is_there = bytes.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(!is_there, "{word} can be read on the disk");
    }
}

#[test]
fn a_deposed_node_that_holds_nothing_becomes_a_copy_and_what_it_had_alone_is_merged() {
    let mut apart = Apart::after(|store| {
        append(store, "INBOX", "both");
    });
    append(&apart.first, "INBOX", "of the first");
    apart.second.promote(2).unwrap();
    append(&apart.second, "INBOX", "of the second");
    let common = apart.common();
    apart.first.inner.held.give_up().unwrap();
    let refused = apart.first.go_back(common).unwrap_err();
    assert!(matches!(refused, WayBackError::NothingHeld { .. }), "{refused}");
    assert_eq!(apart.first.put_aside(common).unwrap(), 2, "the message, and its mailbox's floor");
    // A stop in between: what is still in its log is not merged into it once more.
    let (placeholder, directory) = (apart.second.clone(), apart.directories[0].clone());
    reopen(&mut apart.first, &directory, &placeholder);
    assert!(!apart.first.has_merge().unwrap());
    assert_eq!(apart.first.merge(&|| true).unwrap(), None);
    assert_eq!(subjects(&apart.first, "INBOX"), ["both", "of the first"]);
    let arrival = copy(&apart.second, &apart.first, u64::MAX, &mut Asked::default());
    apart.first.become_copy(&arrival).unwrap();
    reopen(&mut apart.first, &directory, &placeholder);
    assert_eq!(subjects(&apart.first, "INBOX"), ["both", "of the second"]);
    assert!(apart.first.standing().follows && apart.first.has_merge().unwrap());
    ship(&apart.second, &apart.first);
    let first = apart.first.clone();
    linked(&apart.second, &apart.first, move || first.merge(&|| true).unwrap());
    ship(&apart.second, &apart.first);
    assert_same(&apart);
    assert_eq!(subjects(&apart.first, "INBOX"), ["both", "of the second", "of the first"]);
}

#[test]
fn what_was_lent_reaches_to_the_end_of_the_log_until_it_is_ended() {
    let apart = ahead();
    apart.first.lend_copy(Lsn::ZERO).unwrap();
    let at = apart.first.lent_at().unwrap();
    assert_eq!(apart.first.inner.held.floor().min(at), apart.first.inner.held.floor());
    apart.first.end_loan().unwrap();
    assert!(apart.first.inner.held.loan.floor() == Lsn::MAX);
}
