//! A node of the pair at work: ships the volumes of which it is primary, takes those that it
//! follows.
//!
//! ```text
//!  follower                                   primary
//!     │── Follow: my log ends here ────────────►│  in its log?  no ─► told, nothing is touched
//!     │◄───────────── KeyTable, if it is needed │  yes ─► a thread that ships what follows
//!     │◄────────────────────── Groups, Groups … │
//!     │  chain, flush, apply                    │
//!     │── Noted: durable here up to there ─────►│  gate: those who wait are answered
//! ```
//!
//! # Invariants
//! 1. A follower notes only what survives a power cut on its disk.
//! 2. What was sent and not noted is bounded by [`UNNOTED_BYTES_MAX`].
//! 3. A follower counts as there from when it has noted what the primary had when it came.
//! 4. Proposals have a thread of their own: the committer may make them wait for what only a
//!    message behind them, *Noted*, can bring.
//! 5. Two nodes that both call themselves primary, or both follower, exchange nothing.

mod full_copy;
mod hand_over;
mod inquiry;
mod lag;
mod levels;
mod way_back;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::error::CommitError;
use engine::ids::{Lsn, RequestId, VolumeId};
use engine::log::GroupHash;
use engine::pair::{Acknowledgement, Position, Shipment};
use engine::{ProposalOutcome, Route, RouteReply, Store, VolumeStanding};
use parking_lot::{Condvar, Mutex};

use self::full_copy::{BECOMES_COPY, FullCopy};
use self::lag::{Lag, exposed, records_between};
pub use self::levels::LevelRefusal;
use super::asking::{Asked, BYTES_MAX, COUNT_MAX};
use super::heard::{Heard, Missing};
use super::host::{Connection, Host, SendError};
use super::message::{self, Epoch, GroupEnd, Message, Parent, Role, VolumeState};
use super::protocol::Ending;

pub use full_copy::CopyReport;
pub use hand_over::HandedOver;
pub use way_back::{MergeReport, Reopen};

/// Bytes of groups that were sent and not noted.
pub const UNNOTED_BYTES_MAX: u64 = 16 << 20;
/// Bytes of groups in a message, unless one group has more.
const MESSAGE_BYTES: usize = 1 << 20;
/// How long a client waits for room in what is to be sent.
const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// How long answered requests are remembered: far above what anybody waits.
const REQUESTS_KEPT: Duration = Duration::from_secs(600);
/// How often a thread that ships looks whether it still should.
const LOOK: Duration = Duration::from_millis(250);

/// Who opens the stores again when one of them goes back.
type Reopening = Arc<Mutex<Option<Arc<dyn Fn() + Send + Sync>>>>;

/// A volume of a pair, at this node.
struct Volume {
    store: Store,
    name: String,
    mode: Acknowledgement,
    standing: Mutex<Standing>,
    noted: Condvar,
    shipping: Mutex<Option<Shipping>>,
    /// What clients of a follower asked for.
    asked: Asked,
    /// What a follower asked for, on its way to the committer.
    proposals: Proposals,
    /// The connection, while its other end is primary.
    primary: Mutex<Option<Arc<Connection>>>,
    /// Since when the other node is behind.
    lag: Mutex<Lag>,
    /// Positions of the past minutes, for requests that nobody will send again.
    passed: Mutex<VecDeque<(Instant, Lsn)>>,
    /// What was last known of the primary.
    heard: Heard,
    /// Who opens the store again when it goes back.
    reopen: Reopening,
    goes_back: AtomicBool,
    /// The other node went on from a newer epoch.
    is_deposed: AtomicBool,
    hands_over: AtomicBool,
    /// It is not known whether the follower has more of this epoch.
    asks_first: AtomicBool,
    merges: AtomicBool,
    stops: AtomicBool,
    merge: Mutex<MergeReport>,
    /// When a checkpoint was made to be held, and after which time it is again.
    held_tried: Mutex<Option<(Instant, Duration)>>,
    /// One on its way, from here or to here.
    copy: FullCopy,
    inquiries: inquiry::Inquiries,
}

/// Proposals on their way to the committer.
#[derive(Default)]
struct Proposals {
    waiting: Mutex<ProposalsWaiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct ProposalsWaiting {
    queue: VecDeque<Proposal>,
    bytes: usize,
    has_thread: bool,
}

struct Proposal {
    connection: Arc<Connection>,
    id: VolumeId,
    request: RequestId,
    bytes: Vec<u8>,
}

/// The way of a follower's changes to the primary.
struct Way {
    id: VolumeId,
    volume: Weak<Volume>,
}

/// What is known of the volume at the other node.
#[derive(Default)]
struct Standing {
    /// Groups that were sent: when, and up to where.
    sent: VecDeque<(Lsn, Instant)>,
    /// The follower counts as there when it has noted this.
    target: Option<Lsn>,
    is_there: bool,
    /// Why nothing goes over, if so.
    trouble: Option<String>,
}

/// A thread that ships.
struct Shipping {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// How a volume stands, for people.
#[derive(Clone, Debug)]
pub struct VolumeReport {
    /// The volume.
    pub name: String,
    /// Whether this node follows.
    pub follows: bool,
    /// Where the log here ends.
    pub last: Lsn,
    /// Up to where the other node has it, if this one is primary.
    pub noted: Option<Lsn>,
    /// Records that the other node lacks, if both positions are of one epoch.
    pub lag_records: Option<u64>,
    /// Bytes on their way.
    pub lag_bytes: u64,
    /// For how long the other node has been behind.
    pub lag: Duration,
    /// At most so many records are acknowledged that the other node lacks, if that is known.
    pub exposed_records: Option<u64>,
    /// The follower is there.
    pub is_there: bool,
    /// Changes are acknowledged without it that should not be.
    pub is_degraded: bool,
    /// Why nothing goes over, if so.
    pub trouble: Option<String>,
    /// What this node had alone.
    pub merge: MergeReport,
    /// A full copy that is on its way to this node.
    pub copy: Option<CopyReport>,
    /// Pieces of messages that the other node healed here, and those that this one gave to it.
    pub healed: (u64, u64),
    /// What this node found when it compared last.
    pub compared: Option<Arc<engine::compare::CompareReport>>,
}

/// A node of a pair.
pub struct Node {
    volumes: BTreeMap<VolumeId, Arc<Volume>>,
    connection: Mutex<Option<Arc<Connection>>>,
    reopen: Reopening,
    hand_over: Mutex<Option<HandedOver>>,
    /// Counts what was taken, for tests and figures.
    taken_bytes: AtomicU64,
}

impl Node {
    /// A node with these volumes, whose stores were opened for a pair.
    pub fn new(volumes: Vec<(String, Store, Acknowledgement)>) -> Arc<Node> {
        let reopen: Reopening = Arc::default();
        let volume = |(name, store, mode): (String, Store, Acknowledgement)| {
            let id = store.standing().volume;
            // Known from the first moment, or it would look as if all were together.
            let is_pending = store.has_merge().unwrap_or(true);
            let copy = FullCopy::of(&store);
            let volume = Volume {
                store,
                name,
                mode,
                standing: Mutex::default(),
                noted: Condvar::new(),
                shipping: Mutex::default(),
                asked: Asked::default(),
                proposals: Proposals::default(),
                primary: Mutex::default(),
                lag: Mutex::default(),
                passed: Mutex::default(),
                heard: Heard::default(),
                reopen: Arc::clone(&reopen),
                goes_back: AtomicBool::new(false),
                is_deposed: AtomicBool::new(false),
                hands_over: AtomicBool::new(false),
                asks_first: AtomicBool::new(false),
                merges: AtomicBool::new(false),
                stops: AtomicBool::new(false),
                merge: Mutex::new(MergeReport { is_pending, ..MergeReport::default() }),
                held_tried: Mutex::default(),
                copy,
                inquiries: inquiry::Inquiries::default(),
            };
            let volume = Arc::new(volume);
            volume.set_way(id);
            volume.set_neighbour(id);
            (id, volume)
        };
        Arc::new(Node {
            volumes: volumes.into_iter().map(volume).collect(),
            connection: Mutex::default(),
            reopen,
            hand_over: Mutex::default(),
            taken_bytes: AtomicU64::new(0),
        })
    }

    /// How the volumes stand.
    pub fn report(&self) -> Vec<VolumeReport> {
        let connection = self.connection.lock().clone();
        let of = |(id, volume): (&VolumeId, &Arc<Volume>)| {
            let bytes = connection.as_ref().map_or(0, |link| link.unnoted_bytes(*id));
            volume.report(bytes)
        };
        self.volumes.iter().map(of).collect()
    }

    /// The other node is connected.
    pub fn is_connected(&self) -> bool {
        self.connection.lock().is_some()
    }

    /// The other node is connected, and primary of what this one follows.
    pub fn sees_primary(&self) -> bool {
        self.volumes.values().all(|volume| volume.primary.lock().is_some())
    }

    /// What may be missing here of each volume, if this node took over; `None` if no primary was
    /// heard of since it started.
    pub fn missing(&self) -> Vec<Option<Missing>> {
        let of = |volume: &Arc<Volume>| volume.heard.missing(volume.store.position().lsn);
        self.volumes.values().map(of).collect()
    }

    /// Bytes of groups that were taken since the start.
    pub fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    /// What time brings: proposals that wait for too long, and requests that are long over.
    pub fn tick(&self) {
        for (id, volume) in &self.volumes {
            let late = volume.asked.expire();
            let primary = volume.primary.lock().clone();
            if let Some(connection) = primary {
                late.into_iter().for_each(|request| {
                    volume.say(&connection, *id, Message::Withdraw(request));
                });
            }
            volume.observe_lag();
            volume.forget();
            volume.tidy_seat();
            volume.hold_if_due();
            volume.merge_if_due(*id);
            volume.copy_if_due(*id);
            volume.end_loan_if_due();
        }
    }

    /// Something about this node's roles has changed: the connection is made anew, so that both
    /// tell each other.
    pub fn roles_changed(&self) {
        for (id, volume) in &self.volumes {
            volume.set_way(*id);
            if !volume.store.standing().follows {
                volume.asked.settle(&volume.store);
            }
        }
        if let Some(connection) = self.connection.lock().as_ref() {
            connection.close();
        }
    }

    /// Stops shipping.
    pub fn stop(&self) {
        for volume in self.volumes.values() {
            volume.stops.store(true, Ordering::SeqCst);
            volume.stop_shipping();
        }
    }

    fn take(&self, volume: &Volume, connection: &Connection, id: VolumeId, bytes: &[u8]) {
        match volume.store.take_groups(bytes) {
            Ok(end) => {
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.taken_bytes.fetch_add(length, Ordering::Relaxed);
                volume.standing.lock().trouble = None;
                volume.asked.reached(end.lsn);
                volume.say(connection, id, Message::Noted(end_of(end)));
            }
            Err(error) => {
                volume.trouble(&error.to_string());
                // What comes behind it would not fit either; a new connection begins where the log
                // ends.
                connection.close();
            }
        }
    }
}

impl Volume {
    fn state(&self, id: VolumeId) -> VolumeState {
        let standing = self.store.standing();
        let epoch = |epoch: engine::Epoch| Epoch {
            number: epoch.number,
            id: epoch.id,
            parent: epoch.parent.map(|(id, fork)| Parent { id, fork }),
            node: epoch.node,
            first: epoch.first,
        };
        VolumeState {
            id,
            name: self.name.clone(),
            reads_level: standing.format_level_newest,
            level: standing.format_level,
            role: if standing.follows { Role::Follower } else { Role::Primary },
            acknowledgement: match self.mode {
                Acknowledgement::Local => message::Acknowledgement::Local,
                Acknowledgement::Durable(_) => message::Acknowledgement::Durable,
            },
            history: standing.history.into_iter().map(epoch).collect(),
            last: end_of(standing.position),
            durable: standing.position.lsn,
            held: Lsn::ZERO,
            key_version: standing.keys,
        }
    }

    fn report(&self, lag_bytes: u64) -> VolumeReport {
        let pair = self.store.pair_standing();
        let VolumeStanding { follows, history, .. } = self.store.standing();
        let lag_records = pair.noted.and_then(|noted| records_between(&history, noted, pair.last));
        let now = Instant::now();
        let behind = pair.noted.map_or(Duration::ZERO, |noted| self.lag.lock().since(noted, now));
        let standing = self.standing.lock();
        let on_its_way = standing.sent.front();
        let on_its_way =
            on_its_way.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since));
        VolumeReport {
            name: self.name.clone(),
            follows,
            last: pair.last,
            noted: pair.noted,
            lag_records,
            lag_bytes,
            lag: behind.max(on_its_way),
            exposed_records: exposed(self.mode, (pair.is_there, pair.is_degraded), lag_records),
            is_there: pair.is_there,
            is_degraded: pair.is_degraded,
            trouble: standing.trouble.clone(),
            merge: *self.merge.lock(),
            copy: self.copy_report(),
            healed: self.store.healed(),
            compared: self.compared(),
        }
    }

    /// Looks whether the other node is behind.
    fn observe_lag(&self) {
        let pair = self.store.pair_standing();
        let mut lag = self.lag.lock();
        // Zero: not heard of since the start, and what it has is not known.
        let is_known = |noted: &Lsn| *noted > Lsn::ZERO && !self.store.standing().follows;
        match pair.noted.filter(is_known) {
            Some(noted) => lag.observe(pair.last, noted, Instant::now()),
            None => lag.clear(),
        }
    }

    /// Says why nothing goes over: once in the log, and as long as it holds in the status.
    fn trouble(&self, why: &str) {
        let mut standing = self.standing.lock();
        if standing.trouble.as_deref() != Some(why) {
            let name = &self.name;
            tracing::warn!(volume = %name, reason = %why, "nothing goes over to the other node");
        }
        standing.trouble = Some(why.to_owned());
    }

    fn say(&self, connection: &Connection, id: VolumeId, message: Message) {
        match connection.send(id, message) {
            Ok(()) | Err(SendError::Closed) => {}
            Err(error) => {
                self.trouble(&error.to_string());
                connection.close();
            }
        }
    }

    /// Changes go to the primary, if that is the other node.
    fn set_way(self: &Arc<Volume>, id: VolumeId) {
        let way = Way { id, volume: Arc::downgrade(self) };
        let follows = self.store.standing().follows;
        let way: Arc<dyn Route> = Arc::new(way);
        self.store.set_route(follows.then_some(way));
    }

    /// Sends a proposal; what cannot be sent is answered so.
    fn propose_by(
        &self,
        connection: &Connection,
        id: VolumeId,
        request: RequestId,
        proposal: &[u8],
    ) {
        let begun = Instant::now();
        let mut message = Message::Propose { request, bytes: proposal.to_vec() };
        loop {
            match connection.send(id, message) {
                // What is lost with the connection is sent again by the next.
                Ok(()) | Err(SendError::Closed) => return,
                Err(SendError::Full(refused)) if begun.elapsed() < SEND_PATIENCE => {
                    connection.wait_for_room(proposal.len(), LOOK);
                    message = *refused;
                }
                Err(error) => return self.asked.refuse(request, &error.to_string()),
            }
        }
    }

    /// A follower's client asks for a change. A follower keeps to the bounds that it has itself.
    fn proposed(self: &Arc<Volume>, proposal: Proposal) {
        let mut waiting = self.proposals.waiting.lock();
        waiting.bytes += proposal.bytes.len();
        if waiting.queue.len() >= COUNT_MAX || waiting.bytes > BYTES_MAX {
            waiting.bytes -= proposal.bytes.len();
            drop(waiting);
            self.trouble("the other node asks for more changes at a time than it may");
            return proposal.connection.close();
        }
        waiting.queue.push_back(proposal);
        if !std::mem::replace(&mut waiting.has_thread, true) {
            let volume = Arc::downgrade(self);
            let spawned = std::thread::Builder::new().name("propose".into()).spawn(move || {
                while let Some(volume) = volume.upgrade() {
                    volume.propose_next();
                }
            });
            if let Err(error) = spawned {
                waiting.has_thread = false;
                drop(waiting);
                return self.trouble(&format!("no thread could be started: {error}"));
            }
        }
        drop(waiting);
        self.proposals.arrived.notify_one();
    }

    /// Hands the next proposal to the committer, if one comes within a moment.
    fn propose_next(&self) {
        let mut waiting = self.proposals.waiting.lock();
        if waiting.queue.is_empty() {
            self.proposals.arrived.wait_for(&mut waiting, LOOK);
        }
        let Some(proposal) = waiting.queue.pop_front() else { return };
        waiting.bytes -= proposal.bytes.len();
        drop(waiting);
        self.propose_here(proposal);
    }

    fn propose_here(&self, proposal: Proposal) {
        let Proposal { connection, id, request, bytes } = proposal;
        if self.store.standing().follows {
            return self.trouble("this node follows, and was asked for a change");
        }
        let back = Arc::clone(&connection);
        let done = move |ProposalOutcome { at, bytes }| {
            let message = Message::Outcome { request, as_of: at, bytes };
            // The committer waits for nobody; without an answer the follower asks again.
            if back.send(id, message).is_err() {
                back.close();
            }
        };
        if let Err(error) = self.store.propose(request, &bytes, done) {
            self.trouble(&error.to_string());
            connection.close();
        }
    }

    /// Forgets requests that were answered long ago.
    fn forget(&self) {
        let mut passed = self.passed.lock();
        if passed.back().is_none_or(|(at, _)| at.elapsed() >= Duration::from_secs(60)) {
            passed.push_back((Instant::now(), self.store.position().lsn));
        }
        if let Some((at, lsn)) = passed.front().copied()
            && at.elapsed() >= REQUESTS_KEPT
        {
            passed.pop_front();
            self.store.forget_requests(lsn);
        }
    }

    /// The other node has come.
    fn connected(self: &Arc<Volume>, connection: &Arc<Connection>, id: VolumeId) {
        let there = connection.peer().volumes.iter().find(|volume| volume.id == id);
        let Some(there) = there else { return };
        self.inquiries_connected(connection);
        let follows = self.store.standing().follows;
        match (follows, there.role) {
            (false, Role::Primary) if self.is_deposed_by(there) => {
                *self.primary.lock() = Some(Arc::clone(connection));
                match self.becomes_copy() {
                    true => self.begin_copy(connection, id),
                    false => self.go_back(there, (connection, id)),
                }
            }
            (true, Role::Primary) if self.becomes_copy() => {
                *self.primary.lock() = Some(Arc::clone(connection));
                self.begin_copy(connection, id);
            }
            (true, Role::Primary) => {
                let position = self.store.position();
                self.say(connection, id, Message::Follow(end_of(position)));
                *self.primary.lock() = Some(Arc::clone(connection));
                self.heard.came(there.last.lsn);
                for (request, proposal) in self.asked.unanswered() {
                    self.propose_by(connection, id, request, &proposal);
                }
            }
            (false, Role::Follower) => self.met_follower(connection, id, there),
            (true, _) => self.trouble(
                "neither node is primary: 'pillarbox replica promote' on one of them makes it so",
            ),
            (false, _) => {
                // The other one knows it from us in the same way.
                self.trouble(
                    "the other node has not heard that this one was made primary; it goes back to \
                     what both have, and what it had alone is merged",
                );
            }
        }
    }

    /// The follower has the log up to there.
    fn note(&self, end: GroupEnd) {
        self.store.note_follower(end.lsn);
        let mut standing = self.standing.lock();
        while standing.sent.front().is_some_and(|(last, _)| *last <= end.lsn) {
            standing.sent.pop_front();
        }
        if standing.target.is_some_and(|target| end.lsn >= target) {
            standing.target = None;
            standing.is_there = true;
            standing.trouble = None;
            drop(standing);
            self.store.set_follower_there(true);
            tracing::info!(volume = %self.name, "the other node has caught up");
        }
        self.noted.notify_all();
    }

    fn lost(&self, ending: &Ending) {
        self.heard.went(ending);
        *self.primary.lock() = None;
        self.copy_lost();
        self.inquiries_lost();
        self.stop_shipping();
        let mut standing = self.standing.lock();
        (standing.target, standing.is_there) = (None, false);
        standing.sent.clear();
        drop(standing);
        self.store.set_follower_there(false);
    }

    fn stop_shipping(&self) {
        let Some(Shipping { stop, thread }) = self.shipping.lock().take() else { return };
        stop.store(true, Ordering::Relaxed);
        self.store.wake_shippers();
        self.noted.notify_all();
        if thread.join().is_err() {
            tracing::error!(volume = %self.name, "the thread that ships ended in a panic");
        }
    }

    /// Ships what follows a position, from now on.
    fn ship(self: &Arc<Volume>, connection: &Arc<Connection>, id: VolumeId, end: GroupEnd) {
        self.stop_shipping();
        if self.store.standing().follows {
            return self.trouble("this node follows, and was asked to ship");
        }
        let at = Position { lsn: end.lsn, hash: GroupHash(end.hash) };
        self.standing.lock().target = Some(self.store.position().lsn);
        let stop = Arc::new(AtomicBool::new(false));
        let (volume, connection) = (Arc::clone(self), Arc::clone(connection));
        let stopped = Arc::clone(&stop);
        let body = move || volume.ship_until(&stopped, &connection, (id, at));
        match std::thread::Builder::new().name("ship".into()).spawn(body) {
            Ok(thread) => *self.shipping.lock() = Some(Shipping { stop, thread }),
            Err(error) => self.trouble(&format!("no thread could be started: {error}")),
        }
        // It may have all there is.
        self.note(end);
    }

    fn ship_until(
        &self,
        stop: &AtomicBool,
        connection: &Arc<Connection>,
        (id, at): (VolumeId, Position),
    ) {
        let mut shipper = self.store.ship_behind(at);
        let mut keys_sent = None;
        while !stop.load(Ordering::Relaxed) {
            if connection.unnoted_bytes(id) >= UNNOTED_BYTES_MAX {
                let mut standing = self.standing.lock();
                self.noted.wait_for(&mut standing, LOOK);
                continue;
            }
            let shipped = match shipper.next(MESSAGE_BYTES, LOOK) {
                Ok(Shipment::Groups { bytes, end, keys }) => {
                    if keys_sent.is_none_or(|sent| sent < keys) {
                        let (version, table) = self.store.key_table();
                        keys_sent = Some(version);
                        let table = Message::KeyTable { version, bytes: table };
                        if !send(connection, (id, end.lsn), table, stop) {
                            return;
                        }
                    }
                    self.standing.lock().sent.push_back((end.lsn, Instant::now()));
                    send(connection, (id, end.lsn), Message::Groups(bytes), stop)
                }
                Ok(Shipment::Nothing) => true,
                Ok(Shipment::TooOld) => {
                    self.trouble(
                        "the other node lacks groups that are no longer in the log as they were \
                         written; it needs a full copy",
                    );
                    self.say(connection, id, Message::Behind { oldest: Lsn::ZERO });
                    false
                }
                Ok(Shipment::Foreign) => {
                    self.trouble(
                        "the other node's log ends with groups that this one never had; it was \
                         primary while it was cut off, see docs/replication.md",
                    );
                    self.say(connection, id, Message::Behind { oldest: Lsn::ZERO });
                    false
                }
                Err(error) => {
                    self.trouble(&error.to_string());
                    false
                }
            };
            if !shipped {
                return;
            }
        }
    }
}

/// Sends, as soon as there is room; answers whether it was sent. A message that found no room comes
/// back and is tried again: it is not copied for that. Groups end with `last`.
fn send(
    connection: &Connection,
    (id, last): (VolumeId, Lsn),
    mut message: Message,
    stop: &AtomicBool,
) -> bool {
    loop {
        let bytes = message.payload_bytes();
        let sent = match message {
            Message::Groups(groups) => connection.send_groups(id, last, groups),
            other => connection.send(id, other),
        };
        match sent {
            Ok(()) => return true,
            Err(SendError::Full(refused)) if !stop.load(Ordering::Relaxed) => {
                connection.wait_for_room(bytes, LOOK);
                message = *refused;
            }
            Err(_) => return false,
        }
    }
}

impl Route for Way {
    fn propose(&self, request: RequestId, proposal: Vec<u8>, reply: RouteReply) {
        let Some(volume) = self.volume.upgrade() else {
            return reply(Err(CommitError::QueueFull));
        };
        let primary = volume.primary.lock().clone();
        let Some(proposal) = volume.asked.ask(request, proposal, reply) else { return };
        match primary {
            Some(_) if volume.becomes_copy() => volume.asked.refuse(request, BECOMES_COPY),
            Some(connection) => volume.propose_by(&connection, self.id, request, &proposal),
            None => volume.asked.refuse(
                request,
                "this node follows, and the primary of the pair cannot be reached",
            ),
        }
    }
}

fn end_of(position: Position) -> GroupEnd {
    GroupEnd { lsn: position.lsn, hash: position.hash.0 }
}

impl Host for Node {
    fn volumes(&self) -> Vec<VolumeState> {
        self.volumes.iter().map(|(id, volume)| volume.state(*id)).collect()
    }

    fn connected(&self, connection: &Arc<Connection>) {
        *self.connection.lock() = Some(Arc::clone(connection));
        for id in &connection.agreement().volumes {
            if let Some(volume) = self.volumes.get(id) {
                volume.connected(connection, *id);
            }
        }
    }

    fn received(&self, connection: &Arc<Connection>, id: VolumeId, message: Message) {
        let Some(volume) = self.volumes.get(&id) else { return };
        match message {
            Message::Follow(end) => volume.ship(connection, id, end),
            Message::Groups(bytes) => self.take(volume, connection, id, &bytes),
            Message::Noted(end) => volume.note(end),
            Message::KeyTable { bytes, .. } => match volume.store.take_key_table(&bytes) {
                Ok(version) => volume.say(connection, id, Message::KeysNoted(version)),
                Err(error) => {
                    volume.trouble(&error.to_string());
                    connection.close();
                }
            },
            Message::HandOver(end) => self.handed_over(volume, end),
            Message::Behind { .. } => volume.fell_behind(connection, id),
            Message::CopyOffer(offer) => volume.offered(connection, id, &offer),
            Message::CopyPiece { file, offset, bytes } => {
                volume.piece_came((connection, id), (file, offset), &bytes);
            }
            Message::CopyChecked { file, is_same } => {
                volume.checked((connection, id), (file, is_same));
            }
            Message::CopyRefused(why) => volume.copy_refused(&why),
            wanted @ (Message::CopyBegin | Message::CopyAsk { .. } | Message::CopyCheck { .. }) => {
                volume.copy_wanted(connection, id, wanted)
            }
            Message::Propose { request, bytes } => {
                let connection = Arc::clone(connection);
                volume.proposed(Proposal { connection, id, request, bytes });
            }
            Message::Outcome { request, as_of, bytes } => {
                let outcome = ProposalOutcome { at: as_of, bytes };
                volume.asked.outcome(request, outcome, volume.store.position().lsn);
            }
            Message::Ask { number, bytes } => volume.asked_of(connection, id, (number, bytes)),
            Message::Told { number, bytes } => volume.told(number, bytes),
            // What was withdrawn is not sent again; if it took effect, it is as if the answer had
            // been lost.
            Message::KeysNoted(_) | Message::Committed(_) | Message::Withdraw(_) => {}
        }
    }

    fn lost(&self, connection: &Arc<Connection>, ending: &Ending) {
        let mut current = self.connection.lock();
        if current.as_ref().is_some_and(|own| own.number() == connection.number()) {
            *current = None;
        }
        drop(current);
        self.volumes.values().for_each(|volume| volume.lost(ending));
    }
}
