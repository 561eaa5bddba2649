//! Changes of another node: they take effect once, whatever ends in between, and say what they say
//! without a second node.

use std::sync::Arc;

use parking_lot::Mutex;

use super::house::{ANNA, BERT, House, inbox, text};
use crate::error::CommitError;
use crate::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use crate::ids::{Lsn, RequestId, Uid, UnixSeconds};
use crate::sabotage::{self, Sabotage};
use crate::store::{
    Account, DeliverTo, Loopback, Mailbox, NewMessage, ProposalOutcome, SpecialUse, Store,
};
use crate::uid_set::UidSet;

/// The type of the record that tells what a request was answered.
const ANSWERED: u8 = 41;

fn account(store: &Store, name: &str) -> Account {
    store.account(name).unwrap().unwrap()
}

fn mailbox(store: &Store, name: &str) -> Mailbox {
    account(store, ANNA).mailbox(name).unwrap().unwrap()
}

fn uids(set: &[u32]) -> UidSet {
    set.iter().map(|&uid| Uid(uid)).collect()
}

fn flags(system: SystemFlags) -> FlagList {
    FlagList { system, keywords: Vec::new() }
}

fn new_message(store: &Store, number: u64) -> NewMessage {
    let prepared = store.prepare(&text(number), &[account(store, ANNA).number()]).unwrap();
    NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(7) }
}

/// What a change is as a proposal: asked for over a route that leads nowhere else.
fn proposal_of<T>(store: &Store, change: impl FnOnce(&Store) -> T) -> (RequestId, Vec<u8>) {
    struct Nowhere(Mutex<Vec<(RequestId, Vec<u8>)>>);
    impl crate::store::Route for Nowhere {
        fn propose(&self, request: RequestId, proposal: Vec<u8>, _: crate::store::RouteReply) {
            self.0.lock().push((request, proposal));
        }
    }
    let nowhere = Arc::new(Nowhere(Mutex::default()));
    let route: Arc<dyn crate::store::Route> = Arc::<Nowhere>::clone(&nowhere);
    store.set_route(Some(route));
    drop(change(store));
    store.set_route(None);
    let sent = nowhere.0.lock().pop();
    sent.expect("it was sent")
}

/// Proposes, and answers where the outcome will be.
fn propose(
    store: &Store,
    (request, bytes): &(RequestId, Vec<u8>),
) -> Arc<Mutex<Option<ProposalOutcome>>> {
    let outcome = Arc::new(Mutex::new(None));
    let place = Arc::clone(&outcome);
    store.propose(*request, bytes, move |outcome| *place.lock() = Some(outcome)).unwrap();
    outcome
}

fn outcome_of(store: &Store, proposal: &(RequestId, Vec<u8>)) -> ProposalOutcome {
    let outcome = propose(store, proposal);
    store.steps().commit();
    let told = outcome.lock().take();
    told.expect("it was committed")
}

/// Everything that fronts ask for; what each answered, in words.
fn everything(store: &Store) -> Vec<String> {
    let mut told = Vec::new();
    let mut tell = |what: String| told.push(what);
    let anna = account(store, ANNA);
    let inbox = mailbox(store, "INBOX");
    for numbers in [vec![1], vec![2, 3], vec![4]] {
        let messages = numbers.iter().map(|number| new_message(store, *number)).collect();
        tell(format!("{:?}", inbox.append(messages).wait()));
    }
    let messages = (5..8).map(|number| new_message(store, number)).collect();
    for ticket in inbox.append_each(messages) {
        tell(format!("{:?}", ticket.wait()));
    }
    let archive = mailbox(store, "Archive");
    tell(format!("{:?}", inbox.copy(&uids(&[1, 3, 99]), &archive).wait()));
    tell(format!("{:?}", inbox.move_to(&uids(&[2, 4]), &archive).wait()));
    let keyword =
        FlagList { keywords: vec![Keyword::new("$Junk").unwrap()], ..flags(SystemFlags::SEEN) };
    tell(format!(
        "{:?}",
        inbox.store_flags(&uids(&[1, 3, 50]), FlagChange::Add, &keyword, None).wait()
    ));
    let since = Some(Lsn::ZERO);
    let deleted = flags(SystemFlags::DELETED);
    tell(format!("{:?}", inbox.store_flags(&uids(&[1]), FlagChange::Add, &deleted, since).wait()));
    tell(format!(
        "{:?}",
        inbox.store_flags(&uids(&[5]), FlagChange::Replace, &deleted, None).wait()
    ));
    tell(format!("{:?}", inbox.expunge(&uids(&[1, 5])).wait()));
    tell(format!("{:?}", inbox.replace(Uid(6), &archive, new_message(store, 8)).wait()));
    tell(format!("{:?}", inbox.replace(Uid(6), &archive, new_message(store, 8)).wait()));
    tell(format!(
        "{:?}",
        anna.create_mailbox("Lists/Rust", Some(SpecialUse::Flagged)).wait().is_ok()
    ));
    tell(format!("{:?}", anna.create_mailbox("Archive", None).wait()));
    tell(format!("{:?}", anna.create_mailbox("a*", None).wait()));
    tell(format!("{:?}", anna.rename_mailbox("Archive", "Old").wait()));
    tell(format!("{:?}", anna.rename_mailbox("Old", "Old/er").wait()));
    tell(format!("{:?}", anna.rename_mailbox("INBOX", "In").wait()));
    tell(format!("{:?}", anna.delete_mailbox("INBOX").wait()));
    tell(format!("{:?}", anna.delete_mailbox("Drafts").wait()));
    tell(format!("{:?}", anna.delete_mailbox("Drafts").wait()));
    tell(format!("{:?}", archive.append(vec![new_message(store, 9)]).wait()));
    tell(format!("{:?}", anna.subscribe("Elsewhere").wait()));
    tell(format!("{:?}", anna.unsubscribe("Sent").wait()));
    tell(format!("{:?}", store.add_domain("example.org").map_err(|error| error.to_string())));
    tell(format!("{:?}", store.add_domain("example.net")));
    tell(format!("{:?}", store.set_quota(anna.number(), Some(40_000))));
    tell(format!("{:?}", store.set_message_limit(anna.number(), Some(100))));
    told.extend(deliveries(store));
    told
}

/// Deliveries, one of them in part.
fn deliveries(store: &Store) -> Vec<String> {
    let accounts = [account(store, ANNA).number(), account(store, BERT).number()];
    let deliver = |mailbox: &str, length: usize| {
        let text = text(77).repeat(length);
        let prepared = store.prepare(&text, &accounts).unwrap();
        let to = accounts.map(|account| DeliverTo {
            account,
            mailbox: mailbox.to_owned(),
            flags: flags(SystemFlags::FLAGGED),
        });
        store.deliver(prepared, UnixSeconds(9), to.to_vec()).wait()
    };
    vec![
        format!("{:?}", deliver("INBOX", 1)),
        // Made for it; large, so that it enters ahead; beyond the quota of one of them.
        format!("{:?}", deliver("Lists/Made", 5)),
        format!("{:?}", deliver("INBOX", 9)),
    ]
}

/// Names and texts of all mailboxes.
fn content(store: &Store, name: &str) -> Vec<(String, u32, SystemFlags, Vec<u8>)> {
    let mut found = Vec::new();
    let account = account(store, name);
    for entry in &account.listing().unwrap().mailboxes {
        let view = account.mailbox(&entry.name).unwrap().unwrap().view().unwrap().unwrap();
        for row in view.rows_from(Uid(1), usize::MAX).unwrap() {
            let bytes = account.message(&row).unwrap().read_all().unwrap();
            found.push((entry.name.clone(), row.uid.0, row.flags, bytes));
        }
    }
    found
}

/// Positions differ, because answers take some, and so do UIDVALIDITY and the like, drawn anew.
fn without_positions(told: &[String]) -> Vec<String> {
    let mut words = Vec::new();
    for told in told {
        let mut kept = told.clone();
        for field in ["modseq: ", "uid_validity: "] {
            let pieces: Vec<String> = kept.split(field).map(str::to_owned).collect();
            let cut = |piece: &String| {
                let end = piece.find([',', '}']).unwrap_or(piece.len());
                piece[end..].to_owned()
            };
            let rest: Vec<String> = pieces.iter().skip(1).map(cut).collect();
            kept = [vec![pieces[0].clone()], rest].concat().join(field);
        }
        words.push(kept);
    }
    words
}

#[test]
fn changes_that_travel_do_and_say_what_they_do_and_say_at_home() {
    let here = House::new(31, 0);
    let there = House::new(31, 0);
    let loopback = Loopback::set(&there.store);
    let at_home = everything(&here.store);
    let travelled = everything(&there.store);
    assert_eq!(without_positions(&travelled), without_positions(&at_home));
    assert!(at_home.iter().any(|told| told.contains("OverQuota")), "{at_home:?}");
    for name in [ANNA, BERT] {
        assert_eq!(content(&there.store, name), content(&here.store, name));
        let listing =
            |house: &House| account(&house.store, name).listing().unwrap().subscribed.clone();
        assert_eq!(listing(&there), listing(&here));
    }
    assert_eq!(here.records(ANSWERED), 0, "without proposals there are no answers");
    let (sent, answers) = (loopback.sent.lock().len(), there.records(ANSWERED));
    assert!(
        (20..sent).contains(&answers),
        "what changed nothing is not logged: {answers} of {sent}"
    );
    there.store.set_route(None);
    assert!(there.store.checkpoint());
    assert_eq!(there.store.check(&mut |_| {}).unwrap().problems, []);
    for name in [ANNA, BERT] {
        there.assert_whole(name);
    }
}

#[test]
fn a_request_that_comes_twice_takes_effect_once() {
    let House { world, store } = House::new(32, 0);
    let proposal =
        proposal_of(&store, |store| mailbox(store, "INBOX").append(vec![new_message(store, 1)]));
    // Twice in one batch, and once more.
    let (first, second) = (propose(&store, &proposal), propose(&store, &proposal));
    store.steps().commit();
    let first = first.lock().take().expect("it was committed");
    assert_eq!(second.lock().take().as_ref(), Some(&first));
    assert_eq!(outcome_of(&store, &proposal), first);
    assert_eq!(store.outcome_of(proposal.0).as_ref(), Some(&first));
    assert_eq!(inbox(&store, ANNA).unwrap(), [(1, text(1))]);
    // So it stays: in the log, in the tables, and in what is made of the log alone.
    for checkpoint in [false, true] {
        assert!(!checkpoint || store.checkpoint());
        for world in [world.after_kill(), world.after_kill().without_tables()] {
            let (store, _) = world.open().unwrap();
            assert_eq!(outcome_of(&store, &proposal), first);
            assert_eq!(inbox(&store, ANNA).unwrap(), [(1, text(1))]);
            assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
        }
    }
    // Another request with the same content is another message.
    let again = (RequestId([9; 16]), proposal.1.clone());
    assert_ne!(outcome_of(&store, &again), first);
    assert_eq!(inbox(&store, ANNA).unwrap().len(), 2);
}

/// An append, a delivery to two accounts and a move are proposed; the power is cut at every call;
/// in every world that it may leave they are proposed again. Answers in which worlds something is
/// there twice.
fn twice_after_cuts(calls: std::ops::Range<u64>) -> Vec<String> {
    let mut doubled = Vec::new();
    for call in calls {
        let house = House::new(call, 0);
        house.append(ANNA, 0..1).unwrap();
        let House { world, store } = house;
        let accounts = [account(&store, ANNA).number(), account(&store, BERT).number()];
        let append = proposal_of(&store, |store| {
            mailbox(store, "INBOX").append(vec![new_message(store, 1)])
        });
        let delivery = proposal_of(&store, |store| {
            let prepared = store.prepare(&text(3), &accounts).unwrap();
            let to = accounts.map(|account| {
                let (mailbox, flags) = ("Lists/New".to_owned(), FlagList::default());
                DeliverTo { account, mailbox, flags }
            });
            store.deliver(prepared, UnixSeconds(9), to.to_vec())
        });
        let copy = proposal_of(&store, |store| {
            mailbox(store, "INBOX").copy(&uids(&[1]), &mailbox(store, "Archive"))
        });
        let proposals = [append, delivery, copy];
        world.disk.cut_power_at_call(world.disk.calls() + call);
        let told: Vec<_> = proposals.iter().map(|proposal| propose(&store, proposal)).collect();
        store.steps().commit();
        let told: Vec<_> = told.iter().map(|told| told.lock().take().unwrap()).collect();
        let is_acknowledged = store.status().stopped.is_none();
        for image in world.after_power_loss(8) {
            let (store, _) = image.open().unwrap();
            let again: Vec<_> =
                proposals.iter().map(|proposal| outcome_of(&store, proposal)).collect();
            let once = || proposals.iter().map(|proposal| outcome_of(&store, proposal));
            assert!(sabotage::breaks(Sabotage::Request) || once().eq(again.iter().cloned()));
            let found = content(&store, ANNA);
            let count = |name: &str| found.iter().filter(|found| found.0 == name).count();
            let all = [count("INBOX"), count("Archive"), count("Lists/New")];
            let bert = content(&store, BERT).len();
            if all == [2, 1, 1] && bert == 1 {
                let is_same = !is_acknowledged || again == told;
                assert!(is_same || sabotage::breaks(Sabotage::Request), "cut at call {call}");
            } else {
                doubled.push(format!("cut at {call}: {all:?}, {bert} of Bert, {again:?}"));
            }
            assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
        }
        if is_acknowledged {
            break;
        }
    }
    doubled
}

#[test]
fn a_power_cut_between_commit_and_answer_makes_nothing_twice() {
    assert_eq!(twice_after_cuts(1..40), <[String; 0]>::default());
    sabotage::set(Some(Sabotage::Request));
    let doubled = twice_after_cuts(1..40);
    sabotage::set(None);
    assert!(!doubled.is_empty(), "without the answer in the log, it is seen");
}

#[test]
fn followers_whose_proposals_conflict_are_judged_in_order() {
    let House { store, .. } = House::new(34, 0);
    let loopback = Loopback::set(&store);
    let inbox = mailbox(&store, "INBOX");
    inbox.append(vec![new_message(&store, 1), new_message(&store, 2)]).wait().unwrap();
    let since = Some(inbox.view().unwrap().unwrap().highest_modseq());
    let seen = inbox.store_flags(&uids(&[1, 2]), FlagChange::Add, &flags(SystemFlags::SEEN), since);
    let flagged =
        inbox.store_flags(&uids(&[1]), FlagChange::Add, &flags(SystemFlags::FLAGGED), since);
    assert_eq!(seen.wait().unwrap().changed, uids(&[1, 2]));
    let flagged = flagged.wait().unwrap();
    assert_eq!((flagged.modified, flagged.modseq), (uids(&[1]), None));

    let anna = account(&store, ANNA);
    let [one, other] = [0, 1].map(|_| anna.create_mailbox("Lists", None));
    assert!(one.wait().is_ok());
    let exists = other.wait().unwrap_err();
    assert!(matches!(&exists, CommitError::AlreadyExists { what } if what == "the mailbox Lists"));

    store.set_quota(anna.number(), Some(13_000)).unwrap();
    let [one, other] = [3, 4].map(|number| inbox.append(vec![new_message(&store, number)]));
    assert!(one.wait().is_ok());
    assert!(matches!(other.wait(), Err(CommitError::OverQuota { limit_bytes: 13_000 })));

    let deleted = flags(SystemFlags::DELETED);
    inbox.store_flags(&uids(&[2]), FlagChange::Add, &deleted, None).wait().unwrap();
    let gone = inbox.expunge(&uids(&[2]));
    let late = inbox.store_flags(&uids(&[2]), FlagChange::Add, &flags(SystemFlags::SEEN), None);
    assert_eq!(gone.wait().unwrap(), uids(&[2]));
    assert_eq!(late.wait().unwrap().gone, uids(&[2]));
    assert!(loopback.sent.lock().len() > 8);
    store.set_route(None);
}

#[test]
fn what_only_a_primary_does_is_refused_with_its_reason() {
    let House { store, .. } = House::new(35, 0);
    let _loopback = Loopback::set(&store);
    let refused = store.delete_account(account(&store, BERT).number()).unwrap_err();
    assert!(refused.to_string().contains("node that is primary"), "{refused}");
    store.set_route(None);
    store.delete_account(account(&store, BERT).number()).unwrap();
}

#[test]
fn a_message_that_entered_ahead_for_a_primary_of_before_is_refused_and_leaves_nothing() {
    let House { world, store } = House::new(36, 0);
    let loopback = Loopback::set(&store);
    let large: Vec<u8> = (0..12).flat_map(text).collect();
    let prepared = store.prepare(&large, &[account(&store, ANNA).number()]).unwrap();
    let new = NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(7) };
    mailbox(&store, "INBOX").append(vec![new]).wait().unwrap();
    let (_, sent) = (store.set_route(None), std::mem::take(&mut *loopback.sent.lock()));
    assert!(sent.len() > 1, "its chunks went ahead");
    // The same again, but that the primary ends before the record comes.
    let house = House::new(36, 0);
    let (record, chunks) = sent.split_last().unwrap();
    drop(world);
    for chunk in chunks {
        outcome_of(&house.store, chunk);
    }
    assert!(house.store.checkpoint());
    let (again, _) = house.world.after_kill().open().unwrap();
    for chunk in chunks {
        assert_eq!(Some(outcome_of(&again, chunk)), house.store.outcome_of(chunk.0));
    }
    let loopback = Loopback::set(&again);
    let outcome = outcome_of(&again, record);
    assert!(again.outcome_of(record.0).is_none(), "it changed nothing: {outcome:?}");
    assert_eq!(inbox(&again, ANNA).unwrap(), []);
    drop(loopback);
    again.set_route(None);
    assert!(again.checkpoint());
    assert_eq!(again.check(&mut |_| {}).unwrap().problems, []);
}

#[test]
fn answers_outlive_base_images_and_go_with_their_account_or_when_they_are_forgotten() {
    let house = House::new(37, 0);
    let loopback = Loopback::set(&house.store);
    for number in 0..40 {
        let messages = vec![new_message(&house.store, number)];
        mailbox(&house.store, "INBOX").append(messages).wait().unwrap();
    }
    house.store.add_domain("example.net").unwrap();
    house.store.set_route(None);
    let sent = std::mem::take(&mut *loopback.sent.lock());
    house.append(BERT, 100..140).unwrap();
    house.expunge(BERT, |uid| uid < 40);
    assert!(house.store.checkpoint());
    house.make_images();
    house.reclaim_all();
    let known =
        |store: &Store| sent.iter().map(|sent| store.outcome_of(sent.0)).collect::<Vec<_>>();
    let all = known(&house.store);
    assert!(all.iter().all(Option::is_some));
    assert!(house.records(ANSWERED) < sent.len(), "records were dropped");
    let world = house.world.after_kill().without_tables();
    assert_eq!(known(&world.open().unwrap().0), all, "images have them");
    house.assert_whole(ANNA);

    assert_eq!(house.store.forget_requests(Lsn::ZERO), 0);
    let beyond = Lsn::new(9, 1).unwrap();
    assert_eq!(house.store.forget_requests(beyond), 0, "the newest stay");
    house.store.delete_account(account(&house.store, ANNA).number()).unwrap();
    let left = known(&house.store);
    assert_eq!(left.iter().flatten().count(), 1, "that of the domain");
    assert!(house.store.checkpoint());
    assert_eq!(known(&house.world.after_kill().open().unwrap().0), left);
    assert_eq!(house.store.check(&mut |_| {}).unwrap().problems, []);
}

/// More messages than one record names: its records are a run, and the answer ends it.
#[test]
fn a_copy_of_several_records_and_its_answer_are_there_together() {
    let house = House::new(38, 0);
    house.append(ANNA, 0..1).unwrap();
    let (inbox, archive) = (mailbox(&house.store, "INBOX"), mailbox(&house.store, "Archive"));
    let all = UidSet::from_ranges([(1, u32::MAX)]);
    for _ in 0..13 {
        inbox.copy(&all, &inbox).wait().unwrap();
    }
    assert!(house.store.checkpoint());
    let copy = proposal_of(&house.store, |_| inbox.copy(&all, &archive));
    let outcome = outcome_of(&house.store, &copy);
    let count = |store: &Store| mailbox(store, "Archive").view().unwrap().unwrap().message_count();
    assert_eq!(count(&house.store), 8192);
    let mut worlds = house.world.after_power_loss(2);
    worlds.push(house.world.after_kill().without_tables());
    for world in worlds {
        let (store, report) = world.open().unwrap();
        assert_eq!(report.void_count, 0);
        assert_eq!(outcome_of(&store, &copy), outcome);
        assert_eq!(count(&store), 8192);
    }
}

#[test]
fn bytes_that_are_no_proposal_are_refused_and_nothing_is_answered() {
    let House { store, .. } = House::new(39, 0);
    let proposal = proposal_of(&store, |store| account(store, ANNA).subscribe("x"));
    assert!(store.propose(RequestId([0; 16]), &proposal.1, |_| panic!("no id")).is_err());
    for end in 0..proposal.1.len() {
        let error = store.propose(proposal.0, &proposal.1[..end], move |_| panic!("cut at {end}"));
        assert!(error.unwrap_err().to_string().contains("does not decode"));
    }
    let outcome = outcome_of(&store, &proposal);
    assert_eq!(Some(outcome), store.outcome_of(proposal.0));
}
