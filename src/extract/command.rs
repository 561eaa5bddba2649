//! A program as an extractor: bytes in by a memory file, text out by a pipe, and everything it
//! began is ended at its time (`confine.rs` says what it may not do meanwhile).

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use engine::search::{Extracted, Flaw};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{PROGRAM_FOLDERS, Patience, extracted, nothing, program};
use crate::config::ExtractorSection;

/// Bytes of what it says on standard error that are kept for the log.
const COMPLAINT_BYTES_MAX: usize = 200;
/// How long an end is waited for at a time, once it has closed its output.
const END_TICK: Duration = Duration::from_millis(5);

/// Runs an extractor's program over a document.
pub(super) fn extract(
    bytes: &[u8],
    extractor: &ExtractorSection,
    patience: &Patience<'_>,
) -> Extracted {
    let Some((name, arguments)) = extractor.command.split_first() else {
        return Extracted::default();
    };
    let Some(program) = program(name) else {
        return nothing(Flaw::NotNow, format!("there is no program {name:?}"));
    };
    let mut running = match start(bytes, (&program, arguments), extractor) {
        Ok(running) => running,
        Err(cause) => return nothing(Flaw::NotNow, format!("{name} cannot be run: {cause}")),
    };
    let mut flaw = running.read(extractor.output_bytes.count(), patience);
    let ended = running.end(patience, flaw.is_some());
    if flaw.is_none() {
        flaw = match ended {
            Ok(status) => running.judged(status),
            Err(flaw) => Some(flaw),
        };
    }
    if matches!(flaw, Some((Flaw::NotNow, _))) {
        running.text.clear();
    }
    extracted(&running.text, flaw)
}

/// A program that runs; it and all of its group end when this is dropped.
struct Running {
    child: Child,
    group: Pid,
    text: Vec<u8>,
    complaint: Vec<u8>,
}

fn start(
    bytes: &[u8],
    (program, arguments): (&Path, &[String]),
    extractor: &ExtractorSection,
) -> std::io::Result<Running> {
    // In memory, and not in a file: no disk sees it. It has to be a file all the same, because
    // programs read documents from their ends.
    let mut input = File::from(memfd_create("document", MemfdFlags::CLOEXEC)?);
    input.write_all(bytes)?;
    input.rewind()?;
    let seconds = extractor.timeout_seconds.get() + 1;
    let child = Command::new("/proc/self/exe")
        .arg0("pillarbox")
        .arg("confined")
        .args(["--memory-bytes", &extractor.memory_bytes.get().to_string()])
        .args(["--cpu-seconds", &seconds.to_string()])
        .arg("--")
        .arg(program)
        .args(arguments)
        .env_clear()
        .envs([("PATH", PROGRAM_FOLDERS), ("LANG", "C.UTF-8"), ("HOME", "/")])
        .current_dir("/")
        .process_group(0)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let group = Pid::from_child(&child);
    Ok(Running { child, group, text: Vec::new(), complaint: Vec::new() })
}

impl Running {
    /// Reads what it writes until it writes no more; says what is wrong with that.
    fn read(&mut self, text_max: usize, patience: &Patience<'_>) -> Option<(Flaw, String)> {
        let (mut output, mut errors) = (self.child.stdout.take(), self.child.stderr.take());
        let mut buffer = vec![0; 64 << 10];
        while output.is_some() {
            let Some(tick) = patience.tick() else { return Some(patience.flaw()) };
            let [has_text, has_complaint] =
                ready([output.as_ref().map(AsFd::as_fd), errors.as_ref().map(AsFd::as_fd)], tick);
            if has_text {
                let read = take(&mut output, &mut buffer);
                let room = text_max - self.text.len();
                self.text.extend_from_slice(read.get(..room).unwrap_or(read));
                if read.len() > room {
                    return Some((Flaw::Cut, "it wrote more than output_bytes".to_owned()));
                }
            }
            if has_complaint {
                let read = take(&mut errors, &mut buffer);
                let room = COMPLAINT_BYTES_MAX - self.complaint.len();
                self.complaint.extend_from_slice(read.get(..room).unwrap_or(read));
            }
        }
        None
    }

    /// Waits until it ends, if it may, then ends all of its group; or says why that was not waited
    /// for.
    fn end(
        &mut self,
        patience: &Patience<'_>,
        at_once: bool,
    ) -> Result<ExitStatus, (Flaw, String)> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut late = None;
        while !at_once && matches!(waitid(WaitId::Pid(self.group), options), Ok(None)) {
            match patience.tick() {
                Some(tick) => std::thread::sleep(tick.min(END_TICK)),
                None => {
                    late = Some(patience.flaw());
                    break;
                }
            }
        }
        // While it is not waited for, nobody else has its number.
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait();
        match (late, status) {
            (Some(late), _) => Err(late),
            (None, Ok(status)) => Ok(status),
            (None, Err(cause)) => Err((Flaw::Failed, format!("its end is not known: {cause}"))),
        }
    }

    /// What its end says.
    fn judged(&self, status: ExitStatus) -> Option<(Flaw, String)> {
        if status.success() {
            return None;
        }
        let is_signal = |signal: Signal| status.signal() == Some(signal.as_raw());
        let (flaw, mut reason) = if is_signal(Signal::XFSZ) {
            (Flaw::Failed, "it was ended, because it would write a file".to_owned())
        } else if is_signal(Signal::XCPU) {
            (
                Flaw::TookTooLong,
                "it was ended, because it took too much of the processor".to_owned(),
            )
        } else if let Some(signal) = status.signal() {
            (Flaw::Failed, format!("it crashed with signal {signal}"))
        } else {
            (Flaw::Failed, format!("it ended with code {}", status.code().unwrap_or_default()))
        };
        let complaint = String::from_utf8_lossy(&self.complaint);
        let complaint = complaint.split_whitespace().collect::<Vec<_>>().join(" ");
        if !complaint.is_empty() {
            let shown = |letter: char| if letter.is_control() { '?' } else { letter };
            reason.push_str(": ");
            reason.extend(complaint.chars().map(shown));
        }
        Some((flaw, reason))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once it was waited for, its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Which of two pipes has something, or is at its end.
fn ready(pipes: [Option<std::os::fd::BorrowedFd<'_>>; 2], time: Duration) -> [bool; 2] {
    let mut open: Vec<PollFd<'_>> =
        pipes.iter().flatten().map(|pipe| PollFd::from_borrowed_fd(*pipe, PollFlags::IN)).collect();
    let time = Timespec::try_from(time).ok();
    if poll(&mut open, time.as_ref()).is_err() {
        return [false; 2];
    }
    let mut found = open.iter().map(|polled| !polled.revents().is_empty());
    pipes.map(|pipe| pipe.is_some() && found.next().unwrap_or(false))
}

/// Reads once; what is at its end is closed.
fn take<'b>(pipe: &mut Option<impl Read>, buffer: &'b mut [u8]) -> &'b [u8] {
    let read = pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(buffer));
    match read {
        Ok(0) | Err(_) => {
            *pipe = None;
            &[]
        }
        Ok(count) => buffer.get(..count).unwrap_or_default(),
    }
}
