//! Joining: what an invited node and the one that invites say to each other, once.
//!
//! ```text
//!   joiner                                        sponsor
//!     │── TLS 1.3, ALPN of joining, both show certificates ──│
//!     │── Join: node, proof, address, software ──►│  proof right: the invitation is used up
//!     │                                           │  stores the joiner as its peer
//!     │◄── Joined: node, cluster, parity, proof, root key, key table ──│
//!     │  stores all of it                         │
//!     │── Stored ────────────────────────────────►│
//! ```
//!
//! ```text
//! kind  name    payload
//!  120  Join    version 2, node 16, proof 32, address 1+n, software 1+n
//!  121  Joined  version 2, node 16, cluster 16, parity 1 (the joiner's), proof 32,
//!               root key 4+n, key table (rest)
//!  122  Stored  nothing
//!    2  Refuse  as elsewhere
//! ```
//!
//! # Invariants
//! 1. Keys leave the sponsor only after a right proof, and over the channel that it was made for.
//! 2. The sponsor knows the joiner before it gives it keys: a kill at any point leaves no node that
//!    has the keys and is not known. What was begun and not completed a new invitation mends.

use std::sync::Arc;
use std::time::Duration;

use engine::ids::NodeId;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsConnector, rustls};
use zeroize::{Zeroize, Zeroizing};

use super::connection::linger;
use super::credentials::{CERTIFICATE_NAME, Credentials, Fingerprint};
use super::dialer::prepare;
use super::frame::{self, FrameBounds, FrameDecoder};
use super::invitation::{EXPORTER_LABEL, Invitation, PROOF_BYTES, Prover};
use super::link::Shared;
use super::message::{ClusterId, Fields, Kind, Malformed, put_text};
use super::peer::{Parity, PeerRecord, is_address};
use super::refusal::{Cause, Refusal};
use super::tls::{self, Pin};

const JOIN_VERSION: u16 = 1;
const ROOT_KEY_BYTES_MAX: usize = 4096;
/// All of it; the joiner flushes a key table meanwhile.
const JOIN_TIME: Duration = Duration::from_secs(60);

/// What a joiner receives: opaque here.
#[derive(Default)]
pub struct Keys {
    /// The root key.
    pub root_key: Zeroizing<Vec<u8>>,
    /// The key tables of its volumes.
    pub key_table: Vec<u8>,
}

/// Who stands behind the node that invites. Called on a thread where waiting is allowed.
pub trait Sponsor: Send + Sync + 'static {
    /// Stores the joiner as this node's peer, durably, in place of an earlier one.
    ///
    /// # Errors
    /// A sentence, when that fails; the joiner gets no keys then.
    fn store_peer(&self, peer: &PeerRecord) -> Result<(), String>;

    /// The keys for the joiner.
    ///
    /// # Errors
    /// A sentence, when there are none.
    fn keys(&self, peer: &PeerRecord) -> Result<Keys, String>;

    /// The joiner has stored them.
    fn joined(&self, peer: &PeerRecord);
}

/// What a joiner has to store, before the sponsor counts it as joined.
pub struct Joined {
    /// The node that invited.
    pub peer: PeerRecord,
    /// Which epochs this node opens.
    pub parity: Parity,
    /// The keys.
    pub keys: Keys,
}

/// The joiner's first message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Join {
    pub(crate) node: NodeId,
    pub(crate) proof: [u8; PROOF_BYTES],
    pub(crate) address: String,
    pub(crate) software: String,
}

impl Join {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = JOIN_VERSION.to_le_bytes().to_vec();
        payload.extend_from_slice(&self.node.0);
        payload.extend_from_slice(&self.proof);
        put_text(&self.address, &mut payload);
        put_text(&self.software, &mut payload);
        payload
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Join, Malformed> {
        let mut fields = Fields::new(payload);
        check_version(&mut fields)?;
        let join = Join {
            node: NodeId(fields.array("node")?),
            proof: fields.array("proof")?,
            address: fields.text("address")?,
            software: fields.text("software")?,
        };
        fields.end()?;
        match is_address(&join.address) {
            true => Ok(join),
            false => Err(Malformed::Value { field: "address", found: 0 }),
        }
    }
}

/// The sponsor's answer.
pub(crate) struct Answer {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) parity: Parity,
    pub(crate) proof: [u8; PROOF_BYTES],
    pub(crate) keys: Keys,
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let root_key = &self.keys.root_key;
        let mut payload = JOIN_VERSION.to_le_bytes().to_vec();
        payload.extend_from_slice(&self.node.0);
        payload.extend_from_slice(&self.cluster.0);
        payload.push(self.parity.byte());
        payload.extend_from_slice(&self.proof);
        let length = u32::try_from(root_key.len()).unwrap_or(u32::MAX);
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(root_key);
        payload.extend_from_slice(&self.keys.key_table);
        payload
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Answer, Malformed> {
        let mut fields = Fields::new(payload);
        check_version(&mut fields)?;
        let (node, cluster) = (NodeId(fields.array("node")?), ClusterId(fields.array("cluster")?));
        let parity = fields.u8("parity")?;
        let parity = Parity::from_byte(parity)
            .ok_or(Malformed::Value { field: "parity", found: parity.into() })?;
        let proof = fields.array("proof")?;
        let root_key = fields.block(ROOT_KEY_BYTES_MAX, "root key")?.to_vec();
        let keys = Keys { root_key: Zeroizing::new(root_key), key_table: fields.rest().to_vec() };
        Ok(Answer { node, cluster, parity, proof, keys })
    }
}

fn check_version(fields: &mut Fields<'_>) -> Result<(), Malformed> {
    match fields.u16("version")? {
        JOIN_VERSION => Ok(()),
        found => Err(Malformed::Value { field: "version", found: found.into() }),
    }
}

/// Frames of a joining, one after the other.
struct Exchange<S> {
    stream: S,
    decoder: FrameDecoder,
    received: Zeroizing<Vec<u8>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<S> {
    fn new(stream: S) -> Exchange<S> {
        let decoder = FrameDecoder::new(FrameBounds::default());
        Exchange { stream, decoder, received: Zeroizing::default() }
    }

    async fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Result<(), Refusal> {
        let mut frame = frame::encode_plain(kind, None, payload);
        let bytes = Zeroizing::new(frame.to_bytes());
        frame.payload.zeroize();
        self.stream.write_all(&bytes).await.map_err(|why| broken(&why))?;
        self.stream.flush().await.map_err(|why| broken(&why))
    }

    /// The next frame, which is to be of that kind.
    async fn receive(
        &mut self,
        kind: Kind,
        own: Fingerprint,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let mut buffer = Zeroizing::new(vec![0; 16 << 10]);
        loop {
            let (used, frame) = self.decoder.take(&self.received)?;
            self.received.drain(..used);
            match frame {
                Some(frame) if frame.kind == kind => return Ok(frame.payload.into()),
                Some(frame) if frame.kind == Kind::Refuse => {
                    let told = Refusal::decode(&frame.payload);
                    return Err(told.unwrap_or_else(|why| Refusal::malformed("a Refuse", &why)));
                }
                Some(frame) => {
                    let (found, expected) = (frame.kind.name(), kind.name());
                    let sentence = format!("a {found} came where a {expected} was expected");
                    return Err(Refusal::new(Cause::TooEarly, sentence));
                }
                None => {}
            }
            let read = self.stream.read(&mut buffer).await;
            let count =
                read.map_err(|why| tls::refusal_of(&why, own).unwrap_or_else(|| broken(&why)))?;
            if count == 0 {
                let sentence = "the other node closed the connection before joining was complete";
                return Err(Refusal::new(Cause::Other, sentence));
            }
            self.received.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }

    /// Tells the other side why not, and waits for a moment so that it arrives.
    async fn refuse(&mut self, refusal: Refusal) -> Refusal {
        let _ = self.send(Kind::Refuse, refusal.encode()).await;
        let _ = self.stream.shutdown().await;
        linger(&mut self.stream).await;
        refusal
    }
}

fn broken(why: &std::io::Error) -> Refusal {
    Refusal::new(Cause::Other, format!("the connection broke: {why}"))
}

fn late() -> Refusal {
    let sentence = format!("joining took more than {} seconds", JOIN_TIME.as_secs());
    Refusal::new(Cause::TooSlow, sentence)
}

/// The sponsor's side, behind the handshake.
pub(crate) async fn receive(
    shared: &Arc<Shared>,
    stream: TlsStream<TcpStream>,
) -> Result<PeerRecord, Refusal> {
    let (seen, exported) = {
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let seen = certificate.map(Fingerprint::of).ok_or_else(|| {
            Refusal::new(Cause::NoCertificate, "who joins has shown no certificate")
        })?;
        (seen, export(|out| session.export_keying_material(out, EXPORTER_LABEL, None))?)
    };
    let mut exchange = Exchange::new(stream);
    let admitted = timeout(JOIN_TIME, admit(shared, &mut exchange, seen, exported));
    match admitted.await.unwrap_or_else(|_| Err(late())) {
        Ok(peer) => Ok(peer),
        Err(refusal) => Err(exchange.refuse(refusal).await),
    }
}

async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    exchange: &mut Exchange<S>,
    seen: Fingerprint,
    exported: [u8; PROOF_BYTES],
) -> Result<PeerRecord, Refusal> {
    let own = shared.credentials.fingerprint();
    let payload = exchange.receive(Kind::Join, own).await?;
    let join = Join::decode(&payload).map_err(|why| Refusal::malformed("a Join", &why))?;
    if join.node == shared.identity.node {
        let sentence = "who joins has the identity of the node that invites: its data directory \
                        is a copy; begin with an empty one";
        return Err(Refusal::new(Cause::OwnNode, sentence));
    }
    let secret = shared.book.lock().redeem(shared.now(), &join.proof, |secret| {
        secret.proof(Prover::Joiner, &exported, seen, own)
    })?;
    let peer = PeerRecord {
        cluster: shared.identity.cluster,
        node: join.node,
        fingerprint: seen,
        parity: shared.identity.parity.other(),
        address: join.address,
    };
    let (sponsor, record) = (Arc::clone(&shared.sponsor), peer.clone());
    let prepared = tokio::task::spawn_blocking(move || {
        let keys = sponsor.keys(&record)?;
        sponsor.store_peer(&record)?;
        Ok::<Keys, String>(keys)
    });
    let keys = match prepared.await {
        Ok(Ok(keys)) => keys,
        Ok(Err(why)) => return Err(Refusal::new(Cause::SponsorFailed, why)),
        Err(_) => return Err(Refusal::new(Cause::SponsorFailed, "storing the new node failed")),
    };
    shared.set_peer(Some(peer.clone()));
    let answer = Answer {
        node: shared.identity.node,
        cluster: shared.identity.cluster,
        parity: peer.parity,
        proof: secret.proof(Prover::Sponsor, &exported, seen, own),
        keys,
    };
    exchange.send(Kind::Joined, answer.encode()).await?;
    exchange.receive(Kind::Stored, own).await?;
    let (sponsor, record) = (Arc::clone(&shared.sponsor), peer.clone());
    let _ = tokio::task::spawn_blocking(move || sponsor.joined(&record)).await;
    Ok(peer)
}

/// Who joins, as it says of itself.
pub struct Joiner<'a> {
    /// Its key and certificate.
    pub credentials: &'a Credentials,
    /// Its identity.
    pub node: NodeId,
    /// Where it listens, as host and port; may be empty.
    pub address: String,
    /// Name and version of its software.
    pub software: String,
}

/// The joiner's side: dials the node that invited, proves that it was invited, and stores what it
/// is given by `store`, which may wait.
///
/// # Errors
/// Why not; what `store` says is passed on to the sponsor.
pub async fn join(
    invitation: &Invitation,
    joiner: Joiner<'_>,
    store: impl FnOnce(Joined) -> Result<(), String>,
) -> Result<PeerRecord, Refusal> {
    let pin = Pin::Only(invitation.fingerprint);
    let config = tls::client_config(joiner.credentials, pin, tls::JOIN)
        .map_err(|why| Refusal::new(Cause::Tls, format!("TLS cannot be set up: {why}")))?;
    let own = joiner.credentials.fingerprint();
    let address = &invitation.address;
    let connect = async {
        let tcp = TcpStream::connect(address).await?;
        prepare(&tcp);
        let name = ServerName::try_from(CERTIFICATE_NAME).map_err(std::io::Error::other)?;
        TlsConnector::from(config).connect(name, tcp).await
    };
    let stream = timeout(JOIN_TIME, connect).await.map_err(|_| late())?.map_err(|why| {
        let other = || Refusal::new(Cause::Other, format!("cannot connect to {address}: {why}"));
        tls::refusal_of(&why, own).unwrap_or_else(other)
    })?;
    let session = stream.get_ref().1;
    let exported = export(|out| session.export_keying_material(out, EXPORTER_LABEL, None))?;
    let proof = |prover| invitation.secret.proof(prover, &exported, own, invitation.fingerprint);
    let message = Join {
        node: joiner.node,
        proof: proof(Prover::Joiner),
        address: joiner.address,
        software: joiner.software,
    };
    let mut exchange = Exchange::new(stream);
    let answered = timeout(JOIN_TIME, async {
        exchange.send(Kind::Join, message.encode()).await?;
        exchange.receive(Kind::Joined, own).await
    });
    let payload = answered.await.map_err(|_| late())??;
    let answer = Answer::decode(&payload).map_err(|why| Refusal::malformed("a Joined", &why))?;
    if answer.proof != proof(Prover::Sponsor) || answer.cluster != invitation.cluster {
        let sentence = "the node that answers did not make this invitation";
        return Err(exchange.refuse(Refusal::new(Cause::WrongSecret, sentence)).await);
    }
    let peer = PeerRecord {
        cluster: answer.cluster,
        node: answer.node,
        fingerprint: invitation.fingerprint,
        parity: answer.parity.other(),
        address: invitation.address.clone(),
    };
    let joined = Joined { peer: peer.clone(), parity: answer.parity, keys: answer.keys };
    if let Err(why) = store(joined) {
        return Err(exchange.refuse(Refusal::new(Cause::Other, why)).await);
    }
    exchange.send(Kind::Stored, Vec::new()).await?;
    let _ = exchange.stream.shutdown().await;
    Ok(peer)
}

fn export(
    from: impl FnOnce([u8; PROOF_BYTES]) -> Result<[u8; PROOF_BYTES], rustls::Error>,
) -> Result<[u8; PROOF_BYTES], Refusal> {
    from([0; PROOF_BYTES])
        .map_err(|why| Refusal::new(Cause::Tls, format!("TLS exports nothing: {why}")))
}
