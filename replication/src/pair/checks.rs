//! What a Hello must be like before anything else is said: pure, each refusal with its own code.
//!
//! | refused | why |
//! |--|--|
//! | own identity | the address leads back to ourselves, or a data directory was copied |
//! | other cluster, other node | its groups are of another history |
//! | clocks far apart | stamps decide which flag is the later one after a partition |
//! | a shared volume that one of both lacks | nothing could follow it, and nobody would notice |
//! | a format level that one of both cannot read | it would stop at the first such record |
//!
//! Clocks: stamps are hybrid, so within a connected pair they are in order whatever the clocks say.
//! But a clock that is an hour ahead pulls every stamp of the pair with it, for good, and in a
//! partition its flags win for an hour. NTP keeps nodes within milliseconds; a minute apart is a
//! clock that nobody sets, or a time zone taken for a time. So a minute is refused, at greeting
//! alone: a pair that works is not parted because a clock jumps, its next greeting says so.
//!
//! # Invariants
//! 1. Both sides come to the same numbering of volumes: shared ones, in the order of their ids.
//! 2. A slow network is never taken for a wrong clock: the peer wrote its Hello between the moment
//!    when we connected and now, so only what lies outside of that is apart.

use engine::ids::{NodeId, VolumeId};

use super::PROTOCOL_HIGHEST;
use super::message::{Hello, Malformed, Role, VolumeState};
use super::refusal::{Cause, Refusal};

/// What a greeting is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// What we said of ourselves.
    pub own: &'a Hello,
    /// The node that we are paired with.
    pub peer: NodeId,
    /// Our wall clock when the connection was made.
    pub connected_ms: u64,
    /// Our wall clock now.
    pub now_ms: u64,
    /// How far apart clocks may be.
    pub clock_skew_max_ms: u64,
}

/// What two greetings agree on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// The protocol version: the highest that both know.
    pub version: u16,
    /// The volumes that both have; a volume's number is its place here.
    pub volumes: Vec<VolumeId>,
    /// How far the clocks are apart at least.
    pub clock_skew_ms: u64,
}

/// Holds a greeting against ours.
///
/// # Errors
/// The first reason to refuse it.
pub fn check(expected: Expected<'_>, peer: &Hello) -> Result<Agreement, Refusal> {
    let own = expected.own;
    check_identity(expected, peer)?;
    let clock_skew_ms = check_clock(expected, peer.clock_ms)?;
    for (here, there, whose) in [(own, peer, "the peer"), (peer, own, "this node")] {
        for volume in &here.volumes {
            match there.volumes.iter().find(|other| other.id == volume.id) {
                Some(other) => check_level(volume, other, whose)?,
                None if volume.role == Role::Alone => {}
                None => {
                    let (name, id) = (&volume.name, volume.id);
                    let sentence = format!(
                        "the volume {name} ({id}) is to be on both nodes, and {whose} does not \
                         have it: make it there, or take it out of the pair"
                    );
                    return Err(Refusal::new(Cause::Volume, sentence));
                }
            }
        }
    }
    let version = own.highest.min(peer.highest);
    Ok(Agreement { version, volumes: shared_volumes(own, peer), clock_skew_ms })
}

/// The volumes that both greetings name, in the order of their ids.
pub fn shared_volumes(own: &Hello, peer: &Hello) -> Vec<VolumeId> {
    let mut shared: Vec<VolumeId> = own.volumes.iter().map(|volume| volume.id).collect();
    shared.retain(|id| peer.volumes.iter().any(|volume| volume.id == *id));
    shared.sort_unstable();
    shared
}

/// The refusal of a Hello that cannot be read.
pub fn unreadable(why: &Malformed) -> Refusal {
    match why {
        Malformed::Magic => Refusal::new(
            Cause::Magic,
            "the first frame is no greeting of Pillarbox: something else speaks at the other end",
        ),
        Malformed::Version { lowest, highest } => Refusal::new(
            Cause::Version,
            format!(
                "the peer speaks versions {lowest} to {highest} of the protocol and this node {} \
                 to {PROTOCOL_HIGHEST}: upgrade the older one",
                super::PROTOCOL_LOWEST
            ),
        ),
        other => Refusal::malformed("the greeting", other),
    }
}

fn check_identity(expected: Expected<'_>, peer: &Hello) -> Result<(), Refusal> {
    let own = expected.own;
    if peer.node == own.node {
        let sentence = format!(
            "the peer says that it is node {}, which is this node: the address leads back here, \
             or the data directory was copied",
            own.node
        );
        return Err(Refusal::new(Cause::OwnNode, sentence));
    }
    if peer.cluster != own.cluster {
        let sentence = format!(
            "the peer belongs to pair {} and this node to pair {}: check the address, or pair \
             the nodes anew with an invitation",
            peer.cluster, own.cluster
        );
        return Err(Refusal::new(Cause::Cluster, sentence));
    }
    if peer.node != expected.peer {
        let sentence = format!(
            "the peer is node {} and this node is paired with {}: check the address, or pair the \
             nodes anew with an invitation",
            peer.node, expected.peer
        );
        return Err(Refusal::new(Cause::UnknownNode, sentence));
    }
    Ok(())
}

fn check_clock(expected: Expected<'_>, clock_ms: u64) -> Result<u64, Refusal> {
    // Our own clock may have been set back in between.
    let (from, to) = (expected.connected_ms.min(expected.now_ms), expected.now_ms);
    let behind = from.saturating_sub(clock_ms);
    let apart = behind.max(clock_ms.saturating_sub(to));
    if apart <= expected.clock_skew_max_ms {
        return Ok(apart);
    }
    let direction = if behind > 0 { "behind" } else { "ahead of" };
    let sentence = format!(
        "the peer's clock is {} seconds {direction} this node's, and {} seconds is the most: set \
         both clocks by NTP",
        apart / 1000,
        expected.clock_skew_max_ms / 1000
    );
    Err(Refusal::new(Cause::Clock, sentence))
}

/// `reader` has the volume on the side that is called `whose`.
fn check_level(volume: &VolumeState, reader: &VolumeState, whose: &str) -> Result<(), Refusal> {
    if volume.role == Role::Alone || volume.level <= reader.reads_level {
        return Ok(());
    }
    let sentence = format!(
        "the volume {} is written at format level {}, and {whose} reads up to level {}: upgrade \
         the software there",
        volume.name, volume.level, reader.reads_level
    );
    Err(Refusal::new(Cause::FormatLevel, sentence))
}
