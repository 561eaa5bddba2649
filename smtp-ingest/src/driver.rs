//! The driver: moves bytes between a socket and a session, and waits for the store. The only file
//! here that knows a runtime and a clock.
//!
//! # Invariants
//! 1. Replies leave in the order of the commands, and before every wait for the client: so a
//!    pipelined group of commands is answered in one write (RFC 2920).
//! 2. Every wait for the client has an end: by data, by its timeout, or by the shutdown of the
//!    server.
//! 3. A wait for the store is not cut short by a shutdown: what is being committed is answered.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::Announcement;
use engine::ids::UnixSeconds;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tracing::debug;

use crate::config::Config;
use crate::connection::{Connection, Step};
use crate::dialect::Dialect;
use crate::extension::Tls;
use crate::mailroom::Mailroom;
use crate::recipient::Outcome;
use crate::reply::{self, Reply};
use crate::session::{Delivery, Next, Session};

/// From this size on a message is prepared on a thread where blocking is allowed; for a smaller one
/// the change of threads would cost more than it saves the other connections.
const BLOCKING_BYTES_MIN: usize = 64 << 10;
/// Replies are sent at the latest when there are so many bytes of them.
const OUTPUT_BYTES_MAX: usize = 32 << 10;

/// How a conversation ended, or why it pauses.
enum Ended {
    /// TLS comes next.
    StartTls,
    /// For good, all replies sent.
    Closed,
    /// The client went away.
    Lost,
}

struct Conversation<M> {
    session: Session<M>,
    connection: Connection,
    output: Vec<u8>,
    /// Held while a message is on its way in.
    announced: Option<Announcement>,
    config: Arc<Config>,
    shutdown: watch::Receiver<bool>,
    alarm: Alarm,
}

/// One timer for all waits of a connection. A timer that is set for every wait and dropped after it
/// makes the runtime wake the thread that sleeps on all of them, several times a message.
struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    fn new() -> Alarm {
        Alarm(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    /// Returns when `patience` is over. The timer is left where an earlier wait set it, and set
    /// anew when it rings too early.
    async fn ring(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        if self.0.deadline() > deadline {
            self.0.as_mut().reset(deadline);
        }
        loop {
            self.0.as_mut().await;
            if Instant::now() >= deadline {
                return;
            }
            self.0.as_mut().reset(deadline);
        }
    }
}

/// Serves one connection to its end: greeting, commands, messages, STARTTLS.
///
/// `tls` offers STARTTLS. `shutdown` turning true ends the conversation with `421` as soon as
/// nothing is being committed. The listener counts connections.
pub async fn serve_connection<M, S>(
    mailroom: M,
    mut stream: S,
    peer: SocketAddr,
    dialect: Dialect,
    tls: Option<Arc<ServerConfig>>,
    config: Arc<Config>,
    shutdown: watch::Receiver<bool>,
) where
    M: Mailroom,
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let offer = if tls.is_some() { Tls::Offered } else { Tls::Unavailable };
    let session =
        Session::new(mailroom, Arc::clone(&config), dialect, peer, offer, connection_id());
    let mut conversation = Conversation {
        connection: Connection::new(config.line_bytes_max, config.bare_newline(dialect)),
        output: Vec::new(),
        announced: None,
        session,
        config,
        shutdown,
        alarm: Alarm::new(),
    };
    conversation.session.greet(&mut conversation.output);
    let ended = conversation.run(&mut stream).await;
    if let (Ok(Ended::StartTls), Some(tls)) = (&ended, tls) {
        // On the heap, so that connections without TLS do not carry its state.
        Box::pin(conversation.run_tls(stream, tls, peer)).await;
        return;
    }
    finish(&mut stream, ended, peer).await;
}

impl<M: Mailroom> Conversation<M> {
    async fn run_tls<S>(&mut self, stream: S, tls: Arc<ServerConfig>, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        self.connection.discard_input();
        self.session.secured();
        let handshake = TlsAcceptor::from(tls).accept(stream);
        match timeout(self.config.command_timeout, handshake).await {
            Ok(Ok(mut stream)) => {
                let ended = self.run(&mut stream).await;
                finish(&mut stream, ended, peer).await;
            }
            Ok(Err(error)) => debug!(rip = %peer.ip(), %error, "TLS handshake failed"),
            Err(_) => debug!(rip = %peer.ip(), "TLS handshake timed out"),
        }
    }

    async fn run<S>(&mut self, stream: &mut S) -> io::Result<Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        loop {
            let ended = self.take_steps(stream).await?;
            self.flush(stream).await?;
            if let Some(ended) = ended {
                return Ok(ended);
            }
            let in_content = self.connection.in_content();
            let patience =
                if in_content { self.config.data_timeout } else { self.config.command_timeout };
            let farewell = tokio::select! {
                biased;
                () = stopped(&mut self.shutdown) => &reply::SHUTTING_DOWN,
                read = stream.read_buf(self.connection.input()) => match read {
                    Ok(0) => return Ok(Ended::Lost),
                    Ok(_) => continue,
                    Err(error) => return Err(error),
                },
                () = self.alarm.ring(patience) => &reply::TIMED_OUT,
            };
            return self.say_farewell(farewell, stream).await;
        }
    }

    async fn say_farewell<S>(&mut self, farewell: &Reply, stream: &mut S) -> io::Result<Ended>
    where
        S: AsyncWrite + Unpin,
    {
        farewell.write_to(&mut self.output);
        self.flush(stream).await?;
        Ok(Ended::Closed)
    }

    /// Takes all steps that the input has; `None` if it needs more.
    async fn take_steps<S>(&mut self, stream: &mut S) -> io::Result<Option<Ended>>
    where
        S: AsyncWrite + Unpin,
    {
        while let Some(step) = self.connection.step() {
            let next = match step {
                Step::Content(bytes) => {
                    self.session.content(bytes);
                    continue;
                }
                Step::ContentEnd => {
                    let bare = self.connection.bare_newline_count();
                    if let Some(delivery) = self.session.content_end(bare, &mut self.output) {
                        self.deliver(delivery).await;
                    }
                    self.announced = None;
                    Next::Continue
                }
                Step::Command(command) => self.session.command(command, now(), &mut self.output),
            };
            match next {
                Next::Continue => {}
                Next::Data => {
                    self.announced = self.session.mailroom().announce();
                    self.connection.begin_data();
                }
                Next::FirstChunk(byte_count) => {
                    self.announced = self.session.mailroom().announce();
                    self.connection.begin_chunks();
                    self.connection.begin_chunk(byte_count);
                }
                Next::Chunk(byte_count) => self.connection.begin_chunk(byte_count),
                Next::StartTls => return Ok(Some(Ended::StartTls)),
                Next::Close => return Ok(Some(Ended::Closed)),
            }
            if self.output.len() >= OUTPUT_BYTES_MAX {
                self.flush(stream).await?;
            }
        }
        Ok(None)
    }

    async fn deliver(&mut self, delivery: Delivery) {
        let Delivery { message, received, copies, pending } = delivery;
        let submitted = if message.bytes().len() < BLOCKING_BYTES_MIN {
            let submitted = self.session.mailroom().deliver(message.bytes(), received, copies);
            drop(message);
            Some(submitted)
        } else {
            let mailroom = self.session.mailroom().clone();
            let submit = move || mailroom.deliver(message.bytes(), received, copies);
            // It does not end only if it panicked, which is logged as such.
            tokio::task::spawn_blocking(submit).await.ok()
        };
        let outcome = match submitted {
            Some(Ok(ticket)) => Outcome::Answered(ticket.await),
            Some(Err(error)) => Outcome::Refused(error),
            None => Outcome::Vanished,
        };
        self.session.delivered(&pending, &outcome, &mut self.output);
    }

    async fn flush<S>(&mut self, stream: &mut S) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            stream.write_all(&self.output).await?;
            stream.flush().await
        };
        match timeout(self.config.command_timeout, write).await {
            Ok(written) => written?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        self.output.clear();
        Ok(())
    }
}

async fn finish<S: AsyncWrite + Unpin>(stream: &mut S, ended: io::Result<Ended>, peer: SocketAddr) {
    match ended {
        Ok(Ended::Closed | Ended::StartTls) => {
            // The client may be gone already; its replies were written.
            let _ = stream.shutdown().await;
        }
        Ok(Ended::Lost) => debug!(rip = %peer.ip(), "connection lost"),
        Err(error) => debug!(rip = %peer.ip(), %error, "connection lost"),
    }
}

/// Waits until the server shuts down; for ever, if whoever could say so is gone.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        pending::<()>().await;
    }
}

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Names a connection in the log and in Received: its second, and a count.
fn connection_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}-{:x}", now().0, COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_when_the_last_wait_is_over_whatever_was_set_before() {
        let mut alarm = Alarm::new();
        for (given_up, patience_ms) in [(3_600_000, 5), (1, 10), (20, 15)] {
            let _ = tokio::time::timeout(
                Duration::from_millis(1),
                alarm.ring(Duration::from_millis(given_up)),
            )
            .await;
            let (begin, patience) = (Instant::now(), Duration::from_millis(patience_ms));
            alarm.ring(patience).await;
            assert!(begin.elapsed() >= patience, "{patience:?} after {given_up}");
        }
    }
}
