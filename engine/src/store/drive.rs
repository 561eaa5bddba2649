//! What makes committer and checkpointer go on: a thread each, or a simulation's steps.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Inner;
use super::index_maker::index_while_open;
use super::recount::RECOUNT_REST;
use super::summary_maker::make_while_open;
use crate::check::{ScrubStep, Scrubber};
use crate::commit::{CheckpointStep, Checkpointer, CommitStep, Committer};
use crate::error::OpenError;
use crate::purge::{PurgeStep, Purger};
use crate::reclaim::{ReclaimStep, Reclaimer};
use crate::ticket::Pump;

/// How often the committer looks at the clock when nothing comes.
const IDLE: Duration = Duration::from_millis(50);

/// How often reclaim looks whether a checkpoint was flushed, or what it submitted was committed: in
/// a round of base images it waits for each account.
const RECLAIM_WAIT: Duration = Duration::from_millis(10);
/// How often it looks for something to do.
const RECLAIM_IDLE: Duration = Duration::from_secs(10);
/// How long the scrub rests after a round.
const SCRUB_IDLE: Duration = Duration::from_secs(60);

/// How often purging looks for what is over time.
const PURGE_IDLE: Duration = Duration::from_secs(60);

/// The machines of an open store; none if it takes no writes.
#[derive(Default)]
pub(super) struct Driver {
    threads: Mutex<Vec<JoinHandle<()>>>,
    reclaim: Arc<Pause>,
    purge: Arc<Pause>,
    recount: Arc<Pause>,
    scrub: Arc<Pause>,
}

/// Sleeping that can be ended.
#[derive(Default)]
struct Pause {
    inner: Mutex<PauseState>,
    changed: Condvar,
}

#[derive(Default)]
struct PauseState {
    stopped: bool,
    /// There may be something to do that was not there before.
    woken: bool,
    /// There was nothing to do, so often.
    rests: u64,
}

impl Pause {
    /// Sleeps; answers whether to go on. `rest`: because there is nothing to do.
    fn sleep(&self, time: Duration, rest: bool) -> bool {
        let mut inner = self.inner.lock();
        if rest {
            inner.rests += 1;
            self.changed.notify_all();
        }
        let goes_on_at_once = inner.stopped || (rest && inner.woken);
        if !goes_on_at_once {
            self.changed.wait_for(&mut inner, time);
        }
        if rest {
            inner.woken = false;
        }
        !inner.stopped
    }

    fn wake(&self) {
        let mut inner = self.inner.lock();
        inner.woken = true;
        drop(inner);
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.inner.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Wakes the sleeper, and waits until it has found nothing to do once more.
    #[cfg(test)]
    fn wait_for_rest(&self) {
        let mut inner = self.inner.lock();
        let before = inner.rests;
        self.changed.notify_all();
        while inner.rests <= before {
            self.changed.wait(&mut inner);
        }
    }
}

impl Driver {
    /// Starts the thread that commits.
    pub(super) fn start_committer(&self, mut committer: Committer) -> Result<(), OpenError> {
        let body = move || while committer.step(IDLE) == CommitStep::Again {};
        self.threads.lock().push(spawn("committer", body)?);
        Ok(())
    }

    /// Starts the thread that writes checkpoints.
    pub(super) fn start_checkpointer(
        &self,
        mut checkpointer: Checkpointer,
    ) -> Result<(), OpenError> {
        let body = move || while checkpointer.wait_and_step() == CheckpointStep::Again {};
        self.threads.lock().push(spawn("checkpointer", body)?);
        Ok(())
    }

    /// Starts reclaiming space, at that rate; `at_rest` is called whenever nothing is worth it.
    pub(super) fn start_reclaim(
        &self,
        mut reclaimer: Reclaimer,
        bytes_per_second: u64,
        mut at_rest: impl FnMut() + Send + 'static,
    ) -> Result<(), OpenError> {
        let pause = Arc::clone(&self.reclaim);
        let body = move || {
            loop {
                let time = match reclaimer.step() {
                    Ok(ReclaimStep::Copied(bytes)) => {
                        Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second)
                    }
                    Ok(ReclaimStep::Waiting) => RECLAIM_WAIT,
                    Ok(ReclaimStep::Idle) => {
                        at_rest();
                        RECLAIM_IDLE
                    }
                    Err(error) => {
                        tracing::error!("reclaiming space failed and is tried again: {error}");
                        RECLAIM_IDLE
                    }
                };
                if !pause.sleep(time, time == RECLAIM_IDLE) {
                    return;
                }
            }
        };
        self.threads.lock().push(spawn("reclaimer", body)?);
        Ok(())
    }

    /// Starts reading cold segments, at that rate.
    pub(super) fn start_scrub(
        &self,
        mut scrubber: Scrubber,
        bytes_per_second: u64,
    ) -> Result<(), OpenError> {
        let pause = Arc::clone(&self.scrub);
        let body = move || {
            loop {
                let time = match scrubber.step() {
                    Ok(ScrubStep::Read(bytes)) => {
                        Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second)
                    }
                    Ok(ScrubStep::Idle) => SCRUB_IDLE,
                    Err(error) => {
                        tracing::error!("a segment could not be verified: {error}");
                        SCRUB_IDLE
                    }
                };
                if !pause.sleep(time, time == SCRUB_IDLE) {
                    return;
                }
            }
        };
        self.threads.lock().push(spawn("scrubber", body)?);
        Ok(())
    }

    /// Ends the scrub.
    pub(super) fn stop_scrub(&self) {
        self.scrub.stop();
        self.join("scrubber");
    }

    /// Whether a thread reclaims space.
    pub(super) fn reclaims(&self) -> bool {
        self.threads.lock().iter().any(|thread| thread.thread().name() == Some("reclaimer"))
    }

    /// Reclaim looks at once for something to do.
    pub(super) fn wake_reclaim(&self) {
        self.reclaim.wake();
    }

    /// Wakes reclaim and waits until it has nothing to do.
    #[cfg(test)]
    pub(super) fn wait_for_reclaim(&self) {
        self.reclaim.wait_for_rest();
    }

    /// Starts purging what is kept over its time.
    pub(super) fn start_purge(&self, mut purger: Purger) -> Result<(), OpenError> {
        let pause = Arc::clone(&self.purge);
        let body = move || {
            loop {
                let time = match purger.step() {
                    Ok(PurgeStep::Again) => Duration::ZERO,
                    Ok(PurgeStep::Waiting) => IDLE,
                    Ok(PurgeStep::Idle) => PURGE_IDLE,
                    Err(error) => {
                        tracing::error!(
                            "what is kept over its time cannot be purged and is tried again: \
                             {error}; run 'pillarbox check'"
                        );
                        PURGE_IDLE
                    }
                };
                if !pause.sleep(time, time == PURGE_IDLE) {
                    return;
                }
            }
        };
        self.threads.lock().push(spawn("purger", body)?);
        Ok(())
    }

    /// Starts counting everything anew at that interval; the first time after a tenth of it.
    pub(super) fn start_recount(
        &self,
        interval: Duration,
        mut recount: impl FnMut(&mut dyn FnMut() -> bool) + Send + 'static,
    ) -> Result<(), OpenError> {
        let pause = Arc::clone(&self.recount);
        let body = move || {
            let mut time = interval / 10;
            while pause.sleep(time, true) {
                recount(&mut || pause.sleep(RECOUNT_REST, false));
                time = interval;
            }
        };
        self.threads.lock().push(spawn("recounter", body)?);
        Ok(())
    }

    /// Starts making pages of summaries.
    pub(super) fn start_summary_maker(&self, store: Weak<Inner>) -> Result<(), OpenError> {
        self.threads.lock().push(spawn("summary maker", move || make_while_open(&store))?);
        Ok(())
    }

    /// Starts making the full-text index follow the log.
    pub(super) fn start_indexer(&self, store: Weak<Inner>) -> Result<(), OpenError> {
        self.threads.lock().push(spawn("indexer", move || index_while_open(&store))?);
        Ok(())
    }

    /// Wakes purging and waits until it has nothing to do.
    #[cfg(test)]
    pub(super) fn wait_for_purge(&self) {
        self.purge.wait_for_rest();
    }

    /// Ends purging and recounting.
    pub(super) fn stop_upkeep(&self) {
        self.purge.stop();
        self.recount.stop();
        self.join("purger");
        self.join("recounter");
    }

    /// Ends reclaiming; what it was about is begun anew at the next start.
    pub(super) fn stop_reclaim(&self) {
        self.reclaim.stop();
        self.join("reclaimer");
    }

    /// Waits for the threads of that name to end.
    pub(super) fn join(&self, name: &str) {
        let mut threads = self.threads.lock();
        let (ended, others): (Vec<_>, Vec<_>) = std::mem::take(&mut *threads)
            .into_iter()
            .partition(|thread| thread.thread().name() == Some(name));
        *threads = others;
        ended.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    // A committer that panics leaves callers waiting for ever; a process that ends is restarted and
    // loses nothing that was acknowledged.
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            std::process::abort();
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map_err(|cause| OpenError::Invalid(format!("no thread could be started: {cause}")))
}

/// The machines of a simulated store, stepped by hand or by whoever waits for an answer.
#[derive(Default)]
pub(crate) struct Steps {
    machines: Mutex<Option<(Option<Committer>, Checkpointer, Reclaimer)>>,
}

impl Steps {
    pub(super) fn fill(
        &self,
        committer: Option<Committer>,
        checkpointer: Checkpointer,
        reclaimer: Reclaimer,
    ) {
        *self.machines.lock() = Some((committer, checkpointer, reclaimer));
    }

    /// There is a committer now.
    pub(super) fn take_seat(&self, committer: Committer) {
        if let Some((seat, ..)) = self.machines.lock().as_mut() {
            *seat = Some(committer);
        }
    }

    /// Commits one batch of what waits; or notes durability, if nothing does.
    pub(crate) fn commit(&self) {
        if let Some((Some(committer), ..)) = self.machines.lock().as_mut() {
            committer.step(Duration::ZERO);
        }
    }

    /// The next step of the checkpoint that is being written, if one is.
    pub(crate) fn checkpoint(&self) -> CheckpointStep {
        match self.machines.lock().as_mut() {
            Some((_, checkpointer, _)) => checkpointer.step(),
            None => CheckpointStep::Closed,
        }
    }

    /// Lets reclaim make base images next.
    #[cfg(test)]
    pub(crate) fn want_images(&self) {
        if let Some((.., reclaimer)) = self.machines.lock().as_mut() {
            reclaimer.want_images();
        }
    }

    /// Whether reclaim leaves segments alone, after a call that failed.
    #[cfg(test)]
    pub(crate) fn leaves_segments_alone(&self) -> bool {
        let machines = self.machines.lock();
        machines.as_ref().is_some_and(|(.., reclaimer)| reclaimer.leaves_segments_alone())
    }

    /// The next step of reclaim.
    #[cfg(test)]
    pub(crate) fn reclaim(&self) -> Result<ReclaimStep, crate::error::ReadError> {
        match self.machines.lock().as_mut() {
            Some((.., reclaimer)) => reclaimer.step(),
            None => Ok(ReclaimStep::Idle),
        }
    }
}

impl Steps {
    /// A step of everything: for whoever waits for reclaim.
    pub(super) fn rewrap(&self) -> Result<(), crate::error::ReadError> {
        self.commit();
        self.checkpoint();
        if let Some((.., reclaimer)) = self.machines.lock().as_mut() {
            reclaimer.step()?;
        }
        Ok(())
    }
}

impl Pump for Steps {
    fn pump(&self) {
        self.commit();
        self.checkpoint();
    }
}
