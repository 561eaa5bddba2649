//! A node for tests: a link with a host that notes what it is told.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::ids::{Incarnation, KeyTableVersion, Lsn, NodeId, VolumeId};
use parking_lot::Mutex;
use replication::pair::credentials::{Cover, Credentials};
use replication::pair::figures::LinkFigures;
use replication::pair::host::{Connection, Host};
use replication::pair::joining::{Keys, Sponsor};
use replication::pair::link::{Identity, Link};
use replication::pair::message::{
    Acknowledgement, ClusterId, GroupEnd, Message, Role, VolumeState,
};
use replication::pair::options::LinkOptions;
use replication::pair::peer::{Parity, PeerRecord};
use replication::pair::protocol::Ending;
use replication::pair::refusal::Cause;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing that is waited for takes longer on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const CLUSTER: ClusterId = ClusterId([0xC1; 16]);
pub(crate) const MAIN: VolumeId = VolumeId([4; 16]);
pub(crate) const SECOND: VolumeId = VolumeId([5; 16]);

/// What a host was told.
pub(crate) enum Seen {
    Connected(Arc<Connection>),
    Received(VolumeId, Message),
    Lost(Ending),
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seen::Connected(connection) => write!(f, "{connection:?}"),
            Seen::Received(_, message) => write!(f, "a {}", message.kind().name()),
            Seen::Lost(ending) => write!(f, "lost: {ending}"),
        }
    }
}

/// Notes what it is told; `gate` is held by a test that wants it to block.
pub(crate) struct Recorder {
    seen: mpsc::UnboundedSender<Seen>,
    pub(crate) volumes: Mutex<Vec<VolumeState>>,
    pub(crate) wall_shift_ms: AtomicI64,
    pub(crate) gate: Mutex<()>,
}

impl Host for Recorder {
    fn volumes(&self) -> Vec<VolumeState> {
        self.volumes.lock().clone()
    }

    fn wall_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        now.saturating_add_signed(self.wall_shift_ms.load(Ordering::Relaxed))
    }

    fn connected(&self, connection: &Arc<Connection>) {
        let _ = self.seen.send(Seen::Connected(Arc::clone(connection)));
    }

    fn received(&self, _connection: &Arc<Connection>, volume: VolumeId, message: Message) {
        drop(self.gate.lock());
        let _ = self.seen.send(Seen::Received(volume, message));
    }

    fn lost(&self, _connection: &Arc<Connection>, ending: &Ending) {
        let _ = self.seen.send(Seen::Lost(ending.clone()));
    }
}

/// A sponsor that gives away test keys and notes who has joined.
#[derive(Default)]
pub(crate) struct Giver {
    pub(crate) stored: Mutex<Vec<PeerRecord>>,
    pub(crate) joined: Mutex<Vec<PeerRecord>>,
    pub(crate) fails: Mutex<Option<String>>,
}

impl Sponsor for Giver {
    fn store_peer(&self, peer: &PeerRecord) -> Result<(), String> {
        match self.fails.lock().clone() {
            Some(why) => Err(why),
            None => {
                self.stored.lock().push(peer.clone());
                Ok(())
            }
        }
    }

    fn keys(&self, _peer: &PeerRecord) -> Result<Keys, String> {
        Ok(Keys { root_key: vec![0x52; 48].into(), key_table: vec![0x4B; 300_000] })
    }

    fn joined(&self, peer: &PeerRecord) {
        self.joined.lock().push(peer.clone());
    }
}

pub(crate) fn volume(id: VolumeId, role: Role) -> VolumeState {
    VolumeState {
        id,
        name: format!("v{}", id.0[0]),
        reads_level: 8,
        level: 8,
        role,
        acknowledgement: Acknowledgement::Durable,
        history: Vec::new(),
        last: GroupEnd::default(),
        durable: Lsn::ZERO,
        held: Lsn::ZERO,
        key_version: KeyTableVersion(1),
    }
}

/// What tests wait for in production takes seconds.
pub(crate) fn options() -> LinkOptions {
    LinkOptions {
        handshake: Duration::from_secs(5),
        heartbeat: Duration::from_millis(50),
        silence: Duration::from_millis(800),
        stall: Duration::from_millis(1000),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        ..LinkOptions::default()
    }
}

pub(crate) fn loopback() -> Option<SocketAddr> {
    Some("127.0.0.1:0".parse().unwrap())
}

pub(crate) fn credentials(folder: &Path) -> Credentials {
    Credentials::load_or_make(folder, Cover::FileMode).unwrap()
}

/// A node that can be started, once or again.
pub(crate) struct Plan {
    pub(crate) number: u8,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) options: LinkOptions,
    pub(crate) peer: Option<PeerRecord>,
}

impl Plan {
    pub(crate) fn new(number: u8) -> Plan {
        let folder = tempfile::tempdir().unwrap();
        Plan { number, folder, options: options(), peer: None }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        credentials(self.folder.path())
    }

    /// As the other node knows it.
    pub(crate) fn record(&self) -> PeerRecord {
        PeerRecord {
            cluster: CLUSTER,
            node: NodeId([self.number; 16]),
            fingerprint: self.credentials().fingerprint(),
            parity: Parity::Even,
            address: String::new(),
        }
    }

    pub(crate) async fn start(&self) -> Node {
        let (seen, events) = mpsc::unbounded_channel();
        let role = if self.number == 1 { Role::Primary } else { Role::Follower };
        let host = Arc::new(Recorder {
            seen,
            volumes: Mutex::new(vec![volume(SECOND, role), volume(MAIN, role)]),
            wall_shift_ms: AtomicI64::new(0),
            gate: Mutex::default(),
        });
        let mut incarnation = [0; 16];
        getrandom::fill(&mut incarnation).unwrap();
        let identity = Identity {
            node: NodeId([self.number; 16]),
            cluster: CLUSTER,
            incarnation: Incarnation(incarnation),
            software: "pillarbox test".to_owned(),
            parity: Parity::Odd,
        };
        let giver = Arc::new(Giver::default());
        let (told, sponsor) = (Arc::<Recorder>::clone(&host), Arc::<Giver>::clone(&giver));
        let (peer, options) = (self.peer.clone(), self.options.clone());
        let link = Link::start(identity, self.credentials(), peer, options, told, sponsor);
        Node { link: link.await.unwrap(), events, host, giver }
    }
}

/// Two that know each other: the second dials the first.
pub(crate) fn two() -> (Plan, Plan) {
    let (mut a, mut b) = (Plan::new(1), Plan::new(2));
    a.options.listen = loopback();
    (a.peer, b.peer) = (Some(b.record()), Some(a.record()));
    (a, b)
}

/// The same, started, with the connections that they were told of.
pub(crate) async fn pair() -> (Node, Node, Arc<Connection>, Arc<Connection>) {
    let (a, mut b) = two();
    let mut a = a.start().await;
    b.options.dial = a.address();
    let mut b = b.start().await;
    let (to_b, to_a) = (a.connected().await, b.connected().await);
    (a, b, to_b, to_a)
}

pub(crate) struct Node {
    pub(crate) link: Link,
    pub(crate) events: mpsc::UnboundedReceiver<Seen>,
    pub(crate) host: Arc<Recorder>,
    pub(crate) giver: Arc<Giver>,
}

impl Node {
    pub(crate) fn address(&self) -> String {
        self.link.local_address().unwrap().to_string()
    }

    pub(crate) async fn next(&mut self) -> Seen {
        timeout(PATIENCE, self.events.recv()).await.expect("something happens").unwrap()
    }

    pub(crate) async fn connected(&mut self) -> Arc<Connection> {
        match self.next().await {
            Seen::Connected(connection) => connection,
            other => panic!("not connected but {other:?}"),
        }
    }

    pub(crate) async fn received(&mut self) -> (VolumeId, Message) {
        match self.next().await {
            Seen::Received(volume, message) => (volume, message),
            other => panic!("not a message but {other:?}"),
        }
    }

    /// Passes over messages.
    pub(crate) async fn lost(&mut self) -> Ending {
        loop {
            match self.next().await {
                Seen::Lost(ending) => return ending,
                Seen::Received(..) => {}
                other => panic!("not lost but {other:?}"),
            }
        }
    }

    /// The host was told nothing since.
    pub(crate) fn assert_quiet(&mut self, why: &str) {
        if let Ok(seen) = self.events.try_recv() {
            panic!("{why}: the host was told of {seen:?}");
        }
    }

    /// Waits for figures that say so.
    pub(crate) async fn figures(
        &self,
        what: &str,
        so: impl Fn(&LinkFigures) -> bool,
    ) -> LinkFigures {
        let wait = async {
            loop {
                let figures = self.link.figures();
                if so(&figures) {
                    return figures;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(figures) => figures,
            Err(_) => panic!("{what}: {:?}", self.link.figures()),
        }
    }

    /// Waits until so many were refused for that.
    pub(crate) async fn refusals(&self, cause: Cause, count: u64) {
        let what = format!("{count} refusals for {}", cause.label());
        let counted = |figures: &LinkFigures| figures.refusals.get(&cause) >= Some(&count);
        self.figures(&what, counted).await;
    }
}

pub(crate) fn lsn(sequence: u64) -> Lsn {
    Lsn::new(1, sequence).unwrap()
}
