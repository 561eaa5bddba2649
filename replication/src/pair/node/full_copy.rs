//! The full copy over the link: the follower asks for files piece by piece, and becomes what it
//! got.
//!
//! ```text
//!  follower                                              primary
//!  Behind, or an operator says so ── CopyBegin ────────► a thread that lends
//!  what has arrived stays       ◄─ KeyTable, CopyOffer ─ a checkpoint, put aside
//!  some pieces on their way ─────── CopyAsk ───────────►
//!                               ◄────────── CopyPiece ── so many bytes a second
//!  of an older beginning ────────── CopyCheck ─────────►
//!                               ◄──────── CopyChecked ──
//!  all there: closed, opened again, follows              reclaim goes on when it has caught up
//! ```
//!
//! # Invariants
//! 1. A follower whose log the primary has the whole of begins by itself; one that has more than
//!    that only when it is told to, or when what it has more was put aside to be merged.
//! 2. Pieces come in the order in which they were asked for; at most [`WINDOW`] are on their way.
//! 3. While a copy is on its way, the follower's clients read what there is, and change nothing.
//!
//! # What can go wrong
//! The connection is lost, or either node stops: the follower begins again, and what has arrived is
//! not asked for again. The primary has no room to lend, or the follower none to take: it is said
//! on the follower, and tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use engine::ids::VolumeId;
use engine::{Arrival, ArrivalError, Ask, Store, common_position};
use parking_lot::Mutex;

use super::super::host::Connection;
use super::super::message::{Message, VolumeState};
use super::way_back::epoch_of;
use super::{LOOK, Node, Volume, send};

/// Questions that wait for an answer.
const WINDOW: usize = 16;
/// Questions that a primary lets wait.
const ASKED_MAX: usize = 4 * WINDOW;
/// How long after something went wrong it is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// For how long something is lent that nobody asks for.
const LENT_UNASKED: Duration = Duration::from_secs(24 * 3600);

/// What clients of a node are told that becomes a copy.
pub(super) const BECOMES_COPY: &str =
    "this node takes a full copy of the other one; until it is there, changes are made on that one";

/// How a full copy stands that comes to this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyReport {
    /// Bytes that are here.
    pub arrived: u64,
    /// Of so many; 0: it is not known yet.
    pub of: u64,
}

/// A volume's full copy, at either node.
#[derive(Default)]
pub(super) struct FullCopy {
    /// One is on its way to this node, or is to be.
    is_on: AtomicBool,
    taking: Mutex<Taking>,
    /// The thread that lends, while a connection lasts.
    lender: Mutex<Option<SyncSender<Wanted>>>,
    /// When something was asked for last.
    asked_at: Mutex<Option<Instant>>,
    /// Bytes a second that are lent; 0: as many as there are.
    rate: AtomicU64,
}

#[derive(Default)]
struct Taking {
    arrival: Option<Arrival>,
    on_their_way: usize,
    /// When to begin again.
    again: Option<Instant>,
}

/// What a follower wants of a primary that lends.
enum Wanted {
    Begin,
    Piece { file: u32, offset: u64, length: u32 },
    Check { file: u32, length: u64, hash: [u8; 32] },
}

impl FullCopy {
    /// Goes on with the one that was on its way when the store was closed.
    pub(super) fn of(store: &Store) -> FullCopy {
        let is_on = AtomicBool::new(store.has_arrival().unwrap_or(false));
        FullCopy { is_on, ..FullCopy::default() }
    }
}

impl Node {
    /// How many bytes a second a full copy may take of this node; 0: as many as there are.
    pub fn set_copy_rate(&self, bytes_per_second: u64) {
        for volume in self.volumes.values() {
            volume.copy.rate.store(bytes_per_second, Ordering::Relaxed);
        }
    }

    /// Makes this node a full copy of the other one, whatever it has.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn full_copy(&self) -> Result<(), String> {
        for volume in self.volumes.values() {
            if !volume.store.standing().follows && !volume.is_deposed.load(Ordering::SeqCst) {
                return Err("this node is primary; ask the other one to become its copy".to_owned());
            }
            volume.copy.is_on.store(true, Ordering::SeqCst);
            volume.copy.taking.lock().again = Some(Instant::now());
        }
        // It begins when the nodes meet, which they do anew now.
        if let Some(connection) = self.connection.lock().clone() {
            connection.close();
        }
        Ok(())
    }

    /// Gives up a full copy that is on its way.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn stop_copy(&self) -> Result<(), String> {
        for volume in self.volumes.values() {
            let mut taking = volume.copy.taking.lock();
            let was_on = volume.copy.is_on.swap(false, Ordering::SeqCst);
            let has_some = volume.store.has_arrival().map_err(|error| error.to_string())?;
            *taking = Taking::default();
            if !was_on && !has_some {
                return Err("no full copy is on its way to this node".to_owned());
            }
            volume.store.give_up_arrival().map_err(|error| error.to_string())?;
            volume.standing.lock().trouble = None;
        }
        // It follows again, if it can.
        if let Some(connection) = self.connection.lock().clone() {
            connection.close();
        }
        Ok(())
    }

    /// Whether a full copy is on its way to this node.
    pub fn becomes_copy(&self) -> bool {
        self.volumes.values().any(|volume| volume.becomes_copy())
    }
}

impl Volume {
    /// Whether a full copy is on its way to this node, or is to be.
    pub(super) fn becomes_copy(&self) -> bool {
        self.copy.is_on.load(Ordering::SeqCst)
    }

    pub(super) fn copy_report(&self) -> Option<CopyReport> {
        if !self.becomes_copy() {
            return None;
        }
        let taking = self.copy.taking.lock();
        let (arrived, of) = taking.arrival.as_ref().map_or((0, 0), Arrival::progress);
        Some(CopyReport { arrived, of })
    }

    /// The primary's log does not have what this node lacks.
    pub(super) fn fell_behind(&self, connection: &Arc<Connection>, id: VolumeId) {
        let there = connection.peer().volumes.iter().find(|volume| volume.id == id);
        if there.is_some_and(|there| self.has_nothing_more(there)) {
            return self.begin_copy(connection, id);
        }
        self.trouble(
            "this node needs a full copy of the other one, and has something that the other one \
             never had: 'pillarbox replica full-sync' makes it a copy and throws that away",
        );
    }

    /// Whether the other node has had all that is in the log here.
    fn has_nothing_more(&self, there: &VolumeState) -> bool {
        let own = self.store.standing();
        own.history.is_empty() || self.common_with(there) == Some(own.position.lsn)
    }

    /// The last position that both logs have.
    fn common_with(&self, there: &VolumeState) -> Option<engine::ids::Lsn> {
        let own = self.store.standing();
        let history: Vec<engine::Epoch> = there.history.iter().map(epoch_of).collect();
        let own = (own.history.as_slice(), own.position.lsn);
        common_position(own, (&history, there.last.lsn))
    }

    /// Asks the primary to lend.
    pub(super) fn begin_copy(&self, connection: &Arc<Connection>, id: VolumeId) {
        if !self.copy.is_on.swap(true, Ordering::SeqCst) {
            tracing::warn!(volume = %self.name, "this node takes a full copy of the other one");
        }
        *self.copy.taking.lock() =
            Taking { again: Some(Instant::now() + AGAIN), ..Taking::default() };
        self.say(connection, id, Message::CopyBegin);
    }

    /// Begins again, if something went wrong a while ago.
    pub(super) fn copy_if_due(&self, id: VolumeId) {
        let is_due = {
            let taking = self.copy.taking.lock();
            let is_time = taking.again.is_some_and(|at| at <= Instant::now());
            taking.arrival.is_none() && is_time && self.copy.is_on.load(Ordering::SeqCst)
        };
        let primary = self.primary.lock().clone();
        if let (true, Some(connection)) = (is_due, primary) {
            self.begin_copy(&connection, id);
        }
    }

    /// The primary lends.
    pub(super) fn offered(
        self: &Arc<Volume>,
        connection: &Arc<Connection>,
        id: VolumeId,
        offer: &[u8],
    ) {
        if !self.becomes_copy() {
            return;
        }
        match self.store.begin_arrival(offer) {
            Ok(arrival) => {
                let (_, of) = arrival.progress();
                tracing::info!(volume = %self.name, bytes = of, "a full copy begins, or goes on");
                let taking = Taking { arrival: Some(arrival), on_their_way: 0, again: None };
                *self.copy.taking.lock() = taking;
                self.standing.lock().trouble = None;
                self.ask_on(connection, id);
            }
            Err(error) => self.copy_failed(&error.to_string()),
        }
    }

    /// The primary does not lend.
    pub(super) fn copy_refused(&self, why: &str) {
        self.copy_failed(&format!("the other node lends no full copy: {why}"));
    }

    fn copy_failed(&self, why: &str) {
        let again = Some(Instant::now() + AGAIN);
        *self.copy.taking.lock() = Taking { again, ..Taking::default() };
        self.trouble(why);
    }

    /// A piece has come.
    pub(super) fn piece_came(
        self: &Arc<Volume>,
        (connection, id): (&Arc<Connection>, VolumeId),
        (file, offset): (u32, u64),
        bytes: &[u8],
    ) {
        self.take_answer((connection, id), |arrival| arrival.take_piece(file, offset, bytes));
    }

    /// It is known whether a beginning is right.
    pub(super) fn checked(
        self: &Arc<Volume>,
        (connection, id): (&Arc<Connection>, VolumeId),
        (file, is_same): (u32, bool),
    ) {
        self.take_answer((connection, id), |arrival| arrival.take_checked(file, is_same));
    }

    fn take_answer(
        self: &Arc<Volume>,
        (connection, id): (&Arc<Connection>, VolumeId),
        take: impl FnOnce(&mut Arrival) -> Result<(), ArrivalError>,
    ) {
        let taken = {
            let mut taking = self.copy.taking.lock();
            taking.on_their_way = taking.on_their_way.saturating_sub(1);
            // Of a copy that was given up meanwhile.
            let Some(arrival) = taking.arrival.as_mut() else { return };
            take(arrival)
        };
        match taken {
            Ok(()) => self.ask_on(connection, id),
            Err(error @ ArrivalError::NotAsked { .. }) => {
                self.copy_failed(&error.to_string());
                connection.close();
            }
            Err(error) => self.copy_failed(&error.to_string()),
        }
    }

    /// Asks for what comes next; becomes the copy when there is nothing more to ask for.
    fn ask_on(self: &Arc<Volume>, connection: &Arc<Connection>, id: VolumeId) {
        let mut taking = self.copy.taking.lock();
        let Taking { arrival: Some(arrival), on_their_way, .. } = &mut *taking else { return };
        let mut failed = None;
        while *on_their_way < WINDOW {
            let message = match arrival.next_ask() {
                Ok(Some(Ask::Piece { file, offset, length })) => {
                    Message::CopyAsk { file, offset, length }
                }
                Ok(Some(Ask::Check { file, length, hash })) => {
                    Message::CopyCheck { file, length, hash }
                }
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error.to_string());
                    break;
                }
            };
            *on_their_way += 1;
            self.say(connection, id, message);
        }
        let is_complete = arrival.is_complete();
        drop(taking);
        if let Some(why) = failed {
            return self.copy_failed(&why);
        }
        if is_complete && !self.goes_back.swap(true, Ordering::SeqCst) {
            let volume = Arc::clone(self);
            let spawned = std::thread::Builder::new().name("full copy".into()).spawn(move || {
                volume.become_copy();
            });
            if let Err(error) = spawned {
                self.goes_back.store(false, Ordering::SeqCst);
                self.copy_failed(&format!("no thread could be started: {error}"));
            }
        }
    }

    fn become_copy(&self) {
        let Some(arrival) = self.copy.taking.lock().arrival.take() else { return };
        match self.store.become_copy(&arrival) {
            Ok(()) => self.open_again("restart this node: it becomes a copy of the other one"),
            Err(error) => {
                self.copy_failed(&error.to_string());
                self.goes_back.store(false, Ordering::SeqCst);
            }
        }
    }

    /// A follower wants something of what is lent.
    pub(super) fn copy_wanted(
        self: &Arc<Volume>,
        connection: &Arc<Connection>,
        id: VolumeId,
        message: Message,
    ) {
        let wanted = match message {
            Message::CopyBegin => Wanted::Begin,
            Message::CopyAsk { file, offset, length } => Wanted::Piece { file, offset, length },
            Message::CopyCheck { file, length, hash } => Wanted::Check { file, length, hash },
            _ => return,
        };
        if self.store.standing().follows {
            return self.trouble("this node follows, and was asked for a full copy");
        }
        let mut lender = self.copy.lender.lock();
        let to = match &*lender {
            Some(to) => to,
            None => {
                let (to, from) = sync_channel(ASKED_MAX);
                let (volume, connection) = (Arc::clone(self), Arc::clone(connection));
                let body = move || volume.lend(&connection, id, &from);
                match std::thread::Builder::new().name("lend".into()).spawn(body) {
                    Ok(_) => lender.insert(to),
                    Err(error) => {
                        drop(lender);
                        return self.trouble(&format!("no thread could be started: {error}"));
                    }
                }
            }
        };
        if let Err(TrySendError::Full(_)) = to.try_send(wanted) {
            drop(lender);
            self.trouble("the other node asks for more of a full copy at a time than it may");
            connection.close();
        }
    }

    /// Answers until the connection is lost.
    fn lend(&self, connection: &Arc<Connection>, id: VolumeId, wanted: &Receiver<Wanted>) {
        let mut due = Instant::now();
        while let Ok(wanted) = wanted.recv() {
            *self.copy.asked_at.lock() = Some(Instant::now());
            let rate = self.copy.rate.load(Ordering::Relaxed);
            let messages = match wanted {
                Wanted::Begin => self.offer(connection, id),
                Wanted::Piece { file, offset, length } => {
                    let piece = self.store.lent_piece(file, offset, length);
                    piece.map(|bytes| vec![Message::CopyPiece { file, offset, bytes }])
                }
                Wanted::Check { file, length, hash } => {
                    let is_same = self.store.lent_begins_with(file, length, hash);
                    is_same.map(|is_same| vec![Message::CopyChecked { file, is_same }])
                }
            };
            let refused = |error: engine::LoanError| vec![Message::CopyRefused(error.to_string())];
            for message in messages.unwrap_or_else(refused) {
                let bytes = u64::try_from(message.payload_bytes()).unwrap_or(u64::MAX);
                due = due.max(Instant::now());
                if let Some(nanos) = bytes.saturating_mul(1_000_000_000).checked_div(rate) {
                    due += Duration::from_nanos(nanos);
                }
                if !send(connection, (id, engine::ids::Lsn::ZERO), message, &self.stops) {
                    return;
                }
            }
            while let Some(wait) = due.checked_duration_since(Instant::now())
                && !wait.is_zero()
                && !self.stops.load(Ordering::SeqCst)
            {
                std::thread::sleep(wait.min(LOOK));
            }
        }
    }

    /// What is lent, and the keys that it needs.
    fn offer(
        &self,
        connection: &Connection,
        id: VolumeId,
    ) -> Result<Vec<Message>, engine::LoanError> {
        let there = connection.peer().volumes.iter().find(|volume| volume.id == id);
        let has = there.and_then(|there| self.common_with(there));
        let offer = self.store.lend_copy(has.unwrap_or(engine::ids::Lsn::ZERO))?;
        let (version, table) = self.store.key_table();
        let at = self.store.lent_at();
        tracing::info!(volume = %self.name, ?at, "a checkpoint is lent to the other node");
        Ok(vec![Message::KeyTable { version, bytes: table }, Message::CopyOffer(offer)])
    }

    /// Ends a loan when the follower has what comes behind it, or when nobody asks any more.
    pub(super) fn end_loan_if_due(&self) {
        let Some(at) = self.store.lent_at() else { return };
        let is_there = self.standing.lock().is_there;
        let has_it = self.store.pair_standing().noted.is_some_and(|noted| noted >= at);
        let asked = *self.copy.asked_at.lock().get_or_insert_with(Instant::now);
        let is_forgotten = asked.elapsed() >= LENT_UNASKED;
        if (is_there && has_it) || is_forgotten {
            match self.store.end_loan() {
                Ok(_) => tracing::info!(volume = %self.name, "nothing is lent any more"),
                Err(error) => tracing::warn!(%error, "what was lent stays on the disk"),
            }
        }
    }

    /// The connection is lost.
    pub(super) fn copy_lost(&self) {
        *self.copy.lender.lock() = None;
        let again = Some(Instant::now() + AGAIN);
        *self.copy.taking.lock() = Taking { again, ..Taking::default() };
    }
}
