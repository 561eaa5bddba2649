//! The pair, wired: the link to the second node, who may join, and what commands ask of it.
//!
//! ```text
//! DATA/pair/          certificate, sealed key, and the other node (replication::pair::credentials)
//! [pair] of the configuration: where to listen, where the other node is, when to acknowledge
//! ```
//!
//! # Invariants
//! 1. A node without `[pair] listen` and without a second node opens no socket for one.
//! 2. The second node is a member from the moment when it is on disk here: before it gets keys.

mod alarm;
mod compare;
mod failover;
mod failure;
mod merge_mode;
mod promise;
mod role;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::Store;
use engine::ids::NodeId;
use engine::pair::{Acknowledgement, Away};
use engine::seal::Sealer;
use parking_lot::Mutex;
use replication::failover::Terms;
use replication::pair::credentials::{Cover, Credentials, CredentialsError};
use replication::pair::heard::Missing;
use replication::pair::host::Host as LinkHost;
use replication::pair::invitation::Invitation;
use replication::pair::joining::{self, Joined, Joiner, Keys, Sponsor};
use replication::pair::link::{Identity, Link};
use replication::pair::message::ClusterId;
use replication::pair::node::{Node, VolumeReport};
use replication::pair::options::LinkOptions;
use replication::pair::peer::{Parity, PeerRecord};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::alarm::LagAlarm;
pub(crate) use self::compare::Compared;
use self::compare::Schedule;
pub(crate) use self::failover::EtcdSettings;
use self::failover::Watch;
use self::failure::Failing;
use self::merge_mode::Watcher;
use self::role::{Role, Teller};
use crate::failure::{Exit, Failure};
use crate::store_access::{self, KeySource};

/// How often is looked whether to go on without the other node.
const LOOK: Duration = Duration::from_millis(500);
/// How long a hand-over may take.
const HAND_OVER: Duration = Duration::from_secs(10);

/// The pair as configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PairOptions {
    /// Where to listen; `None`: this node only dials.
    pub(crate) listen: Option<SocketAddr>,
    /// Where the other node listens; empty: where it said when it joined.
    pub(crate) peer: String,
    /// When changes are acknowledged.
    pub(crate) acknowledgement: Acknowledgement,
    /// After which time without the other node changes are acknowledged without it.
    pub(crate) degrade_after: Duration,
    /// For how long the other node may be behind before the log says so; `None`: for ever.
    pub(crate) lag_alarm: Option<Duration>,
    /// How often both nodes are compared; `None`: when somebody asks.
    pub(crate) compare_every: Option<Duration>,
    /// Who says which node is primary, if a third party does.
    pub(crate) etcd: Option<EtcdSettings>,
    /// After which time without the other node this one goes on by itself, with nobody asked;
    /// `None`: never.
    pub(crate) merge_after: Option<Duration>,
    /// A program that is told this node's role; empty: none.
    pub(crate) role_command: Vec<String>,
    /// Bytes a second that a full copy may take of this node; 0: as many as there are.
    pub(crate) copy_bytes_per_second: u64,
}

/// A volume of the pair, for `replica status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PairLine {
    pub(crate) volume: String,
    /// "primary" or "follower".
    pub(crate) role: String,
    /// Where the log here ends.
    pub(crate) last: String,
    /// Up to where the other node has it.
    pub(crate) noted: Option<String>,
    pub(crate) lag_records: Option<u64>,
    pub(crate) lag_bytes: u64,
    pub(crate) lag_milliseconds: u64,
    /// It has been behind for longer than it may be.
    pub(crate) is_late: bool,
    /// At most so many changes are acknowledged that are on this node alone, if that is known.
    pub(crate) exposed_records: Option<u64>,
    /// The follower is there, and has caught up.
    pub(crate) is_there: bool,
    /// Changes are acknowledged without it that should not be.
    pub(crate) is_degraded: bool,
    /// Why nothing goes over, if so.
    pub(crate) trouble: Option<String>,
    /// Something that this node had alone is to be merged yet.
    pub(crate) is_merging: bool,
    /// What was merged last, by rule.
    pub(crate) merged: Option<BTreeMap<String, u64>>,
    /// Bytes of a full copy that have arrived at this node, and of how many, while one is on its
    /// way.
    #[serde(default)]
    pub(crate) copy: Option<(u64, u64)>,
    /// Damaged pieces of messages that the other node healed here since the start.
    pub(crate) healed: u64,
    /// Those that this node gave to the other one.
    pub(crate) lent: u64,
    /// How many things differed when this node compared both last.
    pub(crate) differences: Option<u64>,
    /// As of which position that was.
    pub(crate) compared_at: Option<String>,
}

/// What `replica status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PairStatus {
    /// The other node, if there is one.
    pub(crate) peer: Option<String>,
    /// Where it is.
    pub(crate) address: String,
    pub(crate) is_connected: bool,
    pub(crate) round_trip_microseconds: u64,
    /// What etcd said last, where one is asked.
    pub(crate) etcd: Option<String>,
    /// Whether this node would go on by itself, in merge mode.
    #[serde(default)]
    pub(crate) merge_mode: Option<String>,
    pub(crate) volumes: Vec<PairLine>,
}

/// What may be missing after a promotion, by what was last heard of the other node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MissingLine {
    /// How long ago it was heard of.
    pub(crate) silent_milliseconds: u64,
    /// Positions that it had told of, and that are not here, if that is known.
    pub(crate) positions: Option<u64>,
}

/// This node's side of the pair.
pub(crate) struct Pair {
    store: Store,
    node: Arc<Node>,
    link: Link,
    options: PairOptions,
    folder: PathBuf,
    /// The store is to be closed and opened again.
    goes_back: Arc<Notify>,
    /// In an epoch of its own then.
    goes_alone: AtomicBool,
    /// Tells an etcd, and takes over.
    watch: Option<Watch>,
    /// Goes on without the other node, where nobody is asked.
    merge_mode: Option<Watcher>,
    teller: Teller,
}

/// Why the store is to be closed and opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reopening {
    /// It goes back to what both nodes have, or has become a copy of the other node.
    AsOfBoth,
    /// It goes on in an epoch of its own.
    Alone,
}

/// Who lets a second node in.
struct Host {
    store: Store,
    folder: PathBuf,
    acknowledgement: Acknowledgement,
}

impl Sponsor for Host {
    fn store_peer(&self, peer: &PeerRecord) -> Result<(), String> {
        peer.save(&self.folder).map_err(|error| error.to_string())?;
        self.store.begin_pair(self.acknowledgement);
        Ok(())
    }

    fn keys(&self, _: &PeerRecord) -> Result<Keys, String> {
        let root_key = self.store.pair_seed().map_err(|error| error.to_string())?;
        let (_, key_table) = self.store.key_table();
        Ok(Keys { root_key, key_table })
    }

    fn joined(&self, peer: &PeerRecord) {
        tracing::info!(node = %peer.node, address = %peer.address, "a second node has joined");
    }
}

fn folder_of(directory: &Path) -> PathBuf {
    directory.join("pair")
}

/// When changes are acknowledged, if there is a second node.
pub(crate) fn member_mode(
    directory: &Path,
    options: &PairOptions,
) -> Result<Option<Acknowledgement>, Failure> {
    match PeerRecord::load(&folder_of(directory)) {
        Ok(peer) => Ok(peer.map(|_| options.acknowledgement)),
        // The store cannot be read either, and says better why; else starting the link says it.
        Err(CredentialsError::File { .. }) => Ok(None),
        Err(error) => Err(damaged(&error)),
    }
}

/// Whether the node of that directory is one of a pair.
pub(crate) fn has_second(directory: &Path) -> Result<bool, Failure> {
    match PeerRecord::load(&folder_of(directory)) {
        Ok(peer) => Ok(peer.is_some()),
        // As in `member_mode`.
        Err(CredentialsError::File { .. }) => Ok(false),
        Err(error) => Err(damaged(&error)),
    }
}

impl Pair {
    /// Listens and dials, if there is anything to; within a runtime.
    pub(crate) async fn start(
        store: &Store,
        directory: &Path,
        (options, is_alone): (&PairOptions, bool),
    ) -> Result<Option<Arc<Pair>>, Failure> {
        let folder = folder_of(directory);
        let peer = PeerRecord::load(&folder).map_err(|error| damaged(&error))?;
        if options.listen.is_none() && peer.is_none() {
            return Ok(None);
        }
        let (sealer, key) = store.pair_cover();
        let cover = Cover::Sealed { sealer: &sealer, key: &key };
        let credentials =
            Credentials::load_or_make(&folder, cover).map_err(|error| damaged(&error))?;
        let standing = store.standing();
        let identity = Identity {
            node: standing.node,
            cluster: ClusterId(standing.volume.0),
            incarnation: sealer.incarnation(),
            software: software(),
            parity: peer.as_ref().map_or(Parity::Odd, |peer| peer.parity.other()),
        };
        let acknowledgement = options.acknowledgement;
        let node = Node::new(vec![("main".to_owned(), store.clone(), acknowledgement)]);
        node.set_copy_rate(options.copy_bytes_per_second);
        let (listen, dial) = (options.listen, options.peer.clone());
        let link_options = LinkOptions { listen, dial, ..LinkOptions::default() };
        let host = Arc::new(Host { store: store.clone(), folder: folder.clone(), acknowledgement });
        let behind: Arc<dyn LinkHost> = Arc::<Node>::clone(&node);
        let link = Link::start(identity, credentials, peer, link_options, behind, host);
        let link = link.await.map_err(|cause| {
            let address = options.listen.map(|address| address.to_string()).unwrap_or_default();
            Failure::new(Exit::Later, format!("cannot listen for the pair on {address}: {cause}"))
        })?;
        let goes_back: Arc<Notify> = Arc::default();
        let told = Arc::clone(&goes_back);
        node.on_way_back(Box::new(move || told.notify_one()));
        let terms = |settings: &EtcdSettings| Terms {
            acknowledgement,
            degrade_after: options.degrade_after,
            failover_after: settings.failover_after,
            lease_seconds: settings.lease_seconds,
            is_odd: link.peer().is_none_or(|peer| peer.parity == Parity::Even),
        };
        let watch = options.etcd.as_ref();
        let watch = watch.map(|settings| Watch::new(store, settings, terms(settings)));
        let watch = watch.transpose()?;
        let (store, options) = (store.clone(), options.clone());
        let teller = Teller::new(&options.role_command);
        let merge_mode = options.merge_after.map(|after| Watcher::new(after, &folder));
        let goes_alone = AtomicBool::new(false);
        let pair = Arc::new(Pair {
            store,
            node,
            link,
            options,
            folder,
            goes_back,
            goes_alone,
            watch,
            merge_mode,
            teller,
        });
        let asks = !standing.follows && !pair.store.was_closed() && !is_alone;
        pair.begin(asks)?;
        Ok(Some(pair))
    }

    /// All that goes on as long as this node serves; `asks`: it takes changes when it has met the
    /// other node.
    fn begin(self: &Arc<Pair>, asks: bool) -> Result<(), Failure> {
        self.tell_role();
        if let Some(watch) = &self.watch {
            watch.start(self)?;
        }
        if asks && self.link.peer().is_some() {
            self.node.ask_first();
        }
        let weak = Arc::downgrade(self);
        self.node.on_hand_over(Arc::new(move || {
            let Some(pair) = weak.upgrade() else { return };
            if let Err(failure) = pair.handed_over() {
                tracing::error!("the hand-over failed: {}", failure.sentence);
            }
        }));
        tokio::spawn(Arc::clone(self).keep_watch());
        if self.merge_mode.is_some() {
            tokio::spawn(Arc::clone(self).watch_in_merge_mode());
        }
        Ok(())
    }

    /// What time brings. Goes on without the other node after a set time, where that is configured,
    /// and loudly.
    async fn keep_watch(self: Arc<Pair>) {
        let (mut alone, mut alarm) = (Duration::ZERO, LagAlarm::default());
        let mut schedule = Schedule::new(self.options.compare_every);
        let mut failing = Failing::default();
        loop {
            tokio::time::sleep(LOOK).await;
            self.tell_role();
            let node = Arc::clone(&self.node);
            let _ = tokio::task::spawn_blocking(move || node.tick()).await;
            alarm.look(&self.node.report(), self.options.lag_alarm);
            schedule.look(&self);
            failing.look(&self).await;
            let degrades = self.options.acknowledgement == Acknowledgement::Durable(Away::Degrade);
            // With an etcd, it is told first.
            if !degrades || self.watch.is_some() {
                continue;
            }
            let standing = self.store.pair_standing();
            if standing.is_there || self.store.standing().follows {
                if standing.is_degraded {
                    self.store.set_degraded(false);
                    tracing::warn!("the other node is back: mail is acknowledged on both again");
                }
                alone = Duration::ZERO;
                continue;
            }
            alone += LOOK;
            if alone >= self.options.degrade_after && !standing.is_degraded {
                self.store.set_degraded(true);
                tracing::error!(
                    "the other node is away: mail is acknowledged that is on THIS NODE ALONE"
                );
            }
        }
    }

    /// Tells which node is primary, if that is news.
    fn tell_role(&self) {
        let standing = self.store.standing();
        // A second node that has nothing yet is nobody.
        if let Some(epoch) = standing.history.last() {
            self.teller.tell(Role { follows: standing.follows, epoch: epoch.number });
        }
    }

    /// Returns when the store is to be closed and opened again.
    pub(crate) async fn reopens(&self) -> Reopening {
        self.goes_back.notified().await;
        match self.goes_alone.load(Ordering::SeqCst) {
            true => Reopening::Alone,
            false => Reopening::AsOfBoth,
        }
    }

    /// The store is opened again, in an epoch of its own.
    fn serve_alone(&self) {
        self.goes_alone.store(true, Ordering::SeqCst);
        self.goes_back.notify_one();
    }

    /// An invitation for a second node, which reaches this one there.
    pub(crate) fn invite(&self, address: &str) -> Result<String, Failure> {
        if self.options.listen.is_none() {
            return Err(Failure::new(
                Exit::Configuration,
                "this node listens for no second one; set [pair] listen and restart it",
            ));
        }
        if self.store.standing().follows {
            return Err(Failure::new(
                Exit::Refused,
                "this node follows; ask its primary to invite",
            ));
        }
        let invitation = self.link.invite(address);
        let invitation = invitation
            .map_err(|error| Failure::new(Exit::Later, format!("no random numbers: {error}")))?;
        Ok(invitation.to_token().to_string())
    }

    /// Whether the store's format level may be raised.
    pub(crate) fn may_raise_level(&self) -> Result<(), Failure> {
        if self.link.peer().is_none() {
            return Ok(());
        }
        let may = self.node.may_raise_level();
        may.map_err(|refusal| Failure::new(Exit::Refused, refusal.to_string()))
    }

    /// This node becomes primary; answers the epoch that it opened, and what may be missing in it.
    pub(crate) fn promote(&self) -> Result<(u16, Option<MissingLine>), Failure> {
        let standing = self.store.standing();
        if !standing.follows {
            return Err(Failure::new(Exit::Refused, "this node is primary already"));
        }
        if self.node.is_connected() {
            return Err(Failure::new(
                Exit::Refused,
                "the other node is primary and is there; 'pillarbox replica switch' makes it hand \
                 over",
            ));
        }
        let missing = self.node.missing().into_iter().next().flatten().map(missing_line);
        let epoch = self.take_over()?;
        tracing::warn!(epoch, ?missing, "promoted by hand");
        Ok((epoch, missing))
    }

    /// The other node hands over to this one, or asks this one to.
    fn handed_over(&self) -> Result<(), Failure> {
        match self.store.standing().follows {
            true => self.take_over().map(drop),
            false => self.hand_over(),
        }
    }

    /// A planned hand-over: the follower becomes primary, and nothing is missing.
    pub(crate) fn switch(&self) -> Result<(), Failure> {
        if !self.store.standing().follows {
            return self.hand_over();
        }
        let refused = |why| Failure::new(Exit::Refused, why);
        self.node.ask_hand_over().map_err(refused)?;
        self.wait_until("this node took over", || !self.store.standing().follows)
    }

    fn hand_over(&self) -> Result<(), Failure> {
        let watch = self.watch.as_ref();
        let lay_down = || {
            if let Some(watch) = watch {
                watch.failover.lock().lay_down();
            }
        };
        let handed = self.node.hand_over(&lay_down);
        handed.map_err(|why| Failure::new(Exit::Refused, why))?;
        let done = self.wait_until("the other node took over", || self.node.is_going_back());
        if done.is_err() {
            if let Some(watch) = watch {
                watch.failover.lock().take_up();
            }
            self.node.meet_again();
        }
        done
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        while !is_so() {
            if begun.elapsed() >= HAND_OVER {
                let sentence = format!("it is not known yet whether {what}; see 'replica status'");
                return Err(Failure::new(Exit::Later, sentence));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// This node becomes a full copy of the other one.
    pub(crate) fn full_sync(&self) -> Result<(), Failure> {
        self.node.full_copy().map_err(|why| Failure::new(Exit::Refused, why))
    }

    /// A full copy that is on its way is given up.
    pub(crate) fn stop_full_sync(&self) -> Result<(), Failure> {
        self.node.stop_copy().map_err(|why| Failure::new(Exit::Refused, why))
    }

    /// Opens the next epoch.
    fn take_over(&self) -> Result<u16, Failure> {
        if self.node.becomes_copy() {
            return Err(Failure::new(
                Exit::Refused,
                "a full copy of the other node is on its way here, and what this one has is older; \
                 'pillarbox replica full-sync --stop' gives the copy up",
            ));
        }
        if let Some(watch) = &self.watch {
            let promoted = watch.failover.lock().promote_by_hand();
            let epoch = promoted.map_err(|why| Failure::new(Exit::Refused, why))?;
            self.node.roles_changed();
            self.tell_role();
            tracing::warn!(epoch, "this node is primary now");
            return Ok(epoch);
        }
        let is_odd = self.link.peer().is_none_or(|peer| peer.parity == Parity::Even);
        let next = self.store.newest_epoch().saturating_add(1);
        let epoch = if (next % 2 == 1) == is_odd { next } else { next.saturating_add(1) };
        self.store.promote(epoch)?;
        self.node.roles_changed();
        self.tell_role();
        tracing::warn!(epoch, "this node is primary now");
        Ok(epoch)
    }

    /// The other node is lost for good: this one goes on alone, and lets it in no more.
    pub(crate) fn forget(&self) -> Result<(), Failure> {
        if self.link.peer().is_none() {
            return Err(Failure::new(Exit::Refused, "there is no second node"));
        }
        if self.store.standing().follows {
            return Err(Failure::new(
                Exit::Refused,
                "this node follows; 'pillarbox replica promote' it first",
            ));
        }
        if self.node.is_connected() {
            return Err(Failure::new(Exit::Refused, "the other node is there; stop it first"));
        }
        PeerRecord::remove(&self.folder).map_err(|error| damaged(&error))?;
        self.link.set_peer(None);
        self.store.end_pair();
        self.node.ask_nobody();
        tracing::warn!("the second node is forgotten: mail is on this node alone");
        Ok(())
    }

    /// How the pair is.
    pub(crate) fn status(&self) -> PairStatus {
        let peer = self.link.peer();
        PairStatus {
            address: match (&self.options.peer, &peer) {
                (address, Some(peer)) if address.is_empty() => peer.address.clone(),
                (address, _) => address.clone(),
            },
            peer: peer.map(|peer| peer.node.to_string()),
            is_connected: self.node.is_connected(),
            round_trip_microseconds: self.link.figures().round_trip.smoothed_us,
            etcd: self.watch.as_ref().map(|watch| watch.failover.lock().word().to_owned()),
            merge_mode: self.merge_mode.as_ref().map(|watcher| watcher.word().to_owned()),
            volumes: {
                let line = |report| line_of(report, self.options.lag_alarm);
                self.node.report().into_iter().map(line).collect()
            },
        }
    }

    /// Tells the other node, and stops.
    pub(crate) fn stop(&self) {
        if let Some(watch) = &self.watch {
            watch.stop();
        }
        self.node.stop();
    }
}

fn missing_line(missing: Missing) -> MissingLine {
    MissingLine {
        silent_milliseconds: u64::try_from(missing.silence.as_millis()).unwrap_or(u64::MAX),
        positions: missing.positions,
    }
}

fn line_of(report: VolumeReport, lag_alarm: Option<Duration>) -> PairLine {
    PairLine {
        volume: report.name,
        role: if report.follows { "follower" } else { "primary" }.to_owned(),
        last: report.last.to_string(),
        noted: report.noted.map(|noted| noted.to_string()),
        lag_records: report.lag_records,
        lag_bytes: report.lag_bytes,
        lag_milliseconds: u64::try_from(report.lag.as_millis()).unwrap_or(u64::MAX),
        is_late: alarm::is_late(report.lag, lag_alarm),
        exposed_records: report.exposed_records,
        is_there: report.is_there,
        is_degraded: report.is_degraded,
        trouble: report.trouble,
        is_merging: report.merge.is_pending,
        copy: report.copy.map(|copy| (copy.arrived, copy.of)),
        healed: report.healed.0,
        lent: report.healed.1,
        differences: report.compared.as_ref().map(|compared| compared.difference_count),
        compared_at: report.compared.as_ref().map(|compared| compared.lsn.to_string()),
        merged: report.merge.last.map(|tally| {
            let counts = tally.counts().into_iter();
            counts.map(|(rule, count)| (rule.to_owned(), count)).collect()
        }),
    }
}

fn software() -> String {
    format!("pillarbox {}", env!("CARGO_PKG_VERSION"))
}

fn damaged(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Damage, error.to_string())
}

/// Joins the pair that a token invites to: makes the second node's data directory.
pub(crate) fn join(
    token: &str,
    directory: &Path,
    key: KeySource,
    address: &str,
) -> Result<PeerRecord, Failure> {
    let invitation = Invitation::parse(token)
        .map_err(|why| Failure::new(Exit::Usage, format!("this is no invitation: {why}")))?;
    // Before the first node counts on it.
    if directory.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let sentence = format!("{} is not empty; nothing was done", directory.display());
        return Err(Failure::new(Exit::Refused, sentence));
    }
    // Beside the directory until it is one: what is made there refuses to be made in another's.
    let beside = directory.with_extension("joining");
    let credentials =
        Credentials::make(&beside, Cover::FileMode).map_err(|error| damaged(&error))?;
    let node = NodeId(Sealer::system().random_id());
    let joiner = Joiner {
        credentials: &credentials,
        node,
        address: address.to_owned(),
        software: software(),
    };
    let key = Mutex::new(Some(key));
    let store = |joined: Joined| {
        let Some(key) = key.lock().take() else { return Err("it was stored already".to_owned()) };
        let made = store_access::init_second(
            directory,
            key,
            node,
            (&joined.keys.root_key, &joined.keys.key_table),
        );
        made.map_err(|failure| failure.sentence)?;
        let folder = folder_of(directory);
        std::fs::rename(&beside, &folder).map_err(|cause| cause.to_string())?;
        joined.peer.save(&folder).map_err(|error| error.to_string())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::new(Exit::Later, format!("cannot start a runtime: {cause}")))?;
    let joined = runtime.block_on(joining::join(&invitation, joiner, store));
    if beside.exists() {
        let _ = std::fs::remove_dir_all(&beside);
    }
    joined.map_err(|refusal| Failure::new(Exit::Refused, refusal.sentence))
}
