//! A node's end of the link: what the connections share, started and stopped in one piece.
//!
//! ```text
//!  acceptor ── TLS ──┐                        ┌── delivery ── host's thread
//!                    ├── connection ─ slot ───┤
//!  dialer ──── TLS ──┘        │               └── figures
//!                          protocol, outgoing
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use engine::ids::{Incarnation, NodeId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::acceptor::Acceptor;
use super::credentials::Credentials;
use super::delivery::Delivery;
use super::dialer;
use super::figures::{Figures, LinkFigures, Telling};
use super::host::Host;
use super::invitation::{Invitation, InvitationBook};
use super::joining::Sponsor;
use super::message::{ClusterId, Hello};
use super::options::LinkOptions;
use super::peer::{Parity, PeerRecord};
use super::protocol::Ending;
use super::refusal::{Cause, Refusal};
use super::slot::Slot;
use super::{PROTOCOL_HIGHEST, PROTOCOL_LOWEST};

/// How long stopping waits for the host.
pub const STOP_TIME: Duration = Duration::from_secs(10);

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its pair.
    pub cluster: ClusterId,
    /// The running process.
    pub incarnation: Incarnation,
    /// Name and version of the software.
    pub software: String,
    /// Which epochs it opens.
    pub parity: Parity,
}

/// What the connections of a node share.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) credentials: Credentials,
    pub(crate) options: LinkOptions,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) sponsor: Arc<dyn Sponsor>,
    pub(crate) delivery: Delivery,
    pub(crate) slot: Slot,
    pub(crate) figures: Arc<Figures>,
    pub(crate) connections: AtomicU64,
    pub(crate) book: Mutex<InvitationBook>,
    peer: RwLock<Option<PeerRecord>>,
    peer_changed: watch::Sender<()>,
    pub(crate) stop: watch::Sender<bool>,
    started: Instant,
}

impl Shared {
    /// The monotonic clock of this link.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            lowest: PROTOCOL_LOWEST,
            highest: PROTOCOL_HIGHEST,
            node: self.identity.node,
            cluster: self.identity.cluster,
            incarnation: self.identity.incarnation,
            clock_ms: self.host.wall_ms(),
            software: self.identity.software.clone(),
            volumes: self.host.volumes(),
        }
    }

    pub(crate) fn peer(&self) -> Option<PeerRecord> {
        self.peer.read().clone()
    }

    pub(crate) fn set_peer(&self, peer: Option<PeerRecord>) {
        *self.peer.write() = peer;
        self.slot.cut(Ending::ClosedHere);
        self.peer_changed.send_replace(());
    }

    pub(crate) fn peer_changes(&self) -> watch::Receiver<()> {
        self.peer_changed.subscribe()
    }

    /// Counts a refusal, and says it in the log unless it was said a moment ago.
    pub(crate) fn refused(&self, whom: &str, refusal: &Refusal) {
        if self.figures.refused(refusal.cause) == Telling::JustTold {
            return;
        }
        match refusal.cause {
            Cause::Duplicate | Cause::Stopping => {
                tracing::debug!(peer = whom, reason = %refusal.sentence, "no second connection");
            }
            cause => warn!(
                peer = whom,
                cause = cause.label(),
                reason = %refusal.sentence,
                "no connection of the pair"
            ),
        }
    }

    /// Says how a connection ended, and counts what was refused.
    pub(crate) fn ended(&self, whom: &str, ending: &Ending, opened: bool) {
        match ending {
            Ending::Refused(refusal) | Ending::RefusedByPeer(refusal) => {
                self.refused(whom, refusal);
            }
            other if opened => info!(peer = whom, reason = %other, "the pair's connection ended"),
            other => tracing::debug!(peer = whom, reason = %other, "no connection of the pair"),
        }
    }
}

/// A node's end of the link. Dropping it stops it.
pub struct Link {
    shared: Arc<Shared>,
    local: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Link {
    /// Listens and dials, as the options say. To be called within a runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on, or a thread cannot be had.
    pub async fn start(
        identity: Identity,
        credentials: Credentials,
        peer: Option<PeerRecord>,
        options: LinkOptions,
        host: Arc<dyn Host>,
        sponsor: Arc<dyn Sponsor>,
    ) -> std::io::Result<Link> {
        let acceptor = match options.listen {
            Some(address) => Some(Acceptor::bind(address).await?),
            None => None,
        };
        let local = acceptor.as_ref().map(Acceptor::local_address);
        let delivery = Delivery::start(Arc::clone(&host), options.received_bytes_max)?;
        let shared = Arc::new(Shared {
            identity,
            credentials,
            options,
            host,
            sponsor,
            delivery,
            slot: Slot::new(),
            figures: Arc::default(),
            connections: AtomicU64::new(1),
            book: Mutex::default(),
            peer: RwLock::new(peer),
            peer_changed: watch::Sender::new(()),
            stop: watch::Sender::new(false),
            started: Instant::now(),
        });
        let mut tasks = vec![tokio::spawn(dialer::run(Arc::clone(&shared)))];
        if let Some(acceptor) = acceptor {
            tasks.push(tokio::spawn(acceptor.run(Arc::clone(&shared))));
        }
        Ok(Link { shared, local, tasks })
    }

    /// Where it listens.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local
    }

    /// What was counted.
    pub fn figures(&self) -> LinkFigures {
        self.shared.figures.picture()
    }

    /// The other node, if there is one.
    pub fn peer(&self) -> Option<PeerRecord> {
        self.shared.peer()
    }

    /// Another peer, or none: a connection to the present one ends.
    pub fn set_peer(&self, peer: Option<PeerRecord>) {
        self.shared.set_peer(peer);
    }

    /// Invites a node for ten minutes, in place of an earlier invitation. `address` is where the
    /// other node reaches this one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn invite(&self, address: &str) -> Result<Invitation, getrandom::Error> {
        Ok(Invitation {
            cluster: self.shared.identity.cluster,
            fingerprint: self.shared.credentials.fingerprint(),
            secret: self.shared.book.lock().invite(self.shared.now())?,
            address: address.to_owned(),
        })
    }

    /// Takes the invitation back.
    pub fn withdraw_invitation(&self) {
        self.shared.book.lock().withdraw();
    }

    /// Stops: the peer is told, the host hears that the connection is lost, unless it keeps the
    /// link waiting for longer than [`STOP_TIME`].
    pub async fn stop(mut self) {
        self.shared.stop.send_replace(true);
        self.shared.slot.cut(Ending::ClosedHere);
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
        let _ = tokio::time::timeout(STOP_TIME, self.shared.slot.empty()).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
        self.shared.slot.cut(Ending::ClosedHere);
    }
}
