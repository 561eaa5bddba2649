//! The protocol of one connection, without sockets and clocks: bytes in, events and frames out.
//!
//! ```text
//!            both at once                       each, when the other's Hello is good
//! Greeting ── Hello, Hello ──► Deciding ── Welcome ──► Welcomed ── its Welcome ──► Open
//!                                 │ the node decides whether it wants this connection
//!                                 └── Refuse, from either side and at any time: the end
//! ```
//!
//! # Invariants
//! 1. Nothing is handed to the caller before both sides have welcomed each other: who is refused
//!    has changed nothing.
//! 2. A side that was heard of within `silence` is alive. While the caller makes us wait, we do not
//!    read, and the peer's silence is not held against it.
//! 3. After a refusal or an ending no event comes any more.

use std::collections::VecDeque;
use std::time::Duration;

use engine::ids::{NodeId, VolumeId};

use super::checks::{self, Agreement, Expected};
use super::frame::{self, EncodedFrame, Frame, FrameBounds, FrameDecoder};
use super::message::{Control, Hello, Kind, Message, Said, VolumeNumber};
use super::refusal::{Cause, Refusal};

/// Pings that wait for their pongs and are remembered.
const PINGS_MAX: usize = 32;

/// What a connection holds itself to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How large frames may be.
    pub bounds: FrameBounds,
    /// The greeting is over by then, or the connection is.
    pub handshake: Duration,
    /// How often a sign of life is sent.
    pub heartbeat: Duration,
    /// Who was not heard of for so long is gone.
    pub silence: Duration,
    /// How far apart wall clocks may be when nodes greet each other.
    pub clock_skew_max: Duration,
}

/// Why a connection is over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ending {
    /// This node refused the peer.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The peer refused this node.
    #[error("the peer refused: {0}")]
    RefusedByPeer(Refusal),
    /// Nothing was heard of the peer for too long.
    #[error("nothing was heard of the peer for {silent_ms} ms")]
    Silent {
        /// For how long.
        silent_ms: u64,
    },
    /// The peer took nothing that was sent to it for too long.
    #[error("the peer read nothing for {stalled_ms} ms")]
    StoppedReading {
        /// For how long.
        stalled_ms: u64,
    },
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The network failed.
    #[error("the connection broke: {why}")]
    Broken {
        /// What the system said.
        why: String,
    },
    /// A better connection to the same peer took its place.
    #[error("another connection to the same peer took its place")]
    Replaced,
    /// This node closed it.
    #[error("this node closed the connection")]
    ClosedHere,
}

/// What a connection has to tell its node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer's greeting is good: the node answers with [`Protocol::welcome`] or
    /// [`Protocol::refuse`].
    Greeted(Box<Hello>),
    /// Both sides are content.
    Open,
    /// A message for the caller.
    Received {
        /// About this volume.
        volume: VolumeId,
        /// What was said.
        message: Message,
        /// Bytes of its payload in memory.
        bytes: usize,
    },
}

/// Round trips, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoundTrip {
    /// The last one; 0 before the first.
    pub last_us: u64,
    /// Smoothed: an eighth of each new one.
    pub smoothed_us: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Greeting,
    Deciding,
    Welcomed,
    Open,
    Over,
}

/// One connection.
#[derive(Debug)]
pub struct Protocol {
    terms: Terms,
    own: Hello,
    expected: NodeId,
    phase: Phase,
    decoder: FrameDecoder,
    output: Vec<EncodedFrame>,
    agreement: Agreement,
    /// When the connection was made, on the monotonic clock and on the wall's.
    began: Duration,
    connected_ms: u64,
    heard: Duration,
    pinged: Duration,
    pings: VecDeque<(u64, Duration)>,
    ping_number: u64,
    round_trip: RoundTrip,
}

impl Protocol {
    /// A connection that was just made to what should be `expected`. `now` is any monotonic clock.
    /// Our Hello is the first output.
    pub fn new(terms: Terms, own: Hello, expected: NodeId, now: Duration) -> Protocol {
        let connected_ms = own.clock_ms;
        let (kind, payload) = Control::Hello(Box::new(own.clone())).encode();
        let hello = frame::encode(kind, None, payload);
        Protocol {
            terms,
            expected,
            phase: Phase::Greeting,
            decoder: FrameDecoder::new(terms.bounds),
            output: vec![hello],
            agreement: Agreement { version: own.highest, volumes: Vec::new(), clock_skew_ms: 0 },
            own,
            began: now,
            connected_ms,
            heard: now,
            pinged: now,
            pings: VecDeque::new(),
            ping_number: 0,
            round_trip: RoundTrip::default(),
        }
    }

    /// Frames to be sent before all others.
    pub fn output(&mut self) -> Vec<EncodedFrame> {
        std::mem::take(&mut self.output)
    }

    /// What was agreed on; nothing before [`Event::Greeted`].
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// Times between pings and their pongs.
    pub fn round_trip(&self) -> RoundTrip {
        self.round_trip
    }

    /// The number of a shared volume.
    pub fn number_of(&self, volume: VolumeId) -> Option<VolumeNumber> {
        number_of(&self.agreement.volumes, volume)
    }

    /// Takes received bytes until there is something to tell: how many were used, and that.
    ///
    /// # Errors
    /// The connection is over; a Refuse for the peer is among the output where it helps.
    pub fn input(
        &mut self,
        bytes: &[u8],
        now: Duration,
        wall_ms: u64,
    ) -> Result<(usize, Option<Event>), Ending> {
        self.heard = self.heard.max(now);
        let mut used = 0;
        while let Some(rest) = bytes.get(used..)
            && !rest.is_empty()
        {
            if self.phase == Phase::Over {
                return Err(Ending::ClosedHere);
            }
            let (taken, frame) = match self.decoder.take(rest) {
                Ok(taken) => taken,
                Err(refusal) => return Err(self.refuse(refusal)),
            };
            used += taken;
            let Some(frame) = frame else { continue };
            let event = self.frame(frame, now, wall_ms)?;
            if event.is_some() {
                return Ok((used, event));
            }
        }
        Ok((used, None))
    }

    /// The peer closed its side.
    pub fn end_of_input(&mut self) -> Ending {
        self.phase = Phase::Over;
        match self.decoder.between_frames() {
            true => Ending::Closed,
            false => Ending::Broken { why: "the peer closed in the middle of a frame".to_owned() },
        }
    }

    /// Answers [`Event::Greeted`]: this connection it is.
    pub fn welcome(&mut self) {
        if self.phase == Phase::Deciding {
            self.phase = Phase::Welcomed;
            self.say(&Control::Welcome { version: self.agreement.version });
        }
    }

    /// Ends the connection with a sentence for the peer.
    pub fn refuse(&mut self, refusal: Refusal) -> Ending {
        self.phase = Phase::Over;
        self.say(&Control::Refuse(refusal.clone()));
        Ending::Refused(refusal)
    }

    /// To be called as time passes: sends pings, and sees who is gone. `waiting`: the caller makes
    /// us wait, so we read nothing.
    ///
    /// # Errors
    /// The connection is over.
    pub fn tick(&mut self, now: Duration, waiting: Waiting) -> Result<(), Ending> {
        if waiting == Waiting::ForCaller {
            self.heard = now;
        }
        if self.phase != Phase::Open {
            let taken = now.saturating_sub(self.began);
            if taken >= self.terms.handshake && self.phase != Phase::Over {
                let sentence = format!("the greeting took more than {} ms", taken.as_millis());
                return Err(self.refuse(Refusal::new(Cause::TooSlow, sentence)));
            }
            return Ok(());
        }
        let silent = now.saturating_sub(self.heard);
        if silent >= self.terms.silence {
            self.phase = Phase::Over;
            return Err(Ending::Silent { silent_ms: millis(silent) });
        }
        if now.saturating_sub(self.pinged) >= self.terms.heartbeat {
            self.ping(now);
        }
        Ok(())
    }

    fn ping(&mut self, now: Duration) {
        self.pinged = now;
        self.ping_number += 1;
        if self.pings.len() >= PINGS_MAX {
            self.pings.pop_front();
        }
        self.pings.push_back((self.ping_number, now));
        self.say(&Control::Ping { number: self.ping_number, sent_ms: millis(now) });
    }

    fn pong(&mut self, number: u64, now: Duration) {
        let Some(at) = self.pings.iter().position(|(known, _)| *known == number) else { return };
        let Some((_, sent)) = self.pings.drain(..=at).next_back() else { return };
        let took = now.saturating_sub(sent).as_micros();
        let last_us = u64::try_from(took).unwrap_or(u64::MAX).max(1);
        let smoothed_us = match self.round_trip.smoothed_us {
            0 => last_us,
            before => before - before / 8 + last_us / 8,
        };
        self.round_trip = RoundTrip { last_us, smoothed_us };
    }

    fn say(&mut self, control: &Control) {
        let (kind, payload) = control.encode();
        self.output.push(frame::encode(kind, None, payload));
    }

    fn frame(
        &mut self,
        frame: Frame,
        now: Duration,
        wall_ms: u64,
    ) -> Result<Option<Event>, Ending> {
        let (kind, bytes) = (frame.kind, frame.payload.len());
        let in_turn = match kind {
            Kind::Refuse => true,
            Kind::Hello => self.phase == Phase::Greeting,
            Kind::Welcome => self.phase == Phase::Deciding || self.phase == Phase::Welcomed,
            _ => self.phase == Phase::Open,
        };
        if !in_turn {
            let sentence = format!("a {kind:?} came out of turn, before the greeting was complete");
            return Err(self.refuse(Refusal::new(Cause::TooEarly, sentence)));
        }
        match Said::decode(kind, frame.volume, frame.payload) {
            Ok(Said::Control(control)) => self.control(control, now, wall_ms),
            Ok(Said::Volume(VolumeNumber(number), message)) => {
                match self.agreement.volumes.get(usize::from(number)) {
                    Some(volume) => {
                        let volume = *volume;
                        Ok(Some(Event::Received { volume, message, bytes }))
                    }
                    None => {
                        let shared = self.agreement.volumes.len();
                        let sentence =
                            format!("a {kind:?} is about volume {number}, of {shared} shared ones");
                        Err(self.refuse(Refusal::new(Cause::UnknownVolume, sentence)))
                    }
                }
            }
            Err(why) if kind == Kind::Hello => Err(self.refuse(checks::unreadable(&why))),
            Err(why) => Err(self.refuse(Refusal::malformed(&format!("a {kind:?}"), &why))),
        }
    }

    fn control(
        &mut self,
        control: Control,
        now: Duration,
        wall_ms: u64,
    ) -> Result<Option<Event>, Ending> {
        match control {
            Control::Hello(hello) => {
                let expected = Expected {
                    own: &self.own,
                    peer: self.expected,
                    connected_ms: self.connected_ms,
                    now_ms: wall_ms,
                    clock_skew_max_ms: millis(self.terms.clock_skew_max),
                };
                match checks::check(expected, &hello) {
                    Ok(agreement) => self.agreement = agreement,
                    Err(refusal) => return Err(self.refuse(refusal)),
                }
                self.phase = Phase::Deciding;
                Ok(Some(Event::Greeted(hello)))
            }
            Control::Welcome { version } if version == self.agreement.version => {
                if self.phase == Phase::Deciding {
                    // The driver decides before it reads on.
                    let sentence = "a Welcome came before this node had decided";
                    return Err(self.refuse(Refusal::new(Cause::TooEarly, sentence)));
                }
                self.phase = Phase::Open;
                (self.heard, self.pinged) = (now, now);
                self.ping(now);
                Ok(Some(Event::Open))
            }
            Control::Welcome { version } => {
                let ours = self.agreement.version;
                let sentence = format!("the peer welcomes in version {version}, not {ours}");
                Err(self.refuse(Refusal::new(Cause::Version, sentence)))
            }
            Control::Refuse(refusal) => {
                self.phase = Phase::Over;
                Err(Ending::RefusedByPeer(refusal))
            }
            Control::Ping { number, sent_ms } => {
                self.say(&Control::Pong { number, sent_ms });
                Ok(None)
            }
            Control::Pong { number, .. } => {
                self.pong(number, now);
                Ok(None)
            }
        }
    }
}

/// Whether silence counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// Bytes are read as they come.
    ForPeer,
    /// The caller has not taken what came before.
    ForCaller,
}

/// The number of a volume among those that are shared.
pub(crate) fn number_of(shared: &[VolumeId], volume: VolumeId) -> Option<VolumeNumber> {
    let at = shared.binary_search(&volume).ok()?;
    u16::try_from(at).ok().map(VolumeNumber)
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
