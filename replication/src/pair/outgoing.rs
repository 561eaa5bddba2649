//! What waits to be sent on one connection: two lanes, signs of life before messages.
//!
//! # Invariants
//! 1. Messages leave in the order in which they were put in.
//! 2. Their bytes, with those that are just being written, are at most the bound, or they are one
//!    message.
//! 3. The lane of signs of life has a bound too: a peer that floods us with pings and reads no
//!    pongs gets none.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::frame::EncodedFrame;
use super::message::Kind;

/// Frames in the lane of signs of life before pings and pongs are left out.
const CONTROL_FRAMES_MAX: usize = 64;

#[derive(Default)]
struct Lanes {
    control: VecDeque<EncodedFrame>,
    messages: VecDeque<EncodedFrame>,
    /// Bytes of messages that wait or are being written.
    bytes: usize,
    closed: bool,
}

/// See the module.
pub(crate) struct Outgoing {
    lanes: Mutex<Lanes>,
    filled: Notify,
    room: Condvar,
    bytes_max: usize,
}

/// A frame to write.
pub(crate) struct Next {
    pub(crate) frame: EncodedFrame,
    /// What [`Outgoing::written`] is told when it is written.
    pub(crate) counted: usize,
}

/// Why a message did not enter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoRoom {
    Full,
    Closed,
}

/// Room that was taken for a message.
pub(crate) struct Reserved(usize);

impl Outgoing {
    pub(crate) fn new(bytes_max: usize) -> Outgoing {
        Outgoing { lanes: Mutex::default(), filled: Notify::new(), room: Condvar::new(), bytes_max }
    }

    /// Puts frames about the connection before all messages.
    pub(crate) fn control(&self, frames: Vec<EncodedFrame>) {
        let mut lanes = self.lanes.lock();
        for frame in frames {
            let kind = frame.head.get(4).copied().unwrap_or(0);
            let of_life = kind == Kind::Ping.number() || kind == Kind::Pong.number();
            if !of_life || lanes.control.len() < CONTROL_FRAMES_MAX {
                lanes.control.push_back(frame);
            }
        }
        drop(lanes);
        self.filled.notify_one();
    }

    /// Takes room for a message of so many bytes.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Reserved, NoRoom> {
        let mut lanes = self.lanes.lock();
        if lanes.closed {
            return Err(NoRoom::Closed);
        }
        if lanes.bytes > 0 && lanes.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(NoRoom::Full);
        }
        lanes.bytes += bytes;
        Ok(Reserved(bytes))
    }

    /// Puts a message where room was taken for it.
    pub(crate) fn push(&self, reserved: Reserved, frame: EncodedFrame) {
        let mut lanes = self.lanes.lock();
        if lanes.closed {
            return;
        }
        lanes.bytes = lanes.bytes.saturating_sub(reserved.0) + frame.wire_bytes();
        lanes.messages.push_back(frame);
        drop(lanes);
        self.filled.notify_one();
    }

    /// Waits until a message of so many bytes would find room; false if it did not by then.
    pub(crate) fn wait_for_room(&self, bytes: usize, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut lanes = self.lanes.lock();
        loop {
            if lanes.closed {
                return false;
            }
            if lanes.bytes == 0 || lanes.bytes.saturating_add(bytes) <= self.bytes_max {
                return true;
            }
            if self.room.wait_until(&mut lanes, until).timed_out() {
                return false;
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lanes.lock().bytes
    }

    /// The next frame without waiting.
    pub(crate) fn try_next(&self) -> Option<Next> {
        let mut lanes = self.lanes.lock();
        if let Some(frame) = lanes.control.pop_front() {
            return Some(Next { frame, counted: 0 });
        }
        let frame = lanes.messages.pop_front()?;
        Some(Next { counted: frame.wire_bytes(), frame })
    }

    /// The next frame; `None` when it is closed and signs of life are sent.
    pub(crate) async fn next(&self) -> Option<Next> {
        loop {
            if let Some(next) = self.try_next() {
                return Some(next);
            }
            if self.lanes.lock().closed {
                return None;
            }
            self.filled.notified().await;
        }
    }

    /// So many bytes of messages have been written.
    pub(crate) fn written(&self, bytes: usize) {
        if bytes > 0 {
            let mut lanes = self.lanes.lock();
            lanes.bytes = lanes.bytes.saturating_sub(bytes);
            drop(lanes);
            self.room.notify_all();
        }
    }

    /// Nothing enters any more; messages that wait are dropped, what is about the connection still
    /// leaves.
    pub(crate) fn close(&self) {
        let mut lanes = self.lanes.lock();
        lanes.closed = true;
        lanes.messages.clear();
        drop(lanes);
        self.filled.notify_one();
        self.room.notify_all();
    }
}
