//! The driver of one connection: moves bytes between a stream and a [`Protocol`], and messages to
//! the host.
//!
//! # Invariants
//! 1. Reading and writing go on side by side, and each wait has an end: by bytes, by time, or by a
//!    [`Cut`].
//! 2. What the peer sends is read only as fast as the host takes it; until then it waits in the
//!    peer, whose flow control knows.
//! 3. Of a connection that was announced to the host, the host hears the end, before the slot is
//!    free for the next one.
//! 4. A peer that is refused has a chance to read why: its bytes are read on for a moment, because
//!    closing over unread bytes makes the system throw our last frame away.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::delivery::Item;
use super::host::{Connection, Cut};
use super::link::Shared;
use super::message::{Hello, Message};
use super::outgoing::Outgoing;
use super::peer::PeerRecord;
use super::protocol::{Ending, Event, Protocol, Waiting, millis};
use super::refusal::{Cause, Refusal};
use super::slot::{Claim, Side};
use super::tls;

const READ_BYTES: usize = 64 << 10;
/// Frames up to this size leave together with others.
const GATHER_BYTES: usize = 64 << 10;
/// How long a connection that is over may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long what a refused peer sends is still read.
const LINGER: Duration = Duration::from_millis(500);

struct Reader<'a, R> {
    shared: &'a Arc<Shared>,
    stream: R,
    protocol: Protocol,
    own: Hello,
    peer: &'a PeerRecord,
    greeted: Option<Box<Hello>>,
    outgoing: Arc<Outgoing>,
    cut: Arc<Cut>,
    alarm: Interval,
    number: u64,
    side: Side,
    connection: Option<Arc<Connection>>,
    handshake: Option<OwnedSemaphorePermit>,
}

/// Runs a connection to its end; true if it was open in between. `handshake` is held until it is.
pub(crate) async fn run<S>(
    shared: &Arc<Shared>,
    stream: S,
    side: Side,
    peer: &PeerRecord,
    handshake: Option<OwnedSemaphorePermit>,
) -> (Ending, bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let own = shared.hello();
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    let outgoing = Arc::new(Outgoing::new(shared.options.queue_bytes_max));
    let (stream, sink) = tokio::io::split(stream);
    let period = shared.options.heartbeat.min(shared.options.handshake) / 2;
    let mut alarm = interval(period.max(Duration::from_millis(1)));
    alarm.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let terms = shared.options.terms();
    let mut reader = Reader {
        shared,
        stream,
        protocol: Protocol::new(terms, own.clone(), peer.node, shared.now()),
        own,
        peer,
        greeted: None,
        outgoing: Arc::clone(&outgoing),
        cut: Arc::new(Cut::default()),
        alarm,
        number,
        side,
        connection: None,
        handshake,
    };
    reader.flush();
    let ending = {
        let mut writer = pin!(write(shared, sink, &outgoing));
        let (ending, writing) = tokio::select! {
            ending = reader.read() => (ending, true),
            ending = &mut writer => (ending, false),
        };
        // The reason may be on its way while our own writing fails.
        let ending = match (&ending, writing) {
            (Ending::Broken { .. }, false) => {
                timeout(LINGER, reader.read()).await.unwrap_or(ending)
            }
            _ => ending,
        };
        reader.flush();
        outgoing.close();
        if writing {
            let _ = timeout(FAREWELL, writer).await;
        }
        ending
    };
    if let Ending::Refused(_) = ending {
        linger(&mut reader.stream).await;
    }
    let opened = reader.connection.is_some();
    if let Some(connection) = reader.connection.take() {
        let _ = shared.delivery.give(Item::Lost(connection, ending.clone()), 0).await;
    }
    shared.slot.release(number);
    (ending, opened)
}

/// Reads what still comes and throws it away, for a moment.
pub(crate) async fn linger<R: AsyncRead + Unpin>(stream: &mut R) {
    let mut bytes = vec![0; READ_BYTES];
    let read = async { while matches!(stream.read(&mut bytes).await, Ok(1..)) {} };
    let _ = timeout(LINGER, read).await;
}

impl<R: AsyncRead + Unpin> Reader<'_, R> {
    /// Sends what the protocol has to say.
    fn flush(&mut self) {
        let frames = self.protocol.output();
        if !frames.is_empty() {
            self.outgoing.control(frames);
        }
    }

    async fn read(&mut self) -> Ending {
        let mut buffer = vec![0; READ_BYTES];
        let cut = Arc::clone(&self.cut);
        loop {
            tokio::select! {
                biased;
                why = cut.wait() => return why,
                _ = self.alarm.tick() => {
                    let ticked = self.protocol.tick(self.shared.now(), Waiting::ForPeer);
                    self.flush();
                    if let Err(ending) = ticked {
                        return ending;
                    }
                }
                got = self.stream.read(&mut buffer) => match got {
                    Ok(0) => return self.protocol.end_of_input(),
                    Ok(count) => {
                        self.shared.figures.received(count);
                        let bytes = buffer.get(..count).unwrap_or_default();
                        if let Err(ending) = self.take(bytes).await {
                            return ending;
                        }
                    }
                    Err(why) => return self.broken(&why),
                },
            }
        }
    }

    fn broken(&self, why: &io::Error) -> Ending {
        match tls::refusal_of(why, self.shared.credentials.fingerprint()) {
            Some(refusal) => Ending::RefusedByPeer(refusal),
            // TLS was not closed: the process died, or its connection was cut.
            None if why.kind() == io::ErrorKind::UnexpectedEof => Ending::Closed,
            None => Ending::Broken { why: why.to_string() },
        }
    }

    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), Ending> {
        while !bytes.is_empty() {
            let (now, wall_ms) = (self.shared.now(), self.shared.host.wall_ms());
            let taken = self.protocol.input(bytes, now, wall_ms);
            self.flush();
            let (used, event) = taken?;
            bytes = bytes.get(used..).unwrap_or_default();
            self.shared.figures.round_trip(self.protocol.round_trip());
            match event {
                None => {}
                Some(Event::Greeted(hello)) => self.decide(hello).await?,
                Some(Event::Open) => self.open().await?,
                Some(Event::Received { volume, message, bytes }) => {
                    let Some(connection) = &self.connection else { continue };
                    if let Message::Noted(upto) = &message {
                        connection.noted(volume, upto.lsn);
                    }
                    self.shared.figures.message_received();
                    let item = Item::Received(Arc::clone(connection), volume, message);
                    self.give(item, bytes).await?;
                }
            }
        }
        Ok(())
    }

    /// The greeting is good; is this the connection that counts?
    async fn decide(&mut self, hello: Box<Hello>) -> Result<(), Ending> {
        // Looked at with the slot in hand: whoever changes these cuts who has the slot.
        let outcome = match self.claim(&hello).await?.and_then(|()| self.still_wanted()) {
            Ok(()) => {
                self.protocol.welcome();
                Ok(())
            }
            Err(refusal) => Err(self.protocol.refuse(refusal)),
        };
        self.greeted = Some(hello);
        self.flush();
        outcome
    }

    fn still_wanted(&self) -> Result<(), Refusal> {
        if *self.shared.stop.borrow() {
            return Err(Refusal::new(Cause::Stopping, "this node is being stopped"));
        }
        let peer = self.shared.peer();
        let known = |now: &PeerRecord| {
            now.node == self.peer.node && now.fingerprint == self.peer.fingerprint
        };
        match peer.as_ref().is_some_and(known) {
            true => Ok(()),
            false => {
                let sentence = "this node was paired with another one meanwhile";
                Err(Refusal::new(Cause::UnknownNode, sentence))
            }
        }
    }

    /// Whether the slot is ours; the outer error is the end of waiting for that.
    async fn claim(&mut self, hello: &Hello) -> Result<Result<(), Refusal>, Ending> {
        let (number, side) = (self.number, self.side);
        let claim = Claim { number, side, peer: hello, own: &self.own, cut: &self.cut };
        let mut claimed = pin!(self.shared.slot.claim(claim));
        loop {
            tokio::select! {
                biased;
                outcome = &mut claimed => return Ok(outcome),
                why = self.cut.wait() => return Err(why),
                _ = self.alarm.tick() => {
                    self.protocol.tick(self.shared.now(), Waiting::ForPeer)?;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), Ending> {
        self.handshake = None;
        let Some(hello) = self.greeted.take() else { return Err(Ending::ClosedHere) };
        let connection = Arc::new(Connection::new(
            self.number,
            *hello,
            self.protocol.agreement().clone(),
            self.shared.options.bounds,
            Arc::clone(&self.outgoing),
            Arc::clone(&self.shared.figures),
            Arc::clone(&self.cut),
        ));
        self.shared.figures.connected();
        self.connection = Some(Arc::clone(&connection));
        self.give(Item::Connected(connection), 0).await
    }

    /// Hands over to the host, and stays alive while it makes us wait.
    async fn give(&mut self, item: Item, bytes: usize) -> Result<(), Ending> {
        let mut given = pin!(self.shared.delivery.give(item, bytes));
        let cut = Arc::clone(&self.cut);
        loop {
            tokio::select! {
                biased;
                there = &mut given => return if there { Ok(()) } else { Err(Ending::ClosedHere) },
                why = cut.wait() => return Err(why),
                _ = self.alarm.tick() => {
                    self.protocol.tick(self.shared.now(), Waiting::ForCaller)?;
                    let frames = self.protocol.output();
                    self.outgoing.control(frames);
                }
            }
        }
    }
}

/// Writes what waits until it is closed and empty, then ends TLS.
async fn write<W: AsyncWrite + Unpin>(shared: &Shared, mut sink: W, outgoing: &Outgoing) -> Ending {
    let stall = shared.options.stall;
    let mut gathered = Vec::new();
    while let Some(mut next) = outgoing.next().await {
        let mut counted = 0;
        // Small frames together; a large payload goes out from where it lies.
        let large = loop {
            counted += next.counted;
            gathered.extend_from_slice(&next.frame.head);
            if next.frame.payload.len() > GATHER_BYTES {
                break Some(next.frame.payload);
            }
            gathered.extend_from_slice(&next.frame.payload);
            match outgoing.try_next() {
                Some(more) if gathered.len() < GATHER_BYTES => next = more,
                Some(more) => {
                    // Written with the next round would be simpler, but it has left the line.
                    counted += more.counted;
                    gathered.extend_from_slice(&more.frame.head);
                    break Some(more.frame.payload);
                }
                None => break None,
            }
        };
        for piece in [Some(&gathered), large.as_ref()].into_iter().flatten() {
            if let Err(ending) = write_all(&mut sink, piece, stall).await {
                return ending;
            }
            shared.figures.sent(piece.len());
        }
        if let Err(ending) = in_time(stall, sink.flush()).await {
            return ending;
        }
        gathered.clear();
        outgoing.written(counted);
    }
    let _ = in_time(stall, sink.shutdown()).await;
    Ending::ClosedHere
}

/// Writes all of it; each piece that the socket takes begins a new patience.
async fn write_all<W: AsyncWrite + Unpin>(
    sink: &mut W,
    mut bytes: &[u8],
    stall: Duration,
) -> Result<(), Ending> {
    while !bytes.is_empty() {
        let count = in_time(stall, sink.write(bytes)).await?;
        if count == 0 {
            return Err(Ending::Broken { why: "the socket takes nothing".to_owned() });
        }
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

async fn in_time<T>(
    stall: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, Ending> {
    match timeout(stall, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(why)) => Err(Ending::Broken { why: why.to_string() }),
        Err(_) => Err(Ending::StoppedReading { stalled_ms: millis(stall) }),
    }
}
