//! Which of the system's two disks a store gets, and the sentence that says why.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, PlainDisk, UringDisk, UringFound, UringWish};
use crate::error::DiskError;

/// What an operator asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoChoice {
    /// What measured best: plain calls (docs/decisions/0008-plain-calls-unless-asked.md).
    #[default]
    Auto,
    /// io_uring, tried out before it is trusted; or an error.
    Uring,
    /// `pwrite` and `fdatasync`.
    Plain,
}

/// What was chosen, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IoReport {
    /// `pwrite` and `fdatasync`.
    Plain(PlainReason),
    /// io_uring.
    Uring(UringFound),
}

/// Why the plain disk was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlainReason {
    /// The store is only read.
    OnlyRead,
    /// It is at least as fast.
    Measured,
    /// Asked for.
    Wanted,
}

impl Default for IoReport {
    fn default() -> IoReport {
        IoReport::Plain(PlainReason::OnlyRead)
    }
}

impl fmt::Display for IoReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoReport::Plain(PlainReason::OnlyRead) => write!(out, "the log is only read"),
            IoReport::Plain(PlainReason::Wanted) => {
                write!(out, "the log is written by plain calls, as configured")
            }
            IoReport::Plain(PlainReason::Measured) => write!(
                out,
                "the log is written by plain calls, which measured as fast as io_uring or faster"
            ),
            IoReport::Uring(found) => write!(out, "the log is written by io_uring, {found}"),
        }
    }
}

/// The disk for a store whose log lies in `directory`.
///
/// # Errors
/// What does not work, if io_uring was asked for.
pub fn system_disk(
    choice: IoChoice,
    directory: &Path,
) -> Result<(Arc<dyn Disk>, IoReport), DiskError> {
    let plain =
        |reason| -> (Arc<dyn Disk>, IoReport) { (Arc::new(PlainDisk), IoReport::Plain(reason)) };
    match choice {
        IoChoice::Auto => Ok(plain(PlainReason::Measured)),
        IoChoice::Plain => Ok(plain(PlainReason::Wanted)),
        IoChoice::Uring => {
            let (disk, found) = UringDisk::probe(directory, UringWish::ALL)?;
            Ok((Arc::new(disk), IoReport::Uring(found)))
        }
    }
}
