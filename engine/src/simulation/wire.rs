//! The wire between two nodes: what one sends arrives at the other later, or never.
//!
//! ```text
//!  node 0 ── flow of connection 1 ──► node 1      a connection is two flows, one each way;
//!  node 0 ◄── flow of connection 1 ── node 1      several connections may have something on
//!  node 0 ── flow of connection 2 ──► node 1      its way at a time
//! ```
//! Time is counted in steps of the simulation.
//!
//! # Invariants
//! 1. Inside a flow order is kept, and what is lost is lost with all behind it, as by TCP.
//! 2. Each node learns of the end of a connection by itself, and not at the same step.
//! 3. What was sent over a connection may still arrive when its end is known, and when there is
//!    another one: whoever receives is told over which connection it came.
//! 4. A way that is dead loses what is sent on it; the other way may work. A connection begins only
//!    when both work.

use std::collections::VecDeque;

use crate::disk::simulated::Dice;

/// The wire; `M` is what goes over it.
pub(super) struct Wire<M> {
    now: u64,
    newest: u64,
    flows: Vec<Flow<M>>,
    /// By sender: what is sent is lost.
    dead: [bool; 2],
}

/// One way of a connection.
struct Flow<M> {
    connection: u64,
    from: usize,
    /// When each arrives, at the earliest.
    queue: VecDeque<(u64, M)>,
    /// Nothing more enters.
    is_cut: bool,
    end: End,
}

/// When the receiver learns that a connection has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not, or the receiver knows.
    Nothing,
    /// Behind all that was sent: the sender closed it.
    Behind,
    /// Then, whatever is still on its way: it hears nothing any more.
    Silence(u64),
}

/// What a node gets.
pub(super) enum Arrived<M> {
    Message(M),
    End,
}

impl<M> Wire<M> {
    pub(super) fn new() -> Wire<M> {
        Wire { now: 0, newest: 0, flows: Vec::new(), dead: [false; 2] }
    }

    /// A step passes.
    pub(super) fn tick(&mut self) {
        self.now += 1;
        let newest = self.newest;
        let is_over = |flow: &Flow<M>| {
            flow.queue.is_empty() && flow.end == End::Nothing && flow.connection < newest
        };
        self.flows.retain(|flow| !is_over(flow));
    }

    /// Another connection begins, if both ways work.
    pub(super) fn connect(&mut self) -> Option<u64> {
        if self.dead != [false; 2] {
            return None;
        }
        self.newest += 1;
        for from in [0, 1] {
            self.flows.push(Flow {
                connection: self.newest,
                from,
                queue: VecDeque::new(),
                is_cut: false,
                end: End::Nothing,
            });
        }
        Some(self.newest)
    }

    /// A node sends.
    pub(super) fn send(&mut self, (connection, from): (u64, usize), message: M, dice: &mut Dice) {
        let now = self.now;
        let dead = self.dead[from];
        let Some(flow) = self.flow(connection, from) else { return };
        if flow.is_cut || dead {
            return;
        }
        let delay = match dice.below(12) {
            0 => dice.below(40),
            1..=3 => dice.below(8),
            _ => 0,
        };
        let before = flow.queue.back().map_or(0, |(due, _)| *due);
        flow.queue.push_back((before.max(now + delay), message));
    }

    /// What comes next for a node, and over which connection.
    pub(super) fn receive(&mut self, at: usize, dice: &mut Dice) -> Option<(u64, Arrived<M>)> {
        let now = self.now;
        let is_due = |flow: &Flow<M>| {
            let comes = flow.queue.front().is_some_and(|(due, _)| *due <= now);
            let ends = match flow.end {
                End::Nothing => false,
                End::Behind => flow.queue.is_empty(),
                End::Silence(due) => due <= now,
            };
            flow.from != at && (comes || ends)
        };
        let due: Vec<usize> = (0..self.flows.len()).filter(|&n| is_due(&self.flows[n])).collect();
        let drawn = dice.below(u64::try_from(due.len().max(1)).unwrap());
        let flow = &mut self.flows[*due.get(usize::try_from(drawn).unwrap())?];
        let ends = match flow.end {
            End::Nothing => false,
            End::Behind => flow.queue.is_empty(),
            End::Silence(due) => due <= now,
        };
        if ends {
            (flow.end, flow.is_cut) = (End::Nothing, true);
            return Some((flow.connection, Arrived::End));
        }
        let (_, message) = flow.queue.pop_front()?;
        Some((flow.connection, Arrived::Message(message)))
    }

    /// A node has closed a connection, or its process has ended.
    pub(super) fn close(&mut self, connection: u64, by: usize) {
        if let Some(flow) = self.flow(connection, by) {
            flow.is_cut = true;
            if flow.end == End::Nothing {
                flow.end = End::Behind;
            }
        }
        if let Some(flow) = self.flow(connection, 1 - by) {
            (flow.is_cut, flow.end) = (true, End::Nothing);
        }
    }

    /// A connection breaks: the end of what is on it is lost, and each side notices in its time.
    pub(super) fn cut(&mut self, connection: u64, dice: &mut Dice) {
        for from in [0, 1] {
            self.lose(connection, from, dice);
        }
    }

    /// One way is dead from now on, or works again.
    pub(super) fn set_dead(&mut self, from: usize, is_dead: bool, dice: &mut Dice) {
        self.dead[from] = is_dead;
        if is_dead {
            for connection in self.newest.saturating_sub(1)..=self.newest {
                self.lose(connection, from, dice);
            }
        }
    }

    /// Whether something is on its way, or will be noticed yet.
    pub(super) fn is_quiet(&self) -> bool {
        self.flows.iter().all(|flow| flow.queue.is_empty() && flow.end == End::Nothing)
    }

    fn lose(&mut self, connection: u64, from: usize, dice: &mut Dice) {
        let now = self.now;
        let Some(flow) = self.flow(connection, from) else { return };
        if flow.is_cut {
            return;
        }
        let kept = dice.below(u64::try_from(flow.queue.len()).unwrap() + 1);
        flow.queue.truncate(usize::try_from(kept).unwrap());
        flow.is_cut = true;
        // Sometimes what is left comes late, behind what another connection brings.
        if dice.below(3) == 0 {
            let late = dice.below(60);
            flow.queue.iter_mut().for_each(|(due, _)| *due += late);
        }
        flow.end = End::Silence(now + 1 + dice.below(25));
    }

    fn flow(&mut self, connection: u64, from: usize) -> Option<&mut Flow<M>> {
        self.flows.iter_mut().find(|flow| flow.connection == connection && flow.from == from)
    }
}
