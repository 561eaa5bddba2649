//! A program under strace: killed as it enters a chosen system call, and what it did to the disk.
//!
//! strace counts the calls of every thread for itself: a [`Point`] is the n-th call of that name of
//! whichever thread comes so far first. The call in which a program is killed does not happen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Calls that change what lies on a disk, or make it durable. The question mark is strace's, for
/// machines that have no such call.
const CHANGING: &str = "?write,?pwrite64,?fsync,?fdatasync,?openat,?rename,?renameat,?renameat2,\
                        ?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?link,?linkat,?ftruncate,\
                        ?fallocate,?io_uring_enter";

/// A place in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) call: String,
    /// From 1.
    pub(crate) when: u32,
}

/// One system call of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    thread: String,
    pub(crate) name: String,
    arguments: String,
    /// `None`: it was killed in it.
    pub(crate) result: Option<i64>,
}

impl Call {
    /// The file of the descriptor that is its first argument.
    pub(crate) fn file(&self) -> Option<&Path> {
        let (_, rest) = self.arguments.split_once('<')?;
        rest.split('>').next().map(Path::new)
    }

    /// The paths among its arguments, whole.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let quoted = self.arguments.split('"').skip(1).step_by(2);
        let folder = self.file().filter(|_| self.name.ends_with("at"));
        quoted.map(|path| folder.unwrap_or(Path::new("")).join(path)).collect()
    }

    /// Its arguments behind the last comma that is followed by a number, as numbers.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.arguments.split(", ").filter_map(|word| word.trim().parse().ok()).collect()
    }

    /// Whether it was asked for with that flag.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.arguments.split([' ', ',', '|']).any(|word| word == flag)
    }

    /// Whether it happened.
    pub(crate) fn is_done(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }
}

/// Why no program can be traced here; `None`: it can.
pub(crate) fn refusal() -> Option<String> {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "true"]).stdin(Stdio::null());
    match command.output() {
        Err(error) => Some(format!("strace cannot be started: {error} (make deps)")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// strace, which writes to `log`, and kills at that point if there is one; the program follows as
/// its next argument.
pub(crate) fn command(log: &Path, point: Option<&Point>) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-s", "0", "-e", "signal=none"]).arg("-o").arg(log);
    command.arg("-e").arg(format!("trace={CHANGING}"));
    if let Some(Point { call, when }) = point {
        command.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={when}"));
    }
    command.arg("--");
    command
}

/// What a log of strace tells, in the order in which the calls ended; those in which the program
/// was killed come last.
pub(crate) fn calls(log: &Path) -> Vec<Call> {
    let text = std::fs::read(log).unwrap_or_default();
    let mut found = Vec::new();
    let mut begun: BTreeMap<String, (String, String)> = BTreeMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let (thread, rest) = (thread.to_owned(), rest.trim_start());
        let (name, words) = if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, end)) = resumed.split_once(" resumed>") else { continue };
            let Some((name, words)) = begun.remove(&thread) else { continue };
            (name, words + end)
        } else {
            let Some((name, words)) = rest.split_once('(') else { continue };
            (name.to_owned(), words.to_owned())
        };
        if let Some(unfinished) = words.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (name, unfinished.to_owned()));
            continue;
        }
        let Some((arguments, result)) = words.rsplit_once(" = ") else { continue };
        let arguments = arguments.trim_end().trim_end_matches(')').to_owned();
        let result = result.split([' ', '<']).next().and_then(|word| word.parse().ok());
        found.push(Call { thread, name, arguments, result });
    }
    let killed = begun.into_iter();
    found.extend(killed.map(|(thread, (name, arguments))| Call {
        thread,
        name,
        arguments,
        result: None,
    }));
    found
}

/// Every call that changed something below `folder`, as a point at which a run like that one can be
/// killed; no two are the same.
pub(crate) fn points(calls: &[Call], folder: &Path) -> Vec<Point> {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut points = Vec::new();
    for call in calls {
        let when = counts.entry((&call.name, &call.thread)).or_default();
        *when += 1;
        let mut paths = call.paths();
        paths.extend(call.file().map(Path::to_path_buf));
        // RocksDB's words for people are no part of the store.
        let is_ours = |path: &PathBuf| path.starts_with(folder) && !path.ends_with("LOG");
        let point = Point { call: call.name.clone(), when: *when };
        // A file that was just opened is empty until it is written to.
        let changes = paths.iter().any(is_ours) || call.name == "io_uring_enter";
        if changes && call.is_done() && call.name != "openat" && !points.contains(&point) {
            points.push(point);
        }
    }
    points
}
