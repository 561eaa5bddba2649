//! The serving end of the admin socket: a thread that reads and one that answers per connection.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

use super::operation::{Answer, Begun, Desk, Request, begin};
use super::together::Together;
use super::{
    ANSWERS_OWED_MAX, CONNECTIONS_MAX, REQUEST_LINE_BYTES_MAX, socket_address, socket_path,
};
use crate::failure::{Exit, Failure};

/// The socket of a running store.
pub(crate) struct Server {
    path: PathBuf,
}

impl Server {
    /// Begins to answer. A socket that a killed process left behind is replaced: whoever holds the
    /// store open, and that is us, owns the socket.
    pub(crate) fn start(
        directory: &Path,
        desk: Desk,
        message_bytes_max: u64,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Server, Failure> {
        let path = socket_path(directory);
        let _ = std::fs::remove_file(&path);
        // The umask of the process makes its mode 0600; main sets it first of all.
        let listener = socket_address(directory)
            .and_then(|(address, _folder)| UnixListener::bind(address))
            .map_err(|cause| Failure::file("listen on", &path, &cause))?;
        tokio::spawn(accept(listener, desk, message_bytes_max, shutdown));
        Ok(Server { path })
    }

    /// Takes the socket away.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(
    listener: UnixListener,
    desk: Desk,
    message_bytes_max: u64,
    mut shutdown: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let stream = accepted.and_then(|(stream, _)| stream.into_std());
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok(stream) = stream.and_then(|s| s.set_nonblocking(false).map(|()| s)) else {
            continue;
        };
        let Ok(closer) = stream.try_clone() else { continue };
        let desk = desk.clone();
        let work = tokio::task::spawn_blocking(move || {
            if let Err(cause) = converse(&stream, &desk, message_bytes_max) {
                tracing::debug!(%cause, "an admin connection ended early");
            }
            drop(place);
        });
        let mut shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = work => {}
                // Wakes the thread out of its read, so that the store can close.
                _ = shutdown.wait_for(|stop| *stop) => {
                    let _ = closer.shutdown(std::net::Shutdown::Read);
                }
            }
        });
    }
}

/// Reads requests until the other side is done.
fn converse(stream: &UnixStream, desk: &Desk, message_bytes_max: u64) -> std::io::Result<()> {
    let (owed, answers) = sync_channel::<Begun>(ANSWERS_OWED_MAX);
    let output = stream.try_clone()?;
    let answering = std::thread::Builder::new()
        .name("admin-answers".to_owned())
        .spawn(move || answer_in_order(output, &answers))?;
    let mut input = BufReader::new(stream);
    let outcome = read_requests(&mut input, &owed, desk, message_bytes_max);
    drop(owed);
    let _ = answering.join();
    outcome
}

fn read_requests(
    input: &mut BufReader<&UnixStream>,
    owed: &SyncSender<Begun>,
    desk: &Desk,
    message_bytes_max: u64,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    let mut body = Vec::new();
    let mut together = Together::default();
    loop {
        line.clear();
        if input.by_ref().take(REQUEST_LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            // Whoever asked may still read its answers.
            together.commit();
            return Ok(());
        }
        let refused = |sentence: String| {
            let _ = owed.send(Begun::Answered(Answer::Failed(Failure::new(Exit::Usage, sentence))));
        };
        let request: Request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(why) => {
                // Where the next request begins is not known any more.
                refused(format!("the request is not understood: {why}"));
                return Ok(());
            }
        };
        let body_bytes = request.body_bytes();
        if body_bytes > message_bytes_max {
            std::io::copy(&mut input.by_ref().take(body_bytes), &mut std::io::sink())?;
            together.refuse();
            refused(format!(
                "the message has {body_bytes} bytes; limits.message_bytes allows \
                 {message_bytes_max}"
            ));
            continue;
        }
        body.clear();
        // Grows as bytes come, not as a client says that they will.
        input.by_ref().take(body_bytes).read_to_end(&mut body)?;
        if engine::width::u64_of(body.len()) < body_bytes {
            return Ok(());
        }
        let begun = begin(desk, &mut together, request, &body, &mut |done, total| {
            let _ = owed.send(Begun::Answered(Answer::Progress { done, total }));
        });
        if owed.send(begun).is_err() {
            return Ok(());
        }
    }
}

fn answer_in_order(output: UnixStream, answers: &Receiver<Begun>) {
    let mut output = BufWriter::new(output);
    let mut next = answers.recv().ok();
    while let Some(mut begun) = next {
        if begun.waits_for_client() && output.flush().is_err() {
            return;
        }
        if write_answer(&mut output, &begun.finish()).is_err() {
            return;
        }
        // Else flushed only when nothing else is there: an import's answers share system calls.
        next = match answers.try_recv() {
            Ok(begun) => Some(begun),
            Err(_) => {
                if output.flush().is_err() {
                    return;
                }
                answers.recv().ok()
            }
        };
    }
    let _ = output.flush();
}

fn write_answer(output: &mut impl Write, answer: &Answer) -> std::io::Result<()> {
    output.write_all(&serde_json::to_vec(answer)?)?;
    output.write_all(b"\n")?;
    match answer {
        Answer::Piece { body, .. } => output.write_all(body),
        _ => Ok(()),
    }
}
