//! How a link is set up, and every bound of it.

use std::net::SocketAddr;
use std::time::Duration;

use super::frame::FrameBounds;
use super::protocol::Terms;

/// How a link is set up. The default is what a node in production begins with.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Where to listen; `None`: this node only dials.
    pub listen: Option<SocketAddr>,
    /// Where the peer listens, as host and port, instead of what it said when it was paired; empty
    /// and unknown: this node only listens.
    pub dial: String,
    /// How large frames may be.
    pub bounds: FrameBounds,
    /// TCP, TLS and greeting are over by then. 10 s: the far side of the world on a bad line.
    pub handshake: Duration,
    /// How often a sign of life is sent. 250 ms: five may be lost before the peer counts as gone.
    pub heartbeat: Duration,
    /// Who was not heard of for so long is gone. 1.5 s: an automatic failover is to be over in two,
    /// and a machine that is only busy is back before that.
    pub silence: Duration,
    /// A peer that takes nothing of what is sent to it for so long is cut off. 10 s: its disk may
    /// stall; while it does, it still sends signs of life.
    pub stall: Duration,
    /// How far apart wall clocks may be when nodes greet each other. A minute: see `checks`.
    pub clock_skew_max: Duration,
    /// Messages that wait to be sent, in bytes. 64 MiB: some seconds of a slow line.
    pub queue_bytes_max: usize,
    /// Messages that came and were not yet taken by the host, in bytes. 64 MiB.
    pub received_bytes_max: usize,
    /// Between attempts to dial: at first, and at most. 100 ms to 5 s, each shortened by up to a
    /// half at random, so that two nodes do not keep meeting.
    pub backoff_min: Duration,
    /// See `backoff_min`.
    pub backoff_max: Duration,
    /// Connections that may greet at the same time; more are closed at once. 16.
    pub handshakes_max: usize,
}

impl Default for LinkOptions {
    fn default() -> LinkOptions {
        LinkOptions {
            listen: None,
            dial: String::new(),
            bounds: FrameBounds::default(),
            handshake: Duration::from_secs(10),
            heartbeat: Duration::from_millis(250),
            silence: Duration::from_millis(1500),
            stall: Duration::from_secs(10),
            clock_skew_max: Duration::from_secs(60),
            queue_bytes_max: 64 << 20,
            received_bytes_max: 64 << 20,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            handshakes_max: 16,
        }
    }
}

impl LinkOptions {
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            bounds: self.bounds,
            handshake: self.handshake,
            heartbeat: self.heartbeat,
            silence: self.silence,
            clock_skew_max: self.clock_skew_max,
        }
    }
}
