//! Which of several connections to the peer counts: at most one, and both nodes choose the same.
//!
//! Both nodes may dial, at the same moment too. Of two connections the one that was dialled by the
//! node with the lower id stays; of two dialled by the same node, the later one, because who dials
//! again has lost the earlier one; and one to an earlier process of the peer is dead, whatever it
//! looks like.
//!
//! # Invariants
//! 1. A connection takes the slot only when it is empty: so the host has been told that the earlier
//!    one is lost before it is told of this one.
//! 2. While our own attempt greets, and it would be the better one, the peer's waits for how that
//!    ends: else each reconnecting would replace a connection that has just begun.

use std::sync::Arc;

use engine::ids::Incarnation;
use tokio::sync::watch;

use super::host::Cut;
use super::message::Hello;
use super::protocol::Ending;
use super::refusal::{Cause, Refusal};

/// Who dialled a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Us,
    Peer,
}

struct Current {
    number: u64,
    side: Side,
    incarnation: Incarnation,
    cut: Arc<Cut>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// An attempt of our own has come as far as TCP.
    greeting: bool,
}

/// The place of the one connection that counts.
pub(crate) struct Slot {
    state: watch::Sender<State>,
}

/// A connection that wants the slot.
pub(crate) struct Claim<'a> {
    pub(crate) number: u64,
    pub(crate) side: Side,
    /// The peer's, of which node and process are looked at.
    pub(crate) peer: &'a Hello,
    /// Ours.
    pub(crate) own: &'a Hello,
    pub(crate) cut: &'a Arc<Cut>,
}

impl Claim<'_> {
    /// Whether the node with the lower id dialled it.
    fn is_preferred(&self) -> bool {
        (self.side == Side::Us) == (self.own.node < self.peer.node)
    }
}

enum Verdict {
    Taken,
    Wait,
    Duplicate,
}

impl Slot {
    pub(crate) fn new() -> Slot {
        Slot { state: watch::Sender::new(State::default()) }
    }

    /// Takes the slot, replacing a worse connection.
    ///
    /// # Errors
    /// When there is a better one.
    pub(crate) async fn claim(&self, claim: Claim<'_>) -> Result<(), Refusal> {
        let mut changes = self.state.subscribe();
        loop {
            let mut verdict = Verdict::Wait;
            self.state.send_if_modified(|state| {
                verdict = decide(state, &claim);
                matches!(verdict, Verdict::Taken)
            });
            match verdict {
                Verdict::Taken => return Ok(()),
                Verdict::Wait => drop(changes.changed().await),
                Verdict::Duplicate => {
                    let sentence = "there is a connection between these two nodes already";
                    return Err(Refusal::new(Cause::Duplicate, sentence));
                }
            }
        }
    }

    /// Gives the slot back, if that connection has it.
    pub(crate) fn release(&self, number: u64) {
        self.state.send_if_modified(|state| {
            let has_it = state.current.as_ref().is_some_and(|current| current.number == number);
            if has_it {
                state.current = None;
            }
            has_it
        });
    }

    /// An attempt of our own greets, or does not any more.
    pub(crate) fn set_greeting(&self, greeting: bool) {
        self.state.send_modify(|state| state.greeting = greeting);
    }

    /// Waits until there is no connection.
    pub(crate) async fn empty(&self) {
        let mut changes = self.state.subscribe();
        let _ = changes.wait_for(|state| state.current.is_none()).await;
    }

    /// Ends the connection that counts, if there is one.
    pub(crate) fn cut(&self, why: Ending) {
        if let Some(current) = &self.state.borrow().current {
            current.cut.cut(why);
        }
    }
}

fn decide(state: &mut State, claim: &Claim<'_>) -> Verdict {
    let Some(current) = &state.current else {
        if state.greeting && claim.side == Side::Peer && !claim.is_preferred() {
            return Verdict::Wait;
        }
        state.current = Some(Current {
            number: claim.number,
            side: claim.side,
            incarnation: claim.peer.incarnation,
            cut: Arc::clone(claim.cut),
        });
        return Verdict::Taken;
    };
    let better = claim.is_preferred()
        || current.side == claim.side
        || current.incarnation != claim.peer.incarnation;
    if !better {
        return Verdict::Duplicate;
    }
    current.cut.cut(Ending::Replaced);
    Verdict::Wait
}
