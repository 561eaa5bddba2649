//! A node of a pair on a wire: what it says, and what it does with what it hears. The same as
//! `replication/src/pair/node.rs` does in threads, in steps.
//!
//! ```text
//!  Hello ─────► each tells how it stands       Follow ────► the follower's log ends here
//!  Keys, Groups ◄─ the primary ships           Noted ─────► durable here up to there
//!  Propose ───► a follower's client asks       Outcome ◄── what became of it
//! ```
//! # Invariants
//! 1. It hears what came over the connection that it has, and nothing that came over another one.
//! 2. Shipments over one connection fit: one is refused only by a disk that failed or is full.
//! 3. A primary that comes back has everything that its follower has.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::node::Node;
use super::wire::Wire;
use crate::disk::simulated::Dice;
use crate::error::CommitError;
use crate::ids::{Lsn, RequestId};
use crate::pair::{Position, Shipment, Shipper};
use crate::store::{ProposalOutcome, Route, RouteReply, VolumeStanding, common_position};

/// What one node sends to the other.
pub(super) enum Message {
    Hello(VolumeStanding),
    Follow(Position),
    Keys(Vec<u8>),
    Groups { bytes: Vec<u8>, end: Lsn },
    Noted(Lsn),
    Propose { request: RequestId, bytes: Vec<u8> },
    Outcome { request: RequestId, outcome: ProposalOutcome },
}

/// A rule that a run breaks, so that it is seen that this is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// A follower notes what has arrived, before it is on its disk.
    NotesAtOnce,
    /// What comes over an old connection is taken as if it came over the newest.
    TakesOld,
    /// What is to be on both nodes is acknowledged when it is on one.
    AcknowledgesAlone,
}

/// What a node is to do next that takes longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// It goes back to what both have.
    GoBack(Lsn),
    /// It becomes a full copy of the other.
    Copy,
}

pub(super) struct WiredNode {
    pub(super) node: Node,
    number: usize,
    broken: Option<Broken>,
    /// The connection that it has, as far as it knows.
    pub(super) connection: Option<u64>,
    /// How the other one stood when they met, over this connection.
    pub(super) peer: Option<VolumeStanding>,
    shipper: Option<Shipper>,
    keys_sent: u64,
    /// The follower counts as there when it has noted this.
    target: Option<Lsn>,
    /// It takes changes when it has met the other node.
    asks_first: bool,
    asked: Arc<Asked>,
    outcomes: Arc<Mutex<Vec<Message>>>,
    pub(super) due: Option<Due>,
    /// The follower has told of so much.
    noted: Lsn,
}

/// What clients of a follower asked for, in order.
#[derive(Default)]
pub(super) struct Asked(Mutex<Vec<Waiting>>);

struct Waiting {
    request: RequestId,
    bytes: Vec<u8>,
    reply: RouteReply,
    is_sent: bool,
    outcome: Option<ProposalOutcome>,
}

impl Route for Asked {
    fn propose(&self, request: RequestId, bytes: Vec<u8>, reply: RouteReply) {
        self.0.lock().push(Waiting { request, bytes, reply, is_sent: false, outcome: None });
    }
}

impl Asked {
    fn take(&self, is_wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut waiting = self.0.lock();
        let (taken, left) = std::mem::take(&mut *waiting).into_iter().partition(is_wanted);
        *waiting = left;
        taken
    }

    /// The log reaches up to there.
    fn reached(&self, lsn: Lsn) {
        let is_ready =
            |waiting: &Waiting| waiting.outcome.as_ref().is_some_and(|outcome| outcome.at <= lsn);
        for Waiting { reply, outcome, .. } in self.take(is_ready) {
            reply(Ok(outcome.unwrap()));
        }
    }

    /// Nobody waits any longer; what was sent may take effect all the same.
    pub(super) fn give_up(&self) {
        for Waiting { reply, .. } in self.take(|_| true) {
            reply(Err(CommitError::Primary { words: "it did not answer in time".into() }));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub(super) fn has(&self, request: RequestId) -> bool {
        self.0.lock().iter().any(|waiting| waiting.request == request)
    }
}

impl WiredNode {
    pub(super) fn new(node: Node, number: usize, broken: Option<Broken>) -> WiredNode {
        let wired = WiredNode {
            node,
            number,
            broken,
            connection: None,
            peer: None,
            shipper: None,
            keys_sent: 0,
            target: None,
            asks_first: false,
            asked: Arc::default(),
            outcomes: Arc::default(),
            due: None,
            noted: Lsn::ZERO,
        };
        wired.set_way();
        wired
    }

    /// Its process has begun anew; `asks_first`: it takes no changes before it has met the other.
    pub(super) fn begin_anew(&mut self, asks_first: bool) {
        self.lost();
        (self.due, self.noted) = (None, Lsn::ZERO);
        (self.asked, self.outcomes) = (Arc::default(), Arc::default());
        self.set_way();
        self.asks_first = asks_first && !self.follows();
        self.node.store.set_changes_refused(self.asks_first);
    }

    pub(super) fn follows(&self) -> bool {
        self.node.store.standing().follows
    }

    pub(super) fn asked(&self) -> &Arc<Asked> {
        &self.asked
    }

    /// Its disk failed, and it waits for somebody who starts it again.
    pub(super) fn is_stopped(&self) -> bool {
        self.node.store.status().stopped.is_some()
    }

    /// Changes go to the primary, if that is the other node.
    pub(super) fn set_way(&self) {
        let way: Arc<dyn Route> = Arc::<Asked>::clone(&self.asked);
        self.node.store.set_route(self.follows().then_some(way));
    }

    /// It becomes primary; answers whether its disk let it.
    pub(super) fn promote(&mut self) -> bool {
        // One node opens the odd epochs, the other one the even ones.
        let next = self.node.store.newest_epoch() + 1;
        let is_own = usize::from(next % 2) != self.number;
        let epoch = if is_own { next } else { next + 1 };
        if let Err(error) = self.node.store.promote(epoch) {
            assert!(self.node.is_ill(), "it is not promoted: {error}");
            return false;
        }
        self.set_way();
        self.settle();
        true
    }

    /// What clients asked for while it followed: what took effect is in its log, the rest is done.
    fn settle(&self) {
        let store = &self.node.store;
        for Waiting { request, bytes, reply, .. } in self.asked.take(|_| true) {
            match store.outcome_of(request) {
                Some(outcome) => reply(Ok(outcome)),
                None => store.propose(request, &bytes, |outcome| reply(Ok(outcome))).unwrap(),
            }
        }
    }

    /// There is a connection.
    pub(super) fn connected(&mut self, number: u64, wire: &mut Wire<Message>, dice: &mut Dice) {
        self.lost();
        self.connection = Some(number);
        self.say(Message::Hello(self.node.store.standing()), wire, dice);
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        self.connection = None;
        (self.peer, self.shipper, self.target) = (None, None, None);
        self.node.store.set_follower_there(false);
    }

    /// It ends the connection.
    pub(super) fn close(&mut self, wire: &mut Wire<Message>) {
        if let Some(number) = self.connection {
            wire.close(number, self.number);
        }
        self.lost();
    }

    fn say(&self, message: Message, wire: &mut Wire<Message>, dice: &mut Dice) {
        if let Some(number) = self.connection {
            wire.send((number, self.number), message, dice);
        }
    }

    /// Something has come over a connection.
    pub(super) fn hear(
        &mut self,
        (connection, message): (u64, Message),
        wire: &mut Wire<Message>,
        dice: &mut Dice,
    ) {
        if self.connection != Some(connection) && self.broken != Some(Broken::TakesOld) {
            return;
        }
        let store = self.node.store.clone();
        match message {
            Message::Hello(there) => self.met(there, wire, dice),
            Message::Follow(end) if !self.follows() => {
                self.shipper = Some(store.ship_behind(end));
                (self.keys_sent, self.target) = (0, Some(store.position().lsn));
                self.note(end.lsn);
            }
            Message::Keys(table) => {
                if let Err(error) = store.take_key_table(&table) {
                    self.refuses(&error.to_string(), wire);
                }
            }
            Message::Groups { bytes, end } => {
                if self.broken == Some(Broken::NotesAtOnce) {
                    self.say(Message::Noted(end), wire, dice);
                }
                match store.take_groups(&bytes) {
                    Ok(end) => {
                        self.asked.reached(end.lsn);
                        self.say(Message::Noted(end.lsn), wire, dice);
                    }
                    Err(error) => self.refuses(&error.to_string(), wire),
                }
            }
            Message::Noted(lsn) => self.note(lsn),
            Message::Propose { request, bytes } if !self.follows() => {
                let outcomes = Arc::clone(&self.outcomes);
                let done =
                    move |outcome| outcomes.lock().push(Message::Outcome { request, outcome });
                store.propose(request, &bytes, done).unwrap();
            }
            Message::Outcome { request, outcome } => {
                let mut waiting = self.asked.0.lock();
                for waiting in waiting.iter_mut().filter(|waiting| waiting.request == request) {
                    waiting.outcome = Some(outcome.clone());
                }
                drop(waiting);
                self.asked.reached(store.position().lsn);
            }
            Message::Follow(_) | Message::Propose { .. } => {}
        }
    }

    fn refuses(&mut self, why: &str, wire: &mut Wire<Message>) {
        assert!(self.node.is_ill(), "it does not take what is sent: {why}");
        self.close(wire);
    }

    /// How the other one stands, and what follows from that.
    fn met(&mut self, there: VolumeStanding, wire: &mut Wire<Message>, dice: &mut Dice) {
        let here = self.node.store.standing();
        match (here.follows, there.follows) {
            (false, false) => {
                let newest =
                    |standing: &VolumeStanding| standing.history.last().map(|epoch| epoch.number);
                if newest(&there) > newest(&here) {
                    let (own, other) = (&here.history, &there.history);
                    let common =
                        common_position((own, here.position.lsn), (other, there.position.lsn));
                    self.due = Some(Due::GoBack(common.expect("they have an epoch in common")));
                }
            }
            (true, false) if self.node.store.has_arrival().unwrap_or(false) => {
                self.due = Some(Due::Copy);
            }
            (true, false) => {
                self.say(Message::Follow(here.position), wire, dice);
                for waiting in self.asked.0.lock().iter_mut() {
                    waiting.is_sent = false;
                }
            }
            (false, true) => {
                let ids = [&here, &there].map(|s| s.history.last().map(|epoch| epoch.id));
                let is_same = ids[0] == ids[1];
                assert!(
                    !is_same || there.position.lsn <= here.position.lsn,
                    "the follower has more of the epoch: {} of {}",
                    there.position.lsn,
                    here.position.lsn
                );
                if std::mem::take(&mut self.asks_first) {
                    self.node.store.set_changes_refused(false);
                }
            }
            (true, true) => {}
        }
        self.peer = Some(there);
    }

    fn note(&mut self, lsn: Lsn) {
        self.noted = self.noted.max(lsn);
        self.node.store.note_follower(lsn);
        if self.target.is_some_and(|target| lsn >= target) {
            self.target = None;
            self.node.store.set_follower_there(true);
        }
    }

    /// Sends what there is to be sent: groups, answers, what clients ask for.
    pub(super) fn speak(&mut self, wire: &mut Wire<Message>, dice: &mut Dice) {
        for outcome in std::mem::take(&mut *self.outcomes.lock()) {
            self.say(outcome, wire, dice);
        }
        let has_primary = self.peer.as_ref().is_some_and(|peer| !peer.follows) && self.follows();
        if !has_primary {
            // What was sent waits for the next connection.
            for Waiting { reply, .. } in self.asked.take(|waiting| !waiting.is_sent) {
                reply(Err(CommitError::Primary { words: "it cannot be reached".into() }));
            }
        }
        let mut waiting = std::mem::take(&mut *self.asked.0.lock());
        for waiting in waiting.iter_mut().filter(|waiting| !waiting.is_sent) {
            waiting.is_sent = true;
            if waiting.outcome.is_none() {
                let (request, bytes) = (waiting.request, waiting.bytes.clone());
                self.say(Message::Propose { request, bytes }, wire, dice);
            }
        }
        *self.asked.0.lock() = waiting;
        self.ship(wire, dice);
    }

    fn ship(&mut self, wire: &mut Wire<Message>, dice: &mut Dice) {
        let Some(shipper) = &mut self.shipper else { return };
        match shipper.next(3_000, Duration::ZERO) {
            Ok(Shipment::Groups { bytes, end, keys }) => {
                if keys.0 > self.keys_sent {
                    let (version, table) = self.node.store.key_table();
                    self.keys_sent = version.0;
                    self.say(Message::Keys(table), wire, dice);
                }
                self.say(Message::Groups { bytes, end: end.lsn }, wire, dice);
            }
            Ok(Shipment::Nothing) => {}
            Ok(other) => panic!("the follower is at {:?}: {other:?}", shipper.position()),
            Err(error) => {
                assert!(self.node.is_ill(), "nothing can be shipped: {error}");
                self.shipper = None;
            }
        }
    }

    /// Whether it has to merge something, and may.
    pub(super) fn may_merge(&self) -> bool {
        let store = &self.node.store;
        if self.node.is_off() || self.is_stopped() || !store.has_merge().unwrap_or(false) {
            return false;
        }
        let has_all =
            |peer: &VolumeStanding| !peer.follows && store.position().lsn >= peer.position.lsn;
        !self.follows() || self.peer.as_ref().is_some_and(has_all)
    }
}
