//! The asking end: over the socket of a running store, or on the directory of a stopped one.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::operation::{Answer, Begun, Desk, Request, begin};
use super::together::Together;
use super::{ANSWER_BODY_BYTES_MAX, ANSWER_LINE_BYTES_MAX, socket_address, socket_path};
use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::store_access::{self, KeySource, OpenMode};

/// A way to ask a store.
pub(crate) struct Connection {
    way: Way,
}

enum Way {
    Socket { input: BufReader<UnixStream>, output: BufWriter<UnixStream> },
    Directory { desk: Desk, together: Together, owed: VecDeque<Begun> },
}

impl Connection {
    /// Connects to the store in `directory` if it runs, else opens it with the key that `key`
    /// gives, as `config` says, in the given mode.
    pub(crate) fn open(
        directory: &Path,
        key: impl FnOnce() -> Result<KeySource, Failure>,
        config: &Config,
        mode: OpenMode,
    ) -> Result<Connection, Failure> {
        match Connection::running(directory)? {
            Some(connection) => Ok(connection),
            None => {
                let bounds = config.store_bounds();
                let (store, report) = store_access::open(directory, key()?, bounds, mode)?;
                tracing::debug!("{report}");
                let desk =
                    Desk { store, detail_mailboxes: config.delivery.detail_mailboxes, pair: None };
                let (together, owed) = (Together::default(), VecDeque::new());
                Ok(Connection { way: Way::Directory { desk, together, owed } })
            }
        }
    }

    /// Connects to the store in `directory` if it runs.
    pub(crate) fn running(directory: &Path) -> Result<Option<Connection>, Failure> {
        let path = socket_path(directory);
        let connected =
            socket_address(directory).and_then(|(address, _folder)| UnixStream::connect(address));
        match connected {
            Ok(stream) => {
                let output = stream
                    .try_clone()
                    .map_err(|cause| Failure::file("connect to", &path, &cause))?;
                let (input, output) = (BufReader::new(stream), BufWriter::new(output));
                Ok(Some(Connection { way: Way::Socket { input, output } }))
            }
            Err(cause) if cause.kind() == ErrorKind::PermissionDenied => Err(Failure::new(
                Exit::NotAllowed,
                format!(
                    "{} belongs to another user; run the command as the user that runs the store",
                    directory.display()
                ),
            )),
            // No socket, or one that a killed process left behind.
            Err(_) => Ok(None),
        }
    }

    /// Asks, and waits for the answer; `progress` hears how far long work is.
    pub(crate) fn call(
        &mut self,
        request: &Request,
        body: &[u8],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Answer, Failure> {
        self.submit_with(request, body, progress)?;
        self.answer(progress)
    }

    /// Asks without waiting; each submitted request is owed one [`Connection::answer`].
    pub(crate) fn submit(&mut self, request: &Request, body: &[u8]) -> Result<(), Failure> {
        self.submit_with(request, body, &mut |_, _| {})
    }

    fn submit_with(
        &mut self,
        request: &Request,
        body: &[u8],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Failure> {
        let line = serde_json::to_vec(request).map_err(|why| lost(&why.to_string()))?;
        match &mut self.way {
            Way::Socket { output, .. } => {
                let sent = output
                    .write_all(&line)
                    .and_then(|()| output.write_all(b"\n"))
                    .and_then(|()| output.write_all(body));
                sent.map_err(|cause| lost(&cause.to_string()))
            }
            Way::Directory { desk, together, owed } => {
                // Through the same bytes as the socket, so that both mean the same.
                let request =
                    serde_json::from_slice(&line).map_err(|why| lost(&why.to_string()))?;
                owed.push_back(begin(desk, together, request, body, progress));
                Ok(())
            }
        }
    }

    /// The answer to the oldest request that has none yet; a refusal is an error.
    pub(crate) fn answer(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<Answer, Failure> {
        loop {
            let answer = match &mut self.way {
                Way::Socket { input, output } => {
                    output.flush().map_err(|cause| lost(&cause.to_string()))?;
                    read_answer(input)?
                }
                Way::Directory { together, owed, .. } => {
                    let begun = owed.pop_front().unwrap_or(Begun::Answered(Answer::Done));
                    // Nothing more comes while the answer is waited for.
                    if matches!(&begun, Begun::Held(held) if together.holds(held)) {
                        together.commit();
                    }
                    begun.finish()
                }
            };
            match answer {
                Answer::Progress { done, total } => progress(done, total),
                Answer::Failed(failure) => return Err(failure),
                answer => return Ok(answer),
            }
        }
    }

    /// Ends the conversation; a directory's store is closed.
    pub(crate) fn close(self) {
        if let Way::Directory { desk, .. } = self.way {
            store_access::close(desk.store);
        }
    }
}

/// An answer's line, and what follows it.
fn read_answer(input: &mut impl BufRead) -> Result<Answer, Failure> {
    let mut line = Vec::new();
    match input.by_ref().take(ANSWER_LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        Ok(0) => return Err(lost("it closed the connection")),
        Ok(_) => {}
        Err(cause) => return Err(lost(&cause.to_string())),
    }
    let mut answer = serde_json::from_slice(&line).map_err(|why| lost(&why.to_string()))?;
    if let Answer::Piece { body_bytes, body } = &mut answer {
        if *body_bytes > ANSWER_BODY_BYTES_MAX {
            return Err(lost("it sent more bytes at once than any store does"));
        }
        let read = input.take(*body_bytes).read_to_end(body);
        if read.map_err(|cause| lost(&cause.to_string()))? < engine::width::usize_of(*body_bytes) {
            return Err(lost("it closed the connection"));
        }
    }
    Ok(answer)
}

fn lost(why: &str) -> Failure {
    Failure::new(Exit::Later, format!("the running store did not answer: {why}; try again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_brings_its_bytes_and_what_is_cut_or_too_long_is_no_answer() {
        let cases = [
            ("{\"answer\":\"piece\",\"body_bytes\":3}\nabcd", Some("abc"), "the next is left"),
            ("{\"answer\":\"piece\",\"body_bytes\":0}\n", Some(""), "the end of a message"),
            ("{\"answer\":\"piece\",\"body_bytes\":3}\nab", None, "cut"),
            ("{\"answer\":\"piece\",\"body_bytes\":99999999}\nab", None, "beyond the bound"),
            ("", None, "closed"),
        ];
        for (bytes, expected, reason) in cases {
            let found = match read_answer(&mut bytes.as_bytes()) {
                Ok(Answer::Piece { body, .. }) => Some(String::from_utf8(body).unwrap()),
                _ => None,
            };
            assert_eq!(found.as_deref(), expected, "{reason}");
        }
    }
}
