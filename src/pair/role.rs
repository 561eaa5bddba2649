//! Telling the world which node is primary: a program of the operator's, which moves an address or
//! tells a load balancer.
//!
//! It gets `PILLARBOX_ROLE` (`primary` or `follower`), `PILLARBOX_EPOCH` and `PILLARBOX_VOLUME` in
//! its environment, at the start and when the role changes; nothing waits for it.
//!
//! # What can go wrong
//! It fails, or does not end: that is logged, and after a minute it is killed. Mail goes on.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long it may run.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A role as it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Role {
    pub(super) follows: bool,
    pub(super) epoch: u16,
}

/// What is told, and what was told last.
pub(super) struct Teller {
    command: Vec<String>,
    told: Arc<Mutex<Option<Role>>>,
    /// One at a time, so that the last word is the newest.
    turn: Arc<Mutex<()>>,
}

impl Teller {
    pub(super) fn new(command: &[String]) -> Teller {
        Teller { command: command.to_vec(), told: Arc::default(), turn: Arc::default() }
    }

    /// Tells it in a thread, if it is news.
    pub(super) fn tell(&self, role: Role) {
        if self.command.is_empty() || self.told.lock().replace(role) == Some(role) {
            return;
        }
        let (command, told) = (self.command.clone(), Arc::clone(&self.told));
        let turn = Arc::clone(&self.turn);
        let spawned = std::thread::Builder::new().name("role".into()).spawn(move || {
            let _turn = turn.lock();
            // Passed over if it is news no longer.
            let newest = *told.lock();
            if newest == Some(role) {
                run(&command, role);
            }
        });
        if let Err(error) = spawned {
            tracing::error!("the role is not told: no thread could be started: {error}");
        }
    }
}

fn run(command: &[String], role: Role) {
    let [program, arguments @ ..] = command else { return };
    let name = if role.follows { "follower" } else { "primary" };
    let spawned = Command::new(program)
        .args(arguments)
        .env("PILLARBOX_ROLE", name)
        .env("PILLARBOX_EPOCH", role.epoch.to_string())
        .env("PILLARBOX_VOLUME", "main")
        .stdin(Stdio::null())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            return tracing::error!(program, "[pair] role_command cannot be started: {error}");
        }
    };
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => {
                return tracing::info!(role = name, epoch = role.epoch, "the role was told");
            }
            Ok(Some(status)) => {
                return tracing::error!(program, "[pair] role_command ended with {status}");
            }
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::park_timeout(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return tracing::error!(program, "[pair] role_command was killed after a minute");
            }
            Err(error) => return tracing::error!(program, "[pair] role_command: {error}"),
        }
    }
}
