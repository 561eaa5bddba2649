//! What makes committer and checkpointer go on: a thread each, or a simulation's steps.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::commit::{CheckpointStep, Checkpointer, CommitStep, Committer};
use crate::error::OpenError;
use crate::ticket::Pump;

/// How often the committer looks at the clock when nothing comes.
const IDLE: Duration = Duration::from_millis(50);

/// The machines of an open store; none if it takes no writes.
#[derive(Default)]
pub(super) struct Driver {
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Driver {
    /// Starts a thread for each machine.
    pub(super) fn start(
        &self,
        mut committer: Committer,
        mut checkpointer: Checkpointer,
    ) -> Result<(), OpenError> {
        let mut threads = self.threads.lock();
        threads.push(spawn(
            "committer",
            move || {
                while committer.step(IDLE) == CommitStep::Again {}
            },
        )?);
        threads.push(spawn("checkpointer", move || {
            while checkpointer.wait_and_step() == CheckpointStep::Again {}
        })?);
        Ok(())
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
    machines: Mutex<Option<(Committer, Checkpointer)>>,
}

impl Steps {
    pub(super) fn fill(self: &Arc<Self>, committer: Committer, checkpointer: Checkpointer) {
        *self.machines.lock() = Some((committer, checkpointer));
    }

    /// Commits one batch of what waits; or notes durability, if nothing does.
    pub(crate) fn commit(&self) {
        if let Some((committer, _)) = self.machines.lock().as_mut() {
            committer.step(Duration::ZERO);
        }
    }

    /// The next step of the checkpoint that is being written, if one is.
    pub(crate) fn checkpoint(&self) -> CheckpointStep {
        match self.machines.lock().as_mut() {
            Some((_, checkpointer)) => checkpointer.step(),
            None => CheckpointStep::Closed,
        }
    }
}

impl Pump for Steps {
    fn pump(&self) {
        self.commit();
        self.checkpoint();
    }
}
