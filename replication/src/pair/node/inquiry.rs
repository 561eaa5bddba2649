//! Questions about what the other node has: while both are compared, and for what is damaged here.
//!
//! ```text
//!  Ask    number, u8 1: compare; 2: a chunk, then the question    (engine's bytes)
//!  Told   number, u8 1: an answer, then the answer; 2: none, then a sentence
//! ```
//! Whoever asks waits, on a thread of its own; whoever is asked answers on another one, so that the
//! line of messages goes on.
//!
//! # Invariants
//! 1. Who asks gets an answer or a sentence: when the connection ends, and after a set time at the
//!    latest.
//! 2. At most [`ANSWERS_MAX`] questions are answered at a time; more are told to come again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use engine::compare::{CompareProgress, CompareReport};
use engine::ids::VolumeId;
use engine::{CompareSeat, Neighbour};
use parking_lot::Mutex;

use super::super::host::{Connection, SendError};
use super::super::message::{Message, TOLD_BYTES_MAX};
use super::{LOOK, Node, Volume};

/// Questions that are answered at a time.
const ANSWERS_MAX: usize = 8;
/// How long an answer may take while both are compared: a checkpoint may have to end before it.
const COMPARE_PATIENCE: Duration = Duration::from_secs(300);
/// How long tables are kept for a primary that asks nothing.
const SEAT_KEPT: Duration = Duration::from_secs(600);

/// How long whoever reads a damaged message waits for the other node.
const CHUNK_PATIENCE: Duration = Duration::from_secs(5);

const COMPARE: u8 = 1;
const CHUNK: u8 = 2;
const ANSWER: u8 = 1;
const NONE: u8 = 2;

/// Questions of one volume.
#[derive(Default)]
pub(super) struct Inquiries {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, SyncSender<Vec<u8>>>>,
    answering: AtomicUsize,
    /// What is kept for the primary that compares, and when it asked last.
    seat: Mutex<(CompareSeat, Option<Instant>)>,
    /// The last comparison that this node made.
    compared: Mutex<Option<Arc<CompareReport>>>,
    /// The connection, for who reads what is damaged.
    connection: Mutex<Option<Arc<Connection>>>,
    is_comparing: std::sync::atomic::AtomicBool,
}

impl Node {
    /// Compares everything that a volume holds with what the other node holds.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn compare(
        &self,
        progress: &mut dyn FnMut(CompareProgress),
    ) -> Result<Vec<(String, CompareReport)>, String> {
        let connection = self.connection.lock().clone();
        let connection = connection.ok_or("the other node is not connected")?;
        let mut reports = Vec::new();
        for (id, volume) in &self.volumes {
            let report = volume.compare(&connection, *id, progress)?;
            reports.push((volume.name.clone(), report));
        }
        Ok(reports)
    }
}

/// The other node, for who reads what is damaged here.
struct OtherNode {
    id: VolumeId,
    volume: Weak<Volume>,
}

impl Neighbour for OtherNode {
    fn chunk(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        let volume = self.volume.upgrade().ok_or("the link is being closed")?;
        let connection = volume.inquiries.connection.lock().clone();
        let connection = connection.ok_or("the other node is not connected")?;
        volume.ask(&connection, self.id, CHUNK, question, CHUNK_PATIENCE)
    }
}

impl Volume {
    /// What is damaged here is asked of the other node from now on.
    pub(super) fn set_neighbour(self: &Arc<Volume>, id: VolumeId) {
        let other = OtherNode { id, volume: Arc::downgrade(self) };
        self.store.set_neighbour(Some(Arc::new(other)));
    }

    /// The other node has come: it can be asked.
    pub(super) fn inquiries_connected(&self, connection: &Arc<Connection>) {
        *self.inquiries.connection.lock() = Some(Arc::clone(connection));
    }

    fn compare(
        &self,
        connection: &Arc<Connection>,
        id: VolumeId,
        progress: &mut dyn FnMut(CompareProgress),
    ) -> Result<CompareReport, String> {
        if self.inquiries.is_comparing.swap(true, Ordering::SeqCst) {
            return Err("both nodes are being compared already".to_owned());
        }
        let mut ask =
            |question: &[u8]| self.ask(connection, id, COMPARE, question, COMPARE_PATIENCE);
        let compared = self.store.compare(&mut ask, progress);
        self.inquiries.is_comparing.store(false, Ordering::SeqCst);
        let report = compared.map_err(|error| error.to_string())?;
        *self.inquiries.compared.lock() = Some(Arc::new(report.clone()));
        Ok(report)
    }

    /// The last comparison that this node made.
    pub(super) fn compared(&self) -> Option<Arc<CompareReport>> {
        self.inquiries.compared.lock().clone()
    }

    /// Asks the other node something, and waits for what it says.
    pub(super) fn ask(
        &self,
        connection: &Arc<Connection>,
        id: VolumeId,
        about: u8,
        question: &[u8],
        patience: Duration,
    ) -> Result<Vec<u8>, String> {
        let number = self.inquiries.next.fetch_add(1, Ordering::Relaxed);
        let (told, answer) = sync_channel(1);
        self.inquiries.waiting.lock().insert(number, told);
        let bytes = [&[about], question].concat();
        let sent = self.send_patiently(connection, id, Message::Ask { number, bytes });
        let answered = sent.and_then(|()| {
            answer.recv_timeout(patience).map_err(|_| "the other node does not answer".to_owned())
        });
        self.inquiries.waiting.lock().remove(&number);
        let answered = answered?;
        match answered.split_first() {
            Some((&ANSWER, answer)) => Ok(answer.to_vec()),
            Some((&NONE, why)) => {
                Err(format!("the other node says: {}", String::from_utf8_lossy(why)))
            }
            _ => Err("the other node's answer cannot be read".to_owned()),
        }
    }

    fn send_patiently(
        &self,
        connection: &Connection,
        id: VolumeId,
        mut message: Message,
    ) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let bytes = message.payload_bytes();
            match connection.send(id, message) {
                Ok(()) => return Ok(()),
                Err(SendError::Full(refused)) if begun.elapsed() < super::SEND_PATIENCE => {
                    connection.wait_for_room(bytes, LOOK);
                    message = *refused;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The other node asks.
    pub(super) fn asked_of(
        self: &Arc<Volume>,
        connection: &Arc<Connection>,
        id: VolumeId,
        (number, question): (u64, Vec<u8>),
    ) {
        let answering = self.inquiries.answering.fetch_add(1, Ordering::SeqCst);
        let (volume, back) = (Arc::clone(self), Arc::clone(connection));
        let answer = move || {
            let bytes = match volume.answer(&question) {
                Ok(answer) if answer.len() < TOLD_BYTES_MAX - 16 => [&[ANSWER], &*answer].concat(),
                Ok(_) => [&[NONE], b"the answer is too long".as_slice()].concat(),
                Err(why) => [&[NONE], why.as_bytes()].concat(),
            };
            // Without an answer the other node waits no longer than it would anyway.
            let _ = volume.send_patiently(&back, id, Message::Told { number, bytes });
            volume.inquiries.answering.fetch_sub(1, Ordering::SeqCst);
        };
        let spawned = match answering {
            ..ANSWERS_MAX => {
                std::thread::Builder::new().name("answer".into()).spawn(answer).map(drop)
            }
            _ => Err(std::io::Error::other("too many questions at a time")),
        };
        if let Err(error) = spawned {
            self.inquiries.answering.fetch_sub(1, Ordering::SeqCst);
            let bytes = [&[NONE], error.to_string().as_bytes()].concat();
            self.say(connection, id, Message::Told { number, bytes });
        }
    }

    fn answer(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        match question.split_first() {
            Some((&COMPARE, question)) => {
                let mut seat = self.inquiries.seat.lock();
                seat.1 = Some(Instant::now());
                self.store.answer_compare(&mut seat.0, question)
            }
            Some((&CHUNK, question)) => self.store.answer_chunk(question),
            _ => Err("this is nothing that this version answers".to_owned()),
        }
    }

    /// The other node answers.
    pub(super) fn told(&self, number: u64, bytes: Vec<u8>) {
        let waiting = self.inquiries.waiting.lock().remove(&number);
        if let Some(waiting) = waiting {
            let _ = waiting.try_send(bytes);
        }
    }

    /// The connection is over: nobody is answered any more, and nobody asks.
    pub(super) fn inquiries_lost(&self) {
        *self.inquiries.connection.lock() = None;
        self.inquiries.waiting.lock().clear();
        if let Some(mut seat) = self.inquiries.seat.try_lock() {
            *seat = Default::default();
        }
    }

    /// Lets tables go that were kept for a primary that has been silent for long.
    pub(super) fn tidy_seat(&self) {
        if let Some(mut seat) = self.inquiries.seat.try_lock()
            && seat.1.is_some_and(|asked| asked.elapsed() >= SEAT_KEPT)
        {
            *seat = Default::default();
        }
    }
}
