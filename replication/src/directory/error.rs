//! What can go wrong with etcd, and with what stands there.

use std::fmt::{self, Display};
use std::time::Duration;

use super::gateway::LeaseId;
use super::standing::{Standing, StandingFlaw};

/// Characters that are kept of what somebody else says.
const WORDS_MAX: usize = 200;

/// Why one endpoint gave no answer that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// No connection, none that is trusted, or one that broke.
    #[error("{0}")]
    Connection(String),
    /// No whole answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// It says itself that it cannot: it has no leader, is starting, or waited in vain.
    #[error("{words} (code {code})")]
    Unavailable {
        /// gRPC's code.
        code: u32,
        /// etcd's words.
        words: String,
    },
    /// What it said is no answer of etcd's.
    #[error("its answer is not understood: {0}")]
    Unintelligible(String),
}

/// An endpoint that was tried in vain.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{endpoint}: {why}")]
pub struct Attempt {
    /// Its URL.
    pub endpoint: String,
    /// What happened.
    pub why: Why,
}

/// Why a request got no answer from etcd, or not the one that was asked for.
///
/// After all but `Refused` and `LeaseUnknown` it is open whether the request took effect, now or a
/// moment later: an answer that is lost is not a request that is lost.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EtcdError {
    /// No endpoint answered.
    #[error("no endpoint of etcd answered: {}", Listed(.0))]
    Unreachable(Vec<Attempt>),
    /// etcd understood, and said no.
    #[error("etcd at {endpoint} refused: {words} (code {code})")]
    Refused {
        /// Who said so.
        endpoint: String,
        /// gRPC's code.
        code: u32,
        /// etcd's words.
        words: String,
    },
    /// Every endpoint answered, none of them as etcd does.
    #[error("what should be etcd is something else: {}", Listed(.0))]
    Unintelligible(Vec<Attempt>),
    /// etcd has no such lease: it ran out, or was revoked.
    #[error("etcd has no lease {0} (any more)")]
    LeaseUnknown(LeaseId),
}

/// Why what stands there could not be read or changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// etcd.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// The key holds something that is none of ours.
    #[error("what stands in etcd under {key} cannot be used: {flaw}")]
    Foreign {
        /// The key.
        key: String,
        /// What is wrong with it.
        flaw: StandingFlaw,
    },
    /// Somebody else changed it each time in between.
    #[error("what stands in etcd changed {0} times while it was to be changed")]
    CompareFailed(usize),
}

/// Why an epoch was not opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// etcd, or what stands there.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its number is not above the one there.
    #[error("epoch {number} is not above what stands in etcd: {there}")]
    NotAbove {
        /// The number that was asked for.
        number: u16,
        /// What stands there.
        there: Standing,
    },
    /// The node is not named as having all that was acknowledged in the epoch that it followed.
    #[error("this node may lack acknowledged changes: {}", OrNothing(.0))]
    NotInSync(Option<Standing>),
    /// The primary's lease has not run out.
    #[error("the primary's lease {lease} has not run out: {}", OrNothing(.there))]
    Leased {
        /// The lease.
        lease: LeaseId,
        /// What stands there.
        there: Option<Standing>,
    },
}

/// Why a primary could not change what stands there about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HoldError {
    /// etcd, or what stands there.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Another epoch stands there, or this one was given up: this node is primary no more.
    #[error("this node's epoch is over: {}", OrNothing(.0))]
    Deposed(Option<Standing>),
}

impl From<EtcdError> for OpenError {
    fn from(error: EtcdError) -> OpenError {
        OpenError::Directory(error.into())
    }
}

impl From<EtcdError> for HoldError {
    fn from(error: EtcdError) -> HoldError {
        HoldError::Directory(error.into())
    }
}

struct Listed<'a>(&'a [Attempt]);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, attempt) in self.0.iter().enumerate() {
            write!(f, "{}{attempt}", if number == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

struct OrNothing<'a>(&'a Option<Standing>);

impl Display for OrNothing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(standing) => write!(f, "in etcd stands {standing}"),
            None => write!(f, "in etcd stands nothing of this volume"),
        }
    }
}

/// Somebody else's words, as they can stand in a line of ours.
pub(crate) fn words(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(WORDS_MAX).map(visible).collect()
}
