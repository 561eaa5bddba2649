//! Real programs from Debian: run them, wait for them with a deadline, or say loudly that they are
//! missing.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Stops the test unless the program ended well.
    pub(crate) fn well(self, what: &str) -> Ended {
        assert_eq!(self.code, Some(0), "{what}\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Both outputs.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Whether all of these programs are here. `make test` installs them; a test that cannot run says
/// so in a line that nobody overlooks, and fails where PILLARBOX_TEST_NO_SKIP is set.
pub(crate) fn present(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|program| !is_present(program)).collect();
    if missing.is_empty() {
        return true;
    }
    skipped(test, &format!("{missing:?} not installed (make deps)"));
    false
}

/// Says that a test was skipped.
pub(crate) fn skipped(test: &str, why: &str) {
    assert!(std::env::var_os("PILLARBOX_TEST_NO_SKIP").is_none(), "{test} cannot run: {why}");
    eprintln!("\n******** SKIPPED: {test}: {why} ********\n");
}

fn is_present(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders.into_iter().any(|folder| Path::new(folder).join(program).is_file())
}

/// Whether this process is root; some servers must be started by root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a program to its end, at most for `deadline`.
pub(crate) fn run(command: &mut Command, input: &[u8], deadline: Duration) -> Ended {
    use std::io::Write;
    let name = command.get_program().to_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name:?}: {error}"));
    let stdout = reading(child.stdout.take().unwrap());
    let stderr = reading(child.stderr.take().unwrap());
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that does not read its input has its reasons.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            let (out, err) = (stdout.join().unwrap(), stderr.join().unwrap());
            panic!("{name:?} did not end within {deadline:?}\n{out}\n{err}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let _ = writer.join();
    Ended { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn reading(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Asks again and again until the answer is there; panics with `what` at the deadline.
pub(crate) fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
