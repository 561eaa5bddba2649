//! The hidden verb `confined`: sets limits on itself, then becomes an extractor.
//!
//! Why a verb: limits are set between fork and exec, and there nothing but `unsafe` code may run.
//!
//! | limit | so that |
//! |--|--|
//! | no file may get a byte | no text of a document lies on a disk (a temporary file) |
//! | memory, processor time, open files | a document that was made to hurt hurts nobody else |
//! | no core file | its memory lies on no disk either |
//! | no new privileges | no set-user-id program helps it |
//! | ends when the store's thread ends | nothing is left over |
//!
//! The number of processes has no limit of its own: it counts all of the user's, the store's
//! threads among them. What is begun ends with its group, at the latest with its processor time.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
use rustix::thread::set_no_new_privs;

use crate::failure::{Exit, Failure};

/// Files that it may have open.
const FILES_MAX: u64 = 64;
/// How far others go first.
const NICENESS: i32 = 10;

/// What `confined` needs.
#[derive(Args)]
pub(crate) struct ConfinedArguments {
    /// Bytes of memory.
    #[arg(long)]
    memory_bytes: u64,
    /// Seconds of processor time.
    #[arg(long)]
    cpu_seconds: u64,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Does not come back if all goes well.
pub(crate) fn confined(arguments: ConfinedArguments) -> Result<(), Failure> {
    let ConfinedArguments { memory_bytes, cpu_seconds, command } = arguments;
    let Some((program, rest)) = command.split_first() else {
        return Err(Failure::new(Exit::Usage, "confined needs a program"));
    };
    let mut program = Command::new(program);
    program.args(rest);
    limit(memory_bytes, cpu_seconds)
        .map_err(|cause| Failure::new(Exit::Refused, format!("cannot be confined: {cause}")))?;
    let cause = program.exec();
    Err(Failure::new(Exit::Refused, format!("cannot be run: {cause}")))
}

fn limit(memory_bytes: u64, cpu_seconds: u64) -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_no_new_privs(true)?;
    // Where that is not allowed, it goes as fast as others.
    let _ = nice(NICENESS);
    // Memory last: what is to be done here needs some.
    let limits = [
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Cpu, cpu_seconds),
        (Resource::Nofile, FILES_MAX),
        (Resource::As, memory_bytes),
    ];
    for (resource, most) in limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}
