//! Dials the peer while there is no connection, with growing and random pauses.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connection;
use super::credentials::CERTIFICATE_NAME;
use super::link::Shared;
use super::peer::PeerRecord;
use super::protocol::{Ending, millis};
use super::slot::Side;
use super::tls::{self, Pin};

/// TCP's own signs of life, for what dies while nothing is said: before ours have begun.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Dials until the link is stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut stop = shared.stop.subscribe();
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = dial_again_and_again(&shared) => {}
    }
}

async fn dial_again_and_again(shared: &Arc<Shared>) {
    let mut changes = shared.peer_changes();
    let mut pause = shared.options.backoff_min;
    loop {
        shared.slot.empty().await;
        let target = shared.peer().map(|peer| (address_of(shared, &peer), peer));
        let Some((address, peer)) = target.filter(|(address, _)| !address.is_empty()) else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        shared.figures.dialled();
        // A task of its own: when the link is stopped the connection still says its farewell.
        let dialled = {
            let (shared, address) = (Arc::clone(shared), address.clone());
            tokio::spawn(async move { dial(&shared, &address, &peer).await })
        };
        let (ending, opened) = dialled.await.unwrap_or((Ending::ClosedHere, false));
        shared.ended(&address, &ending, opened);
        if opened {
            pause = shared.options.backoff_min;
        }
        tokio::time::sleep(shortened(pause)).await;
        pause = (pause * 2).min(shared.options.backoff_max);
    }
}

fn address_of(shared: &Shared, peer: &PeerRecord) -> String {
    match shared.options.dial.as_str() {
        "" => peer.address.clone(),
        configured => configured.to_owned(),
    }
}

/// Between half of it and all of it.
fn shortened(pause: Duration) -> Duration {
    let mut random = [0; 2];
    let _ = getrandom::fill(&mut random);
    let part = u32::from(u16::from_le_bytes(random));
    pause / 2 + pause / 2 * part / u32::from(u16::MAX)
}

/// Tells the slot that an attempt greets, for as long as it does.
struct Greeting<'a>(&'a Shared);

impl<'a> Greeting<'a> {
    fn begin(shared: &'a Shared) -> Greeting<'a> {
        shared.slot.set_greeting(true);
        Greeting(shared)
    }
}

impl Drop for Greeting<'_> {
    fn drop(&mut self) {
        self.0.slot.set_greeting(false);
    }
}

/// One attempt, and the connection that comes of it.
async fn dial(shared: &Arc<Shared>, address: &str, peer: &PeerRecord) -> (Ending, bool) {
    let patience = shared.options.handshake;
    let failed = |why: String| (Ending::Broken { why }, false);
    let tcp = match timeout(patience, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(why)) => return failed(format!("cannot connect to {address}: {why}")),
        Err(_) => {
            let waited = millis(patience);
            return failed(format!("no answer from {address} within {waited} ms"));
        }
    };
    let _greeting = Greeting::begin(shared);
    prepare(&tcp);
    let own = shared.credentials.fingerprint();
    let pin = Pin::Only(peer.fingerprint);
    let config = match tls::client_config(&shared.credentials, pin, tls::PAIR) {
        Ok(config) => config,
        Err(why) => return failed(format!("TLS cannot be set up: {why}")),
    };
    let Ok(name) = ServerName::try_from(CERTIFICATE_NAME) else {
        return failed("the certificate's name is none".to_owned());
    };
    let shaken = timeout(patience, TlsConnector::from(config).connect(name, tcp)).await;
    match shaken {
        Ok(Ok(stream)) => connection::run(shared, stream, Side::Us, peer, None).await,
        Ok(Err(why)) => match tls::refusal_of(&why, own) {
            Some(refusal) => (Ending::Refused(refusal), false),
            None => failed(format!("TLS with {address} failed: {why}")),
        },
        Err(_) => failed(format!("TLS with {address} took more than {} ms", millis(patience))),
    }
}

/// What every socket of a pair is set to: small frames leave at once.
pub(crate) fn prepare(tcp: &TcpStream) {
    let set = || -> std::io::Result<()> {
        use rustix::net::sockopt;
        tcp.set_nodelay(true)?;
        sockopt::set_socket_keepalive(tcp, true)?;
        sockopt::set_tcp_keepidle(tcp, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(tcp, KEEPALIVE / 2)?;
        Ok(sockopt::set_tcp_keepcnt(tcp, 3)?)
    };
    if let Err(error) = set() {
        tracing::debug!(%error, "options of a socket of the pair could not be set");
    }
}
