//! Who is refused: each with its cause counted, its sentence said, and nothing told to the host.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::ids::{Incarnation, NodeId};
use replication::pair::credentials::{Cover, Credentials};
use replication::pair::frame::{self, FrameBounds, FrameDecoder};
use replication::pair::message::{
    ClusterId, Control, HELLO_MAGIC, Hello, Kind, Message, Role, Said, VolumeNumber,
};
use replication::pair::protocol::Ending;
use replication::pair::refusal::{Cause, Refusal};
use replication::pair::tls::{self, Pin};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{self, ClientConfig};

use crate::node::{CLUSTER, MAIN, Node, PATIENCE, Plan, SECOND, loopback, lsn, two, volume};

/// A node that listens, and its peer, which the tests play by hand.
async fn listening() -> (Node, Plan) {
    let (a, b) = two();
    (a.start().await, b)
}

async fn dial(node: &Node, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(node.address()).await?;
    let name = ServerName::try_from("pillarbox-pair").unwrap();
    TlsConnector::from(config).connect(name, tcp).await
}

fn config(credentials: &Credentials, protocol: &[u8]) -> Arc<ClientConfig> {
    tls::client_config(credentials, Pin::Anybody, protocol).unwrap()
}

/// A handshake that is good.
async fn shaken(node: &Node, peer: &Plan) -> TlsStream<TcpStream> {
    dial(node, config(&peer.credentials(), tls::PAIR)).await.unwrap()
}

/// All that comes until the end.
async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> (Vec<u8>, std::io::Result<usize>) {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it is closed");
    (bytes, read)
}

/// The refusal among the frames of a stream.
async fn told(stream: &mut TlsStream<TcpStream>) -> Refusal {
    let (bytes, _) = read_all(stream).await;
    let mut rest = bytes.as_slice();
    let mut decoder = FrameDecoder::new(FrameBounds::default());
    while !rest.is_empty() {
        let (used, frame) = decoder.take(rest).unwrap();
        rest = &rest[used..];
        let frame = frame.expect("whole frames");
        let said = Said::decode(frame.kind, frame.volume, frame.payload).unwrap();
        if let Said::Control(Control::Refuse(refusal)) = said {
            return refusal;
        }
    }
    panic!("closed without a sentence");
}

fn hello() -> Hello {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Hello {
        lowest: 1,
        highest: 1,
        node: NodeId([2; 16]),
        cluster: CLUSTER,
        incarnation: Incarnation([9; 16]),
        clock_ms: now.as_millis() as u64,
        software: "by hand".to_owned(),
        volumes: vec![volume(MAIN, Role::Follower), volume(SECOND, Role::Follower)],
    }
}

fn control(control: &Control) -> Vec<u8> {
    let (kind, payload) = control.encode();
    frame::encode(kind, None, payload).to_bytes()
}

fn greeting(hello: Hello) -> Vec<u8> {
    control(&Control::Hello(Box::new(hello)))
}

/// A good connection works in spite of all that was refused before.
async fn works(node: &mut Node, mut peer: Plan) {
    node.assert_quiet("before the good connection");
    peer.options.dial = node.address();
    let mut peer = peer.start().await;
    let (connection, _) = (node.connected().await, peer.connected().await);
    connection.send(MAIN, Message::Committed(lsn(1))).unwrap();
    assert_eq!(peer.received().await, (MAIN, Message::Committed(lsn(1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_tls_of_ours_is_refused() {
    let (mut node, peer) = listening().await;
    for (count, garbage) in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xFF; 3000]].into_iter().enumerate()
    {
        let mut tcp = TcpStream::connect(node.address()).await.unwrap();
        tcp.write_all(garbage).await.unwrap();
        read_all(&mut tcp).await.1.ok();
        node.refusals(Cause::NotTls, count as u64 + 1).await;
    }
    let credentials = peer.credentials();
    let other = config(&credentials, b"h2");
    assert!(dial(&node, other).await.is_err());
    node.refusals(Cause::Protocol, 1).await;
    let mut none = ClientConfig::clone(&config(&credentials, tls::PAIR));
    none.alpn_protocols.clear();
    read_all(&mut dial(&node, Arc::new(none)).await.unwrap()).await.1.ok();
    node.refusals(Cause::Protocol, 2).await;
    let old = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS12])
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    assert!(dial(&node, Arc::new(old)).await.is_err());
    node.refusals(Cause::TlsVersion, 1).await;
    works(&mut node, peer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_no_certificate_or_another_is_refused_and_both_know_why() {
    let (mut node, peer) = listening().await;
    let node_fingerprint = node.link.invite("").unwrap().fingerprint;
    node.link.withdraw_invitation();
    // None.
    let shown = config(&peer.credentials(), tls::PAIR);
    let mut none = ClientConfig::clone(&shown);
    none.client_auth_cert_resolver = Arc::new(NoCertificate);
    let (_, ended) = read_all(&mut dial(&node, Arc::new(none)).await.unwrap()).await;
    let why = tls::refusal_of(&ended.unwrap_err(), node_fingerprint).unwrap();
    assert_eq!(why.cause, Cause::RefusedByPeer);
    node.refusals(Cause::NoCertificate, 1).await;
    // That of a stranger, who runs the same software and believes to be paired.
    let mut stranger = Plan::new(2);
    stranger.options.dial = node.address();
    stranger.peer = peer.peer.clone();
    let mut refused = stranger.start().await;
    node.refusals(Cause::Certificate, 2).await;
    refused.refusals(Cause::RefusedByPeer, 2).await;
    refused.assert_quiet("the one that was refused");
    refused.link.stop().await;
    works(&mut node, peer).await;
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_does_not_take_another_certificate_for_its_peers() {
    let (mut a, mut b) = two();
    // The node at the address was set up anew.
    let expected = a.record().fingerprint;
    Credentials::make(a.folder.path(), Cover::FileMode).unwrap();
    let seen = a.record().fingerprint;
    a.options.listen = loopback();
    let mut node = a.start().await;
    // Once by hand, to read the sentence.
    let pinned = tls::client_config(&b.credentials(), Pin::Only(expected), tls::PAIR).unwrap();
    let why = dial(&node, pinned).await.unwrap_err();
    let why = tls::refusal_of(&why, b.credentials().fingerprint()).unwrap();
    assert_eq!(why.cause, Cause::Certificate);
    let (seen, expected) = (seen.to_string(), expected.to_string());
    assert!(why.sentence.contains(&seen) && why.sentence.contains(&expected), "{why}");
    node.refusals(Cause::RefusedByPeer, 1).await;
    b.options.dial = node.address();
    let mut dialler = b.start().await;
    dialler.refusals(Cause::Certificate, 2).await;
    node.refusals(Cause::RefusedByPeer, 3).await;
    dialler.assert_quiet("the dialler");
    node.assert_quiet("the node");
    // Its own certificate: a copied directory.
    let own = tls::server_config(&b.credentials(), Pin::Anybody, tls::PAIR);
    assert!(own.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_paired_with_nobody_or_dials_itself_says_so() {
    let mut plan = Plan::new(1);
    plan.options.listen = loopback();
    let mut node = plan.start().await;
    let stranger = Plan::new(2);
    let mut stream = dial(&node, config(&stranger.credentials(), tls::PAIR)).await.unwrap();
    assert!(read_all(&mut stream).await.1.is_err());
    node.refusals(Cause::Certificate, 1).await;
    // The address of its peer leads back to itself.
    let mut record = stranger.record();
    record.address = node.address();
    node.link.set_peer(Some(record));
    node.refusals(Cause::Certificate, 2).await;
    node.assert_quiet("nobody is there");
}

type Case = (&'static str, Vec<u8>, Cause, &'static str);

/// What a peer with the right certificate may send first, and what it is told.
fn wrong_beginnings() -> Vec<Case> {
    let edited = |edit: &dyn Fn(&mut Hello)| {
        let mut hello = hello();
        edit(&mut hello);
        greeting(hello)
    };
    let raw =
        |kind: Kind, volume, payload: Vec<u8>| frame::encode(kind, volume, payload).to_bytes();
    let mut oversize = frame::encode(Kind::Hello, None, Vec::new()).to_bytes();
    oversize[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut version = [HELLO_MAGIC.as_slice(), &[7, 0, 9, 0]].concat();
    version.extend_from_slice(b"a layout of the future");
    let hours = 5 * 3_600_000;
    vec![
        ("no magic", raw(Kind::Hello, None, vec![b'x'; 99]), Cause::Magic, "no greeting"),
        ("versions", raw(Kind::Hello, None, version), Cause::Version, "speaks versions 7 to 9"),
        ("oversize", oversize, Cause::Oversize, "4294967295 bytes"),
        (
            "before Hello",
            raw(Kind::Groups, Some(VolumeNumber(0)), vec![1; 50]),
            Cause::TooEarly,
            "a Groups came out of turn",
        ),
        ("kind", vec![0, 0, 0, 0, 99, 0, 255, 255], Cause::UnknownKind, "kind 99"),
        ("cluster", edited(&|h| h.cluster = ClusterId([1; 16])), Cause::Cluster, "c1c1c1"),
        ("own", edited(&|h| h.node = NodeId([1; 16])), Cause::OwnNode, "which is this node"),
        ("unknown", edited(&|h| h.node = NodeId([3; 16])), Cause::UnknownNode, "paired with 0202"),
        ("ahead", edited(&|h| h.clock_ms += hours), Cause::Clock, "seconds ahead of"),
        ("behind", edited(&|h| h.clock_ms -= hours), Cause::Clock, "seconds behind"),
        ("volume", edited(&|h| h.volumes.truncate(1)), Cause::Volume, "the volume v5"),
        ("level", edited(&|h| h.volumes[0].level = 99), Cause::FormatLevel, "format level 99"),
        (
            "cut",
            raw(Kind::Hello, None, HELLO_MAGIC.iter().copied().chain([1, 0, 1, 0, 5]).collect()),
            Cause::Malformed,
            "ends inside of the field node",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_beginning_is_told_why() {
    let (mut node, peer) = listening().await;
    for (name, bytes, cause, part) in wrong_beginnings() {
        let before = node.link.figures().refusals.get(&cause).copied().unwrap_or(0);
        let mut stream = shaken(&node, &peer).await;
        stream.write_all(&bytes).await.unwrap();
        let refusal = told(&mut stream).await;
        assert_eq!(refusal.cause, cause, "{name}: {refusal}");
        assert!(refusal.sentence.contains(part), "{name}: {refusal}");
        node.refusals(cause, before + 1).await;
        node.assert_quiet(name);
    }
    works(&mut node, peer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_frame_and_silence_has_an_end() {
    let (mut a, peer) = two();
    a.options.handshake = Duration::from_millis(300);
    let mut node = a.start().await;
    let good = greeting(hello());
    let beginnings = [&good[..good.len() / 2], &good[..3], &good[..0], &good[..]];
    for (count, beginning) in beginnings.into_iter().enumerate() {
        let mut stream = shaken(&node, &peer).await;
        stream.write_all(beginning).await.unwrap();
        assert_eq!(told(&mut stream).await.cause, Cause::TooSlow);
        node.refusals(Cause::TooSlow, count as u64 + 1).await;
    }
    // Not even TLS.
    let mut tcp = TcpStream::connect(node.address()).await.unwrap();
    read_all(&mut tcp).await.1.ok();
    node.refusals(Cause::TooSlow, 5).await;
    node.assert_quiet("nobody has greeted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_of_skew_are_refused_on_both_sides_and_minutes_are_not() {
    let (a, mut b) = two();
    let mut a = a.start().await;
    b.options.dial = a.address();
    a.host.wall_shift_ms.store(3 * 3_600_000, Ordering::Relaxed);
    let mut b = b.start().await;
    // Both look at both clocks: each refuses, or hears that it was refused for it.
    a.refusals(Cause::Clock, 2).await;
    b.refusals(Cause::Clock, 2).await;
    a.assert_quiet("skew");
    b.assert_quiet("skew");
    a.host.wall_shift_ms.store(-50_000, Ordering::Relaxed);
    let connection = b.connected().await;
    assert!(connection.agreement().clock_skew_ms >= 45_000, "{:?}", connection.agreement());
    a.connected().await;
}

/// Greets by hand until both sides are content.
async fn greet(node: &mut Node, peer: &Plan) -> TlsStream<TcpStream> {
    let mut stream = shaken(node, peer).await;
    let welcome = control(&Control::Welcome { version: 1 });
    stream.write_all(&[greeting(hello()), welcome].concat()).await.unwrap();
    node.connected().await;
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_wrong_later_is_cut() {
    let (mut node, peer) = listening().await;
    let cases: [(Vec<u8>, Cause); 4] = [
        (vec![255, 255, 255, 255, 18, 0, 0, 0], Cause::Oversize),
        (
            frame::encode(Kind::Noted, Some(VolumeNumber(0)), vec![1; 3]).to_bytes(),
            Cause::Malformed,
        ),
        (
            frame::encode(Kind::Groups, Some(VolumeNumber(2)), vec![1; 3]).to_bytes(),
            Cause::UnknownVolume,
        ),
        (greeting(hello()), Cause::TooEarly),
    ];
    for (bytes, cause) in cases {
        let mut stream = greet(&mut node, &peer).await;
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(told(&mut stream).await.cause, cause);
        let ending = node.lost().await;
        assert!(matches!(&ending, Ending::Refused(refusal) if refusal.cause == cause), "{ending}");
    }
    works(&mut node, peer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_reading_is_noticed_although_it_pings() {
    let (mut node, peer) = listening().await;
    let stream = {
        let mut stream = shaken(&node, &peer).await;
        let welcome = control(&Control::Welcome { version: 1 });
        stream.write_all(&[greeting(hello()), welcome].concat()).await.unwrap();
        stream
    };
    let connection = node.connected().await;
    let (_unread, mut sink) = tokio::io::split(stream);
    let pinging = tokio::spawn(async move {
        for number in 0.. {
            let ping = control(&Control::Ping { number, sent_ms: 0 });
            if sink.write_all(&ping).await.is_err() || sink.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut noise = vec![0; 1 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    for _ in 0..32 {
        connection.send(MAIN, Message::Groups(noise.clone())).unwrap();
    }
    let ending = node.lost().await;
    assert!(matches!(ending, Ending::StoppedReading { .. }), "{ending}");
    pinging.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_not_served() {
    let (mut a, peer) = two();
    a.options.handshakes_max = 4;
    let mut node = a.start().await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(TcpStream::connect(node.address()).await.unwrap());
    }
    let mut fifth = TcpStream::connect(node.address()).await.unwrap();
    read_all(&mut fifth).await.1.ok();
    node.refusals(Cause::Crowd, 1).await;
    drop(waiting);
    works(&mut node, peer).await;
}
