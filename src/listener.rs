//! Accepting connections, with a bound on how many there are in all and from one address.
//!
//! # Invariants
//! 1. A connection holds its place from `accept` to the end of its task, however that ends.
//! 2. One past the bound is told so in its protocol and closed; it never waits unanswered.
//! 3. When the server stops, no new connection is accepted, and [`Listeners::drained`] returns once
//!    the
//!    last open one has ended.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::failure::{Exit, Failure};

/// How long we wait after `accept` failed, usually because the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client that is turned away has to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How many connections at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConnectionBounds {
    /// In all.
    pub(crate) total: u32,
    /// From one IPv4 address or one IPv6 /64, which is what one customer has. Loopback is not
    /// counted.
    pub(crate) per_address: u32,
}

/// Counts the open connections of one kind.
#[derive(Debug)]
pub(crate) struct Admission {
    bounds: ConnectionBounds,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: u32,
    by_network: HashMap<IpAddr, u32>,
}

/// A connection's place; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    network: Option<IpAddr>,
}

impl Admission {
    /// Nobody in yet.
    pub(crate) fn new(bounds: ConnectionBounds) -> Arc<Admission> {
        Arc::new(Admission { bounds, open: Mutex::new(Open::default()) })
    }

    /// A place for one more connection from `address`, unless a bound is reached.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = imap::network_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.bounds.total {
            return None;
        }
        if let Some(network) = network {
            let from_there = open.by_network.get(&network).copied().unwrap_or(0);
            if from_there >= self.bounds.per_address {
                return None;
            }
            open.by_network.insert(network, from_there + 1);
        }
        open.total += 1;
        Some(Place { admission: Arc::clone(self), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        let Some(network) = self.network else { return };
        let left = open.by_network.get(&network).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            open.by_network.remove(&network);
        } else {
            open.by_network.insert(network, left);
        }
    }
}

/// What serves a connection until its end.
pub(crate) type Serve =
    Arc<dyn Fn(TcpStream, SocketAddr) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// One kind of connection: who may come, what serves them, what the others are told.
#[derive(Clone)]
pub(crate) struct Front {
    /// For the log: "imap".
    pub(crate) name: &'static str,
    /// How many at once; may be shared between fronts.
    pub(crate) admission: Arc<Admission>,
    /// What serves a connection.
    pub(crate) serve: Serve,
    /// The bytes for one too many; empty where TLS comes first and nothing can be said.
    pub(crate) refusal: &'static [u8],
}

/// Opens a listening socket.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|cause| {
        let hint = match cause.kind() {
            std::io::ErrorKind::AddrInUse => "; another program has that port",
            std::io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need CAP_NET_BIND_SERVICE (see docs/operate.md)"
            }
            std::io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
            _ => "",
        };
        Failure::new(Exit::Later, format!("cannot listen on {address}: {cause}{hint}"))
    })
}

/// The accepting tasks of all fronts, and a way to wait for their connections.
pub(crate) struct Listeners {
    shutdown: watch::Receiver<bool>,
    /// Held by every task; nothing is ever sent.
    alive: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Listeners {
    /// None yet. They stop accepting when `shutdown` becomes true.
    pub(crate) fn new(shutdown: watch::Receiver<bool>) -> Listeners {
        let (alive, ended) = mpsc::channel(1);
        Listeners { shutdown, alive, ended }
    }

    /// Begins to accept.
    pub(crate) fn start(&self, listener: TcpListener, front: Front) {
        let shutdown = self.shutdown.clone();
        tokio::spawn(accept(listener, front, shutdown, self.alive.clone()));
    }

    /// Returns when nothing is accepted any more and the last connection has ended.
    pub(crate) async fn drained(mut self) {
        drop(self.alive);
        let _ = self.ended.recv().await;
    }
}

async fn accept(
    listener: TcpListener,
    front: Front,
    mut shutdown: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                tracing::warn!(front = front.name, %cause, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Responses are written whole; waiting to fill a packet only costs the reader time.
        let _ = stream.set_nodelay(true);
        let Some(place) = front.admission.admit(peer.ip()) else {
            tracing::info!(front = front.name, %peer, "too many connections, turned away");
            tokio::spawn(refuse(stream, front.refusal));
            continue;
        };
        let ending = (front.serve)(stream, peer);
        let alive = alive.clone();
        tokio::spawn(async move {
            ending.await;
            drop((place, alive));
        });
    }
}

async fn refuse(mut stream: TcpStream, words: &'static [u8]) {
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, async {
        stream.write_all(words).await?;
        stream.shutdown().await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn one_address_cannot_take_the_places_of_all() {
        let admission = Admission::new(ConnectionBounds { total: 3, per_address: 2 });
        let greedy: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let first = admission.admit(greedy).unwrap();
        let _second = admission.admit(mapped).unwrap();
        assert!(admission.admit(greedy).is_none(), "a third from the same address");
        let _other = admission.admit("192.0.2.2".parse().unwrap()).unwrap();
        assert!(admission.admit("192.0.2.3".parse().unwrap()).is_none(), "a fourth in all");
        drop(first);
        assert!(admission.admit(greedy).is_some(), "the first one's place is free again");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_this_machine_is_many() {
        let admission = Admission::new(ConnectionBounds { total: 5, per_address: 1 });
        let admit = |address: &str| admission.admit(address.parse().unwrap());
        let _first = admit("2001:db8::1").unwrap();
        assert!(admit("2001:db8::2").is_none(), "the same /64");
        let _other = admit("2001:db8:0:1::1").unwrap();
        let _here = ["127.0.0.1", "::1", "127.0.0.1"].map(|here| admit(here).unwrap());
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so_and_stopping_waits_for_the_rest() {
        let (stop, shutdown) = watch::channel(false);
        let listener = bind(HERE).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = Listeners::new(shutdown);
        let serve: Serve = Arc::new(|mut stream, _| {
            Box::pin(async move {
                let mut byte = [0];
                let _ = stream.read(&mut byte).await;
                let _ = stream.write_all(b"done").await;
            })
        });
        let admission = Admission::new(ConnectionBounds { total: 1, per_address: 1 });
        listeners.start(listener, Front { name: "test", admission, serve, refusal: b"full\r\n" });

        let mut first = TcpStream::connect(address).await.unwrap();
        let mut said = String::new();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "full\r\n");

        stop.send(true).unwrap();
        let drained = tokio::spawn(listeners.drained());
        first.write_all(b"x").await.unwrap();
        said.clear();
        first.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "done");
        drained.await.unwrap();
    }
}
