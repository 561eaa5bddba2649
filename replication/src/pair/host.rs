//! What a link is for: the host that is told what comes, and the connection by which it answers.
//!
//! # Invariants
//! 1. A host is called by one thread, in order: `connected`, then what was received, then `lost`,
//!    then perhaps `connected` again. So it may block in any of them; what comes meanwhile waits
//!    within a bound, and beyond it in the peer.
//! 2. A message is sent in the connection in which it was put in, or not at all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::ids::{Lsn, VolumeId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::checks::Agreement;
use super::figures::Figures;
use super::frame;
use super::frame::{FRAME_HEAD_BYTES, FrameBounds};
use super::message::{Hello, Message, VolumeState};
use super::outgoing::{NoRoom, Outgoing};
use super::protocol::{Ending, number_of};

/// Who stands behind a link.
pub trait Host: Send + Sync + 'static {
    /// How the volumes are at this moment, for a Hello. Called on a thread of the runtime, so it
    /// must not wait.
    fn volumes(&self) -> Vec<VolumeState>;

    /// The wall clock, in milliseconds since 1970.
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The peer is there, and this is how to talk to it.
    fn connected(&self, connection: &Arc<Connection>);

    /// The peer has sent something.
    fn received(&self, connection: &Arc<Connection>, volume: VolumeId, message: Message);

    /// The connection is over. Nothing of it comes any more, and nothing that was still waiting to
    /// be sent is.
    fn lost(&self, connection: &Arc<Connection>, ending: &Ending);
}

/// Why a message was not taken; it is given back where there is a point in trying again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// Too much is waiting to be sent: [`Connection::wait_for_room`].
    #[error("too much is waiting to be sent")]
    Full(Box<Message>),
    /// The connection is over.
    #[error("the connection is over")]
    Closed,
    /// The volume is not one that both nodes have.
    #[error("volume {0} is not on both nodes")]
    UnknownVolume(VolumeId),
    /// No frame may be so large.
    #[error("a {kind} of {bytes} bytes is larger than {bytes_max}")]
    TooLarge {
        /// The kind of message.
        kind: &'static str,
        /// Its size.
        bytes: usize,
        /// Its bound.
        bytes_max: usize,
    },
}

/// A connection that both sides are content with.
pub struct Connection {
    number: u64,
    peer: Hello,
    agreement: Agreement,
    bounds: FrameBounds,
    outgoing: Arc<Outgoing>,
    figures: Arc<Figures>,
    cut: Arc<Cut>,
    unnoted: Mutex<BTreeMap<VolumeId, Unnoted>>,
}

/// Groups of a volume that were sent and are not noted.
#[derive(Default)]
struct Unnoted {
    sent: VecDeque<(Lsn, u64)>,
    bytes: u64,
}

impl Unnoted {
    fn add(&mut self, last: Lsn, bytes: u64) {
        self.sent.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn take_back(&mut self, last: Lsn, bytes: u64) {
        if self.sent.back() == Some(&(last, bytes)) {
            self.sent.pop_back();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    fn noted(&mut self, lsn: Lsn) {
        while let Some((last, bytes)) = self.sent.front().copied()
            && last <= lsn
        {
            self.sent.pop_front();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

impl Connection {
    pub(crate) fn new(
        number: u64,
        peer: Hello,
        agreement: Agreement,
        bounds: FrameBounds,
        outgoing: Arc<Outgoing>,
        figures: Arc<Figures>,
        cut: Arc<Cut>,
    ) -> Connection {
        let unnoted = Mutex::default();
        Connection { number, peer, agreement, bounds, outgoing, figures, cut, unnoted }
    }

    /// Counts the connections of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the peer said of itself when the connection began.
    pub fn peer(&self) -> &Hello {
        &self.peer
    }

    /// What the greetings agree on.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// Puts a message in line, compressed if that pays (on this thread). Does not wait.
    ///
    /// # Errors
    /// [`SendError`]
    pub fn send(&self, volume: VolumeId, message: Message) -> Result<(), SendError> {
        let unknown = || SendError::UnknownVolume(volume);
        let number = number_of(&self.agreement.volumes, volume).ok_or_else(unknown)?;
        let (kind, bytes) = (message.kind(), message.payload_bytes());
        let bytes_max = self.bounds.of(kind);
        if bytes > bytes_max {
            return Err(SendError::TooLarge { kind: kind.name(), bytes, bytes_max });
        }
        let reserved = match self.outgoing.reserve(bytes + FRAME_HEAD_BYTES) {
            Ok(reserved) => reserved,
            Err(NoRoom::Full) => return Err(SendError::Full(Box::new(message))),
            Err(NoRoom::Closed) => return Err(SendError::Closed),
        };
        let (kind, payload) = message.encode();
        let frame = frame::encode(kind, Some(number), payload);
        self.figures.message_sent(&frame);
        self.outgoing.push(reserved, frame);
        Ok(())
    }

    /// Sends groups that end with `last`, and counts them as not noted until the peer notes that
    /// position: see [`unnoted_bytes`](Self::unnoted_bytes).
    ///
    /// # Errors
    /// [`SendError`]
    pub fn send_groups(
        &self,
        volume: VolumeId,
        last: Lsn,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // Counted first: the peer may note them before this thread comes by again.
        self.unnoted.lock().entry(volume).or_default().add(last, length);
        let sent = self.send(volume, Message::Groups(bytes));
        if sent.is_err()
            && let Some(entry) = self.unnoted.lock().get_mut(&volume)
        {
            entry.take_back(last, length);
        }
        sent
    }

    /// Bytes of groups of that volume which were sent and are not noted yet: what flow control
    /// holds below a bound of its own.
    pub fn unnoted_bytes(&self, volume: VolumeId) -> u64 {
        self.unnoted.lock().get(&volume).map_or(0, |entry| entry.bytes)
    }

    pub(crate) fn noted(&self, volume: VolumeId, lsn: Lsn) {
        if let Some(entry) = self.unnoted.lock().get_mut(&volume) {
            entry.noted(lsn);
        }
    }

    /// Bytes of messages that wait to be sent.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Waits until a message of so many bytes finds room; false if it did not by then, or the
    /// connection is over.
    pub fn wait_for_room(&self, bytes: usize, patience: Duration) -> bool {
        self.outgoing.wait_for_room(bytes + FRAME_HEAD_BYTES, patience)
    }

    /// Ends the connection; the node dials again.
    pub fn close(&self) {
        self.cut.cut(Ending::ClosedHere);
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} to {})", self.number, self.peer.node)
    }
}

/// Ends a connection from outside of its task, once.
#[derive(Default)]
pub(crate) struct Cut {
    why: Mutex<Option<Ending>>,
    notify: Notify,
}

impl Cut {
    pub(crate) fn cut(&self, why: Ending) {
        self.why.lock().get_or_insert(why);
        self.notify.notify_one();
    }

    pub(crate) async fn wait(&self) -> Ending {
        loop {
            if let Some(why) = self.why.lock().clone() {
                return why;
            }
            self.notify.notified().await;
        }
    }
}
