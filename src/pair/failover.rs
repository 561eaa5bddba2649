//! The thread that keeps an etcd told, and takes over when it is this node's turn.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::Store;
use parking_lot::Mutex;
use replication::directory::Directory;
use replication::directory::client::Client;
use replication::directory::options::EtcdOptions;
use replication::directory::place::Place;
use replication::failover::{Failover, Sight, Terms, Turn};

use super::Pair;
use crate::failure::{Exit, Failure};
use crate::secrets;

/// An etcd, as configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EtcdSettings {
    /// Its members.
    pub(crate) endpoints: Vec<String>,
    /// What its keys begin with.
    pub(crate) prefix: String,
    /// Who signed its certificates.
    pub(crate) ca_file: Option<PathBuf>,
    /// A name, and the file of its password.
    pub(crate) login: Option<(String, PathBuf)>,
    /// After which time without its primary a follower takes over.
    pub(crate) failover_after: Duration,
    /// Of the primary's lease, in mode local.
    pub(crate) lease_seconds: u32,
}

/// Failover at work.
pub(super) struct Watch {
    pub(super) failover: Arc<Mutex<Failover>>,
    stops: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    /// What the settings say; nothing runs yet.
    pub(super) fn new(
        store: &Store,
        settings: &EtcdSettings,
        terms: Terms,
    ) -> Result<Watch, Failure> {
        let wrong = |why: String| Failure::new(Exit::Configuration, format!("pair.etcd: {why}"));
        let endpoints: Vec<&str> = settings.endpoints.iter().map(String::as_str).collect();
        let mut options = EtcdOptions::new(&endpoints);
        if let Some(file) = &settings.ca_file {
            let pem = std::fs::read(file).map_err(|cause| Failure::file("read", file, &cause))?;
            options.authorities_pem = Some(pem);
        }
        if let Some((user, file)) = &settings.login {
            options.login = Some((user.clone(), secrets::from_file(file)?));
        }
        let client = Client::new(options).map_err(|error| wrong(error.to_string()))?;
        let cluster = store.standing().volume.to_string();
        let place = Place::new(&settings.prefix, &cluster, "main");
        let place = place.map_err(|error| wrong(error.to_string()))?;
        let failover = Failover::new(store.clone(), Directory::new(client, place), terms);
        Ok(Watch {
            failover: Arc::new(Mutex::new(failover)),
            stops: Arc::default(),
            thread: Mutex::default(),
        })
    }

    /// Starts the thread.
    pub(super) fn start(&self, pair: &Arc<Pair>) -> Result<(), Failure> {
        let (weak, stops) = (Arc::downgrade(pair), Arc::clone(&self.stops));
        let failover = Arc::clone(&self.failover);
        let body = move || keep(&weak, &failover, &stops);
        let thread = std::thread::Builder::new().name("failover".to_owned()).spawn(body);
        let thread = thread.map_err(|cause| {
            Failure::new(Exit::Later, format!("no thread could be started: {cause}"))
        })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Ends it.
    pub(super) fn stop(&self) {
        self.stops.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.lock().take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread of the failover ended in a panic");
            }
        }
    }
}

fn keep(pair: &Weak<Pair>, failover: &Mutex<Failover>, stops: &AtomicBool) {
    while !stops.load(Ordering::SeqCst) {
        let Some(pair) = pair.upgrade() else { return };
        let sight = Sight {
            sees_primary: pair.node.sees_primary(),
            other: pair.link.peer().map(|peer| peer.node),
        };
        let (turn, wait) = failover.lock().step(sight);
        if let Turn::Promoted(epoch) = turn {
            pair.node.roles_changed();
            pair.tell_role();
            tracing::warn!(epoch, "the primary is gone: this node is primary now");
        }
        drop(pair);
        std::thread::park_timeout(wait);
    }
}
