//! Accepts connections of the peer, and of a node that was invited.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{self, linger};
use super::dialer::prepare;
use super::joining;
use super::link::Shared;
use super::peer::PeerRecord;
use super::protocol::millis;
use super::refusal::{Cause, Refusal};
use super::slot::Side;
use super::tls::{self, Pin};

/// After a failure of accept itself, which is shortage of file descriptors as a rule.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A listening socket.
pub(crate) struct Acceptor {
    listener: TcpListener,
    local: SocketAddr,
}

/// What a handshake led to.
enum Shaken {
    Peer(Box<TlsStream<TcpStream>>, Box<PeerRecord>),
    Joiner(Box<TlsStream<TcpStream>>),
}

impl Acceptor {
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<Acceptor> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Acceptor { listener, local })
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Accepts until the link is stopped.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let mut stop = shared.stop.subscribe();
        let crowd = Arc::new(Semaphore::new(shared.options.handshakes_max));
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = self.listener.accept() => accepted,
            };
            let (tcp, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of the pair");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&crowd).try_acquire_owned() else {
                let most = shared.options.handshakes_max;
                let sentence = format!("{most} connections are greeting already");
                shared.refused(&address.to_string(), &Refusal::new(Cause::Crowd, sentence));
                continue;
            };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move { serve(&shared, tcp, address, permit).await });
        }
    }
}

async fn serve(
    shared: &Arc<Shared>,
    tcp: TcpStream,
    address: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    prepare(&tcp);
    let whom = address.to_string();
    let patience = shared.options.handshake;
    let shaken = match timeout(patience, shake(shared, tcp)).await {
        Ok(shaken) => shaken,
        Err(_) => {
            let sentence = format!("TLS took more than {} ms", millis(patience));
            Err(Refusal::new(Cause::TooSlow, sentence))
        }
    };
    match shaken {
        Ok(Shaken::Peer(stream, peer)) => {
            let permit = Some(permit);
            let (ending, opened) =
                connection::run(shared, *stream, Side::Peer, &peer, permit).await;
            shared.ended(&whom, &ending, opened);
        }
        Ok(Shaken::Joiner(stream)) => match joining::receive(shared, *stream).await {
            Ok(peer) => {
                tracing::info!(node = %peer.node, address = %whom, "a node has joined");
                shared.figures.joined();
            }
            Err(refusal) => shared.refused(&whom, &refusal),
        },
        Err(refusal) => shared.refused(&whom, &refusal),
    }
}

async fn shake(shared: &Shared, tcp: TcpStream) -> Result<Shaken, Refusal> {
    let own = shared.credentials.fingerprint();
    let failed = |why: &std::io::Error| {
        let other = || Refusal::new(Cause::Tls, format!("TLS was not begun: {why}"));
        tls::refusal_of(why, own).unwrap_or_else(other)
    };
    let mut acceptor = std::pin::pin!(LazyConfigAcceptor::new(Default::default(), tcp));
    let begun = match acceptor.as_mut().await {
        Ok(begun) => begun,
        Err(why) => {
            if let Some(tcp) = acceptor.take_io() {
                part(tcp).await;
            }
            return Err(failed(&why));
        }
    };
    let asked = begun.client_hello().alpn();
    let joins = asked.is_some_and(|mut names| names.any(|name| name == tls::JOIN));
    let peer = shared.peer();
    let (pin, protocol) = match &peer {
        _ if joins => (Pin::Anybody, tls::JOIN),
        Some(peer) => (Pin::Only(peer.fingerprint), tls::PAIR),
        None => (Pin::Nobody, tls::PAIR),
    };
    let config = tls::server_config(&shared.credentials, pin, protocol)
        .map_err(|why| Refusal::new(Cause::Tls, format!("TLS cannot be set up: {why}")))?;
    let mut stream = match begun.into_stream(config).into_fallible().await {
        Ok(stream) => stream,
        Err((why, tcp)) => {
            part(tcp).await;
            return Err(failed(&why));
        }
    };
    if stream.get_ref().1.alpn_protocol() != Some(protocol) {
        let _ = stream.shutdown().await;
        let sentence = "the peer speaks TLS, but does not ask for the protocol of the pair";
        return Err(Refusal::new(Cause::Protocol, sentence));
    }
    match peer {
        _ if joins => Ok(Shaken::Joiner(Box::new(stream))),
        Some(peer) => Ok(Shaken::Peer(Box::new(stream), Box::new(peer))),
        None => Err(Refusal::new(Cause::Certificate, "this node is paired with nobody")),
    }
}

/// Closes so that the alert arrives: what was sent to us is read before.
async fn part(mut tcp: TcpStream) {
    let _ = tcp.shutdown().await;
    linger(&mut tcp).await;
}
