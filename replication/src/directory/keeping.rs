//! A thread that keeps a primary's lease: it does what [`super::lease`] asks for.
//!
//! It ends when it is stopped, or when another epoch stands in etcd. An outage of etcd does not end
//! it: the lease lapses, and is granted anew when etcd is back and the epoch still stands there.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};

use tracing::{debug, info, warn};

use super::clock::Moment;
use super::error::{DirectoryError, EtcdError, HoldError};
use super::lease::{Deed, LeaseKeeper, LeaseView, Report, Step};
use super::{Directory, Holding};

/// A lease that is being kept. Dropping it gives the lease back.
pub struct Keeping {
    view: LeaseView,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeping {
    /// Keeps a lease of so many seconds for the epoch of `holding`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(directory: Arc<Directory>, holding: Holding, seconds: u32) -> io::Result<Keeping> {
        let keeper = LeaseKeeper::new(seconds, directory.client().answer_timeout());
        let view = keeper.view();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || keep(&directory, &holding, keeper, &stopped))?;
        Ok(Keeping { view, stop: Some(stop), thread: Some(thread) })
    }

    /// Whether the lease is surely held at `now`.
    pub fn is_held(&self, now: Moment) -> bool {
        self.view.is_held(now)
    }

    /// The same, for other threads.
    pub fn view(&self) -> LeaseView {
        self.view.clone()
    }

    /// Whether another epoch stands in etcd, so that there is nothing to keep any more.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Lets go: from when this returns on, nothing is held, and etcd has been told, if it listened.
    pub fn stop(self) {}
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.view.let_go();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that kept the lease had panicked");
        }
        // It may have renewed while it was told.
        self.view.let_go();
    }
}

/// The thread.
fn keep(
    directory: &Directory,
    holding: &Holding,
    mut keeper: LeaseKeeper,
    stopped: &mpsc::Receiver<()>,
) {
    loop {
        let now = Moment::now();
        match keeper.step(now) {
            Step::Do(deed) => {
                let was_held = keeper.is_held(now);
                let report = perform(directory, holding, deed);
                keeper.report(Moment::now(), report);
                tell(was_held, &keeper, report);
            }
            Step::Wait(moment) => match stopped.recv_timeout(moment.since(now)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            },
            Step::Over => return,
        }
    }
    if let Some(lease) = keeper.stop()
        && let Err(why) = directory.client().revoke(lease)
    {
        info!(%why, "the lease was not given back, and runs out by itself");
    }
}

/// Does a deed.
pub fn perform(directory: &Directory, holding: &Holding, deed: Deed) -> Report {
    let client = directory.client();
    let outcome = match deed {
        Deed::Grant { seconds, patience } => client.grant(seconds, patience).map(|grant| {
            Report::Granted { lease: grant.lease, seconds: grant.seconds, term: grant.term }
        }),
        Deed::Renew { lease, term, patience } => {
            let outcome = client.keep_alive(lease, term, patience);
            outcome.map(|renewal| match renewal.seconds {
                Some(seconds) => Report::Renewed { seconds, term: renewal.term },
                None => Report::Unknown,
            })
        }
        Deed::Bind(lease) => match directory.bind(holding, lease) {
            Ok(_) => Ok(Report::Bound),
            Err(HoldError::Deposed(_)) => Ok(Report::Deposed),
            Err(HoldError::Directory(DirectoryError::Etcd(why))) => Err(why),
            Err(HoldError::Directory(why)) => {
                warn!(%why, "the lease was not bound");
                Ok(Report::Failed)
            }
        },
    };
    outcome.unwrap_or_else(|why| match why {
        EtcdError::LeaseUnknown(_) => Report::Unknown,
        why => {
            debug!(%why, ?deed, "etcd was asked in vain");
            Report::Failed
        }
    })
}

/// Says what changed.
fn tell(was_held: bool, keeper: &LeaseKeeper, report: Report) {
    let is_held = keeper.is_held(Moment::now());
    match (was_held, is_held, report) {
        (_, _, Report::Deposed) => warn!("another epoch stands in etcd: this node's is over"),
        (false, true, _) => info!("the lease is held"),
        (true, false, _) => warn!("the lease is lost"),
        _ => {}
    }
}
