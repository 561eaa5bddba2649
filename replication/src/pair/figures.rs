//! What a link has counted since its start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::frame::EncodedFrame;
use super::protocol::RoundTrip;
use super::refusal::Cause;

/// The same refusal is told again after so long; it is counted always.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// A picture of the figures.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkFigures {
    /// Bytes of frames sent, before TLS.
    pub sent_bytes: u64,
    /// Bytes of frames received.
    pub received_bytes: u64,
    /// Messages of the host that were sent; signs of life are not counted.
    pub sent_messages: u64,
    /// Messages that were received for the host.
    pub received_messages: u64,
    /// Payloads that were sent compressed, in bytes before that.
    pub compressed_from_bytes: u64,
    /// And after it.
    pub compressed_to_bytes: u64,
    /// The way to the peer and back.
    pub round_trip: RoundTrip,
    /// Connections that both sides were content with.
    pub connections: u64,
    /// Attempts to dial.
    pub dials: u64,
    /// Refusals by cause, of this node and by the peer.
    pub refusals: BTreeMap<Cause, u64>,
    /// Nodes that joined by an invitation.
    pub joined: u64,
}

#[derive(Default)]
pub(crate) struct Figures {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    sent_messages: AtomicU64,
    received_messages: AtomicU64,
    compressed_from: AtomicU64,
    compressed_to: AtomicU64,
    round_trip: Mutex<RoundTrip>,
    connections: AtomicU64,
    dials: AtomicU64,
    joined: AtomicU64,
    refusals: Mutex<BTreeMap<Cause, Refusals>>,
}

#[derive(Default)]
struct Refusals {
    count: u64,
    told: Option<Instant>,
}

/// Whether a refusal is worth a line in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Telling {
    Worth,
    JustTold,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Figures {
    pub(crate) fn sent(&self, bytes: usize) {
        add(&self.sent_bytes, bytes);
    }

    pub(crate) fn received(&self, bytes: usize) {
        add(&self.received_bytes, bytes);
    }

    pub(crate) fn message_sent(&self, frame: &EncodedFrame) {
        add(&self.sent_messages, 1);
        if frame.is_compressed() {
            add(&self.compressed_from, frame.plain_bytes);
            add(&self.compressed_to, frame.payload.len());
        }
    }

    pub(crate) fn message_received(&self) {
        add(&self.received_messages, 1);
    }

    pub(crate) fn connected(&self) {
        add(&self.connections, 1);
    }

    pub(crate) fn dialled(&self) {
        add(&self.dials, 1);
    }

    pub(crate) fn joined(&self) {
        add(&self.joined, 1);
    }

    pub(crate) fn round_trip(&self, round_trip: RoundTrip) {
        *self.round_trip.lock() = round_trip;
    }

    pub(crate) fn refused(&self, cause: Cause) -> Telling {
        let mut refusals = self.refusals.lock();
        let entry = refusals.entry(cause).or_default();
        entry.count += 1;
        match entry.told {
            Some(told) if told.elapsed() < TELL_AGAIN => Telling::JustTold,
            _ => {
                entry.told = Some(Instant::now());
                Telling::Worth
            }
        }
    }

    pub(crate) fn picture(&self) -> LinkFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkFigures {
            sent_bytes: read(&self.sent_bytes),
            received_bytes: read(&self.received_bytes),
            sent_messages: read(&self.sent_messages),
            received_messages: read(&self.received_messages),
            compressed_from_bytes: read(&self.compressed_from),
            compressed_to_bytes: read(&self.compressed_to),
            round_trip: *self.round_trip.lock(),
            connections: read(&self.connections),
            dials: read(&self.dials),
            joined: read(&self.joined),
            refusals: self.refusals.lock().iter().map(|(cause, r)| (*cause, r.count)).collect(),
        }
    }
}
